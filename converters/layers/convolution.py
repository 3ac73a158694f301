"""Convolution and Deconvolution (base_conv_layer.cpp)."""

import torch.nn.functional as F

from converters.layers.base import Layer, register


def spatial(param, name, default):
    """(height, width) of `pad`, `stride`, `kernel` or `dilation`: one number, one for each, or the _h and _w forms."""
    values = list(getattr(param, "kernel_size" if name == "kernel" else name))
    if hasattr(param, f"{name}_h") and (param.HasField(f"{name}_h") or param.HasField(f"{name}_w")):
        return getattr(param, f"{name}_h"), getattr(param, f"{name}_w")
    if len(values) > 2:
        raise ValueError(f"{len(values)} values of {name}: only two spatial axes are supported")
    return tuple(values) * 2 if len(values) == 1 else tuple(values) or default


class _Convolution(Layer):
    def __init__(self, param):
        super().__init__(param)
        conv = param.convolution_param
        try:
            self.kernel = spatial(conv, "kernel", (0, 0))
            self.stride = spatial(conv, "stride", (1, 1))
            self.pad = spatial(conv, "pad", (0, 0))
            self.dilation = spatial(conv, "dilation", (1, 1))
        except ValueError as error:
            raise self.error(error) from None
        self.num_output, self.group = conv.num_output, conv.group
        if not self.num_output or 0 in self.kernel or 0 in self.stride or 0 in self.dilation:
            raise self.error("num_output, kernel, stride and dilation must be positive")
        if conv.axis != 1:
            raise self.error(f"axis {conv.axis}: only convolution over the axes after the channels (axis 1) is supported")
        self.blob_names = ("weight", "bias") if conv.bias_term else ("weight",)
        self.fillers = (conv.weight_filler if conv.HasField("weight_filler") else None,
                        conv.bias_filler if conv.HasField("bias_filler") else None)

    def _channels(self, bottom):
        if len(bottom) != 4:
            raise self.error(f"wants a bottom of 4 axes (N, C, H, W), got shape {tuple(bottom)}")
        if bottom[1] % self.group or self.num_output % self.group:
            raise self.error(f"{bottom[1]} channels in and {self.num_output} out do not divide into {self.group} groups")
        return bottom[1]


@register("Convolution")
class Convolution(_Convolution):
    """Weights (num_output, channels / group, kernel_h, kernel_w); bias (num_output,)."""

    def blob_shapes(self, bottom, *_):
        return ((self.num_output, self._channels(bottom) // self.group, *self.kernel), (self.num_output,))

    def forward(self, *bottoms):
        bias = self.bias if "bias" in self.blob_names else None
        tops = tuple(F.conv2d(bottom, self.weight, bias, self.stride, self.pad, self.dilation, self.group)
                     for bottom in bottoms)
        return tops if len(tops) > 1 else tops[0]


@register("Deconvolution")
class Deconvolution(_Convolution):
    """The transpose of Convolution: weights (channels, num_output / group, kernel_h, kernel_w); bias (num_output,)."""

    def blob_shapes(self, bottom, *_):
        return ((self._channels(bottom), self.num_output // self.group, *self.kernel), (self.num_output,))

    def forward(self, *bottoms):
        bias = self.bias if "bias" in self.blob_names else None
        tops = tuple(F.conv_transpose2d(bottom, self.weight, bias, self.stride, self.pad, 0, self.group, self.dilation)
                     for bottom in bottoms)
        return tops if len(tops) > 1 else tops[0]
