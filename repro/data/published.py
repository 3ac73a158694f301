"""The data set that each published net is trained and scored on, and other sets in its place."""

from pathlib import Path

import reference
from converters.errors import CaffeError, instead
from repro.data.dataset import read_classes, read_list
from repro.data.folder import LabelFolder, Photographs, open_folder
from repro.data.nyud import open_nyud
from repro.data.pascalcontext import open_pascalcontext
from repro.data.sbd import open_sbd
from repro.data.siftflow import open_siftflow
from repro.data.voc import open_voc, voc_classes

TRAIN_SPLIT = {"voc": "train", "nyud": "trainval", "siftflow": "trainval", "pascalcontext": "train"}
TEST_SPLIT = {"voc": "seg11valid", "nyud": "test", "siftflow": "test", "pascalcontext": "val"}
HEADS = {"siftflow": ("sem", "geo")}  # the labelings of nets with more than one

# Classes that the test set lacks, which SIFT Flow's evaluation leaves out (its README; CVPR 2015, table 5).
ABSENT = {"siftflow": ("cow", "desert", "moon")}

# What the NYUDv2 nets are fed, by the end of their name.
NYUD_TOPS = {
    "color": {"data": "color"},
    "hha": {"data": "hha"},
    "color-d": {"color": "color", "depth": "depth"},
    "color-hha": {"color": "color", "hha": "hha"},
}


def family(net):
    """The data set of a published net: "voc", "nyud", "siftflow" or "pascalcontext"."""
    name = net.partition("-fcn")[0]
    if net not in reference.names() or name not in TEST_SPLIT:
        known = [name for name in reference.names() if "-fcn" in name]
        raise CaffeError(f"no net '{net}' that labels pixels{instead(net, known)}")
    return name


def heads(net):
    """The labelings that a net has scores for: ("sem", "geo") of SIFT Flow's, else (None,)."""
    return HEADS.get(family(net), (None,))


def score_blob(net, head=None):
    """The blob of a net's scores."""
    return f"score_{head or 'sem'}" if family(net) in HEADS else "score"


def excluded_classes(net, dataset):
    """The numbers of the classes of a data set that count in no mean."""
    return [label for label, name in enumerate(dataset.classes) if name in ABSENT.get(family(net), ())]


def open_data(net, data, split=None, head=None, context=None, classes=None, labelled=True, **options):
    """Open what `net` is to be scored on: the set it was published with, or for VOC's nets any set.

    data: the set's folder, for PASCAL-Context VOC 2010's with its labels in `context`; for VOC's nets also SBD's
    `benchmark_RELEASE/dataset`, or one's own, as `open_voc` or `open_folder` read them, or bare label images. split: the
    published one unless told. head: "sem" or "geo" for SIFT Flow. classes: a file that names them, for one's own set.
    labelled: false lets a test set in VOC layout have photographs alone. Options: those of `Dataset`.
    """
    data, name = Path(data), family(net)
    split = split or TEST_SPLIT[name]
    if classes and name != "voc":
        raise CaffeError(f"the classes of {net} are published ones; a file of classes is for the VOC nets on one's own data")
    if name == "nyud":
        return open_nyud(data, split, NYUD_TOPS[net.partition("-fcn32s-")[2]] | {"label": "label"}, **options)
    if name == "siftflow":
        return open_siftflow(data, split, labels=head or "sem", **options)
    if name == "pascalcontext":
        if context is None:
            raise CaffeError("PASCAL-Context has VOC 2010's photographs (--data) and its own labels: give their folder "
                             "too (--context)")
        return open_pascalcontext(data, context, split, **options)
    if (data / "labels").is_dir() and (data / "images").is_dir():
        return open_folder(data, split, classes, **options)
    if any(data.glob("*.png")):
        return LabelFolder(data, classes, options.get("limit"))
    if not labelled and not (data / "SegmentationClass").is_dir() and (data / "JPEGImages").is_dir():
        list_file = data / "ImageSets" / "Segmentation" / f"{split}.txt"
        return Photographs(data, list_file, "JPEGImages/{}.jpg", voc_classes(data), **options)
    dataset = (open_sbd if (data / "cls").is_dir() else open_voc)(data, split, **options)
    if classes:
        dataset.classes = read_classes(classes)
    return dataset


def open_train(net, data, context=None, **options):
    """Open what the release trains `net` on: for VOC's nets SBD, for the others a list of the set they are scored on.

    Arguments as for `open_data`.
    """
    if family(net) == "voc":
        return open_sbd(data, TRAIN_SPLIT["voc"], **options)
    return open_data(net, data, TRAIN_SPLIT[family(net)], context=context, **options)


def trained_ids(net, dataset):
    """The ids of a data set that its nets are trained on, as far as the set's own lists tell.

    For VOC these are train and SBD's part of val: all of it but seg11valid, which val and SBD's train do not share.
    """
    if not hasattr(dataset, "list_file"):
        return set()
    name = family(net)
    ids = _ids_beside(dataset, f"{TRAIN_SPLIT[name]}.txt")
    if name == "voc" and dataset.list_file.parent.name == "Segmentation" and dataset.classes == reference.classes("voc"):
        ids |= _ids_beside(dataset, "val.txt") - set(reference.split("seg11valid"))
    return ids | set(reference.split(f"{name}-trainval") if name in ("nyud", "siftflow") else ())


def _ids_beside(dataset, list_name):
    path = dataset.list_file.with_name(list_name)
    return {id for _, id in read_list(path)} if path.exists() else set()
