"""Layers that add, multiply and sum up blobs."""

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from converters.caffe_pb2 import EltwiseParameter, FillerParameter, LayerParameter, ReductionParameter
from converters.formats.blob import dims_text
from converters.layers.base import OVERWRITES, Layer, Shape, canonical_axis, constant, layer
from converters.layers.pixels import ALIGNED, CHANNELS, SAME, Pixels
from converters.layers.sources import LayerSource, number


@layer("Eltwise")
class Eltwise(Layer):
    """Sum (with a coefficient for each bottom), product or maximum of equal-shaped bottoms (eltwise_layer.cpp).

    A maximum takes coefficients, but does not heed them; a product refuses them.
    """

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        eltwise = param.eltwise_param
        self.operation, self.coeff = eltwise.operation, list(eltwise.coeff)
        if len(param.bottom) < 2:
            raise self.error("needs at least two bottoms")
        if self.coeff and len(self.coeff) != len(param.bottom):
            raise self.error(f"needs one coeff for each bottom, not {len(self.coeff)} for {len(param.bottom)} bottoms")
        if self.coeff and self.operation == EltwiseParameter.PROD:
            raise self.error("coeff goes with SUM, not with PROD")
        if self.operation == EltwiseParameter.PROD:
            self.refuse_training_in_place()
        elif self.is_in_place:
            raise self.error(OVERWRITES)

    def top_shape(self, *bottoms: Shape) -> Shape | None:
        return bottoms[0] if len(set(bottoms)) == 1 else None

    def forward(self, *bottoms: Tensor) -> Tensor:
        if len({bottom.shape for bottom in bottoms}) > 1:
            raise self.error(f"bottoms differ in shape: {', '.join(dims_text(bottom.shape) for bottom in bottoms)}")
        if self.operation == EltwiseParameter.SUM:
            if self.coeff:
                bottoms = tuple(bottom * coeff for bottom, coeff in zip(bottoms, self.coeff, strict=True))
            return reduce(torch.add, bottoms)
        if self.operation == EltwiseParameter.PROD:
            return reduce(torch.mul, bottoms)
        # Of the first two, the second takes a tie with its whole gradient, later ones yield; torch.maximum would halve it.
        top = torch.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
        return reduce(lambda top, bottom: torch.where(bottom > top, bottom, top), bottoms[2:], top)

    def source(self, step: LayerSource) -> str:
        if self.operation == EltwiseParameter.PROD:
            return " * ".join(step.bottoms)
        if self.operation == EltwiseParameter.MAX:
            return reduce(lambda top, bottom: f"torch.maximum({top}, {bottom})", step.bottoms)
        coeff = self.coeff or [1.0] * len(step.bottoms)
        return " + ".join(x if c == 1 else f"{number(c)} * {x}" for c, x in zip(coeff, step.bottoms, strict=True))


def aligned(operand: Tensor, bottom: Tensor, axis: int, layer: Layer) -> Tensor:
    """View `operand` so that its first axis lies along `axis` of `bottom`, for broadcasting."""
    if operand.ndim == 0:
        return operand
    axis = canonical_axis(axis, bottom.ndim, layer)
    if tuple(bottom.shape[axis:axis + operand.ndim]) != tuple(operand.shape):
        raise layer.error(f"an operand of shape {dims_text(operand.shape)} does not lie on a bottom of shape "
                          f"{dims_text(bottom.shape)} from axis {axis}")
    return operand.reshape(*operand.shape, *[1] * (bottom.ndim - axis - operand.ndim))


def covered(bottom: Shape, axis: int, num_axes: int, layer: Layer) -> Shape:
    """The shape of a learned operand that covers `num_axes` axes of the bottom from `axis` on; -1 is all of them."""
    if num_axes < -1:
        raise layer.error(f"num_axes {num_axes} must be -1, for all, or more")
    if num_axes == 0:
        return ()
    axis = canonical_axis(axis, len(bottom), layer)
    end = len(bottom) if num_axes == -1 else axis + num_axes
    if end > len(bottom):
        raise layer.error(f"{num_axes} axes from axis {axis} go beyond a bottom of {len(bottom)} axes")
    return tuple(bottom[axis:end])


def written_operand(operand: str, shape: Shape, axis: int, ndim: int) -> str:
    """`aligned` in PyTorch source, for an operand of this shape and a bottom of `ndim` axes."""
    trailing = ndim - axis % ndim - len(shape) if shape else 0
    return f"{operand}[{', '.join(['...', *['None'] * trailing])}]" if trailing else operand


def operand_pixels(bottoms: int, axis: int, num_axes: int) -> Pixels:
    """SAME for one learned number for all or for each channel, and for a second bottom as large as the first."""
    if bottoms > 1:
        return SAME if axis == 0 else ALIGNED
    return SAME if num_axes == 0 or (axis in CHANNELS and num_axes == 1) else ALIGNED


@layer("Scale")
class Scale(Layer):
    """The first bottom times a learned blob or the second bottom, and a learned bias where asked (scale_layer.cpp).

    Weights start at one unless a filler says otherwise.
    """

    pixels: Pixels | None = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        scale = param.scale_param
        self.axis, self.num_axes = scale.axis, scale.num_axes
        self.pixels = operand_pixels(len(param.bottom), self.axis, self.num_axes)
        filler = scale.filler if scale.HasField("filler") else constant(1)
        blobs: list[tuple[str, FillerParameter | None]] = [] if len(param.bottom) > 1 else [("weight", filler)]
        if scale.bias_term:
            blobs.append(("bias", scale.bias_filler if scale.HasField("bias_filler") else None))
        self.blob_names = tuple(name for name, _ in blobs)
        self.fillers = tuple(filler for _, filler in blobs)

    def blob_shapes(self, bottom: Shape, operand: Shape | None = None) -> tuple[Shape, ...]:
        shape = covered(bottom, self.axis, self.num_axes, self) if operand is None else tuple(operand)
        return (shape,) * len(self.blob_names)

    def forward(self, bottom: Tensor, operand: Tensor | None = None) -> Tensor:
        top = bottom * aligned(self.weight if operand is None else operand, bottom, self.axis, self)
        return top + aligned(self.bias, bottom, self.axis, self) if "bias" in self.blob_names else top

    def source(self, step: LayerSource) -> str:
        step.blobs()
        weight, shape = f"{step.own}.weight", step.blob_shapes.get("weight", ())
        if len(step.bottoms) > 1:
            weight, shape = step.bottoms[1], step.shapes[1]
        ndim = len(step.shapes[0])
        top = f"{step.bottom} * {written_operand(weight, shape, self.axis, ndim)}"
        if "bias" in step.blob_shapes:
            top += f" + {written_operand(f'{step.own}.bias', step.blob_shapes['bias'], self.axis, ndim)}"
        return top


@layer("Bias")
class Bias(Layer):
    """The first bottom plus a learned blob or the second bottom (bias_layer.cpp)."""

    pixels: Pixels | None = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        bias = param.bias_param
        self.axis, self.num_axes = bias.axis, bias.num_axes
        self.pixels = operand_pixels(len(param.bottom), self.axis, self.num_axes)
        if len(param.bottom) == 1:
            self.blob_names = ("bias",)
            self.fillers = (bias.filler if bias.HasField("filler") else None,)

    def blob_shapes(self, bottom: Shape, operand: Shape | None = None) -> tuple[Shape, ...]:
        return (covered(bottom, self.axis, self.num_axes, self),)

    def forward(self, bottom: Tensor, operand: Tensor | None = None) -> Tensor:
        return bottom + aligned(self.bias if operand is None else operand, bottom, self.axis, self)

    def source(self, step: LayerSource) -> str:
        step.blobs()
        bias, shape = f"{step.own}.bias", step.blob_shapes.get("bias", ())
        if len(step.bottoms) > 1:
            bias, shape = step.bottoms[1], step.shapes[1]
        return f"{step.bottom} + {written_operand(bias, shape, self.axis, len(step.shapes[0]))}"


@layer("Reduction")
class Reduction(Layer):
    """coeff times the sum, the sum of magnitudes or squares, or the mean over all axes from `axis` on
    (reduction_layer.cpp)."""

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        reduction = param.reduction_param
        self.operation, self.axis, self.coeff = reduction.operation, reduction.axis, reduction.coeff

    def forward(self, bottom: Tensor) -> Tensor:
        axis = canonical_axis(self.axis, bottom.ndim, self)
        return OPERATIONS[self.operation](bottom.flatten(axis)) * self.coeff


OPERATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    ReductionParameter.SUM: lambda rows: rows.sum(-1),
    ReductionParameter.ASUM: lambda rows: rows.abs().sum(-1),
    ReductionParameter.SUMSQ: lambda rows: (rows * rows).sum(-1),
    ReductionParameter.MEAN: lambda rows: rows.mean(-1),
}
