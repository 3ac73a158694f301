"""The release's solvers, their loops, and the net that each training starts from."""

from typing import Any, NamedTuple

from converters.caffe_pb2 import SolverParameter
from converters.errors import CaffeError, instead

# Loss summed over the pixels: a tiny rate, a heavy momentum, one image at a time (PAMI, section 4.4).
HEAVY: dict[str, Any] = {"momentum": 0.99, "iter_size": 1}
# Loss averaged over the pixels: ordinary momentum, gradients of 20 images.
ACCUMULATED: dict[str, Any] = {"momentum": 0.9, "iter_size": 20}

COARSER = {"16s": "32s", "8s": "16s"}


class Schedule(NamedTuple):
    """How a published net was trained, beyond its SolverParameter."""

    starts_from: tuple[str, ...]  # names of the nets whose weights it takes
    rounds: int  # the release's solve.py steps `steps` iterations this many times and scores after each
    steps: int


def solver(name: str) -> SolverParameter:
    """The SolverParameter of a published net, as the release's solver.prototxt; CaffeError for a net without one."""
    family, stage = _family(name)
    trainval = family.splits == ("trainval", "test")
    param = SolverParameter(
        train_net="trainval.prototxt" if trainval else "train.prototxt",
        test_net=["test.prototxt" if trainval else "val.prototxt"],
        test_iter=[family.test_iter],
        test_interval=999999999,  # the net is tested, but not by the solver itself
        test_initialization=False,
        display=20,
        average_loss=20,
        lr_policy="fixed",
        base_lr=family.base_lr[stage],
        max_iter=family.max_iter if stage != "8s-atonce" else 300000,
        weight_decay=0.0005,
        **(ACCUMULATED if stage in AVERAGED else HEAVY),
    )
    if family.snapshot:
        param.snapshot, param.snapshot_prefix = family.snapshot, "snapshot/train"
    return param


def schedule(name: str) -> Schedule:
    """The Schedule of a published net; CaffeError for a net without one."""
    family, stage = _family(name)
    rounds = 75 if stage == "8s-atonce" else family.rounds
    if name == "nyud-fcn32s-color-hha":
        return Schedule(("nyud-fcn32s-color", "nyud-fcn32s-hha"), rounds, family.steps)
    if stage in COARSER:
        return Schedule((name.removesuffix(stage) + COARSER[stage],), rounds, family.steps)
    return Schedule((TRUNK_OF.get(stage, "vgg16"),), rounds, family.steps)


def stages_of(net: str) -> list[str]:
    """The nets that are trained one from the other to make `net`, the coarsest first."""
    starts = [start for start in schedule(net).starts_from if "fcn" in start]
    return list(dict.fromkeys([*(stage for start in starts for stage in stages_of(start)), net]))


class _Family(NamedTuple):
    """What the nets of one data set share."""

    base_lr: dict  # by stage, what follows "fcn" in the net's name
    splits: tuple
    test_iter: int  # images of the second split
    max_iter: int
    rounds: int
    steps: int
    snapshot: int


AVERAGED = {"-alexnet", "-googlenet"}
TRUNK_OF = {"-alexnet": "caffenet", "-googlenet": "googlenet"}
FAMILIES = {
    # The release has no FCN-GoogLeNet, no fixed trunk and no single pools: googlenet has the paper's rate (5e-5), the
    # others have the rate of 32s.
    "voc": _Family(
        {"32s": 1e-10, "16s": 1e-12, "8s": 1e-14, "8s-atonce": 1e-10, "-alexnet": 1e-4, "-googlenet": 5e-5,
         "32s-fixed": 1e-10, "-pool5": 1e-10, "-pool4": 1e-10, "-pool3": 1e-10},
        ("train", "val"), 736, 100000, 25, 4000, 4000),
    "nyud": _Family({"32s-color": 1e-10, "32s-color-d": 1e-10, "32s-hha": 1e-10, "32s-color-hha": 1e-12},
                    ("trainval", "test"), 654, 300000, 50, 2000, 2000),
    "siftflow": _Family({"32s": 1e-10, "16s": 1e-12, "8s": 1e-12}, ("trainval", "test"), 1111, 300000, 50, 2000, 0),
    "pascalcontext": _Family({"32s": 1e-10, "16s": 1e-12, "8s": 1e-14}, ("train", "val"), 5105, 300000, 50, 8000, 4000),
}


def _family(name):
    data, _, stage = name.partition("-fcn")
    if data not in FAMILIES or stage not in FAMILIES[data].base_lr:
        known = [f"{data}-fcn{stage}" for data, family in FAMILIES.items() for stage in family.base_lr]
        raise CaffeError(f"no solver for '{name}'{instead(name, known)}")
    return FAMILIES[data], stage
