"""NYUDv2 (Silberman et al., ECCV 2012) with the 40 classes of Gupta et al.: color, depth and HHA images.

HHA encodes depth in three channels: horizontal disparity, height above ground, and angle with gravity.
"""

from pathlib import Path

import numpy as np

from converters.errors import CaffeError, CaffeFileError
from reference.families import NYUD
from repro.data.dataset import Dataset, Source, published_list
from repro.data.images import load_gray, load_image
from repro.data.mat import read_label_mat, shift_labels

KINDS = ("color", "depth", "hha", "label")


def open_set(root, split, inputs, **options):
    """Open the set for nets that are fed `inputs`, {blob: kind}."""
    return open_nyud(root, split, {**inputs, "label": "label"}, **options)


def open_nyud(root, split, tops=None, **options):
    """Open the folder of the release's nyud.tar.gz: SPLIT.txt, data/{images,depth,hha}/img_ID.png, segmentation/img_ID.mat.

    tops: {blob: its content: "color", "depth", "hha" or "label"}; default: {"data": "color", "label": "label"}.
    options: those of `Dataset`, such as scale and limit.
    """
    root = Path(root)
    tops = tops or {"data": "color", "label": "label"}
    unknown = [kind for kind in tops.values() if kind not in KINDS]
    if unknown:
        raise CaffeError(f"NYUDv2 has no '{unknown[0]}'; it has {', '.join(KINDS)}")
    blobs = {kind: blob for blob, kind in tops.items()}
    return Dataset(
        root,
        published_list(root / f"{split}.txt", f"nyud-{split}"),
        "data/images/img_{}.png",
        "segmentation/img_{}.mat",
        NYUD.classes(),
        read_labels=read_nyud_labels,
        mean=NYUD.mean,
        image_blob=blobs.get("color"),
        labels_blob=blobs.get("label"),
        sources={blobs[kind]: source for kind, source in SOURCES.items() if kind in blobs},
        **options,
    )


def read_nyud_labels(path):
    """Read the labels of one image: HxW, classes 0 to 39, and 255 for void."""
    return shift_labels(read_label_mat(path, "segmentation"), void=[0])


def read_log_depth(path):
    """Read a depth image, HxW, as its natural logarithm."""
    depth = load_gray(path)
    if not (depth > 0).all():
        row, column = np.argwhere(~(depth > 0))[0]
        raise CaffeFileError(path, "the depth is 0, which has no logarithm; the release's depth images have no holes",
                             where=f"row {row}, column {column}")
    return np.log(depth)


def read_hha(path):
    """Read an HHA image, HxWx3, channels reversed. Feeding reverses them again, so nets get them in the file's order."""
    return load_image(path)[:, :, ::-1]


SOURCES = {
    "depth": Source("data/depth/img_{}.png", read_log_depth, NYUD.input_means["depth"]),
    "hha": Source("data/hha/img_{}.png", read_hha, NYUD.input_means["hha"]),
}
