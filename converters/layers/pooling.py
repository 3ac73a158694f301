"""Pooling and SPP."""

import torch
import torch.nn.functional as F

from converters.caffe_pb2 import PoolingParameter, SPPParameter
from converters.layers.base import Layer, register

FLT_MAX = torch.finfo(torch.float32).max


@register("Pooling")
class Pooling(Layer):
    """MAX and AVE pooling with Caffe's output size (pooling_layer.cpp).

    The size is rounded up (round_mode: FLOOR rounds it down); where there is padding, a last window that would start
    beyond the image and its leading padding is dropped. An average divides by the window's area clipped to the padded
    image, padding included. A second top of MAX is the place y * width + x of each maximum.
    """

    def __init__(self, param):
        super().__init__(param)
        pool = param.pooling_param
        self.method, self.floor, self.tops = pool.pool, pool.round_mode == PoolingParameter.FLOOR, len(param.top)
        self.is_global = pool.global_pooling
        self.pad = _pair(pool, "pad")
        self.stride = _pair(pool, "stride")
        self.kernel = _pair(pool, "kernel")
        if self.is_global and (any(self.kernel) or any(self.pad) or self.stride != (1, 1)):
            raise self.error("global_pooling takes no kernel_size, pad or stride")
        if not self.is_global and (0 in self.kernel or 0 in self.stride):
            raise self.error("kernel_size and stride must be positive")
        check_method(self.method, self.pad, self.kernel, self)

    def top_shape(self, bottom):
        if self.tops > 1 or self.is_global or len(bottom) != 4:
            return None
        return *bottom[:2], *_windows(bottom[2:], self.kernel, self.stride, self.pad, self.floor, self)[0]

    def forward(self, bottom):
        if bottom.ndim != 4:
            raise self.error(f"wants a bottom of 4 axes (N, C, H, W), got shape {tuple(bottom.shape)}")
        kernel = tuple(bottom.shape[2:]) if self.is_global else self.kernel
        if self.method == PoolingParameter.AVE:
            return average_pool(bottom, kernel, self.stride, self.pad, self.floor, self)
        top, places = max_pool(bottom, kernel, self.stride, self.pad, self.floor, self, self.tops > 1)
        return (top, places) if self.tops > 1 else top


@register("SPP")
class SPP(Layer):
    """Spatial pyramid pooling (spp_layer.cpp).

    Level l divides the image into 2^l x 2^l bins with padding on all sides; the levels' bins lie flat, one after the
    other. A pyramid of height 1 is a global pooling.
    """

    def __init__(self, param):
        super().__init__(param)
        self.height, self.method = param.spp_param.pyramid_height, param.spp_param.pool
        if not self.height:
            raise self.error("pyramid_height must be given and positive")

    def forward(self, bottom):
        if bottom.ndim != 4:
            raise self.error(f"wants a bottom of 4 axes (N, C, H, W), got shape {tuple(bottom.shape)}")
        levels = [self._level(bottom, 2**level) for level in range(self.height)]
        return levels[0] if self.height == 1 else torch.cat([level.flatten(1) for level in levels], 1)

    def _level(self, bottom, bins):
        kernel = tuple(_divided_up(size, bins) for size in bottom.shape[2:])
        pad = tuple((k * bins - size + 1) // 2 for k, size in zip(kernel, bottom.shape[2:], strict=True))
        check_method(self.method, pad, kernel, self)
        if self.method == SPPParameter.AVE:
            return average_pool(bottom, kernel, kernel, pad, False, self)
        return max_pool(bottom, kernel, kernel, pad, False, self)[0]


def check_method(method, pad, kernel, layer):
    """Refuse what Caffe refuses, and STOCHASTIC pooling."""
    if method == PoolingParameter.STOCHASTIC:
        raise layer.error("STOCHASTIC pooling is not supported: Caffe has it for GPUs only")
    if any(p >= k for p, k in zip(pad, kernel, strict=True) if p):
        raise layer.error(f"pad {pad} must be smaller than the kernel {kernel}")


def max_pool(bottom, kernel, stride, pad, floor, layer, with_places=False):
    """(top, places of the maxima or None): MAX pooling of (N, C, H, W)."""
    out, beyond = _windows(bottom.shape[2:], kernel, stride, pad, floor, layer)
    # PyTorch's own rule is Caffe's but for wide padding, and for windows that lie wholly beyond an unpadded image.
    narrow = all(2 * pad[axis] <= kernel[axis] for axis in (0, 1))
    if narrow and (any(pad) or all(beyond[axis] < kernel[axis] for axis in (0, 1))):
        if with_places:
            top, places = F.max_pool2d(bottom, kernel, stride, pad, ceil_mode=not floor, return_indices=True)
            return top, places.to(top.dtype)
        return F.max_pool2d(bottom, kernel, stride, pad, ceil_mode=not floor), None
    if with_places:
        raise layer.error("a second top is not supported with padding this wide, or with windows beyond the image")
    # -FLT_MAX is what Caffe starts a maximum from, so an empty window gives it too.
    lowest = max(-FLT_MAX, torch.finfo(bottom.dtype).min)
    return F.max_pool2d(_padded(bottom, pad, beyond, lowest), kernel, stride), None


def average_pool(bottom, kernel, stride, pad, floor, layer):
    """AVE pooling of (N, C, H, W)."""
    out, beyond = _windows(bottom.shape[2:], kernel, stride, pad, floor, layer)
    mean = F.avg_pool2d(_padded(bottom, pad, beyond, 0), kernel, stride)
    heights, widths = (_window_lengths(out[axis], kernel[axis], stride[axis], bottom.shape[2 + axis] + 2 * pad[axis], mean)
                       for axis in (0, 1))
    return mean * (kernel[0] * kernel[1] / (heights[:, None] * widths))


def _windows(size, kernel, stride, pad, floor, layer):
    """For both spatial axes: how many windows there are, and where the last ends, counted from the image's end."""
    out = []
    for axis in (0, 1):
        span = size[axis] + 2 * pad[axis] - kernel[axis]
        count = (span // stride[axis] if floor else _divided_up(span, stride[axis])) + 1
        if any(pad) and (count - 1) * stride[axis] >= size[axis] + pad[axis]:
            count -= 1
        if count < 1:
            raise layer.error(f"a bottom of {size[axis]} pixels is smaller than the kernel of {kernel[axis]}")
        out.append(count)
    return out, [(out[axis] - 1) * stride[axis] + kernel[axis] - pad[axis] - size[axis] for axis in (0, 1)]


def _padded(bottom, before, after, value):
    """Pad (or, where negative, cut) the two spatial axes."""
    return F.pad(bottom, (before[1], after[1], before[0], after[0]), value=value)


def _window_lengths(count, kernel, stride, extent, like):
    """The length of each window along one axis, clipped to the padded image of `extent` pixels."""
    start = torch.arange(count, device=like.device) * stride
    return (extent - start).clamp(max=kernel).to(like.dtype)


def _divided_up(size, by):
    return -(-size // by)


def _pair(param, name):
    if param.HasField(f"{name}_h") or param.HasField(f"{name}_w"):
        return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
    return (getattr(param, "kernel_size" if name == "kernel" else name),) * 2
