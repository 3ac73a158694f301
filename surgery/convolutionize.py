"""Inner products made convolutions, so that a classifier takes images of any size (section 3.1)."""

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
import torch

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError
from converters.formats.blob import Blobs, Size, dims_text, unique_names
from converters.net import CaffeNet
from surgery.coordinates import CoordinateMap, coordinate_map

Shapes = Mapping[str, Sequence[int]]


@overload
def convolutionize(net: NetParameter, blobs: None = None, shapes: Shapes | None = None) -> NetParameter: ...
@overload
def convolutionize(net: NetParameter, blobs: Blobs, shapes: Shapes | None = None) -> tuple[NetParameter, Blobs]: ...
def convolutionize(net: NetParameter, blobs: Blobs | None = None,
                   shapes: Shapes | None = None) -> NetParameter | tuple[NetParameter, Blobs]:
    """A copy of `net` (NetParameter) in which every InnerProduct is the Convolution that computes the same.

    An inner product over channels x height x width becomes a convolution with a kernel of that height and width, and
    keeps its name; the weights are the same numbers in the same order. shapes: {input blob: shape} where the net declares
    none. Returns the new net; given `blobs`, {layer: [array, ...]}, the pair of it and the blobs with their new shapes.
    Raises CaffeError for an inner product that no convolution can replace.
    """
    result = NetParameter()
    result.CopyFrom(net)
    sizes = _blob_shapes(net, shapes or {})
    reshaped = dict(blobs) if blobs is not None else {}
    makers: dict[str, LayerParameter | None] = {}  # of each blob
    for name, layer in zip(unique_names(layer.name for layer in net.layer), result.layer, strict=True):
        if layer.type == "InnerProduct":
            kernel = _kernel(layer, sizes.get(layer.bottom[0]), makers)
            _to_convolution(layer, kernel)
            if name in reshaped:
                reshaped[name] = _reshaped(layer, reshaped[name], kernel)
        # A layer that keeps the pixels as they are passes on what an inner product (by now a convolution) made.
        passes = layer.type != "Convolution" and len(layer.bottom) == 1 and coordinate_map(layer) == CoordinateMap()
        makers.update(dict.fromkeys(layer.top, makers.get(layer.bottom[0]) if passes else layer))
    return result if blobs is None else (result, reshaped)


def _blob_shapes(net: NetParameter, shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """{blob: shape} of the net as it is; nothing is allocated."""
    with torch.device("meta"):
        return CaffeNet(net).reshape(**shapes)


def _kernel(layer: LayerParameter, shape: Sequence[int] | None, makers: Mapping[str, LayerParameter | None]) -> Size:
    """The kernel (height, width) that covers the whole bottom of an InnerProduct."""
    where = f"layer '{layer.name}' (InnerProduct)"
    if layer.inner_product_param.axis != 1 or layer.inner_product_param.transpose:
        raise CaffeError(f"{where}: one with an axis or transposed weights has no equal convolution")
    if shape is None:
        raise CaffeError(f"{where}: the shape of its bottom '{layer.bottom[0]}' is unknown; give the inputs' shapes")
    if len(shape) == 4:
        return shape[2], shape[3]
    maker = makers.get(layer.bottom[0])
    # What another inner product made (a convolution by now) has one pixel; anything else of two axes was flattened.
    if maker is not None and maker.type == "Convolution":
        return 1, 1
    raise CaffeError(f"{where}: its bottom '{layer.bottom[0]}' has shape {dims_text(shape)}, not (N, C, H, W); "
                     "take out the layer that flattens it")


def _to_convolution(layer: LayerParameter, kernel: Size) -> None:
    inner, conv = layer.inner_product_param, layer.convolution_param
    layer.type, conv.num_output = "Convolution", inner.num_output
    if kernel[0] == kernel[1]:
        conv.kernel_size.append(kernel[0])
    else:
        conv.kernel_h, conv.kernel_w = kernel
    if inner.HasField("bias_term"):
        conv.bias_term = inner.bias_term
    for filler in "weight_filler", "bias_filler":
        if inner.HasField(filler):
            getattr(conv, filler).CopyFrom(getattr(inner, filler))
    layer.ClearField("inner_product_param")


def _reshaped(layer: LayerParameter, arrays: Sequence[np.ndarray], kernel: Size) -> list[np.ndarray]:
    outputs = layer.convolution_param.num_output
    try:
        return [np.reshape(arrays[0], (outputs, -1, *kernel)), *(np.reshape(array, (outputs,)) for array in arrays[1:])]
    except ValueError:
        raise CaffeError(f"layer '{layer.name}': weights of shape {np.shape(arrays[0])} do not make {outputs} kernels of "
                         f"{kernel[0]}x{kernel[1]}; they are another net's") from None
