"""PASCAL-Context (Mottaghi et al., CVPR 2014): whole scenes of VOC 2010 in 459 classes, of which the release takes 59."""

from functools import partial
from pathlib import Path

import numpy as np

import reference
from converters.errors import CaffeFileError
from reference import means
from repro.data.dataset import Dataset, read_text
from repro.data.mat import read_label_mat

# Three of the 59 classes bear another name among the 459.
FULL_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


def open_pascalcontext(voc, context, split, **options):
    """Open VOC2010 (ImageSets/Main/SPLIT.txt, JPEGImages/ID.jpg) with the labels in `context`: labels.txt, trainval/ID.mat.

    Options: those of `Dataset`, such as scale and limit.
    """
    voc, context = Path(voc), Path(context).absolute()
    classes = task_classes(context / "labels.txt")
    return Dataset(
        voc,
        voc / "ImageSets" / "Main" / f"{split}.txt",
        "JPEGImages/{}.jpg",
        str(context / "trainval").replace("{", "{{").replace("}", "}}") + "/{}.mat",
        reference.classes("pascalcontext"),
        read_labels=partial(read_context_labels, classes=classes),
        mean=means.PASCAL_CONTEXT,
        **options,
    )


def task_classes(path):
    """{number in a label file: class of the 59, from 1}, by the names in the set's labels.txt ("NUMBER: NAME" a line)."""
    numbers = {}
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        number, colon, name = text.partition(":")
        if text.strip() and not (colon and number.strip().isdecimal()):
            raise CaffeFileError(path, f"{text!r} is not NUMBER: NAME", where=f"line {line}")
        numbers[name.replace(" ", "")] = int(number) if colon else None
    wanted = [FULL_NAMES.get(name, name) for name in reference.classes("pascalcontext")[1:]]
    missing = [name for name in wanted if name not in numbers]
    if missing:
        raise CaffeFileError(path, f"does not name {', '.join(missing)}")
    return {numbers[name]: label for label, name in enumerate(wanted, start=1)}


def read_context_labels(path, classes):
    """Read the labels of one image, HxW, as the 59 classes; all that is none of them is background, 0."""
    full = read_label_mat(path, "LabelMap")
    if full.size and full.min() < 0:
        raise CaffeFileError(path, f"LabelMap holds {full.min()}; its labels are numbers of labels.txt")
    table = np.zeros(max(full.max(initial=0), *classes) + 1, np.int64)
    table[list(classes)] = list(classes.values())
    return table[full]
