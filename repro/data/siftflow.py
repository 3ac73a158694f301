"""SIFT Flow (Liu et al., CVPR 2009): each image has semantic and geometric labels."""

from functools import partial
from pathlib import Path

from reference.families import SIFTFLOW
from repro.data.dataset import Dataset, Source, checked_labels, published_list
from repro.data.mat import read_label_mat, shift_labels

SCENES = "spatial_envelope_256x256_static_8outdoorcategories"
FILES = {"sem": f"SemanticLabels/{SCENES}/{{}}.mat", "geo": f"GeoLabels/{SCENES}/{{}}.mat"}
VOIDS = {"sem": [0], "geo": [-1, 0]}  # the release treats both as void


def open_set(root, split, head=None, **options):
    """Open the set with the labels of one head as a `Sample`'s."""
    return open_siftflow(root, split, SIFTFLOW.head(head), **options)


def open_siftflow(root, split, labels="sem", **options):
    """Open a folder with SPLIT.txt, Images, SemanticLabels and GeoLabels; the last three hold one folder of scenes each.

    labels: "sem" or "geo": the labels of a `Sample`. Nets are fed {"data", "sem", "geo"}; 255 is void in both.
    options: those of `Dataset`, such as scale and limit.
    """
    root = Path(root)
    other = "geo" if labels == "sem" else "sem"
    return Dataset(
        root,
        published_list(root / f"{split}.txt", f"siftflow-{split}"),
        f"Images/{SCENES}/{{}}.jpg",
        FILES[labels],
        SIFTFLOW.classes(labels),
        read_labels=partial(read_siftflow_labels, kind=labels),
        mean=SIFTFLOW.mean,
        labels_blob=labels,
        sources={other: Source(FILES[other], partial(read_siftflow_labels, kind=other))},
        **options,
    )


def read_siftflow_labels(path, kind):
    """Read the "sem" or "geo" labels of one image: uint8 HxW, classes from 0, and 255 for void."""
    labels = shift_labels(read_label_mat(path, "S"), VOIDS[kind])
    return checked_labels(path, labels, len(SIFTFLOW.classes(kind)))
