"""Layers that act on each number by itself, and Dropout."""

import torch.nn.functional as F

from converters.layers.base import Layer, register


@register("ReLU")
class ReLU(Layer):
    """max(x, 0) + negative_slope * min(x, 0) (relu_layer.cpp)."""

    in_place = True

    def __init__(self, param):
        super().__init__(param)
        self.negative_slope = param.relu_param.negative_slope
        self.overwrite = False  # set by the net where nobody else needs the bottom

    def forward(self, bottom):
        if self.negative_slope:
            return F.leaky_relu(bottom, self.negative_slope)
        return F.relu(bottom, inplace=self.overwrite)


@register("Dropout")
class Dropout(Layer):
    """In training each number is zeroed with probability dropout_ratio and the others are divided by 1 - dropout_ratio,
    element by element, also on feature maps (dropout_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.ratio = param.dropout_param.dropout_ratio
        if not 0 < self.ratio < 1:
            raise self.error(f"dropout_ratio {self.ratio} must lie between 0 and 1")

    def forward(self, bottom):
        return F.dropout(bottom, self.ratio, self.training)
