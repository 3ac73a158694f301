"""Pooling and SPP."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.caffe_pb2 import LayerParameter, PoolingParameter, SPPParameter
from converters.formats.blob import dims_text
from converters.layers.base import Layer, Shape, layer
from converters.layers.pixels import Pixels, windows
from converters.layers.sources import LayerSource, keywords, pair

Pair = tuple[int, int]  # (height, width)
FLT_MAX = torch.finfo(torch.float32).max


@layer("Pooling")
class Pooling(Layer):
    """MAX and AVE pooling with Caffe's output size (pooling_layer.cpp).

    The size is rounded up (round_mode: FLOOR rounds it down); where there is padding, a last window that would start
    beyond the image and its leading padding is dropped. An average divides by the window's area clipped to the padded
    image, padding included. A second top of MAX is the place y * width + x of each maximum.
    """

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        pool = param.pooling_param
        self.method, self.floor, self.tops = pool.pool, pool.round_mode == PoolingParameter.FLOOR, len(param.top)
        self.is_global = pool.global_pooling
        self.pad = _pair(pool, "pad", self)
        self.stride = _pair(pool, "stride", self)
        self.kernel = _pair(pool, "kernel", self)
        if self.is_global and (any(self.kernel) or any(self.pad) or self.stride != (1, 1)):
            raise self.error("global_pooling takes no kernel_size, pad or stride")
        if not self.is_global and (0 in self.kernel or 0 in self.stride):
            raise self.error("kernel_size and stride must be positive")
        check_method(self.method, self.pad, self.kernel, self)

    def top_shape(self, bottom: Shape) -> Shape | None:
        if self.tops > 1 or self.is_global or len(bottom) != 4:
            return None
        return *bottom[:2], *_windows(bottom[2:], self.kernel, self.stride, self.pad, self.floor, self)[0]

    def forward(self, bottom: Tensor) -> Tensor | tuple[Tensor, ...]:
        if bottom.ndim != 4:
            raise self.error(f"needs a bottom of 4 axes (N, C, H, W), got shape {dims_text(bottom.shape)}")
        kernel = (bottom.shape[2], bottom.shape[3]) if self.is_global else self.kernel
        if self.method == PoolingParameter.AVE:
            return average_pool(bottom, kernel, self.stride, self.pad, self.floor, self)
        top, places = max_pool(bottom, kernel, self.stride, self.pad, self.floor, self, self.tops > 1)
        return (top, places) if places is not None else top

    @property
    def pixels(self) -> Pixels | None:
        return None if self.is_global else windows(self.kernel, self.stride, self.pad)

    def source(self, step: LayerSource) -> str:
        is_max = self.method == PoolingParameter.MAX
        if self.tops > 1:
            step.refuse("only pooling with one top is written")
        if self.is_global:
            return f"{step.bottom}.{'amax' if is_max else 'mean'}((2, 3), keepdim=True)"
        for kernel, stride, pad in zip(self.kernel, self.stride, self.pad, strict=True):
            if 2 * pad > kernel or (stride > kernel and not any(self.pad)):
                step.refuse("PyTorch has no pooling with a pad above half the kernel, or a stride above it without a pad")
        more = keywords(padding=(pair(self.pad), "0"), ceil_mode=(not self.floor, False))
        return f"F.{'max' if is_max else 'avg'}_pool2d({step.bottom}, {pair(self.kernel)}, {pair(self.stride)}{more})"


@layer("SPP")
class SPP(Layer):
    """Spatial pyramid pooling (spp_layer.cpp).

    Level l divides the image into 2^l x 2^l bins with padding on all sides; the levels' bins lie flat, one after the
    other. A pyramid of height 1 is a global pooling.
    """

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.height, self.method = param.spp_param.pyramid_height, param.spp_param.pool
        if not self.height:
            raise self.error("pyramid_height must be given and positive")

    def forward(self, bottom: Tensor) -> Tensor:
        if bottom.ndim != 4:
            raise self.error(f"needs a bottom of 4 axes (N, C, H, W), got shape {dims_text(bottom.shape)}")
        levels = [self._level(bottom, 2**level) for level in range(self.height)]
        return levels[0] if self.height == 1 else torch.cat([level.flatten(1) for level in levels], 1)

    def _level(self, bottom: Tensor, bins: int) -> Tensor:
        height, width = bottom.shape[2:]
        kernel = _divided_up(height, bins), _divided_up(width, bins)
        pad = (kernel[0] * bins - height + 1) // 2, (kernel[1] * bins - width + 1) // 2
        check_method(self.method, pad, kernel, self)
        if self.method == SPPParameter.AVE:
            return average_pool(bottom, kernel, kernel, pad, False, self)
        return max_pool(bottom, kernel, kernel, pad, False, self)[0]


def check_method(method: int, pad: Sequence[int], kernel: Sequence[int], layer: Layer) -> None:
    """Refuse what Caffe refuses, and STOCHASTIC pooling."""
    if method == PoolingParameter.STOCHASTIC:
        raise layer.error("STOCHASTIC pooling is not supported: Caffe has it for GPUs only")
    if any(p >= k for p, k in zip(pad, kernel, strict=True) if p):
        raise layer.error(f"pad {pad} must be smaller than the kernel {kernel}")


def max_pool(bottom: Tensor, kernel: Pair, stride: Pair, pad: Pair, floor: bool, layer: Layer,
             with_places: bool = False) -> tuple[Tensor, Tensor | None]:
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
    return F.max_pool2d(_padded(bottom, pad, beyond, lowest, layer), kernel, stride), None


def average_pool(bottom: Tensor, kernel: Pair, stride: Pair, pad: Pair, floor: bool, layer: Layer) -> Tensor:
    """AVE pooling of (N, C, H, W)."""
    out, beyond = _windows(bottom.shape[2:], kernel, stride, pad, floor, layer)
    mean = F.avg_pool2d(_padded(bottom, pad, beyond, 0, layer), kernel, stride)
    heights, widths = (_window_lengths(out[axis], kernel[axis], stride[axis], bottom.shape[2 + axis] + 2 * pad[axis], mean)
                       for axis in (0, 1))
    return mean * (kernel[0] * kernel[1] / (heights[:, None] * widths))


def _windows(size: Shape, kernel: Pair, stride: Pair, pad: Pair, floor: bool, layer: Layer) -> tuple[list[int], list[int]]:
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


def _padded(bottom: Tensor, before: Sequence[int], after: Sequence[int], value: float, layer: Layer) -> Tensor:
    """Pad (or, where negative, cut) the two spatial axes."""
    size = [bottom.shape[2 + axis] + before[axis] + after[axis] for axis in (0, 1)]
    layer.check_count((*bottom.shape[:2], *size), "padded bottom")
    return F.pad(bottom, (before[1], after[1], before[0], after[0]), value=value)


def _window_lengths(count: int, kernel: int, stride: int, extent: int, like: Tensor) -> Tensor:
    """The length of each window along one axis, clipped to the padded image of `extent` pixels."""
    start = torch.arange(count, device=like.device) * stride
    return (extent - start).clamp(max=kernel).to(like.dtype)


def _divided_up(size: int, by: int) -> int:
    return -(-size // by)


def _pair(param: PoolingParameter, name: str, layer: Layer) -> Pair:
    square, sides = "kernel_size" if name == "kernel" else name, (f"{name}_h", f"{name}_w")
    given = [param.HasField(side) for side in sides]
    if not any(given):
        return (getattr(param, square),) * 2
    if param.HasField(square):
        raise layer.error(f"give {square}, or {' and '.join(sides)}, not both")
    if not all(given):
        raise layer.error(f"give both {' and '.join(sides)}")
    return getattr(param, sides[0]), getattr(param, sides[1])
