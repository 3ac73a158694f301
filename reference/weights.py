"""Where the released weights and the data sets are; nothing is fetched here."""

from typing import NamedTuple

from converters.errors import CaffeError, instead
from reference.families import FAMILIES

BERKELEY = "http://dl.caffe.berkeleyvision.org/"
VOC = "http://host.robots.ox.ac.uk/pascal/VOC/"


class Download(NamedTuple):
    """A file to fetch. What is not known of it, its size or its checksum, is None: record it on first download."""

    what: str
    url: str
    bytes: int | None = None
    md5: str | None = None

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.url.rsplit("/", 1)[1]


def _fcn(file: str) -> Download:
    return Download("the released weights", f"{BERKELEY}{file}.caffemodel")


DOWNLOADS = {
    "vgg16": Download(
        "VGG16's released weights",
        "http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel", 553432081),
    "caffenet": Download("CaffeNet's released weights", f"{BERKELEY}bvlc_reference_caffenet.caffemodel"),
    "googlenet": Download("GoogLeNet's released weights", f"{BERKELEY}bvlc_googlenet.caffemodel"),
    **{f"{family.name}-fcn{stage}": _fcn(file) for family in FAMILIES.values() for stage, file in family.released.items()},
    "voc2011": Download("PASCAL VOC 2011, training and validation", f"{VOC}voc2011/VOCtrainval_25-May-2011.tar",
                        md5="6c3384ef61512963050cb5d687e5bf1e"),
    "voc2012": Download("PASCAL VOC 2012, training and validation", f"{VOC}voc2012/VOCtrainval_11-May-2012.tar",
                        md5="6cd6e144f989b92b3379bac3b3de84fd"),
    "sbd": Download(
        "the Semantic Boundaries Dataset",
        "http://www.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz",
        md5="82b4d87ceb2ed10f6038a1cba92111cb"),
}


def download(name: str) -> Download:
    """The Download of a net's weights or of a data set; CaffeError for one that was never released."""
    if name not in DOWNLOADS:
        raise CaffeError(f"nothing was released under '{name}'{instead(name, DOWNLOADS)}")
    return DOWNLOADS[name]
