"""Layers that act on each number by itself (neuron_layer.cpp), and Dropout."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.caffe_pb2 import LayerParameter
from converters.formats.blob import dims_text
from converters.layers.base import Layer, Shape, constant, layer
from converters.layers.pixels import SAME
from converters.layers.sources import LayerSource, number


@layer("ReLU")
class ReLU(Layer):
    """max(x, 0) + negative_slope * min(x, 0) (relu_layer.cpp)."""

    pixels = SAME
    in_place = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.negative_slope = param.relu_param.negative_slope
        if self.negative_slope < 0:  # the top's sign is not the bottom's
            self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        if self.negative_slope:
            return F.leaky_relu(bottom, self.negative_slope)
        return F.relu(bottom, inplace=self.overwrite)

    def source(self, step: LayerSource) -> str:
        slope = self.negative_slope
        return f"F.leaky_relu({step.bottom}, {number(slope)})" if slope else f"F.relu({step.bottom})"


@layer("PReLU")
class PReLU(Layer):
    """max(x, 0) + slope * min(x, 0) with learned slopes (prelu_layer.cpp).

    One slope for each channel, shape (C,), or a single one, shape (). Slopes start at 0.25 unless a filler says otherwise.
    """

    pixels = SAME
    blob_names = ("weight",)

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        prelu = param.prelu_param
        self.shared = prelu.channel_shared
        self.fillers = (prelu.filler if prelu.HasField("filler") else constant(0.25),)

    def blob_shapes(self, bottom: Shape) -> tuple[Shape, ...]:
        if len(bottom) < 2:
            raise self.error(f"needs a bottom of at least 2 axes (N, C, ...), got shape {dims_text(bottom)}")
        return ((),) if self.shared else ((bottom[1],),)

    def forward(self, bottom: Tensor) -> Tensor:
        return F.prelu(bottom, self.weight)

    def source(self, step: LayerSource) -> str:
        step.blobs()
        return f"F.prelu({step.bottom}, {step.own}.weight)"


@layer("ELU")
class ELU(Layer):
    """x where x > 0, else alpha * (exp(x) - 1) (elu_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.alpha = param.elu_param.alpha
        if self.alpha < 0:  # the top's sign is not the bottom's
            self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        return F.elu(bottom, self.alpha)

    def source(self, step: LayerSource) -> str:
        return f"F.elu({step.bottom}, {number(self.alpha)})"


@layer("Sigmoid")
class Sigmoid(Layer):
    """1 / (1 + exp(-x)) (sigmoid_layer.cpp)."""

    pixels = SAME

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.sigmoid()

    def source(self, step: LayerSource) -> str:
        return f"torch.sigmoid({step.bottom})"


@layer("TanH")
class TanH(Layer):
    """The hyperbolic tangent (tanh_layer.cpp)."""

    pixels = SAME

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.tanh()

    def source(self, step: LayerSource) -> str:
        return f"torch.tanh({step.bottom})"


@layer("Swish")
class Swish(Layer):
    """x * sigmoid(beta * x) (swish_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.beta = param.swish_param.beta

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom * (self.beta * bottom).sigmoid()

    def source(self, step: LayerSource) -> str:
        return f"{step.bottom} * torch.sigmoid({number(self.beta)} * {step.bottom})"


@layer("AbsVal")
class AbsVal(Layer):
    """The absolute value; its gradient at zero is zero (absval_layer.cpp)."""

    pixels = SAME
    apart = True

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.abs()

    def source(self, step: LayerSource) -> str:
        return f"torch.abs({step.bottom})"


@layer("BNLL")
class BNLL(Layer):
    """Binomial normal log likelihood, log(1 + exp(x)) (bnll_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        return F.softplus(bottom, threshold=50)  # beyond it, Caffe's gradient is one

    def source(self, step: LayerSource) -> str:
        return f"F.softplus({step.bottom}, threshold=50)"


@layer("Threshold")
class Threshold(Layer):
    """One where x > threshold, else zero; no gradient (threshold_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.threshold = param.threshold_param.threshold

    def forward(self, bottom: Tensor) -> Tensor:
        return (bottom > self.threshold).to(bottom.dtype)

    def source(self, step: LayerSource) -> str:
        return f"({step.bottom} > {number(self.threshold)}).to({step.bottom}.dtype)"


@layer("Clip")
class Clip(Layer):
    """x limited to [min, max], both ends of which pass the gradient on (clip_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.min, self.max = param.clip_param.min, param.clip_param.max
        self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        if self.min > self.max:  # torch.clamp would give max
            return bottom.clamp(max=self.max).clamp(min=self.min)
        return bottom.clamp(self.min, self.max)

    def source(self, step: LayerSource) -> str:
        if self.min > self.max:
            step.refuse(f"min {number(self.min)} is above max {number(self.max)}")
        return f"{step.bottom}.clamp({number(self.min)}, {number(self.max)})"


@layer("Exp")
class Exp(Layer):
    """base ^ (shift + scale * x); base -1 is e (exp_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.log_base = log_base(param.exp_param.base, self)
        self.scale, self.shift = param.exp_param.scale, param.exp_param.shift

    def forward(self, bottom: Tensor) -> Tensor:
        return (bottom * (self.log_base * self.scale)).exp() * math.exp(self.log_base * self.shift)

    def source(self, step: LayerSource) -> str:
        inner = f"({number(self.shift)} + {number(self.scale)} * {step.bottom})"
        base = step.param.exp_param.base
        return f"torch.exp{inner}" if base == -1 else f"{number(base)} ** {inner}"


@layer("Log")
class Log(Layer):
    """The logarithm of shift + scale * x to a base; base -1 is e (log_layer.cpp)."""

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.log_base = log_base(param.log_param.base, self)
        if self.log_base == 0:
            raise self.error("there is no logarithm to base 1")
        self.scale, self.shift = param.log_param.scale, param.log_param.shift
        self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        return (bottom * self.scale + self.shift).log() / self.log_base

    def source(self, step: LayerSource) -> str:
        top = f"torch.log({number(self.shift)} + {number(self.scale)} * {step.bottom})"
        return top if self.log_base == 1 else f"{top} / {self.log_base}"


def log_base(base: float, layer: Layer) -> float:
    """The natural logarithm of `base`, which -1 leaves at e."""
    if base == -1:
        return 1.0
    if base <= 0:
        raise layer.error(f"base {base} must be positive, or -1 for e")
    return math.log(base)


@layer("Power")
class Power(Layer):
    """(shift + scale * x) ^ power (power_layer.cpp).

    Where Caffe's gradient divides 0 by 0 (a power of x alone, at x = 0), its limit is taken instead.
    """

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        power = param.power_param
        self.power, self.scale, self.shift = power.power, power.scale, power.shift
        self.refuse_training_in_place()

    def forward(self, bottom: Tensor) -> Tensor:
        if self.power * self.scale == 0:  # whatever the bottom, even infinite
            return torch.full_like(bottom, self.shift).pow(self.power)
        top = bottom * self.scale + self.shift
        return top if self.power == 1 else top**self.power

    def source(self, step: LayerSource) -> str:
        if self.power * self.scale == 0:
            return f"torch.full_like({step.bottom}, {number(self.shift)}) ** {number(self.power)}"
        inner = f"{number(self.shift)} + {number(self.scale)} * {step.bottom}"
        return f"({inner}) ** {number(self.power)}" if self.power != 1 else inner


@layer("Dropout")
class Dropout(Layer):
    """In training, zeroes each number with probability dropout_ratio and divides the others by 1 - dropout_ratio
    (dropout_layer.cpp).

    Element by element, also on feature maps. A ratio of 0 leaves all, one of 1 nothing to train with.
    """

    pixels = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.ratio = param.dropout_param.dropout_ratio
        if not 0 <= self.ratio <= 1:
            raise self.error(f"dropout_ratio {self.ratio:g} must be from 0 to 1")

    def forward(self, bottom: Tensor) -> Tensor:
        if self.ratio == 1 and self.training:  # Caffe's top is NaN: nothing, times 1 / (1 - 1)
            raise self.error("dropout_ratio 1 leaves nothing to train with; give a smaller one")
        return F.dropout(bottom, self.ratio, self.training)

    def source(self, step: LayerSource) -> str:
        return f"F.dropout({step.bottom}, {number(self.ratio)}, self.training)"
