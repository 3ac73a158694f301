"""Layers that act on each number by itself (neuron_layer.cpp), and Dropout."""

import math

import torch
import torch.nn.functional as F

from converters.layers.base import Layer, constant, register


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


@register("PReLU")
class PReLU(Layer):
    """max(x, 0) + slope * min(x, 0) with learned slopes (prelu_layer.cpp).

    One slope for each channel, shape (C,), or a single one, shape (). Slopes start at 0.25 unless a filler says otherwise.
    """

    blob_names = ("weight",)

    def __init__(self, param):
        super().__init__(param)
        prelu = param.prelu_param
        self.shared = prelu.channel_shared
        self.fillers = (prelu.filler if prelu.HasField("filler") else constant(0.25),)

    def blob_shapes(self, bottom):
        if len(bottom) < 2:
            raise self.error(f"wants a bottom of at least 2 axes (N, C, ...), got shape {tuple(bottom)}")
        return ((),) if self.shared else ((bottom[1],),)

    def forward(self, bottom):
        return F.prelu(bottom, self.weight)


@register("ELU")
class ELU(Layer):
    """x where x > 0, else alpha * (exp(x) - 1) (elu_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.alpha = param.elu_param.alpha

    def forward(self, bottom):
        return F.elu(bottom, self.alpha)


@register("Sigmoid")
class Sigmoid(Layer):
    """1 / (1 + exp(-x)) (sigmoid_layer.cpp)."""

    def forward(self, bottom):
        return bottom.sigmoid()


@register("TanH")
class TanH(Layer):
    """The hyperbolic tangent (tanh_layer.cpp)."""

    def forward(self, bottom):
        return bottom.tanh()


@register("Swish")
class Swish(Layer):
    """x * sigmoid(beta * x) (swish_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.beta = param.swish_param.beta

    def forward(self, bottom):
        return bottom * (self.beta * bottom).sigmoid()


@register("AbsVal")
class AbsVal(Layer):
    """The absolute value; its gradient at zero is zero (absval_layer.cpp)."""

    def forward(self, bottom):
        return bottom.abs()


@register("BNLL")
class BNLL(Layer):
    """Binomial normal log likelihood, log(1 + exp(x)) (bnll_layer.cpp)."""

    def forward(self, bottom):
        return F.softplus(bottom, threshold=50)  # beyond it, Caffe's gradient is one


@register("Threshold")
class Threshold(Layer):
    """One where x > threshold, else zero; no gradient (threshold_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.threshold = param.threshold_param.threshold

    def forward(self, bottom):
        return (bottom > self.threshold).to(bottom.dtype)


@register("Clip")
class Clip(Layer):
    """x limited to [min, max], both ends of which pass the gradient on (clip_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.min, self.max = param.clip_param.min, param.clip_param.max

    def forward(self, bottom):
        return bottom.clamp(self.min, self.max)


@register("Exp")
class Exp(Layer):
    """base ^ (shift + scale * x); base -1 is e (exp_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.log_base = log_base(param.exp_param.base, self)
        self.scale, self.shift = param.exp_param.scale, param.exp_param.shift

    def forward(self, bottom):
        return (bottom * (self.log_base * self.scale)).exp() * math.exp(self.log_base * self.shift)


@register("Log")
class Log(Layer):
    """The logarithm of shift + scale * x to a base; base -1 is e (log_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.log_base = log_base(param.log_param.base, self)
        if self.log_base == 0:
            raise self.error("there is no logarithm to base 1")
        self.scale, self.shift = param.log_param.scale, param.log_param.shift

    def forward(self, bottom):
        return (bottom * self.scale + self.shift).log() / self.log_base


def log_base(base, layer):
    """The natural logarithm of `base`, which -1 leaves at e."""
    if base == -1:
        return 1.0
    if base <= 0:
        raise layer.error(f"base {base} must be positive, or -1 for e")
    return math.log(base)


@register("Power")
class Power(Layer):
    """(shift + scale * x) ^ power (power_layer.cpp).

    Where Caffe's gradient divides 0 by 0 (a power of x alone, at x = 0), its limit is taken instead.
    """

    def __init__(self, param):
        super().__init__(param)
        power = param.power_param
        self.power, self.scale, self.shift = power.power, power.scale, power.shift

    def forward(self, bottom):
        if self.power == 0:
            return torch.ones_like(bottom)  # whatever the bottom, even zero
        top = bottom * self.scale + self.shift
        return top if self.power == 1 else top**self.power


@register("Dropout")
class Dropout(Layer):
    """In training, zeroes each number with probability dropout_ratio and divides the others by 1 - dropout_ratio
    (dropout_layer.cpp).

    Element by element, also on feature maps.
    """

    def __init__(self, param):
        super().__init__(param)
        self.ratio = param.dropout_param.dropout_ratio
        if not 0 < self.ratio < 1:
            raise self.error(f"dropout_ratio {self.ratio} must lie between 0 and 1")

    def forward(self, bottom):
        return F.dropout(bottom, self.ratio, self.training)
