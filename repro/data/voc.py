"""PASCAL VOC's layout, which the miniature, CamVid and many other sets share."""

from pathlib import Path

import reference
from repro.data.dataset import Dataset, published_list, read_classes


def open_voc(root, split, **options):
    """Open a folder such as VOC2011: ImageSets/Segmentation/SPLIT.txt, JPEGImages/ID.jpg, SegmentationClass/ID.png.

    Where the folder has no list of that split, a published one is used, such as seg11valid. The classes are those of
    `classes.txt` in the folder, else VOC's. options: those of `Dataset`, such as scale and limit.
    """
    root = Path(root)
    list_file = published_list(root / "ImageSets" / "Segmentation" / f"{split}.txt", split)
    return Dataset(root, list_file, "JPEGImages/{}.jpg", "SegmentationClass/{}.png", voc_classes(root), **options)


def voc_classes(root):
    """The names of a set's classes: those of `classes.txt` in its folder, else VOC's 21 with background."""
    own = Path(root) / "classes.txt"
    return read_classes(own) if own.exists() else reference.classes("voc")
