"""The families of data sets: all that is known of each, in one record.

A new family is a record in `FAMILIES`, its class names in classes/NAME.txt (NAME-HEAD.txt for each of several heads), its
lists of images in splits/NAME-SPLIT.txt where the set has none of its own, and its reader, `open_set` in
repro/data/NAME.py. Its nets, solvers and commands follow from the record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from converters.errors import CaffeError, instead
from reference import lists

Classes = int | Mapping[str, int]  # a number, or one for each head
Mean = tuple[float, ...]

COLOR = {"data": "color"}  # what most nets are fed


class Source(NamedTuple):
    """A folder that a family is read from."""

    name: str  # by which `repro fetch` and --at know it
    mark: str  # what the folder itself holds; archives put it a few folders down
    what: str | None = None  # in words, where there is no download


class Training(NamedTuple):
    """How the family's nets are trained, beyond what all solvers of the release share."""

    base_lr: Mapping[str, float]  # by stage, which is what follows "fcn" in a net's name; these are the family's nets
    test_iter: int
    max_iter: int
    rounds: int  # the release's solve.py steps `steps` iterations this many times and scores after each
    steps: int
    snapshot: int  # iterations between snapshots; 0: none
    starts: Mapping[str, tuple[str, ...]] = {}  # the stages that a stage starts from, where it is not the next coarser one


class DataLayer(NamedTuple):
    """One of the release's Python data layers, in NAME_layers.py."""

    layer: str
    folders: Mapping[str, str]  # in its param_str, seen from the net's directory
    has_mean: bool = False  # whether its param_str has the mean


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the data sets and the nets of one family share."""

    name: str  # nets are called NAME-fcnSTAGE
    splits: tuple[str, str]  # the lists that its nets are trained and scored on
    mean: Mean  # colour that is subtracted from photographs: blue, green, red, in values of 0 to 255
    sources: Mapping[str, Source]  # "data": the set; "sbd": what is trained on in its place; "context": labels kept apart
    training: Training
    heads: Mapping[str, str] = field(default_factory=dict)  # {head: in words}, the main one first; {}: one head without name
    absent: tuple[str, ...] = ()  # classes that the test set lacks and its evaluation leaves out
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # {stage: {blob: what it is fed}}; else COLOR
    input_means: Mapping[str, Mean] = field(default_factory=dict)  # of what is fed besides color
    lists: str = ""  # where in the set's folder its lists are
    any_set: bool = False  # its nets also take one's own data in place of the set
    released: Mapping[str, str] = field(default_factory=dict)  # {stage: file name of the released weights}
    data_layers: tuple[DataLayer, ...] = ()  # the release's, to train and to score

    @property
    def nets(self) -> list[str]:
        """The names of the family's nets."""
        return [f"{self.name}-fcn{stage}" for stage in self.training.base_lr]

    @property
    def head_names(self) -> tuple[str | None, ...]:
        """The heads that nets have scores for; (None,) where there is but one, which has no name."""
        return tuple(self.heads) or (None,)

    @property
    def num_classes(self) -> Classes:
        """As `reference.net` takes it."""
        return {head: len(self.classes(head)) for head in self.heads} if self.heads else len(self.classes())

    def classes(self, head: str | None = None) -> list[str]:
        """The names of the classes of a head, by default the main one; CaffeError for a head that there is not."""
        return lists.classes("-".join(filter(None, (self.name, self.head(head)))))

    def head(self, head: str | None = None) -> str | None:
        """`head`, by default the main one; CaffeError for one that the family does not have."""
        if head is not None and head not in self.heads:
            known = f"; they have {', '.join(self.heads)}" if self.heads else ": they have one, without a name"
            raise CaffeError(f"the {self.name} nets have no head '{head}'{known}")
        return head or self.head_names[0]

    def score_blob(self, head: str | None = None) -> str:
        """The blob of a net's scores."""
        return "_".join(filter(None, ("score", self.head(head))))

    def inputs_of(self, net: str) -> Mapping[str, str]:
        """{blob: what it is fed, "color" but where `input_means` has others} of one of the family's nets."""
        return self.inputs.get(stage_of(net), COLOR)

    def ids(self, split: str) -> list[str] | None:
        """The images of a split as published; None for a split whose list comes with the set."""
        name = next((name for name in (f"{self.name}-{split}", split) if name in lists.split_names()), None)
        return lists.split(name) if name else None


def family_of(net: str) -> Family:
    """The Family of a published net; CaffeError for a net that labels no pixels, or is not known."""
    family = FAMILIES.get(net.partition("-fcn")[0])
    if family is None or net not in family.nets:
        known = [net for each in FAMILIES.values() for net in each.nets]
        raise CaffeError(f"no net '{net}' that labels pixels{instead(net, known)}")
    return family


def stage_of(net: str) -> str:
    """What follows "fcn" in the name of a net."""
    return net.partition("-fcn")[2]


STAGES = ("32s", "16s", "8s")

VOC = Family(
    name="voc",
    splits=("train", "seg11valid"),
    mean=(104.00699, 116.66877, 122.67892),
    sources={"data": Source("voc2011", "ImageSets"), "sbd": Source("sbd", "cls")},
    lists="ImageSets/Segmentation",
    any_set=True,
    # The release has no FCN-GoogLeNet, no fixed trunk and no single pools: googlenet has the paper's rate (5e-5), the
    # others have the rate of 32s.
    training=Training(
        {"32s": 1e-10, "16s": 1e-12, "8s": 1e-14, "8s-atonce": 1e-10, "-alexnet": 1e-4, "-googlenet": 5e-5,
         "32s-fixed": 1e-10, "-pool5": 1e-10, "-pool4": 1e-10, "-pool3": 1e-10},
        test_iter=736, max_iter=100000, rounds=25, steps=4000, snapshot=4000),
    released={**{stage: f"fcn{stage}-heavy-pascal" for stage in STAGES}, "8s-atonce": "fcn8s-atonce-pascal",
              "-alexnet": "fcn-alexnet-pascal"},
    data_layers=(DataLayer("SBDDSegDataLayer", {"sbdd_dir": "../data/sbdd/dataset"}, has_mean=True),
                 DataLayer("VOCSegDataLayer", {"voc_dir": "../data/pascal/VOC2011"}, has_mean=True)),
)

NYUD = Family(
    name="nyud",
    splits=("trainval", "test"),
    mean=(116.190, 97.203, 92.318),
    sources={"data": Source("nyud", "segmentation", "NYUDv2, the release's nyud.tar.gz")},
    inputs={"32s-color": {"data": "color"}, "32s-color-d": {"color": "color", "depth": "depth"}, "32s-hha": {"data": "hha"},
            "32s-color-hha": {"color": "color", "hha": "hha"}},
    # HHA in its own order: disparity, height, angle. Depth: of the natural logarithm of the depth image's values.
    input_means={"hha": (132.431, 94.076, 118.477), "depth": (7.844,)},
    training=Training(
        {"32s-color": 1e-10, "32s-color-d": 1e-10, "32s-hha": 1e-10, "32s-color-hha": 1e-12},
        test_iter=654, max_iter=300000, rounds=50, steps=2000, snapshot=2000,
        starts={"32s-color-hha": ("32s-color", "32s-hha")}),
    released={stage: f"nyud-fcn{stage}-heavy" for stage in ("32s-color", "32s-hha", "32s-color-hha")},
    data_layers=(DataLayer("NYUDSegDataLayer", {"nyud_dir": "../data/nyud"}),) * 2,
)

SIFTFLOW = Family(
    name="siftflow",
    splits=("trainval", "test"),
    heads={"sem": "semantic", "geo": "geometric"},
    absent=("cow", "desert", "moon"),  # its README; CVPR 2015, table 5
    mean=(114.578, 115.294, 108.353),
    sources={"data": Source("siftflow", "SemanticLabels", "SIFT Flow, with Images, SemanticLabels and GeoLabels")},
    training=Training({"32s": 1e-10, "16s": 1e-12, "8s": 1e-12},
                      test_iter=1111, max_iter=300000, rounds=50, steps=2000, snapshot=0),
    released={stage: f"siftflow-fcn{stage}-heavy" for stage in STAGES},
    data_layers=(DataLayer("SIFTFlowSegDataLayer", {"siftflow_dir": "../data/sift-flow"}),) * 2,
)

PASCALCONTEXT = Family(
    name="pascalcontext",
    splits=("train", "val"),
    mean=(104.007, 116.669, 122.679),
    sources={"data": Source("voc2010", "ImageSets", "VOC 2010, training and validation"),
             "context": Source("pascalcontext", "labels.txt", "PASCAL-Context's labels.txt and trainval/")},
    lists="ImageSets/Main",
    training=Training({"32s": 1e-10, "16s": 1e-12, "8s": 1e-14},
                      test_iter=5105, max_iter=300000, rounds=50, steps=8000, snapshot=4000),
    released={stage: f"pascalcontext-fcn{stage}-heavy" for stage in STAGES},
    data_layers=(DataLayer("PASCALContextSegDataLayer",
                           {"voc_dir": "../data/pascal", "context_dir": "../data/pascal-context"}),) * 2,
)

FAMILIES: dict[str, Family] = {family.name: family for family in (VOC, NYUD, SIFTFLOW, PASCALCONTEXT)}
