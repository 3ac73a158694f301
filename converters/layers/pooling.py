"""Pooling (pooling_layer.cpp)."""

import math

import torch
import torch.nn.functional as F

from converters.caffe_pb2 import PoolingParameter
from converters.layers.base import Layer, register

FLT_MAX = torch.finfo(torch.float32).max


@register("Pooling")
class Pooling(Layer):
    """MAX and AVE pooling with Caffe's output size.

    The size is rounded up; where there is padding, a last window that would start beyond the image and its leading
    padding is dropped. An average divides by the window's area clipped to the padded image, padding included.
    """

    def __init__(self, param):
        super().__init__(param)
        pool = param.pooling_param
        self.method, self.floor = pool.pool, pool.round_mode == PoolingParameter.FLOOR
        self.is_global = pool.global_pooling
        if self.method == PoolingParameter.STOCHASTIC:
            raise self.error("STOCHASTIC pooling is not supported: it has no CPU gradient in Caffe either")
        self.pad = _pair(pool, "pad")
        self.stride = _pair(pool, "stride")
        self.kernel = _pair(pool, "kernel")
        if not self.is_global and (0 in self.kernel or 0 in self.stride):
            raise self.error("kernel_size and stride must be positive")
        if any(pad >= kernel for pad, kernel in zip(self.pad, self.kernel, strict=True) if pad):
            raise self.error(f"pad {self.pad} must be smaller than the kernel {self.kernel}")

    def output_size(self, size, kernel, axis):
        """How many windows fit along one axis of `size` pixels."""
        steps = (size + 2 * self.pad[axis] - kernel) / self.stride[axis]
        count = (math.floor(steps) if self.floor else math.ceil(steps)) + 1
        if any(self.pad) and (count - 1) * self.stride[axis] >= size + self.pad[axis]:
            count -= 1
        if count < 1:
            raise self.error(f"a bottom of {size} pixels is smaller than the kernel of {kernel}")
        return count

    def forward(self, bottom):
        size = bottom.shape[2:]
        kernel = tuple(size) if self.is_global else self.kernel
        out = [self.output_size(size[axis], kernel[axis], axis) for axis in (0, 1)]
        # Where the last window ends, counted from the image's last pixel.
        beyond = [(out[axis] - 1) * self.stride[axis] + kernel[axis] - self.pad[axis] - size[axis] for axis in (0, 1)]
        if self.method == PoolingParameter.AVE:
            return self._average(_padded(bottom, self.pad, beyond, 0), kernel, out, size)
        # PyTorch's own rule is Caffe's but for wide padding, and for windows that lie wholly beyond an unpadded image.
        narrow = all(2 * self.pad[axis] <= kernel[axis] for axis in (0, 1))
        if narrow and (any(self.pad) or all(beyond[axis] < kernel[axis] for axis in (0, 1))):
            return F.max_pool2d(bottom, kernel, self.stride, self.pad, ceil_mode=not self.floor)
        # -FLT_MAX is what Caffe starts a maximum from, so an empty window gives it too.
        return F.max_pool2d(_padded(bottom, self.pad, beyond, -FLT_MAX), kernel, self.stride)

    def _average(self, padded, kernel, out, size):
        mean = F.avg_pool2d(padded, kernel, self.stride)
        extent = [size[axis] + 2 * self.pad[axis] for axis in (0, 1)]
        heights, widths = (_window_lengths(out[axis], kernel[axis], self.stride[axis], extent[axis], padded)
                           for axis in (0, 1))
        return mean * (kernel[0] * kernel[1] / (heights[:, None] * widths))


def _padded(bottom, before, after, value):
    """Pad (or, where negative, cut) the two spatial axes."""
    return F.pad(bottom, (before[1], after[1], before[0], after[0]), value=value)


def _window_lengths(count, kernel, stride, extent, like):
    """The length of each window along one axis, clipped to the padded image of `extent` pixels."""
    start = torch.arange(count, device=like.device) * stride
    return (extent - start).clamp(max=kernel).to(like.dtype)


def _pair(param, name):
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
    return (getattr(param, "kernel_size" if name == "kernel" else name),) * 2
