"""Which layers of a net description belong to one phase (net.cpp, FilterNet and StateMeetsRule)."""

from collections.abc import Iterable, Set

from converters.caffe_pb2 import TEST, TRAIN, NetParameter, NetStateRule
from converters.errors import CaffeError

PHASES = {"train": TRAIN, "test": TEST}


def filter_net(net: NetParameter, phase: str, level: int | None = None, stages: Iterable[str] = ()) -> NetParameter:
    """The NetParameter of the layers of `net` that are included in `phase` ("train" or "test"), `level` and `stages`.

    The stages are added to those that the net's own `state` names, and the level is its own unless given.
    """
    if phase not in PHASES:
        raise CaffeError(f"unknown phase '{phase}': a net is built for 'train' or 'test'")
    level, stages = net.state.level if level is None else level, {*net.state.stage, *stages}
    filtered = NetParameter()
    filtered.CopyFrom(net)
    del filtered.layer[:]
    for layer in net.layer:
        if layer.include and layer.exclude:
            raise CaffeError(f"layer '{layer.name}': give include rules or exclude rules, not both")
        if layer.include:
            kept = any(_meets(rule, PHASES[phase], level, stages) for rule in layer.include)
        else:
            kept = not any(_meets(rule, PHASES[phase], level, stages) for rule in layer.exclude)
        if kept:
            filtered.layer.add().CopyFrom(layer)
    return filtered


def _meets(rule: NetStateRule, phase: int, level: int, stages: Set[str]) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == phase)
        and (not rule.HasField("min_level") or level >= rule.min_level)
        and (not rule.HasField("max_level") or level <= rule.max_level)
        and all(stage in stages for stage in rule.stage)
        and not any(stage in stages for stage in rule.not_stage)
    )
