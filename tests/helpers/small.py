"""A small data set and a width that make a run a matter of seconds, and how to meet a process on its way."""

import time

import numpy as np
from PIL import Image

from repro.data.images import save_labels

WIDTH = 1 / 32  # of the nets that are trained here


def write_voc(root, splits, classes, seed=0):
    """Write small pictures in VOC layout: dark and bright rectangles, whose class their brightness gives away.

    splits: {split: number of pictures}; classes: written to classes.txt, or a number where the set is to have none.
    """
    random = np.random.default_rng(seed)
    count = classes if isinstance(classes, int) else len(classes)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for split, number in splits.items():
        names = [f"{split}_{k}" for k in range(number)]
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in names))
        for name in names:
            height, width = random.integers(20, 32, size=2)
            labels = np.zeros((height, width), np.uint8)
            labels[5:15, 5:15] = random.integers(1, count)
            labels[10:, -6:] = random.integers(count)
            labels[:2] = 255
            picture = random.integers(0, 30, size=(height, width, 3)) + (labels % count * (220 // count))[:, :, None]
            Image.fromarray(picture.astype(np.uint8)).save(root / f"JPEGImages/{name}.jpg")
            save_labels(root / f"SegmentationClass/{name}.png", labels)
    if not isinstance(classes, int):
        (root / "classes.txt").write_text("".join(f"{name}\n" for name in classes))
    return root


def wait_for(happened, process, seconds=60):
    """Wait until `happened()`, and fail if the process ends before that."""
    for _ in range(seconds * 100):
        if happened():
            return
        assert process.poll() is None, f"it ended too early: {process.stdout.read().decode()}"
        time.sleep(0.01)
    raise AssertionError("it did not happen")
