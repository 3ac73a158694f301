"""Class names, in the order of the scores, and the images of each split, in the order of the release's lists.

The release trains on an NYUDv2 trainval list that it does not hold; here that is train, then val. seg11valid and
nyud-test are sorted. Not here: SBD's train.txt and PASCAL-Context's labels come with those sets, VOC 2010's splits with
VOC.
"""

from pathlib import Path

from converters.errors import CaffeError, instead

HERE = Path(__file__).parent


def classes(name: str) -> list[str]:
    """The class names of "voc", "nyud", "siftflow-sem", "siftflow-geo" or "pascalcontext", a list in score order.

    Raises CaffeError for any other name.
    """
    return _lines("classes", name)


def split(name: str) -> list[str]:
    """The image ids of "seg11valid", "nyud-train", "nyud-val", "nyud-trainval", "nyud-test", "siftflow-trainval" or
    "siftflow-test".

    Raises CaffeError for any other name.
    """
    return _lines("splits", name)


def split_names() -> list[str]:
    """The names that `split` knows."""
    return list(_paths("splits"))


def _paths(folder: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((HERE / folder).glob("*.txt"))}


def _lines(folder: str, name: str) -> list[str]:
    paths = _paths(folder)
    if name not in paths:
        raise CaffeError(f"no {folder} '{name}'{instead(name, paths)}")
    return paths[name].read_text().splitlines()
