"""How the pixels of one blob lie over the pixels of another.

Every spatial layer maps the coordinates of its bottom to those of its top by `top = scale * bottom + offset`; maps of
consecutive layers compose, and a map is inverted to go back. Two blobs are aligned by walking from both to a blob they
descend from. The rules are those of Caffe's coord_map.py: window centers are what is mapped, and the rounding of output
sizes plays no part. Arithmetic is exact, in fractions, for height and width each.
"""

import math
from fractions import Fraction
from typing import NamedTuple

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError
from converters.layers.convolution import Convolution, Deconvolution
from converters.layers.pooling import Pooling

WINDOWED = {"Convolution": Convolution, "Deconvolution": Deconvolution, "Pooling": Pooling}
# Pixel by pixel, whatever they do to the channels. Caffe's list has all but the last five.
POINTWISE = {
    "AbsVal", "BatchNorm", "Bias", "BNLL", "Dropout", "Eltwise", "ELU", "Log", "LRN", "Exp", "MVN", "Power", "ReLU",
    "PReLU", "Scale", "Sigmoid", "Split", "TanH", "Threshold", "Clip", "Concat", "Slice", "Softmax", "Swish",
}


class CoordinateMap(NamedTuple):
    """`top = scale * bottom + offset` along (height, width)."""

    scale: tuple[Fraction, ...] = (Fraction(1), Fraction(1))
    offset: tuple[Fraction, ...] = (Fraction(0), Fraction(0))

    def compose(self, inner: "CoordinateMap") -> "CoordinateMap":
        """The map that applies `inner` first and then this one."""
        return CoordinateMap(
            tuple(a * b for a, b in zip(self.scale, inner.scale, strict=True)),
            tuple(a * b + c for a, b, c in zip(self.scale, inner.offset, self.offset, strict=True)),
        )

    def inverse(self) -> "CoordinateMap":
        """The map from the top back to the bottom."""
        return CoordinateMap(
            tuple(1 / a for a in self.scale), tuple(-b / a for a, b in zip(self.scale, self.offset, strict=True))
        )


def coordinate_map(layer: LayerParameter) -> CoordinateMap | None:
    """The CoordinateMap of one layer (LayerParameter), from its first bottom to its top; None if it has none."""
    if layer.type in POINTWISE and _keeps_pixels(layer):
        return CoordinateMap()
    if layer.type == "Crop":
        return CoordinateMap(offset=tuple(Fraction(-offset) for offset in _crop_offsets(layer)))
    if layer.type not in WINDOWED or layer.pooling_param.global_pooling:
        return None
    kernel, stride, pad = _window(layer)
    half = [Fraction(k - 1, 2) for k in kernel]
    if layer.type == "Deconvolution":
        return CoordinateMap(tuple(map(Fraction, stride)), (half[0] - pad[0], half[1] - pad[1]))
    return CoordinateMap(
        tuple(Fraction(1, s) for s in stride), tuple((p - h) / s for p, h, s in zip(pad, half, stride, strict=True))
    )


def crop_offset(net: NetParameter, bottom: str, reference: str) -> int | tuple[int, int]:
    """The offset of a Crop layer that cuts blob `bottom` to lie over blob `reference`, in pixels (coord_map.py, crop).

    `net` is a NetParameter that makes both. Returns an int, or (height, width) where they differ. Raises CaffeError where
    no chain of spatial layers connects the two, or where they lie a fraction of a pixel or a negative number apart, or
    at different scales.
    """
    back, forth = (_maps_to(net, blob) for blob in (bottom, reference))
    common = next((blob for blob in forth if blob in back), None)
    if common is None:
        raise CaffeError(
            f"cannot align '{bottom}' with '{reference}': no chain of spatial layers connects them "
            f"(Convolution, Deconvolution, Pooling, Crop and pointwise layers are)"
        )
    scale, offset = forth[common].compose(back[common].inverse())
    where = f"cannot crop '{bottom}' to '{reference}'"
    if scale != (1, 1):
        raise CaffeError(f"{where}: one pixel of '{bottom}' is {_pair(scale)} pixels of '{reference}'; upsample it first")
    offset = tuple(-o for o in offset)
    if any(o.denominator != 1 for o in offset):
        raise CaffeError(f"{where}: the offset is {_pair(offset)}, not whole pixels; change a kernel size or padding by one")
    if min(offset) < 0:
        raise CaffeError(f"{where}: the offset is {_pair(offset)}, negative; pad the net's first convolution more")
    return int(offset[0]) if offset[0] == offset[1] else (int(offset[0]), int(offset[1]))


def stride(net: NetParameter, blob: str) -> Fraction | tuple[Fraction, Fraction]:
    """How many input pixels lie between neighbouring pixels of `blob`, a Fraction, or (height, width) where they differ.

    Of the input that is farthest down. Raises CaffeError for a blob that no layer makes.
    """
    scale = list(_maps_to(net, blob).values())[-1].inverse().scale
    return scale[0] if scale[0] == scale[1] else scale


def receptive_field(net: NetParameter, blob: str) -> int | tuple[int, int]:
    """How many input pixels one pixel of `blob` sees, padding included: an int, or (height, width) where they differ.

    `net` is a NetParameter; the numbers of CVPR's table 1. Below a Deconvolution the pixels see unequally much; the most is
    given. Raises CaffeError where a layer on the way has no spatial map.
    """
    layers = _layers_above(net, blob)
    for layer in layers:
        if coordinate_map(layer) is None:
            raise CaffeError(f"layer '{layer.name}' ({layer.type}) has no receptive field; convolutionize the net first")
    strides = [_window(layer)[1] for layer in layers if layer.type == "Deconvolution"]
    field = tuple(
        max(_extent(layers, blob, start, axis) for start in range(math.prod(stride[axis] for stride in strides)))
        for axis in (0, 1)
    )
    return field[0] if field[0] == field[1] else field


def _extent(layers, blob, start, axis):
    """How many pixels of the inputs pixel `start` of `blob` sees along one axis."""
    seen = {blob: (start, start)}
    for layer in layers:  # from the blob down
        first, last = (pick(seen[top][i] for top in layer.top if top in seen) for i, pick in enumerate((min, max)))
        if layer.type == "Crop":
            offset = _crop_offsets(layer)[axis]
            first, last = first + offset, last + offset
        elif layer.type in WINDOWED:
            kernel, stride, pad = (values[axis] for values in _window(layer))
            if layer.type == "Deconvolution":
                # Pixel i of the bottom spreads over i * stride - pad and the kernel - 1 pixels that follow.
                first, last = -((kernel - 1 - first - pad) // stride), (last + pad) // stride
            else:
                first, last = first * stride - pad, last * stride - pad + kernel - 1
        for bottom in _mapped_bottoms(layer):
            lo, hi = seen.get(bottom, (first, last))
            seen[bottom] = min(lo, first), max(hi, last)
    made = {top for layer in layers for top in layer.top}
    return max(last - first + 1 for name, (first, last) in seen.items() if name not in made)


def _layers_above(net, blob):
    """The layers that `blob` is computed from, last first, without those that make inputs and data."""
    wanted, layers = {blob}, []
    for layer in reversed(net.layer):
        if layer.bottom and wanted.intersection(layer.top):
            wanted.update(_mapped_bottoms(layer))
            layers.append(layer)
    if not layers and not any(blob in layer.top for layer in net.layer):
        raise CaffeError(f"no layer makes a blob '{blob}'")
    return layers


def _maps_to(net, blob):
    """{blob it descends from: the CoordinateMap from there to `blob`}, nearest first, as far as spatial layers reach."""
    maps = {blob: CoordinateMap()}
    for layer in _layers_above(net, blob):
        top = next((top for top in layer.top if top in maps), None)
        step = coordinate_map(layer)
        if top is None or step is None:
            continue
        for bottom in _mapped_bottoms(layer):
            maps.setdefault(bottom, maps[top].compose(step))
    return maps


def _mapped_bottoms(layer):
    """Crop's second bottom only lends its size; every other layer maps all its bottoms alike."""
    return layer.bottom[:1] if layer.type == "Crop" else layer.bottom


def _keeps_pixels(layer):
    """Concat, Slice and Softmax along a spatial axis do not."""
    if layer.type == "Concat":
        param = layer.concat_param
        return (param.concat_dim if param.HasField("concat_dim") else param.axis) in (0, 1, -3, -4)
    if layer.type == "Slice":
        param = layer.slice_param
        return (param.slice_dim if param.HasField("slice_dim") else param.axis) in (0, 1, -3, -4)
    return layer.type != "Softmax" or layer.softmax_param.axis in (0, 1, -3, -4)


def _crop_offsets(layer):
    """(height, width) that a Crop layer leaves out before; axes it does not crop stay as they are."""
    param = layer.crop_param
    offsets, axis = list(param.offset) or [0], param.axis % 4
    along = offsets * (4 - axis) if len(offsets) == 1 else offsets
    offset = dict(enumerate(along, start=axis))
    return offset.get(2, 0), offset.get(3, 0)


def _window(layer):
    """Kernel (dilation counted in), stride and pad of a windowed layer, each (height, width)."""
    made = WINDOWED[layer.type](layer)
    dilation = getattr(made, "dilation", (1, 1))
    return tuple((k - 1) * d + 1 for k, d in zip(made.kernel, dilation, strict=True)), made.stride, made.pad


def _pair(values):
    return str(values[0]) if values[0] == values[1] else f"({values[0]}, {values[1]})"
