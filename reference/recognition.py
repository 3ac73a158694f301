"""Which family a net is of, by what the net is: the release's prototxts have no name."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from converters.caffe_pb2 import NetParameter
from reference.families import FAMILIES, Classes, Family, Mean
from reference.nets import SCORES

UNFED = ("Parameter", "DummyData")  # layers without a bottom that no one feeds


@dataclass(frozen=True)
class Known:
    """What is known of a net: its family, and what it is fed, {blob: "color" or what the family calls it}."""

    family: Family
    inputs: Mapping[str, str]
    mean: Mean | None = None  # the one that its data layer subtracts, where that says one

    @property
    def needs_depth(self) -> bool:
        """Whether it is fed more than, or other than, a photograph."""
        return {*self.inputs.values()} != {"color"}


def recognize(net: NetParameter) -> list[Known]:
    """What a net may be: one `Known`; none where no published net fits; several where published nets look alike.

    A Python data layer of the release decides, else the net's name up to a space, else its inputs, its heads and their
    numbers of classes. By these last, NYUD's nets for color and for HHA look alike.
    """
    feeds = [layer for layer in net.layer if not layer.bottom and layer.top and layer.type not in UNFED]
    for layer in feeds:
        family = FAMILIES.get(layer.python_param.module.removesuffix("_layers"))
        if layer.type == "Python" and family:
            return _of_data_layer(family, list(layer.top), settings_of(layer.python_param.param_str) or {})
    name = net.name.partition(" ")[0]
    for family in FAMILIES.values():
        if name in family.nets:
            return [Known(family, family.inputs_of(name))]
    if any(layer.type != "Input" for layer in feeds):
        return []  # a data layer of one's own
    tops, classes = {top for layer in feeds for top in layer.top}, head_sizes(net)
    fitting: list[Known] = []
    for family in FAMILIES.values():
        for name in family.nets if family.num_classes == classes else ():
            known = Known(family, family.inputs_of(name))
            if {*known.inputs} == tops and known not in fitting:
                fitting.append(known)
    return fitting


def head_sizes(net: NetParameter) -> Classes | None:
    """The number of classes of a net, or {head: number} of one with several; None where no layer scores pixels."""
    heads: dict[str | None, int] = {}
    for layer in net.layer:
        if layer.type == "Convolution" and (match := SCORES.fullmatch(layer.name)):
            heads.setdefault(match[1], layer.convolution_param.num_output)
    return heads.pop(None, None) or {head: count for head, count in heads.items() if head} or None


def _of_data_layer(family: Family, tops: list[str], settings: Mapping[str, Any]) -> list[Known]:
    """What is fed by a data layer of the release; NYUD's says in its param_str what its tops are."""
    labels, kinds, mean = {"label", *family.heads}, settings.get("tops"), settings.get("mean")
    if not family.inputs:
        kinds = [top if top in labels else "color" for top in tops]
    if not isinstance(kinds, list | tuple) or len(kinds) != len(tops):
        return []
    inputs = {top: str(kind) for top, kind in zip(tops, kinds, strict=True) if kind not in labels}
    if isinstance(mean, list | tuple) and len(mean) == 3 and all(isinstance(value, int | float) for value in mean):
        return [Known(family, inputs, tuple(mean))]
    return [Known(family, inputs)]


def settings_of(param_str: str) -> dict[str, Any] | None:
    """The settings of a Python layer, nothing of them evaluated; None where they are not a literal dict."""
    try:
        settings = ast.literal_eval(param_str)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return settings if isinstance(settings, dict) else None
