"""Normalization: LRN, BatchNorm and MVN."""

import torch
import torch.nn.functional as F

from converters.caffe_pb2 import LRNParameter
from converters.layers.base import Layer, register, root


@register("LRN")
class LRN(Layer):
    """x / (k + alpha / n * sum of x^2 over the n neighbours) ^ beta (lrn_layer.cpp).

    Across channels n is local_size. Within a channel it is local_size^2: the average of the window clipped to the padded
    image, as Caffe's average pooling has it, and k is always 1.
    """

    def __init__(self, param):
        super().__init__(param)
        lrn = param.lrn_param
        self.size, self.alpha, self.beta, self.k = lrn.local_size, lrn.alpha, lrn.beta, lrn.k
        self.within = lrn.norm_region == LRNParameter.WITHIN_CHANNEL
        if self.size % 2 == 0:
            raise self.error(f"local_size {self.size} must be odd")

    def forward(self, bottom):
        squares, side = bottom * bottom, self.size // 2
        if self.within:
            return bottom * (1 + self.alpha * F.avg_pool2d(squares, self.size, 1, side)) ** -self.beta
        # The window slides over the channels, which avg_pool2d takes for height.
        rows = squares.flatten(2).unsqueeze(1)
        mean = F.avg_pool2d(rows, (self.size, 1), 1, (side, 0)).reshape(bottom.shape)
        return bottom * (self.k + self.alpha * mean) ** -self.beta


@register("BatchNorm")
class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) of each channel (batch_norm_layer.cpp).

    running_mean (C,) and running_var (C,) are sums that fade by moving_average_fraction, and scale_factor (1,) is what
    they are to be divided by. In training the batch's own statistics normalize and are added, the variance with the
    correction m / (m - 1); use_global_stats, where given, decides instead. There are no learned weights: see Scale.
    """

    blob_names = ("running_mean", "running_var", "scale_factor")
    buffers_only = True

    def __init__(self, param):
        super().__init__(param)
        norm = param.batch_norm_param
        self.fraction, self.eps = norm.moving_average_fraction, norm.eps
        self.global_stats = norm.use_global_stats if norm.HasField("use_global_stats") else None

    def blob_shapes(self, bottom):
        channels = bottom[1] if len(bottom) > 1 else 1
        return (channels,), (channels,), (1,)

    def forward(self, bottom):
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

    def _remember(self, mean, variance, count):
        self.scale_factor.mul_(self.fraction).add_(1)
        self.running_mean.mul_(self.fraction).add_(mean)
        self.running_var.mul_(self.fraction).add_(variance, alpha=count / (count - 1) if count > 1 else 1)


@register("MVN")
class MVN(Layer):
    """Each channel of each item, or with across_channels each item, to mean zero and variance one (mvn_layer.cpp).

    Unlike BatchNorm it divides by the standard deviation plus eps. The gradient is Caffe's, finite where all is equal.
    """

    def __init__(self, param):
        super().__init__(param)
        mvn = param.mvn_param
        self.normalize_variance, self.across, self.eps = mvn.normalize_variance, mvn.across_channels, mvn.eps

    def forward(self, bottom):
        rows = bottom.flatten(1) if self.across else bottom.reshape(*bottom.shape[:2], -1)
        top = rows - rows.mean(-1, keepdim=True)
        if self.normalize_variance:
            top = top / (root(top.square().mean(-1, keepdim=True), self.eps) + self.eps)
        return top.reshape(bottom.shape)
