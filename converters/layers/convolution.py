"""Convolution, Deconvolution and Im2col."""

import math
from abc import abstractmethod
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from converters.caffe_pb2 import ConvolutionParameter, LayerParameter
from converters.formats.blob import dims_text
from converters.layers.base import Layer, Shape, canonical_axis, layer
from converters.layers.matmul import linear
from converters.layers.pixels import Pixels, windows
from converters.layers.sources import LayerSource, keywords, pair

Along = tuple[int, ...]  # a number for each spatial axis
CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
DECONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _Windowed(Layer):
    """What reads a ConvolutionParameter: kernel, stride, pad and dilation.

    Each attribute holds one number for each spatial axis; a single number in the description is given for two, the usual
    case, and `along` gives it for any number of axes.
    """

    transposed = False  # whether the windows lie on the top

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        conv = param.convolution_param
        self._window = [self._values(conv, name, default) for name, default in
                        (("kernel", 0), ("stride", 1), ("pad", 0), ("dilation", 1))]
        self.kernel, self.stride, self.pad, self.dilation = (
            values * 2 if len(values) == 1 else values for values in self._window)
        if 0 in self.kernel or 0 in self.stride or 0 in self.dilation:
            raise self.error("kernel, stride and dilation must be positive")
        self.axis = conv.axis

    @property
    def pixels(self) -> Pixels | None:
        if len(self.kernel) != 2:
            return None
        return windows(self.kernel, self.stride, self.pad, self.dilation, self.transposed, self.axis % 4 + 1)

    def _values(self, conv: ConvolutionParameter, name: str, default: int) -> tuple[int, ...]:
        values = tuple(getattr(conv, "kernel_size" if name == "kernel" else name))
        if name != "dilation" and (conv.HasField(f"{name}_h") or conv.HasField(f"{name}_w")):
            if values:
                raise self.error(f"give {name} once, or {name}_h and {name}_w, not both")
            return getattr(conv, f"{name}_h"), getattr(conv, f"{name}_w")
        return values or (default,)

    def along(self, axes: int) -> list[Along]:
        """kernel, stride, pad, dilation for so many spatial axes."""
        for values in self._window:
            if len(values) not in (1, axes):
                raise self.error(f"{len(values)} numbers for a bottom of {axes} spatial axes")
        return [values * axes if len(values) == 1 else values for values in self._window]

    def reached(self, batch: Tensor, axes: int) -> Tensor:
        """`batch` with zeros after its last `axes` axes where the only window of an axis hangs over the end."""
        beyond = [overhang(*numbers) for numbers in zip(batch.shape[-axes:], *self.along(axes), strict=True)]
        return F.pad(batch, [count for over in reversed(beyond) for count in (0, over)]) if any(beyond) else batch

    def spatial_axes(self, bottom: Shape) -> tuple[int, int]:
        """(axis of the channels, number of spatial axes after it) for a bottom of this shape."""
        axis = canonical_axis(self.axis, len(bottom), self)
        if not 1 <= len(bottom) - axis - 1 <= 3:
            raise self.error(f"needs one to three spatial axes after the channels (axis {axis}), got shape "
                             f"{dims_text(bottom)}")
        return axis, len(bottom) - axis - 1


class _Convolution(_Windowed):
    functions: dict[int, Callable[..., Tensor]] = CONVOLVE
    module = "nn.Conv2d"
    blob_axes = 4
    spares_top = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        conv = param.convolution_param
        self.num_output, self.group = conv.num_output, conv.group
        if not self.num_output or not self.group:
            raise self.error("num_output and group must be positive")
        self.blob_names = ("weight", "bias") if conv.bias_term else ("weight",)
        self.fillers = (conv.weight_filler if conv.HasField("weight_filler") else None,
                        conv.bias_filler if conv.HasField("bias_filler") else None)

    def blob_shapes(self, bottom: Shape, *_: Shape) -> tuple[Shape, ...]:
        axis, axes = self.spatial_axes(bottom)
        channels = bottom[axis]
        if channels % self.group or self.num_output % self.group:
            raise self.error(f"{channels} channels in and {self.num_output} out do not divide into {self.group} groups")
        return (*self.weight_channels(channels), *self.along(axes)[0]), (self.num_output,)

    def top_shape(self, bottom: Shape, *others: Shape) -> Shape | None:
        axis, axes = self.spatial_axes(bottom)
        size = [self.top_size(*numbers) for numbers in zip(bottom[axis + 1:], *self.along(axes), strict=True)]
        if others or min(size) < 1 or self.weight_channels(bottom[axis]) != tuple(self.weight.shape[:2]):
            return None
        return *bottom[:axis], self.num_output, *size

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if any(bottom.shape != bottoms[0].shape for bottom in bottoms):
            raise self.error(f"bottoms differ in shape: {', '.join([dims_text(bottom.shape) for bottom in bottoms])}")
        tops = tuple([self._convolve(bottom) for bottom in bottoms])  # older torch.compile knows no generator here
        return tops if len(tops) > 1 else tops[0]

    def _convolve(self, bottom: Tensor) -> Tensor:
        axis, axes = self.spatial_axes(bottom.shape)
        _, stride, pad, dilation = self.along(axes)
        bias = self.bias if "bias" in self.blob_names else None
        batch = bottom if axis == 1 else bottom.reshape(-1, *bottom.shape[axis:])
        if self.weight_channels(bottom.shape[axis]) != tuple(self.weight.shape[:2]):
            raise self.error(f"a bottom of shape {dims_text(bottom.shape)} does not fit weights "
                             f"{dims_text(self.weight.shape)}")
        top = self.compute(self.functions[axes], batch, bias, stride, pad, dilation)
        return top if axis == 1 else top.reshape(*bottom.shape[:axis], *top.shape[1:])

    def source(self, step: LayerSource) -> list[str]:
        shape = step.shapes[0]
        if len(shape) != 4 or self.axis % 4 != 1:
            step.refuse("only convolutions over two spatial axes are written")
        if not self.transposed and any(overhang(*numbers) for numbers in zip(shape[2:], *self.along(2), strict=True)):
            step.refuse("its kernel is larger than the padded image")
        kernel, stride, pad, dilation = map(pair, self.along(2))
        more = keywords(stride=(stride, "1"), padding=(pad, "0"), dilation=(dilation, "1"), groups=(self.group, 1),
                        bias=("bias" in self.blob_names, True))
        step.module(f"{self.module}({shape[1]}, {self.num_output}, {kernel}{more})")
        return [f"{step.own}({bottom})" for bottom in step.bottoms]

    # What differs between the two.

    @abstractmethod
    def weight_channels(self, channels: int) -> tuple[int, int]:
        """The weights' first two axes, for a bottom of so many channels."""

    @staticmethod
    @abstractmethod
    def top_size(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        """The top's size along an axis, for a bottom of `size`."""

    @abstractmethod
    def compute(self, function: Callable[..., Tensor], batch: Tensor, bias: Tensor | None, stride: Along, pad: Along,
                dilation: Along) -> Tensor:
        """The top of a batch (N, C, ...), by PyTorch's function for as many axes."""


@layer("Convolution")
class Convolution(_Convolution):
    """Convolution over one to three spatial axes (conv_layer.cpp).

    Weights (num_output, channels / group, kernel_h, kernel_w); bias (num_output,).
    """

    def weight_channels(self, channels: int) -> tuple[int, int]:
        return self.num_output, channels // self.group

    @staticmethod
    def top_size(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return windows_along(size, kernel, stride, pad, dilation)

    def compute(self, function: Callable[..., Tensor], batch: Tensor, bias: Tensor | None, stride: Along, pad: Along,
                dilation: Along) -> Tensor:
        batch = self.reached(batch, len(stride))
        if self.training and function is F.conv2d and self.group == 1:
            window = batch.shape[2:], self.weight.shape[2:], stride, pad, dilation
            size = [self.top_size(*numbers) for numbers in zip(*window, strict=True)]
            if 0 < math.prod(size) < self.num_output:
                rows = self._product(F.unfold(batch, self.weight.shape[2:], dilation, pad, stride), bias)
                return rows.view(len(batch), *size, -1).permute(0, 3, 1, 2)
        return function(batch, self.weight, bias, stride, pad, dilation, self.group)

    def _product(self, columns: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution as Caffe computes it, one matrix product with im2col's columns: a row of outputs a position.

        In training, where the weights outweigh the positions, as in fc6, it is forward and backward the faster way.
        """
        if self.weight.is_contiguous():
            return linear(columns.transpose(1, 2).flatten(0, 1), self.weight.flatten(1), bias)
        # In the layout channels_last the columns are put in the order of the weights, which are larger and stay in place.
        columns = columns.view(len(columns), self.weight.shape[1], -1, columns.shape[2])
        rows = columns.permute(0, 3, 2, 1).flatten(2).flatten(0, 1)
        return linear(rows, self.weight.permute(0, 2, 3, 1).flatten(1), bias)


@layer("Deconvolution")
class Deconvolution(_Convolution):
    """The transpose of Convolution (deconv_layer.cpp).

    Weights (channels, num_output / group, kernel_h, kernel_w); bias (num_output,).
    """

    functions = DECONVOLVE
    module = "nn.ConvTranspose2d"
    transposed = True

    def weight_channels(self, channels: int) -> tuple[int, int]:
        return channels, self.num_output // self.group

    @staticmethod
    def top_size(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad

    def compute(self, function: Callable[..., Tensor], batch: Tensor, bias: Tensor | None, stride: Along, pad: Along,
                dilation: Along) -> Tensor:
        return function(batch, self.weight, bias, stride, pad, 0, self.group, dilation)


@layer("Im2col")
class Im2col(_Windowed):
    """Every window of the image as a column of channels * kernel_h * kernel_w numbers (im2col_layer.cpp).

    Two spatial axes only; the columns keep the place of their windows: (N, channels * kernel_h * kernel_w, H, W).
    """

    def forward(self, bottom: Tensor) -> Tensor:
        axis, axes = self.spatial_axes(bottom.shape)
        if axes != 2:
            raise self.error(f"needs two spatial axes after the channels (axis {axis}), got shape {dims_text(bottom.shape)}")
        kernel, stride, pad, dilation = self.along(axes)
        settings = zip(bottom.shape[axis + 1:], kernel, stride, pad, dilation, strict=True)
        size = [windows_along(*window) for window in settings]
        batch = self.reached(bottom.reshape(-1, *bottom.shape[axis:]), axes)
        columns = F.unfold(batch, kernel, dilation, pad, stride)
        return columns.reshape(*bottom.shape[:axis], columns.shape[1], *size)


def windows_along(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    """How many windows there are along an axis (conv_layer.cpp, compute_output_shape).

    C's division rounds towards zero, so a kernel that is larger than the padded image by less than `stride` has one.
    """
    span = size + 2 * pad - dilation * (kernel - 1) - 1
    return (span // stride if span >= 0 else -(-span // stride)) + 1


def overhang(size: int, kernel: int, stride: int, pad: int, dilation: int) -> int:
    """By how many pixels such a window hangs over the end; Caffe reads zeros there."""
    span = size + 2 * pad - dilation * (kernel - 1) - 1
    return -span if -stride < span < 0 else 0
