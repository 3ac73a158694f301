"""PASCAL-Context (Mottaghi et al., CVPR 2014): scenes of VOC 2010 labelled with 459 classes; the release uses 59 of them."""

from functools import partial
from pathlib import Path

import numpy as np

from converters.errors import CaffeError, CaffeFileError
from reference.families import PASCALCONTEXT
from repro.data.dataset import Dataset, read_text
from repro.data.mat import read_label_mat

# Three of the 59 classes have another name among the 459.
FULL_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


def open_set(root, split, context=None, **options):
    """Open the set, its labels being in the folder `context`."""
    if context is None:
        raise CaffeError("PASCAL-Context has VOC 2010's photographs (--data) and its own labels: give their folder too "
                         "(--context)")
    return open_pascalcontext(root, context, split, **options)


def open_pascalcontext(voc, context, split, **options):
    """Open VOC2010 (ImageSets/Main/SPLIT.txt, JPEGImages/ID.jpg) with the labels in `context`: labels.txt, trainval/ID.mat.

    options: those of `Dataset`, such as scale and limit.
    """
    voc, context = Path(voc), Path(context).absolute()
    classes = task_classes(context / "labels.txt")
    return Dataset(
        voc,
        voc / "ImageSets" / "Main" / f"{split}.txt",
        "JPEGImages/{}.jpg",
        str(context / "trainval").replace("{", "{{").replace("}", "}}") + "/{}.mat",
        PASCALCONTEXT.classes(),
        read_labels=partial(read_context_labels, classes=classes),
        mean=PASCALCONTEXT.mean,
        **options,
    )


def task_classes(path):
    """{number in a label file: label of the 59 classes, from 1}, from the set's labels.txt (lines of "NUMBER: NAME")."""
    numbers = {}
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        number, colon, name = text.partition(":")
        if text.strip() and not (colon and number.strip().isdecimal()):
            raise CaffeFileError(path, f"{text!r} is not of the form NUMBER: NAME", where=f"line {line}")
        numbers[name.replace(" ", "")] = int(number) if colon else None
    wanted = [FULL_NAMES.get(name, name) for name in PASCALCONTEXT.classes()[1:]]
    missing = [name for name in wanted if name not in numbers]
    if missing:
        raise CaffeFileError(path, f"does not name {', '.join(missing)}")
    return {numbers[name]: label for label, name in enumerate(wanted, start=1)}


def read_context_labels(path, classes):
    """Read the labels of one image, HxW: 1 to 59 for the 59 classes, 0 (background) for everything else."""
    full = read_label_mat(path, "LabelMap")
    if full.size and full.min() < 0:
        raise CaffeFileError(path, f"LabelMap holds {full.min()}; its values need to be numbers from labels.txt")
    table = np.zeros(max(full.max(initial=0), *classes) + 1, np.int64)
    table[list(classes)] = list(classes.values())
    return table[full]
