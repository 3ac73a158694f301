"""What parameter blobs are called in PyTorch: the keys of CaffeNet's state_dict, known here without torch."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError
from converters.formats.blob import unique_names
from converters.formats.caffemodel import TYPES

if TYPE_CHECKING:
    from converters.layers import Layer


class Blobs(NamedTuple):
    """The parameter blobs of a layer type: their names in Caffe's order, and how many axes the first has in today's files.

    axes: None where old files, which store every blob with 4 axes, do not hold the type.
    """

    names: tuple[str, ...] = ("weight", "bias")
    axes: int | None = None


# The types of Caffe 1.0 that have parameter blobs, as their classes say, but without importing torch, which takes a second.
KNOWN = {
    "BatchNorm": Blobs(("running_mean", "running_var", "scale_factor")),
    "Bias": Blobs(("bias",)),
    "Convolution": Blobs(axes=4),
    "Deconvolution": Blobs(axes=4),
    "Embed": Blobs(axes=2),
    "InnerProduct": Blobs(axes=2),
    "PReLU": Blobs(("weight",)),
    "Parameter": Blobs(("weight",)),
    "Scale": Blobs(),
}
# The other types of Caffe 1.0 have none, but for the recurrent ones.
WITHOUT = TYPES - {*KNOWN, "LSTM", "LSTMUnit", "RNN", "Recurrent"}


def state_dict(net: NetParameter, blobs: Mapping[str, Sequence[np.ndarray]]) -> dict[str, np.ndarray]:
    """{"<layer>.weight": array, "<layer>.bias": array, ...}: `blobs`, {layer: [array, ...]}, as CaffeNet's state_dict.

    net: NetParameter, for the layers' types. Of layers of one name the second is "<layer>_2", and so on, in `blobs` too.
    Arrays in the legacy 4-axis shapes become what today's layers have, without a copy. Raises CaffeError for blobs that have
    no name and for layers whose names clash once dots are underscores.
    """
    layers = dict(zip(unique_names(layer.name for layer in net.layer), net.layer, strict=True))
    state: dict[str, np.ndarray] = {}
    for name, arrays in blobs.items():
        layer = layers[name]
        axes = _blobs(layer).axes
        for i, (blob, array) in enumerate(zip(blob_names(layer, len(arrays)), arrays, strict=True)):
            key = f"{name.replace('.', '_')}.{blob}"
            if key in state:
                raise CaffeError(f"layer '{name}': another layer has the key '{key}' already; rename one of them")
            state[key] = array if axes is None else _today(array, axes if i == 0 else 1)
    return state


def blob_names(layer: LayerParameter, count: int) -> tuple[str, ...]:
    """The names of a layer's `count` blobs, in Caffe's order. Raises CaffeError for more blobs than there are names."""
    names = _blobs(layer).names
    if count > len(names):
        hint = "" if layer.type else "; its type is not in the file: give the prototxt too"
        raise CaffeError(f"layer '{layer.name}' ({layer.type or 'type unknown'}): {count} blobs, but names for "
                         f"{len(names)} ({', '.join(names)}) only{hint}")
    return names[:count]


def has_blobs(layer: LayerParameter) -> bool:
    """Does a layer of this description always have parameter blobs of its own?"""
    if layer.type in KNOWN:
        return len(layer.bottom) < 2 or layer.type not in ("Scale", "Bias")
    made = _made(layer)
    return made is not None and bool(made.blob_names)


def _blobs(layer: LayerParameter) -> Blobs:
    if layer.type == "Scale" and len(layer.bottom) > 1:
        return Blobs(("bias",))  # its second bottom is the weight
    if layer.type in KNOWN:
        return KNOWN[layer.type]
    made = _made(layer)
    return Blobs(made.blob_names, made.blob_axes) if made is not None and made.blob_names else Blobs()


def _made(layer: LayerParameter) -> "Layer | type[Layer] | None":
    """The Layer of a type that only its class knows, or the class where the settings are not in the file; else None."""
    if not layer.type or layer.type in WITHOUT:
        return None
    from converters.layers import REGISTRY

    if layer.type not in REGISTRY:
        return None
    try:
        return REGISTRY[layer.type](layer)
    except CaffeError:
        return REGISTRY[layer.type]


def _today(array: np.ndarray, axes: int) -> np.ndarray:
    """A legacy array, stored with 4 axes, without those that were put in front."""
    if array.ndim == 4 and axes < 4 and prod(array.shape[:4 - axes]) == 1:
        return array.reshape(array.shape[4 - axes:])
    return array
