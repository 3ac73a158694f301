"""The published tables, as data.

A PaperRow gives percentages; `confirmed` is False where a value is known only from memory of the paper and could not be
checked: compare with those for information only.
"""

from typing import NamedTuple

from reference.families import FAMILIES

CVPR = "Long, Shelhamer, Darrell, CVPR 2015"
PAMI = "Shelhamer, Long, Darrell, PAMI 2016"
RESCORED = "released caffemodels scored with Caffe by wkentaro/fcn"
METRICS = ("pixel_acc", "mean_acc", "mean_iu", "fw_iu")


class PaperRow(NamedTuple):
    """One line of a published table; a score that was not published is None."""

    table: str  # the data set and what was scored on
    net: str  # its name here, or the paper's words where it has none
    pixel_acc: float | None
    mean_acc: float | None
    mean_iu: float | None
    fw_iu: float | None
    source: str
    confirmed: bool = True

    @property
    def scores(self) -> dict[str, float]:
        """{metric: percentage} of what was published."""
        return {metric: getattr(self, metric) for metric in METRICS if getattr(self, metric) is not None}


class Architecture(NamedTuple):
    """A trunk made fully convolutional (CVPR, table 1)."""

    trunk: str
    mean_iu: float  # on the VOC 2011 validation set
    conv_layers: int  # along the longest path
    parameters: int  # in millions, without the deconvolutions
    receptive_field: int
    max_stride: int


VOC, VOC_SERVER = "VOC 2011 seg11valid", "VOC test server"
NYUD, SIFTFLOW, CONTEXT = "NYUDv2 test", "SIFT Flow test", "PASCAL-Context val, 59 classes"

ROWS = (
    # PASCAL VOC 2011, the 736 images of seg11valid: as published, and the released weights to the fourth decimal.
    PaperRow(VOC, "voc-fcn32s", 90.5, 76.5, 63.6, 83.5, PAMI),
    PaperRow(VOC, "voc-fcn16s", 91.0, 78.1, 65.0, 84.3, PAMI),
    PaperRow(VOC, "voc-fcn8s-atonce", 91.1, 78.5, 65.4, 84.4, PAMI),
    PaperRow(VOC, "voc-fcn8s", 91.2, 77.6, 65.5, 84.5, PAMI),
    PaperRow(VOC, "voc-fcn-alexnet", None, None, 48.0, None, PAMI),
    PaperRow(VOC, "voc-fcn32s", 90.4810, 76.4824, 63.6261, 83.4580, RESCORED),
    PaperRow(VOC, "voc-fcn16s", 90.9971, 78.0710, 65.0050, 84.2614, RESCORED),
    PaperRow(VOC, "voc-fcn8s-atonce", 91.1288, 78.4979, 65.3998, 84.4326, RESCORED),
    PaperRow(VOC, "voc-fcn8s", 91.2212, 77.6146, 65.5126, 84.5445, RESCORED),
    PaperRow(VOC, "voc-fcn32s-fixed", 82.9, 64.6, 46.6, 72.3, PAMI, False),
    PaperRow(VOC, "voc-fcn-pool5", 87.4, 60.5, 50.0, 78.5, PAMI, False),
    PaperRow(VOC, "voc-fcn-pool4", 78.7, 31.7, 22.4, 67.0, PAMI, False),
    PaperRow(VOC, "voc-fcn-pool3", 70.9, 13.7, 9.2, 57.6, PAMI, False),
    PaperRow(VOC, "32s, batch 20, momentum 0.9", 86.0, 66.5, 51.9, 76.5, PAMI, False),
    PaperRow(VOC, "32s, batch 1, momentum 0.9", 89.3, 76.2, 60.7, 81.8, PAMI, False),
    PaperRow(VOC, "voc-fcn32s-fixed", 83.0, 59.7, 45.4, 72.0, f"{CVPR}, table 2"),
    PaperRow(VOC, "voc-fcn32s", 89.1, 73.3, 59.4, 81.4, f"{CVPR}, table 2"),
    PaperRow(VOC, "voc-fcn16s", 90.0, 75.7, 62.4, 83.0, f"{CVPR}, table 2"),
    PaperRow(VOC, "voc-fcn8s", 90.3, 75.9, 62.7, 83.2, f"{CVPR}, table 2"),
    PaperRow(f"{VOC_SERVER} 2011", "voc-fcn8s", None, None, 62.7, None, CVPR),
    PaperRow(f"{VOC_SERVER} 2012", "voc-fcn8s", None, None, 62.2, None, CVPR),
    PaperRow(f"{VOC_SERVER} 2011", "voc-fcn8s", None, None, 67.5, None, PAMI, False),
    PaperRow(f"{VOC_SERVER} 2012", "voc-fcn8s", None, None, 67.2, None, PAMI),
    PaperRow(NYUD, "nyud-fcn32s-color", 60.0, 42.2, 29.2, 43.9, CVPR),
    PaperRow(NYUD, "nyud-fcn32s-color-d", 61.5, 42.4, 30.5, 45.5, CVPR),
    PaperRow(NYUD, "nyud-fcn32s-hha", 57.1, 35.2, 24.2, 40.4, CVPR),
    PaperRow(NYUD, "nyud-fcn32s-color-hha", 64.3, 44.9, 32.8, 48.0, CVPR),
    PaperRow(NYUD, "FCN-16s RGB-HHA", 65.4, 46.1, 34.0, 49.5, CVPR),
    PaperRow(NYUD, "nyud-fcn32s-color", 61.8, 44.7, 31.6, 46.0, PAMI, False),
    PaperRow(NYUD, "nyud-fcn32s-color-d", 62.1, 44.8, 31.7, 46.3, PAMI, False),
    PaperRow(NYUD, "nyud-fcn32s-hha", 58.3, 35.7, 25.2, 41.7, PAMI, False),
    PaperRow(NYUD, "nyud-fcn32s-color-hha", 65.3, 44.0, 33.3, 48.6, PAMI, False),
    PaperRow(SIFTFLOW, "siftflow-fcn16s", 85.2, 51.7, 39.5, 76.1, CVPR),
    PaperRow(f"{SIFTFLOW}, geometric", "siftflow-fcn16s", 94.3, None, None, None, CVPR),
    PaperRow(SIFTFLOW, "siftflow-fcn8s", 85.9, 53.9, 41.2, 77.2, PAMI, False),
    PaperRow(f"{SIFTFLOW}, geometric", "siftflow-fcn8s", 94.6, None, None, None, PAMI, False),
    PaperRow(CONTEXT, "pascalcontext-fcn32s", 65.5, 49.1, 36.7, 50.9, PAMI, False),
    PaperRow(CONTEXT, "pascalcontext-fcn16s", 66.9, 51.3, 38.4, 52.3, PAMI, False),
    PaperRow(CONTEXT, "pascalcontext-fcn8s", 67.5, 52.3, 39.1, 53.0, PAMI, False),
)

ARCHITECTURES = (
    Architecture("caffenet", 39.8, 8, 57, 355, 32),
    Architecture("vgg16", 56.0, 16, 134, 404, 32),
    # The receptive field is the classifier's, its last average pooling included; the FCN, without it, has 715.
    Architecture("googlenet", 42.5, 22, 6, 907, 32),
)

# Mean IU of the ground truth sampled down by a factor and up again, on a subset of PASCAL VOC 2011 val (CVPR).
UPPER_BOUNDS = {128: 50.9, 64: 73.3, 32: 86.1, 16: 92.8, 8: 96.4, 4: 98.5}


def rows(net: str | None = None, table: str | None = None, source: str | None = None,
         confirmed: bool | None = None) -> list[PaperRow]:
    """The rows of a net (by name), a table and a source (by how they begin), confirmed or not; default: all."""
    return [
        row for row in ROWS
        if (net is None or row.net == net)
        and (table is None or row.table.startswith(table))
        and (source is None or row.source.startswith(source))
        and (confirmed is None or row.confirmed == confirmed)
    ]


def published(net: str, head: str | None = None) -> PaperRow | None:
    """The row that a net was published with on its own data set, the later paper's first; None where there is none.

    head: of a net with several; default: the main one. The tables of the others end in what the head is called in words.
    """
    family = FAMILIES.get(net.partition("-fcn")[0])
    others = [words for name, words in family.heads.items() if name != family.head_names[0]] if family else []
    ending = next((words for words in others if family and words == family.heads.get(head or "")), None)
    found = [row for row in rows(net) if not row.table.startswith(VOC_SERVER)
             and next((words for words in others if row.table.endswith(words)), None) == ending]
    return min(found, key=lambda row: row.source != PAMI, default=None)


def scores(net: str) -> dict[str, float]:
    """{metric: percentage} of `published`; {} for a net that was not published."""
    row = published(net)
    return row.scores if row else {}
