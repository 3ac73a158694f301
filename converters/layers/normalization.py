"""Local response normalization (lrn_layer.cpp)."""

import torch.nn.functional as F

from converters.caffe_pb2 import LRNParameter
from converters.layers.base import Layer, register


@register("LRN")
class LRN(Layer):
    """x / (k + alpha / n * sum of x^2 over the n neighbours) ^ beta.

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
        # The window slides over the channels, which avg_pool3d takes for depth. It is padded by hand, since avg_pool3d
        # refuses fewer channels than the window has.
        padded = F.pad(squares.unsqueeze(1), (0, 0, 0, 0, side, side))
        mean = F.avg_pool3d(padded, (self.size, 1, 1), 1).squeeze(1)
        return bottom * (self.k + self.alpha * mean) ** -self.beta
