"""The Semantic Boundaries Dataset (Hariharan et al., ICCV 2011): VOC's classes on more of its images, without void.

The release trains on it. Its train list overlaps VOC's own val list, but not seg11valid.
"""

from pathlib import Path

from converters.errors import CaffeFileError
from converters.formats.blob import dims_text
from repro.data.dataset import Dataset
from repro.data.images import load_labels
from repro.data.mat import read_mat
from repro.data.voc import voc_classes


def open_sbd(root, split="train", **options):
    """Open the folder `benchmark_RELEASE/dataset`: SPLIT.txt, img/ID.jpg, cls/ID.mat.

    Where cls/ has no .mat files, the labels are cls/ID.png, as the release's convert_sbdd.py writes them. options: those of
    `Dataset`, such as scale and limit.
    """
    root = Path(root)
    as_mat = any((root / "cls").glob("*.mat")) or not any((root / "cls").glob("*.png"))
    return Dataset(
        root,
        root / f"{split}.txt",
        "img/{}.jpg",
        "cls/{}.mat" if as_mat else "cls/{}.png",
        voc_classes(root),
        read_labels=read_sbd_labels if as_mat else load_labels,
        **options,
    )


def read_sbd_labels(path):
    """Read the class labels of one image: integers HxW."""
    truth = read_mat(path, "GTcls")
    try:
        labels = truth[0]["Segmentation"][0]
    except (IndexError, KeyError, ValueError) as error:
        raise CaffeFileError(path, "GTcls has no Segmentation; is this one of SBD's cls/ files?") from error
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise CaffeFileError(path, f"the Segmentation is {labels.dtype} of shape {dims_text(labels.shape)}; it needs "
                                   "integers HxW")
    return labels
