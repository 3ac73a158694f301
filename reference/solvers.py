"""The release's solvers, their loops, and the net that each training starts from."""

from typing import NamedTuple

from converters.caffe_pb2 import SolverParameter
from converters.errors import CaffeError, instead
from reference.families import FAMILIES, Family, stage_of
from reference.schemes import BATCHES

COARSER = {"16s": "32s", "8s": "16s"}
TRUNK_OF = {"-alexnet": "caffenet", "-googlenet": "googlenet"}
AT_ONCE = "8s-atonce"  # is trained three times as long as the stages


class Schedule(NamedTuple):
    """How a published net was trained, beyond its SolverParameter."""

    starts_from: tuple[str, ...]  # names of the nets whose weights it takes
    rounds: int  # the release's solve.py steps `steps` iterations this many times and scores after each
    steps: int


def solver(name: str) -> SolverParameter:
    """The SolverParameter of a published net, as the release's solver.prototxt; CaffeError for a net without one."""
    family, stage = _family_and_stage(name)
    training, on_trainval = family.training, family.splits[0] == "trainval"
    # The loss of VGG16's nets is summed over the pixels: a tiny rate, a heavy momentum, one image at a time (PAMI, section
    # 4.4). That of the others is averaged: ordinary momentum, gradients of 20 images.
    batches = BATCHES["accumulated" if stage in TRUNK_OF else "heavy"]
    param = SolverParameter(
        train_net="trainval.prototxt" if on_trainval else "train.prototxt",
        test_net=["test.prototxt" if on_trainval else "val.prototxt"],
        test_iter=[training.test_iter],
        test_interval=999999999,  # the net is tested, but not by the solver itself
        test_initialization=False,
        display=20,
        average_loss=20,
        lr_policy="fixed",
        base_lr=training.base_lr[stage],
        max_iter=training.max_iter if stage != AT_ONCE else 300000,
        weight_decay=0.0005,
        momentum=batches.momentum,
        iter_size=batches.iter_size,
    )
    if training.snapshot:
        param.snapshot, param.snapshot_prefix = training.snapshot, "snapshot/train"
    return param


def schedule(name: str) -> Schedule:
    """The Schedule of a published net; CaffeError for a net without one."""
    family, stage = _family_and_stage(name)
    training = family.training
    if stage in training.starts or stage in COARSER:
        stages = training.starts.get(stage) or (COARSER[stage],)
        starts = tuple(f"{family.name}-fcn{start}" for start in stages)
    else:
        starts = (TRUNK_OF.get(stage, "vgg16"),)
    return Schedule(starts, 75 if stage == AT_ONCE else training.rounds, training.steps)


def stages_of(net: str) -> list[str]:
    """The nets that are trained one from the other to make `net`, the coarsest first."""
    starts = [start for start in schedule(net).starts_from if "fcn" in start]
    return list(dict.fromkeys([*(stage for start in starts for stage in stages_of(start)), net]))


def _family_and_stage(name: str) -> tuple[Family, str]:
    known = {net: family for family in FAMILIES.values() for net in family.nets}
    if name not in known:
        raise CaffeError(f"no solver for '{name}'{instead(name, known)}")
    return known[name], stage_of(name)
