"""Label maps as VOC's evaluation server takes them."""

import re
from pathlib import Path

from converters.errors import CaffeError

# Competition 6 is segmentation by methods trained on more than VOC's own data, as on ImageNet and SBD.
LAYOUT = "results/VOC{year}/Segmentation/comp6_{split}_cls"


def submission_folder(root, data, split, year=None):
    """The folder for the label maps of one split, ROOT/results/VOC2012/Segmentation/comp6_test_cls.

    year: default: the one in the data set's name (VOC2012); CaffeError where neither tells.
    """
    found = re.search(r"20\d\d", Path(data).resolve().name)
    if not (year or found):
        raise CaffeError(f"{data}: its name holds no year, as VOC2012 does; say it with --year")
    return Path(root) / LAYOUT.format(year=year or found[0], split=split)
