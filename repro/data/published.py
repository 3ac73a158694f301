"""The data set that each published net is trained and scored on, and other sets in its place."""

from importlib import import_module
from pathlib import Path

from converters.errors import CaffeError
from reference.families import FAMILIES, family_of
from repro.data.dataset import Dataset, read_list
from repro.data.folder import open_any
from repro.data.sbd import open_sbd


def excluded_classes(dataset):
    """The numbers of the classes of a data set that count in no mean, since its family's test set lacks them."""
    absent = next((family.absent for family in FAMILIES.values() if dataset.classes == family.classes()), ())
    return [label for label, name in enumerate(dataset.classes) if name in absent]


def open_data(net, data, split=None, head=None, context=None, classes=None, labelled=True, **options):
    """Open what `net` is to be scored on: the set it was published with, or for VOC's nets any set.

    data: the set's folder, for PASCAL-Context VOC 2010's with its labels in `context`; for VOC's nets also one's own, as
    `open_any` reads it. split: default: the published one. head: of a net with several, as "sem" and "geo" of SIFT Flow's;
    default: the main one. classes: a file that names them, for one's own set. labelled: false lets a test set in VOC layout
    have photographs alone. Options: those of `Dataset`. A family's own reader is `open_set` in repro/data/NAME.py.
    """
    family = family_of(net)
    split = split or family.splits[1]
    family.head(head)  # says so where there is none
    if family.any_set:
        return open_any(Path(data), split, classes, labelled, **options)
    if classes:
        raise CaffeError(f"the classes of {net} are published ones; a file of classes is for the VOC nets on one's own data")
    options |= {"inputs": family.inputs_of(net)} if family.inputs else {}
    options |= {"head": head} if family.heads else {}
    options |= {"context": context} if "context" in family.sources else {}
    return import_module(f"repro.data.{family.name}").open_set(Path(data), split, **options)


def open_train(net, data, context=None, **options):
    """Open what the release trains `net` on: for VOC's nets SBD, for the others a list of the set they are scored on.

    Arguments as for `open_data`.
    """
    family = family_of(net)
    if "sbd" in family.sources:
        return open_sbd(data, family.splits[0], **options)
    return open_data(net, data, family.splits[0], context=context, **options)


def trained_ids(net, dataset):
    """The ids of a data set that its nets are trained on, as far as the set's own lists tell.

    For VOC these are train and SBD's part of val: all of it but seg11valid, which val and SBD's train do not share.
    """
    if not hasattr(dataset, "list_file"):
        return set()
    family = family_of(net)
    trained, tested = family.splits
    ids = _ids_beside(dataset, f"{trained}.txt")
    in_voc_layout = dataset.list_file.parent.name == "Segmentation"
    if "sbd" in family.sources and in_voc_layout and dataset.classes == family.classes():
        ids |= _ids_beside(dataset, "val.txt") - set(family.ids(tested))
    return ids | set(family.ids(trained) or ())


def is_published_set(net: str, dataset: Dataset, head: str | None = None) -> bool:
    """Whether a data set is what `net` was published with: its classes, and its test images, all of them and as large.

    Only scores on such a set can stand beside the paper's.
    """
    family = family_of(net)
    if dataset.classes != family.classes(head) or dataset.scale != 1:
        return False
    published = family.ids(family.splits[1])
    if published is not None:
        return set(dataset.ids) == set(published)
    return len(dataset) == family.training.test_iter  # the list comes with the set; the release scores all of it


def _ids_beside(dataset, list_name):
    path = dataset.list_file.with_name(list_name)
    return {id for _, id in read_list(path)} if path.exists() else set()
