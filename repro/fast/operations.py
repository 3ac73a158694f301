"""The layers that the fast path understands: each computes any window of its top from the pixels it needs of its bottoms."""

import numpy as np
import torch
import torch.nn.functional as F

from converters.caffe_pb2 import PoolingParameter
from converters.errors import CaffeError
from converters.layers.matmul import linear
from converters.layers.pooling import FLT_MAX
from repro.fast import winograd
from repro.fast.fingerprint import fingerprint
from repro.fast.spans import Axis, Span
from surgery.interp import bilinear_kernel


class Unsupported(Exception):
    """The fast path has no rule for a layer or an input; the net is to be run as it is."""


class Operation:
    """One step. Values are numbered: `bottoms` are what it reads, `top` is what it makes."""

    def __init__(self, layer, bottoms, top):
        self.layer, self.bottoms, self.top = layer, bottoms, top
        self.axes = axes(layer)  # along height and width

    def size(self, *bottoms):
        """The top's (height, width)."""
        if len(set(bottoms)) > 1:
            raise Unsupported(f"bottoms of layer '{self.layer.layer_name}' differ in size")
        return bottoms[0]

    def channels(self, *bottoms):
        return bottoms[0]

    def scratch(self, channels, positions):
        """How many numbers beside its top it needs at once, for bottoms of so many channels."""
        return 0

    def refresh(self):
        """Look again at the weights, before each pass."""

    @property
    def reads(self):
        """The bottoms whose pixels count."""
        return self.bottoms

    def need(self, window):
        """The window (Spans) of each bottom that a window of the top is computed from, padding counted in."""
        return along(Axis.need, self.axes, window)

    def __call__(self, bottoms, padding, window):
        """Compute a window (Spans along height and width) of the top.

        bottoms: the needed pixels as far as they exist; padding: for height and width, how many lie before and beyond.
        """
        return self.layer(*bottoms)


class Relu(Operation):
    def __call__(self, bottoms, padding, window):
        return F.leaky_relu(bottoms[0], self.layer.negative_slope)  # never in place: the bottom may be read again


class Concat(Operation):
    """Of channels."""

    def channels(self, *bottoms):
        return sum(bottoms)


class Crop(Operation):
    """Its second bottom only lends its size."""

    def size(self, bottom, reference):
        if any(axis.need(Span(0, n)).stop > m for axis, n, m in zip(self.axes, reference, bottom, strict=True)):
            raise Unsupported(f"layer '{self.layer.layer_name}' crops beyond its bottom")
        return reference

    @property
    def reads(self):
        return self.bottoms[:1]

    def __call__(self, bottoms, padding, window):
        return bottoms[0]


class Pooling(Operation):
    def __init__(self, layer, bottoms, top):
        if layer.method != PoolingParameter.MAX or layer.is_global or layer.tops > 1:
            raise Unsupported(f"layer '{layer.layer_name}' is not MAX pooling over small windows")
        if any(s > k or 2 * p > k for k, s, p in zip(layer.kernel, layer.stride, layer.pad, strict=True)):
            raise Unsupported(f"layer '{layer.layer_name}' may have windows without a pixel")
        super().__init__(layer, bottoms, top)

    def size(self, bottom):
        try:
            return self.layer.top_shape((1, 1, *bottom))[2:]
        except CaffeError as error:  # of an input of zeros that is too small; a larger one may do
            raise Unsupported(str(error)) from None

    def __call__(self, bottoms, padding, window):
        kernel, stride = self.layer.kernel, self.layer.stride
        # PyTorch clips a last window by itself; only what it cannot say is padded by hand.
        if all(not before and beyond < stride[i] for i, (before, beyond) in enumerate(padding)):
            return F.max_pool2d(bottoms[0], kernel, stride, ceil_mode=True)
        lowest = max(-FLT_MAX, torch.finfo(bottoms[0].dtype).min)
        return F.max_pool2d(padded(bottoms[0], padding, lowest), kernel, stride)


class Convolution(Operation):
    """A convolution and, where `relu` is set, the ReLU that follows it."""

    relu = False

    def size(self, bottom):
        top = tuple((n + 2 * axis.pad - axis.kernel) // axis.stride + 1 for axis, n in zip(self.axes, bottom, strict=True))
        if min(top) < 1:
            raise Unsupported(f"the bottom of layer '{self.layer.layer_name}' is smaller than its kernel")
        return top

    def channels(self, bottom):
        return channels(self.layer, bottom, self.layer.weight.shape[1] * self.layer.group)

    def scratch(self, channels, positions):
        unfolded = channels * self.layer.kernel[0] * self.layer.kernel[1] * positions
        return unfolded if self._as_product(positions) else 0

    def __call__(self, bottoms, padding, window):
        positions = len(bottoms[0]) * window[0].length * window[1].length
        if self._as_product(positions):
            top = self._product(bottoms[0], padding, window)
        elif self._is_plain() and winograd.suits(self.layer.weight, bottoms[0], positions):
            top = winograd.convolve(padded(bottoms[0], padding), self.layer.weight, getattr(self.layer, "bias", None))
        else:
            top = self._convolve(bottoms[0], padding)
        return top.relu_() if self.relu else top

    def _as_product(self, positions):
        """Whether the unfolded bottom is smaller than the weights: then one matrix product is the faster way."""
        return self.layer.group == 1 and self.layer.dilation == (1, 1) and positions < self.layer.num_output

    def _is_plain(self):
        return self.layer.group == 1 and self.layer.dilation == self.layer.stride == (1, 1)

    def _convolve(self, bottom, padding):
        layer, bias = self.layer, getattr(self.layer, "bias", None)
        pad = tuple(before for before, _ in padding)
        if any(before != beyond for before, beyond in padding):
            bottom, pad = padded(bottom, padding), (0, 0)
        return F.conv2d(bottom, layer.weight, bias, layer.stride, pad, layer.dilation, layer.group)

    def _product(self, bottom, padding, window):
        windows = padded(bottom, padding)
        for axis, kernel, stride in zip((2, 3), self.layer.kernel, self.layer.stride, strict=True):
            windows = windows.unfold(axis, kernel, stride)  # N x C x H x W x kernel height x width
        rows = windows.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(0, 2)
        top = linear(rows, self.layer.weight.flatten(1), getattr(self.layer, "bias", None))
        return top.view(len(bottom), *[span.length for span in window], -1).permute(0, 3, 1, 2)


class Deconvolution(Operation):
    def __init__(self, layer, bottoms, top):
        super().__init__(layer, bottoms, top)
        if any(axis.kernel < axis.stride for axis in self.axes):
            raise Unsupported(f"layer '{layer.layer_name}' leaves gaps between its windows")
        self._fingerprint, self._line = None, None

    def size(self, bottom):
        return tuple(a.stride * (n - 1) + a.kernel - 2 * a.pad for a, n in zip(self.axes, bottom, strict=True))

    def channels(self, bottom):
        return channels(self.layer, bottom, self.layer.weight.shape[0])

    def __call__(self, bottoms, padding, window):
        # The first window that is not padding; padding adds nothing to the top.
        first = [needed.start + before for needed, (before, _) in zip(self.need(window), padding, strict=True)]
        line = self._line
        if line is not None:
            rows, columns = (
                interpolation(line, axis, start, length, span, bottoms[0])
                for axis, start, length, span in zip(self.axes, first, bottoms[0].shape[2:], window, strict=True))
            return rows @ bottoms[0] @ columns.T
        layer, bias = self.layer, getattr(self.layer, "bias", None)
        top = F.conv_transpose2d(bottoms[0], layer.weight, bias, layer.stride, 0, 0, layer.group, layer.dilation)
        for i, (axis, start, span) in enumerate(zip(self.axes, first, window, strict=True)):
            top = top.narrow(2 + i, span.start - (start * axis.stride - axis.pad), span.length)
        return top

    def refresh(self):
        current = fingerprint([self.layer.weight])
        if current != self._fingerprint:
            self._fingerprint, self._line = current, self._profile(self.layer.weight)

    def _profile(self, weight):
        """The kernel's profile where every channel is interpolated bilinearly by itself, else None."""
        channels, outputs, *size = weight.shape
        grouped = self.layer.group == channels and outputs == 1
        plain = size[0] == size[1] and self.layer.dilation == (1, 1) and "bias" not in self.layer.blob_names
        if not plain or not (grouped or self.layer.group == 1 and channels == outputs):
            return None
        kernel = bilinear_kernel(size[0])
        wanted = torch.zeros_like(weight)
        wanted[range(channels), 0 if grouped else range(channels)] = torch.as_tensor(kernel).to(weight)
        return np.sqrt(np.diagonal(kernel)) if torch.equal(weight, wanted) else None


def interpolation(line, axis, first, length, top, like):
    """The matrix that makes the span `top` of `length` pixels of a bottom, from pixel `first` on: (top's length, length)."""
    offset = np.arange(top.start, top.stop)[:, None] + axis.pad - axis.stride * np.arange(first, first + length)
    inside = (offset >= 0) & (offset < len(line))
    return torch.as_tensor(np.where(inside, line[offset.clip(0, len(line) - 1)], 0)).to(like)


def channels(layer, bottom, wanted):
    """A convolution's number of channels, for a bottom of `bottom` channels where its weights want `wanted`."""
    if bottom != wanted:
        raise Unsupported(f"layer '{layer.layer_name}' has weights for {wanted} channels, not {bottom}")
    return layer.num_output


def axes(layer):
    """The Axis of height and of width, as the layer's pixels lie."""
    pixels = layer.pixels
    if pixels is None or not pixels.local or pixels.axis != 2:
        raise Unsupported(f"layer '{layer.layer_name}' ({layer.type}) is not known to act on windows of height and width")
    return Axis(*pixels.height), Axis(*pixels.width)


def along(rule, *pairs):
    """`rule` applied to each pair along height and along width."""
    return tuple(rule(*both) for both in zip(*pairs, strict=True))


def padded(bottom, padding, value=0.0):
    """Pad height and width by (before, beyond) each."""
    (top, below), (left, right) = padding
    return F.pad(bottom, (left, right, top, below), value=value) if top or below or left or right else bottom

