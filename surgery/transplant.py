"""Weights from one net to another."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from converters.caffe_pb2 import FillerParameter
from converters.errors import CaffeError
from converters.files import FilePath
from converters.formats.blob import dims_text
from converters.formats.caffemodel import read_caffemodel
from converters.layers.fillers import fill
from converters.net import CaffeNet, same_shape
from surgery.interp import upsampling_layers

Source = CaffeNet | Mapping[str, Sequence[np.ndarray]] | FilePath  # where weights come from


@dataclass
class TransplantReport:
    """What became of every layer; names are the target's, but for layers that it lacks."""

    copied: list[str] = field(default_factory=list)  # names: every blob has the source's shape, or its legacy 4-D form
    # (name, blob index, shape in the source, shape in the target)
    coerced: list[tuple[str, int, tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)  # (name, why)
    untouched: list[str] = field(default_factory=list)  # names of the target's layers with parameters that took none

    def table(self) -> str:
        """The report as text, a line for each layer and what happened to it."""
        rows = [(name, "copied", "") for name in self.copied]
        rows += [(name, "coerced", f"blob {i}: {dims_text(old)} to {dims_text(new)}") for name, i, old, new in self.coerced]
        rows += [(name, "dropped", why) for name, why in self.dropped]
        dropped = {name for name, _ in self.dropped}
        rows += [(name, "untouched", "no weights in the source") for name in self.untouched if name not in dropped]
        width = max((len(name) for name, _, _ in rows), default=0)
        return "\n".join(f"{name:<{width}}  {what:<9}  {why}".rstrip() for name, what, why in rows)

    __str__ = table


def transplant(target: CaffeNet, source: Source, suffix: str = "") -> TransplantReport:
    """Give a CaffeNet the weights of another net, layer by layer by name; returns a TransplantReport.

    source: a CaffeNet, {layer: [array, ...]}, or a caffemodel's path. A layer of the source goes to the target's layer of
    its name + suffix (the two streams of the color-hha net). Where the shapes differ but hold equally many numbers, these
    are kept in order: so an inner product becomes a convolution (PAMI, section 3.1; the release's surgery.py, transplant). A
    layer with other counts is dropped whole, where the release fails; so is one that the target lacks. Raises CaffeError for
    a target whose parameters have no shape yet, and CaffeFileError for a path that holds no weights.
    """
    report, params = TransplantReport(), target.params
    taken = set()
    for source_name, arrays in _blobs(source).items():
        name = source_name + suffix
        if name not in params:
            report.dropped.append((source_name, f"the target has no layer '{name}' with parameters"))
            continue
        blobs = params[name]
        if any(blob is None for blob in blobs):
            raise CaffeError(f"layer '{name}': its parameters have no shape yet; reshape the target with its inputs' shapes")
        pairs = list(zip(map(torch.as_tensor, arrays), blobs, strict=False))
        misfit = next((pair for pair in pairs if pair[0].numel() != pair[1].numel()), None)
        if misfit:
            source_dims, target_dims = (dims_text(blob.shape) for blob in misfit)
            report.dropped.append((name, f"{source_dims} in the source does not fit {target_dims}"))
            continue
        coerced = [(name, i, tuple(old.shape), tuple(new.shape))
                   for i, (old, new) in enumerate(pairs) if not same_shape(old.shape, new.shape)]
        report.coerced.extend(coerced)
        if not coerced:
            report.copied.append(name)
        if len(arrays) != len(blobs):
            report.dropped.append((name, f"the source has {len(arrays)} blobs, the target {len(blobs)}: the rest is left"))
        with torch.no_grad():
            for old, new in pairs:
                new.copy_(old.reshape(new.shape))
        taken.add(name)
    report.untouched = [name for name in params if name not in taken]
    return report


def unfilled(net: CaffeNet) -> list[str]:
    """The layers of a CaffeNet that would learn nothing: all their weights are zero, so no gradient passes.

    That is what a layer has with neither source weights nor a filler, the commonest failure of FCN training. Score layers
    (names that hold "score") may start at zero, and `interp` fills upsampling layers.
    """
    spared = set(upsampling_layers(net)).union(name for name in net.layers if "score" in name)
    return [name for name, layer in net.layers.items()
            if layer.blob_names[:1] == ("weight",) and not layer.buffers_only and name not in spared
            and (layer.blobs()[0] is None or not layer.blobs()[0].any())]


def fill_missing(net: CaffeNet, layers: Iterable[str], filler: str | FillerParameter = "msra") -> None:
    """Fill the weights of these layers of a CaffeNet, in place, by a Caffe filler's type or FillerParameter (filler.hpp).

    Biases stay as they are. Raises CaffeError for a layer without parameters and for a filler that Caffe does not have.
    """
    if isinstance(filler, str):
        filler = FillerParameter(type=filler)
    for name in layers:
        if not net.params.get(name):
            raise CaffeError(f"cannot fill layer '{name}': the net has no such layer with parameters")
        fill(net.params[name][0], filler)


@torch.no_grad()
def expand_score(target: CaffeNet, target_layer: str, source: Source, source_layer: str) -> None:
    """Copy a score layer into one of more classes: the first are the old ones, the others stay as they are.

    In place; weights (classes, channels, 1, 1) and biases (classes,), as the release's surgery.py, expand_score. Raises
    CaffeError where anything but the number of classes differs, or grows less.
    """
    for new, old in _paired(target, target_layer, source, source_layer, "expand"):
        if old.shape[0] > new.shape[0] or old.shape[1:] != new.shape[1:]:
            raise CaffeError(f"cannot expand '{source_layer}' of {dims_text(old.shape)} into '{target_layer}' of "
                             f"{dims_text(new.shape)}: only the number of classes may grow")
        new[: old.shape[0]] = old


@torch.no_grad()
def expand_input(target: CaffeNet, target_layer: str, source: Source, source_layer: str) -> None:
    """Copy a convolution into one of more input channels, each new one the mean of the old (color and depth).

    In place; as the release's NYUDv2 nets begin. Raises CaffeError where anything but the number of input channels differs.
    """
    for new, old in _paired(target, target_layer, source, source_layer, "widen"):
        if old.ndim == 1 and old.shape == new.shape:
            new.copy_(old)
            continue
        if old.ndim != 4 or new.ndim != 4 or old.shape[1] > new.shape[1] or old[:, 0].shape != new[:, 0].shape:
            raise CaffeError(f"cannot widen '{source_layer}' of {dims_text(old.shape)} to '{target_layer}' of "
                             f"{dims_text(new.shape)}: only the number of input channels may grow")
        new[:, : old.shape[1]] = old
        new[:, old.shape[1] :] = old.mean(1, keepdim=True)


def _paired(target: CaffeNet, target_layer: str, source: Source, source_layer: str,
            verb: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """[(target's blob, source's blob)] of two layers."""
    blobs, arrays = target.params.get(target_layer), _blobs(source).get(source_layer)
    if not blobs or not arrays or len(blobs) != len(arrays):
        raise CaffeError(f"cannot {verb} '{source_layer}' into '{target_layer}': these must be layers of equally many blobs")
    tensors = map(torch.as_tensor, arrays)
    # Legacy biases are stored 1x1x1xN.
    return [(new, old.reshape(-1) if new.ndim == 1 else old) for new, old in zip(blobs, tensors, strict=True)]


def _blobs(source: Source) -> Mapping[str, Sequence[Any]]:
    if isinstance(source, Mapping):
        return source
    return source.params if isinstance(source, CaffeNet) else read_caffemodel(source).blobs
