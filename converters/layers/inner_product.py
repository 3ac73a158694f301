"""InnerProduct (inner_product_layer.cpp)."""

import math

import torch

from converters.layers.base import Layer, canonical_axis, register


@register("InnerProduct")
class InnerProduct(Layer):
    """A matrix product over all axes from `axis` on. Weights (num_output, K), or (K, num_output) if transposed."""

    def __init__(self, param):
        super().__init__(param)
        inner = param.inner_product_param
        self.num_output, self.axis, self.transpose = inner.num_output, inner.axis, inner.transpose
        self.blob_names = ("weight", "bias") if inner.bias_term else ("weight",)
        self.fillers = (inner.weight_filler if inner.HasField("weight_filler") else None,
                        inner.bias_filler if inner.HasField("bias_filler") else None)

    def blob_shapes(self, bottom):
        inputs = math.prod(bottom[canonical_axis(self.axis, len(bottom), self):])
        weight = (inputs, self.num_output) if self.transpose else (self.num_output, inputs)
        return weight, (self.num_output,)

    def forward(self, bottom):
        axis = canonical_axis(self.axis, bottom.ndim, self)
        top = bottom.flatten(axis)
        weight = self.weight.t() if self.transpose else self.weight
        return torch.nn.functional.linear(top, weight, self.bias if "bias" in self.blob_names else None)
