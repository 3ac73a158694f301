"""The miniature's pictures written as a data set in VOC layout."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from converters.errors import CaffeError
from converters.files import atomic_write
from repro.data.images import save_labels
from repro.miniature.draw import CLASSES, draw_scene

VERSION = 1  # of the drawings: raise it when the same seed gives other pictures, and sets drawn before are drawn again

NOTICE = "THIS-IS-THE-MINIATURE.txt"
MARKER = "miniature.json"
WARNING = """\
THESE ARE DRAWN PICTURES, NOT PASCAL VOC.

This data set has PASCAL VOC's layout and none of its photographs: every picture and every label here was drawn by this
project's miniature, from a seed. A score on it shows that the code works. It is the miniature's score and NOT the paper's,
and it must never be quoted beside a score on PASCAL VOC as if the two could be compared.

This folder is redrawn when its seed, its size or the drawings change: keep nothing of your own in it.
"""


def write_dataset(root, seed=0, train=400, val=100):
    """Draw `train` and `val` scenes into `root`, in VOC layout, and return `root` as a Path.

    JPEGImages/ID.jpg and SegmentationClass/ID.png (VOC palette, 255 void), ImageSets/Segmentation/{train,val}.txt, and
    classes.txt, whose line k names class k from 0. A scene depends on the seed, its split and its number alone. A set
    that is already there and complete is kept; any other set of the miniature is drawn again. Raises CaffeError where
    `root` holds something else.
    """
    root = Path(root)
    drawing = {"version": VERSION, "seed": seed, "train": train, "val": val}
    splits = {split: [f"{split}_{number:05d}" for number in range(drawing[split])] for split in ("train", "val")}
    if _is_complete(root, drawing, splits):
        return root

    _clear(root)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    with tqdm(total=train + val, desc="drawing the miniature's pictures", unit="picture", disable=None) as progress:
        for place, (split, names) in enumerate(splits.items()):
            for number, name in enumerate(names):
                photograph, labels = draw_scene(np.random.default_rng([seed, place, number]))
                Image.fromarray(photograph).save(root / f"JPEGImages/{name}.jpg", quality=90)
                save_labels(root / f"SegmentationClass/{name}.png", labels)
                progress.update()
            _write_lines(root / f"ImageSets/Segmentation/{split}.txt", names)
    _write_lines(root / "classes.txt", CLASSES)
    # The marker comes last: a set without it was interrupted.
    _write_lines(root / MARKER, [json.dumps(drawing)])
    return root


def _is_complete(root, drawing, splits):
    try:
        if json.loads((root / MARKER).read_text()) != drawing:
            return False
    except (OSError, ValueError):
        return False
    names = [name for split in splits.values() for name in split]
    wanted = [root / "classes.txt", *(root / f"ImageSets/Segmentation/{split}.txt" for split in splits)]
    wanted += [root / f"JPEGImages/{name}.jpg" for name in names]
    wanted += [root / f"SegmentationClass/{name}.png" for name in names]
    return all(path.is_file() for path in wanted)


def _clear(root):
    """Make `root` an empty set of the miniature, notice and all; only an earlier set of the miniature is ever removed."""
    if root.exists() and not root.is_dir():
        raise CaffeError(f"{root}: is a file, not a folder to draw the miniature into")
    if root.is_dir() and any(root.iterdir()) and not (root / NOTICE).is_file():
        raise CaffeError(f"{root}: holds other files; the miniature is drawn into a new or an empty folder")
    (root / MARKER).unlink(missing_ok=True)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets"):
        shutil.rmtree(root / folder, ignore_errors=True)
    _write_lines(root / NOTICE, WARNING.splitlines())


def _write_lines(path, lines):
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in lines))
