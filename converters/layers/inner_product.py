"""Fully connected layers: InnerProduct and Embed."""

import math

import torch.nn.functional as F
from torch import Tensor

from converters.caffe_pb2 import LayerParameter
from converters.formats.blob import dims_text
from converters.layers.base import Layer, Shape, canonical_axis, check_indices, layer
from converters.layers.sources import LayerSource, keywords


@layer("InnerProduct")
class InnerProduct(Layer):
    """A matrix product over all axes from `axis` on (inner_product_layer.cpp).

    Weights (num_output, K), or (K, num_output) if transposed; bias (num_output,).
    """

    blob_axes = 2
    spares_top = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        inner = param.inner_product_param
        self.num_output, self.axis, self.transpose = inner.num_output, inner.axis, inner.transpose
        self.blob_names = ("weight", "bias") if inner.bias_term else ("weight",)
        self.fillers = (inner.weight_filler if inner.HasField("weight_filler") else None,
                        inner.bias_filler if inner.HasField("bias_filler") else None)

    def blob_shapes(self, bottom: Shape) -> tuple[Shape, ...]:
        inputs = math.prod(bottom[canonical_axis(self.axis, len(bottom), self):])
        weight = (inputs, self.num_output) if self.transpose else (self.num_output, inputs)
        return weight, (self.num_output,)

    def forward(self, bottom: Tensor) -> Tensor:
        axis = canonical_axis(self.axis, bottom.ndim, self)
        top = bottom.flatten(axis)
        weight = self.weight.t() if self.transpose else self.weight
        if top.shape[-1] != weight.shape[1]:
            raise self.error(f"a bottom of shape {dims_text(bottom.shape)} has {top.shape[-1]} numbers from axis {axis} on, "
                             f"the weights need {weight.shape[1]}")
        return F.linear(top, weight, self.bias if "bias" in self.blob_names else None)

    def source(self, step: LayerSource) -> str:
        ndim = len(step.shapes[0])
        outputs, inputs = step.blob_shapes["weight"]
        axis, has_bias = self.axis % ndim, "bias" in self.blob_names
        x = step.bottom if axis == ndim - 1 else f"{step.bottom}.flatten({axis})"
        if self.transpose:
            step.blobs()
            return f"F.linear({x}, {step.own}.weight.t(){f', {step.own}.bias' if has_bias else ''})"
        step.module(f"nn.Linear({inputs}, {outputs}{keywords(bias=(has_bias, True))})")
        return f"{step.own}({x})"


@layer("Embed")
class Embed(Layer):
    """A learned vector for each whole number of the bottom (embed_layer.cpp).

    Weights (input_dim, num_output), bias (num_output,); the top has one axis more than the bottom.
    """

    blob_axes = 2

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        embed = param.embed_param
        self.num_output, self.input_dim = embed.num_output, embed.input_dim
        if not self.num_output or not self.input_dim:
            raise self.error("num_output and input_dim must be positive")
        self.blob_names = ("weight", "bias") if embed.bias_term else ("weight",)
        self.fillers = (embed.weight_filler if embed.HasField("weight_filler") else None,
                        embed.bias_filler if embed.HasField("bias_filler") else None)

    def blob_shapes(self, bottom: Shape) -> tuple[Shape, ...]:
        return (self.input_dim, self.num_output), (self.num_output,)

    def forward(self, bottom: Tensor) -> Tensor:
        top = F.embedding(check_indices(bottom, self.input_dim, self), self.weight)
        return top + self.bias if "bias" in self.blob_names else top
