"""Layers that add, multiply and sum up blobs."""

from functools import reduce

import torch

from converters.caffe_pb2 import EltwiseParameter, ReductionParameter
from converters.layers.base import Layer, canonical_axis, constant, register


@register("Eltwise")
class Eltwise(Layer):
    """Sum (with a coefficient for each bottom), product or maximum of equal-shaped bottoms (eltwise_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        eltwise = param.eltwise_param
        self.operation, self.coeff = eltwise.operation, list(eltwise.coeff)
        if len(param.bottom) < 2:
            raise self.error("wants at least two bottoms")
        if self.coeff and (len(self.coeff) != len(param.bottom) or self.operation != EltwiseParameter.SUM):
            raise self.error("coeff wants one number for each bottom, and only with SUM")

    def top_shape(self, *bottoms):
        return bottoms[0] if len(set(bottoms)) == 1 else None

    def forward(self, *bottoms):
        if len({bottom.shape for bottom in bottoms}) > 1:
            raise self.error(f"bottoms differ in shape: {', '.join(str(tuple(bottom.shape)) for bottom in bottoms)}")
        if self.operation == EltwiseParameter.SUM:
            if self.coeff:
                bottoms = [bottom * coeff for bottom, coeff in zip(bottoms, self.coeff, strict=True)]
            return reduce(torch.add, bottoms)
        if self.operation == EltwiseParameter.PROD:
            return reduce(torch.mul, bottoms)
        # Of the first two, the second takes a tie with its whole gradient, later ones yield; torch.maximum would halve it.
        top = torch.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
        return reduce(lambda top, bottom: torch.where(bottom > top, bottom, top), bottoms[2:], top)


def aligned(operand, bottom, axis, layer):
    """View `operand` so that its first axis lies along `axis` of `bottom`, for broadcasting."""
    if operand.ndim == 0:
        return operand
    axis = canonical_axis(axis, bottom.ndim, layer)
    if tuple(bottom.shape[axis:axis + operand.ndim]) != tuple(operand.shape):
        raise layer.error(f"an operand of shape {tuple(operand.shape)} does not lie on a bottom of shape "
                          f"{tuple(bottom.shape)} from axis {axis}")
    return operand.reshape(*operand.shape, *[1] * (bottom.ndim - axis - operand.ndim))


def covered(bottom, axis, num_axes, layer):
    """The shape of a learned operand that covers `num_axes` axes of the bottom from `axis` on; -1 is all of them."""
    if num_axes == 0:
        return ()
    axis = canonical_axis(axis, len(bottom), layer)
    end = len(bottom) if num_axes == -1 else axis + num_axes
    if end > len(bottom):
        raise layer.error(f"{num_axes} axes from axis {axis} go beyond a bottom of {len(bottom)} axes")
    return tuple(bottom[axis:end])


@register("Scale")
class Scale(Layer):
    """The first bottom times a learned blob or the second bottom, and a learned bias where asked (scale_layer.cpp).

    Weights start at one unless a filler says otherwise.
    """

    def __init__(self, param):
        super().__init__(param)
        scale = param.scale_param
        self.axis, self.num_axes = scale.axis, scale.num_axes
        blobs = [] if len(param.bottom) > 1 else [("weight", scale.filler if scale.HasField("filler") else constant(1))]
        if scale.bias_term:
            blobs.append(("bias", scale.bias_filler if scale.HasField("bias_filler") else None))
        self.blob_names = tuple(name for name, _ in blobs)
        self.fillers = tuple(filler for _, filler in blobs)

    def blob_shapes(self, bottom, operand=None):
        shape = covered(bottom, self.axis, self.num_axes, self) if operand is None else tuple(operand)
        return (shape,) * len(self.blob_names)

    def forward(self, bottom, operand=None):
        top = bottom * aligned(self.weight if operand is None else operand, bottom, self.axis, self)
        return top + aligned(self.bias, bottom, self.axis, self) if "bias" in self.blob_names else top


@register("Bias")
class Bias(Layer):
    """The first bottom plus a learned blob or the second bottom (bias_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        bias = param.bias_param
        self.axis, self.num_axes = bias.axis, bias.num_axes
        if len(param.bottom) == 1:
            self.blob_names = ("bias",)
            self.fillers = (bias.filler if bias.HasField("filler") else None,)

    def blob_shapes(self, bottom, operand=None):
        return (covered(bottom, self.axis, self.num_axes, self),)

    def forward(self, bottom, operand=None):
        return bottom + aligned(self.bias if operand is None else operand, bottom, self.axis, self)


@register("Reduction")
class Reduction(Layer):
    """coeff times the sum, the sum of magnitudes or squares, or the mean over all axes from `axis` on
    (reduction_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        reduction = param.reduction_param
        self.operation, self.axis, self.coeff = reduction.operation, reduction.axis, reduction.coeff

    def forward(self, bottom):
        axis = canonical_axis(self.axis, bottom.ndim, self)
        return OPERATIONS[self.operation](bottom.flatten(axis)) * self.coeff


OPERATIONS = {
    ReductionParameter.SUM: lambda rows: rows.sum(-1),
    ReductionParameter.ASUM: lambda rows: rows.abs().sum(-1),
    ReductionParameter.SUMSQ: lambda rows: (rows * rows).sum(-1),
    ReductionParameter.MEAN: lambda rows: rows.mean(-1),
}
