"""Normalization: LRN, BatchNorm and MVN."""

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.caffe_pb2 import LayerParameter, LRNParameter
from converters.formats.blob import dims_text
from converters.layers.base import OVERWRITES, Layer, Shape, layer, root
from converters.layers.pixels import ALIGNED, SAME, Pixels, windows
from converters.layers.sources import LayerSource, helper, number

BATCH_NORM = helper('''
def batch_norm(x, blobs, eps):
    """Caffe's BatchNorm: its mean and variance are sums, still to be divided by the third blob."""
    factor = torch.where(blobs.scale_factor == 0, 0, 1 / blobs.scale_factor)
    return F.batch_norm(x, blobs.running_mean * factor, blobs.running_var * factor, eps=eps)
''')


@layer("LRN")
class LRN(Layer):
    """x / (k + alpha / n * sum of x^2 over the n neighbours) ^ beta (lrn_layer.cpp).

    Across channels n is local_size. Within a channel it is local_size^2: the average of the window clipped to the padded
    image, as Caffe's average pooling has it, and k is always 1.
    """

    pixels: Pixels | None = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        lrn = param.lrn_param
        self.size, self.alpha, self.beta, self.k = lrn.local_size, lrn.alpha, lrn.beta, lrn.k
        self.within = lrn.norm_region == LRNParameter.WITHIN_CHANNEL
        if self.size % 2 == 0:
            raise self.error(f"local_size {self.size} must be odd")
        if self.within:
            self.pixels = windows((self.size,) * 2, (1, 1), (self.size // 2,) * 2)
            self.refuse_training_in_place()
        elif self.is_in_place:
            raise self.error(OVERWRITES)

    def forward(self, bottom: Tensor) -> Tensor:
        if bottom.ndim != 4:
            raise self.error(f"needs a bottom of 4 axes (N, C, H, W), got shape {dims_text(bottom.shape)}")
        squares, side = bottom * bottom, self.size // 2
        if self.within:
            return bottom * (1 + self.alpha * F.avg_pool2d(squares, self.size, 1, side)) ** -self.beta
        # The window slides over the channels, which avg_pool2d takes for height.
        rows = squares.flatten(2).unsqueeze(1)
        mean = F.avg_pool2d(rows, (self.size, 1), 1, (side, 0)).reshape(bottom.shape)
        return bottom * (self.k + self.alpha * mean) ** -self.beta

    def source(self, step: LayerSource) -> str:
        alpha, beta = number(self.alpha), number(self.beta)
        if self.within:
            squares = f"F.avg_pool2d({step.bottom} * {step.bottom}, {self.size}, 1, {self.size // 2})"
            return f"{step.bottom} * (1 + {alpha} * {squares}) ** -{beta}"
        return f"F.local_response_norm({step.bottom}, {self.size}, alpha={alpha}, beta={beta}, k={number(self.k)})"


@layer("BatchNorm")
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) of each channel (batch_norm_layer.cpp).

    running_mean (C,) and running_var (C,) are sums that fade by moving_average_fraction, and scale_factor (1,) is what
    they are to be divided by. In training the batch's own statistics normalize and are added, the variance with the
    correction m / (m - 1); use_global_stats, where given, decides instead. There are no learned weights: see Scale.
    """

    pixels: Pixels | None = SAME
    blob_names = ("running_mean", "running_var", "scale_factor")
    running_mean: Tensor
    running_var: Tensor
    scale_factor: Tensor
    buffers_only = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        norm = param.batch_norm_param
        self.fraction, self.eps = norm.moving_average_fraction, norm.eps
        self.global_stats = norm.use_global_stats if norm.HasField("use_global_stats") else None
        if self.global_stats is False:
            self.pixels = ALIGNED

    def blob_shapes(self, bottom: Shape) -> tuple[Shape, ...]:
        if len(bottom) < 2:
            raise self.error(f"needs a bottom of at least 2 axes (N, C, ...), got shape {dims_text(bottom)}")
        return (bottom[1],), (bottom[1],), (1,)

    def forward(self, bottom: Tensor) -> Tensor:
        rows = bottom.reshape(bottom.shape[0], self.running_mean.numel(), -1)
        if not self.training if self.global_stats is None else self.global_stats:
            factor = torch.where(self.scale_factor == 0, 0, 1 / self.scale_factor)
            mean, variance = self.running_mean * factor, self.running_var * factor
        else:
            mean = rows.mean((0, 2))
            variance = (rows - mean[:, None]).square().mean((0, 2))
            self._remember(mean.detach(), variance.detach(), rows.shape[0] * rows.shape[2])
        top = (rows - mean[:, None]) / (variance + self.eps).sqrt()[:, None]
        return top.reshape(bottom.shape)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        self.scale_factor.mul_(self.fraction).add_(1)
        self.running_mean.mul_(self.fraction).add_(mean)
        self.running_var.mul_(self.fraction).add_(variance, alpha=count / (count - 1) if count > 1 else 1)

    def source(self, step: LayerSource) -> str:
        if self.global_stats is False:
            step.refuse("with use_global_stats: false it does not run on one image")
        step.blobs()
        return f"{step.use(BATCH_NORM)}({step.bottom}, {step.own}, {number(self.eps)})"


@layer("MVN")
class MVN(Layer):
    """Each channel of each item, or with across_channels each item, to mean zero and variance one (mvn_layer.cpp).

    Unlike BatchNorm it divides by the standard deviation plus eps. The gradient is Caffe's, finite where all is equal. The
    top has 4 axes; those that the bottom lacks are ones.
    """

    pixels = ALIGNED  # each pixel is computed from the whole image

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        mvn = param.mvn_param
        self.normalize_variance, self.across, self.eps = mvn.normalize_variance, mvn.across_channels, mvn.eps
        if self.normalize_variance:
            self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        if bottom.ndim > 4:
            raise self.error(f"needs a bottom of at most 4 axes, got shape {dims_text(bottom.shape)}")
        bottom = bottom.reshape(*bottom.shape, *[1] * (4 - bottom.ndim))
        rows = bottom.flatten(1 if self.across else 2)
        top = rows - rows.mean(-1, keepdim=True)
        if self.normalize_variance:
            top = top / (root(top.square().mean(-1, keepdim=True), self.eps) + self.eps)
        return top.reshape(bottom.shape)
