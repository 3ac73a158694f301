"""Convolution, Deconvolution and Im2col."""

import math

import torch.nn.functional as F

from converters.layers.base import Layer, canonical_axis, register
from converters.layers.matmul import linear

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
DECONVOLVE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class _Windowed(Layer):
    """What reads a ConvolutionParameter: kernel, stride, pad and dilation.

    Each attribute holds one number for each spatial axis; a single number in the description is given for two, the usual
    case, and `along` gives it for any number of axes.
    """

    def __init__(self, param):
        super().__init__(param)
        conv = param.convolution_param
        self._window = [self._values(conv, name, default) for name, default in
                        (("kernel", 0), ("stride", 1), ("pad", 0), ("dilation", 1))]
        self.kernel, self.stride, self.pad, self.dilation = (
            values * 2 if len(values) == 1 else values for values in self._window)
        if 0 in self.kernel or 0 in self.stride or 0 in self.dilation:
            raise self.error("kernel, stride and dilation must be positive")
        self.axis = conv.axis

    def _values(self, conv, name, default):
        values = tuple(getattr(conv, "kernel_size" if name == "kernel" else name))
        if name != "dilation" and (conv.HasField(f"{name}_h") or conv.HasField(f"{name}_w")):
            if values:
                raise self.error(f"give {name} once, or {name}_h and {name}_w, not both")
            return getattr(conv, f"{name}_h"), getattr(conv, f"{name}_w")
        return values or (default,)

    def along(self, axes):
        """kernel, stride, pad, dilation for so many spatial axes."""
        for values in self._window:
            if len(values) not in (1, axes):
                raise self.error(f"{len(values)} numbers for a bottom of {axes} spatial axes")
        return [values * axes if len(values) == 1 else values for values in self._window]

    def spatial_axes(self, bottom):
        """(axis of the channels, number of spatial axes after it) for a bottom of this shape."""
        axis = canonical_axis(self.axis, len(bottom), self)
        if not 1 <= len(bottom) - axis - 1 <= 3:
            raise self.error(f"wants one to three spatial axes after the channels (axis {axis}), got shape {tuple(bottom)}")
        return axis, len(bottom) - axis - 1


class _Convolution(_Windowed):
    functions: dict = CONVOLVE

    def __init__(self, param):
        super().__init__(param)
        conv = param.convolution_param
        self.num_output, self.group = conv.num_output, conv.group
        if not self.num_output or not self.group:
            raise self.error("num_output and group must be positive")
        self.blob_names = ("weight", "bias") if conv.bias_term else ("weight",)
        self.fillers = (conv.weight_filler if conv.HasField("weight_filler") else None,
                        conv.bias_filler if conv.HasField("bias_filler") else None)

    def blob_shapes(self, bottom, *_):
        axis, axes = self.spatial_axes(bottom)
        channels = bottom[axis]
        if channels % self.group or self.num_output % self.group:
            raise self.error(f"{channels} channels in and {self.num_output} out do not divide into {self.group} groups")
        return (*self.weight_channels(channels), *self.along(axes)[0]), (self.num_output,)

    def top_shape(self, bottom, *others):
        axis, axes = self.spatial_axes(bottom)
        size = [self.top_size(*numbers) for numbers in zip(bottom[axis + 1:], *self.along(axes), strict=True)]
        if others or min(size) < 1 or self.weight_channels(bottom[axis]) != tuple(self.weight.shape[:2]):
            return None
        return *bottom[:axis], self.num_output, *size

    def forward(self, *bottoms):
        tops = tuple(self._convolve(bottom) for bottom in bottoms)
        return tops if len(tops) > 1 else tops[0]

    def _convolve(self, bottom):
        axis, axes = self.spatial_axes(bottom.shape)
        _, stride, pad, dilation = self.along(axes)
        bias = self.bias if "bias" in self.blob_names else None
        batch = bottom if axis == 1 else bottom.reshape(-1, *bottom.shape[axis:])
        if self.weight_channels(bottom.shape[axis]) != tuple(self.weight.shape[:2]):
            raise self.error(f"a bottom of shape {tuple(bottom.shape)} does not fit weights {tuple(self.weight.shape)}")
        top = self.compute(self.functions[axes], batch, bias, stride, pad, dilation)
        return top if axis == 1 else top.reshape(*bottom.shape[:axis], *top.shape[1:])


@register("Convolution")
class Convolution(_Convolution):
    """Convolution over one to three spatial axes (conv_layer.cpp).

    Weights (num_output, channels / group, kernel_h, kernel_w); bias (num_output,).
    """

    def weight_channels(self, channels):
        return self.num_output, channels // self.group

    @staticmethod
    def top_size(size, kernel, stride, pad, dilation):
        return (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1

    def compute(self, function, batch, bias, stride, pad, dilation):
        if self.training and function is F.conv2d and self.group == 1:
            window = batch.shape[2:], self.weight.shape[2:], stride, pad, dilation
            size = [self.top_size(*numbers) for numbers in zip(*window, strict=True)]
            if 0 < math.prod(size) < self.num_output:
                rows = self._product(F.unfold(batch, self.weight.shape[2:], dilation, pad, stride), bias)
                return rows.unflatten(0, (len(batch), *size)).permute(0, 3, 1, 2)
        return function(batch, self.weight, bias, stride, pad, dilation, self.group)

    def _product(self, columns, bias):
        """The convolution as Caffe computes it, one matrix product with im2col's columns: a row of outputs a position.

        In training, where the weights outweigh the positions, as in fc6, it is forward and backward the faster way.
        """
        if self.weight.is_contiguous():
            return linear(columns.transpose(1, 2).flatten(0, 1), self.weight.flatten(1), bias)
        # In the layout channels_last the columns are put in the order of the weights, which are larger and stay in place.
        rows = columns.unflatten(1, (self.weight.shape[1], -1)).permute(0, 3, 2, 1).flatten(2).flatten(0, 1)
        return linear(rows, self.weight.permute(0, 2, 3, 1).flatten(1), bias)


@register("Deconvolution")
class Deconvolution(_Convolution):
    """The transpose of Convolution (deconv_layer.cpp).

    Weights (channels, num_output / group, kernel_h, kernel_w); bias (num_output,).
    """

    functions = DECONVOLVE

    def weight_channels(self, channels):
        return channels, self.num_output // self.group

    @staticmethod
    def top_size(size, kernel, stride, pad, dilation):
        return stride * (size - 1) + dilation * (kernel - 1) + 1 - 2 * pad

    def compute(self, function, batch, bias, stride, pad, dilation):
        return function(batch, self.weight, bias, stride, pad, 0, self.group, dilation)


@register("Im2col")
class Im2col(_Windowed):
    """Every window of the image as a column of channels * kernel_h * kernel_w numbers (im2col_layer.cpp).

    Two spatial axes only; the columns keep the place of their windows: (N, channels * kernel_h * kernel_w, H, W).
    """

    def forward(self, bottom):
        axis, axes = self.spatial_axes(bottom.shape)
        if axes != 2:
            raise self.error(f"wants two spatial axes after the channels (axis {axis}), got shape {tuple(bottom.shape)}")
        kernel, stride, pad, dilation = self.along(axes)
        size = [(bottom.shape[axis + 1 + i] + 2 * pad[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
                for i in range(axes)]
        columns = F.unfold(bottom.reshape(-1, *bottom.shape[axis:]), kernel, dilation, pad, stride)
        return columns.reshape(*bottom.shape[:axis], columns.shape[1], *size)
