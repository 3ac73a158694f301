import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import reference
from converters import CaffeNet
from repro.images import save_labels
from repro.miniature.classifier import fill, write_v1

SHARED = Path(os.environ.get("SHARED", Path(__file__).parents[3] / "shared"))
WIDTH = 1 / 32  # of the nets that are trained here


@pytest.fixture
def shared():
    """Find a real data set (voc-sample, voc-masks, camvid) in the folder that SHARED names, or skip the test."""

    def find(name):
        if not (SHARED / name).is_dir():
            pytest.skip(f"no {name} at hand: set SHARED to the folder that holds it")
        return SHARED / name

    return find


@pytest.fixture(autouse=True)
def one_thread():
    """Nets this small are slower on several threads, and many times slower where others use the processor too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


@pytest.fixture(scope="session")
def voc_set(tmp_path_factory):
    """A set of one's own in VOC layout: three classes, six pictures to train on, two to score."""
    return write_voc(tmp_path_factory.mktemp("voc") / "set", {"train": 6, "val": 2}, ["background", "grey", "white"])


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A V1 caffemodel of a narrow VGG16 with random weights."""
    torch.manual_seed(0)
    net = CaffeNet(reference.net("vgg16", "train", num_classes=3, width=WIDTH), "train")
    fill(net)
    path = tmp_path_factory.mktemp("weights") / "vgg16.caffemodel"
    write_v1(path, reference.net("vgg16", "deploy", num_classes=3, width=WIDTH), net.to_blobs())
    return path


def wait_for(happened, process, seconds=60):
    """Wait until `happened()`, and fail if the process ends before that."""
    for _ in range(seconds * 100):
        if happened():
            return
        assert process.poll() is None, "it ended too early"
        time.sleep(0.01)
    raise AssertionError("it did not happen")
