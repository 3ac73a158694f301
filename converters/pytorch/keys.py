"""What parameter blobs are called in PyTorch: the keys of CaffeNet's state_dict, known here without torch."""

from math import prod

from converters.errors import CaffeError

NAMES = {
    "BatchNorm": ("running_mean", "running_var", "scale_factor"),
    "Bias": ("bias",),
}  # of all other types: weight, bias
AXES = {"Convolution": 4, "Deconvolution": 4, "InnerProduct": 2, "Embed": 2}  # of the first blob


def state_dict(net, blobs):
    """{"<layer>.weight": array, "<layer>.bias": array, ...}: `blobs`, {layer: [array, ...]}, as CaffeNet's state_dict.

    net: NetParameter, for the layers' types. Arrays in the legacy 4-axis shapes become what today's layers have, without a
    copy. Raises CaffeError for blobs that have no name and for layers whose names clash once dots are underscores.
    """
    layers = {layer.name: layer for layer in net.layer}
    state = {}
    for name, arrays in blobs.items():
        layer = layers[name]
        for i, (blob, array) in enumerate(zip(blob_names(layer, len(arrays)), arrays, strict=True)):
            key = f"{name.replace('.', '_')}.{blob}"
            if key in state:
                raise CaffeError(f"layer '{name}': another layer has the key '{key}' already; rename one of them")
            state[key] = _today(layer.type, i, array)
    return state


def blob_names(layer, count):
    """The names of a layer's `count` blobs, in Caffe's order."""
    names = NAMES.get(layer.type, ("weight", "bias"))
    if layer.type == "Scale" and len(layer.bottom) > 1:
        names = ("bias",)  # its second bottom is the weight
    if count > len(names):
        hint = "" if layer.type else "; its type is not in the file: give the prototxt too"
        raise CaffeError(f"layer '{layer.name}' ({layer.type or 'type unknown'}): {count} blobs, but names for "
                         f"{len(names)} ({', '.join(names)}) only{hint}")
    return names[:count]


def _today(type, index, array):
    """A legacy array, stored with 4 axes, without those that were put in front."""
    axes = (AXES[type] if index == 0 else 1) if type in AXES else array.ndim
    if array.ndim == 4 and axes < 4 and prod(array.shape[:4 - axes]) == 1:
        return array.reshape(array.shape[4 - axes:])
    return array


def has_blobs(layer):
    """Does a layer of this description always have parameter blobs of its own?"""
    return layer.type in (*AXES, "BatchNorm", "PReLU") or (layer.type in ("Scale", "Bias") and len(layer.bottom) == 1)
