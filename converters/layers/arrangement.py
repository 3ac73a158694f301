"""Layers that move numbers without changing them: Concat, Crop, Split and Silence."""

import torch

from converters.layers.base import Layer, canonical_axis, register


@register("Concat")
class Concat(Layer):
    """The bottoms one after the other along `axis` (concat_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        concat = param.concat_param
        self.axis = concat.concat_dim if concat.HasField("concat_dim") else concat.axis

    def forward(self, *bottoms):
        axis = canonical_axis(self.axis, bottoms[0].ndim, self)
        for bottom in bottoms[1:]:
            if bottom.ndim != bottoms[0].ndim or any(
                    bottom.shape[i] != bottoms[0].shape[i] for i in range(bottom.ndim) if i != axis):
                raise self.error(f"shapes {tuple(bottoms[0].shape)} and {tuple(bottom.shape)} differ beside axis {axis}")
        return torch.cat(bottoms, axis)


@register("Crop")
class Crop(Layer):
    """The part of the first bottom that begins at `offset` and has the second's size from `axis` on (crop_layer.cpp)."""

    def __init__(self, param):
        super().__init__(param)
        self.axis, self.offset = param.crop_param.axis, list(param.crop_param.offset)

    def forward(self, bottom, reference):
        axis = canonical_axis(self.axis, bottom.ndim, self)
        cropped = range(axis, bottom.ndim)
        if len(self.offset) not in (0, 1, len(cropped)):
            raise self.error(f"{len(self.offset)} offsets for {len(cropped)} cropped axes: give none, one, or one for each")
        offsets = (self.offset or [0]) * len(cropped) if len(self.offset) < 2 else self.offset
        for i, offset in zip(cropped, offsets, strict=True):
            if offset + reference.shape[i] > bottom.shape[i]:
                raise self.error(f"axis {i} of {bottom.shape[i]} cannot be cropped at {offset} to {reference.shape[i]}")
            bottom = bottom.narrow(i, offset, reference.shape[i])
        return bottom


@register("Split")
class Split(Layer):
    """Every top is the bottom (split_layer.cpp; gradients are added, as autograd does anyway)."""

    def __init__(self, param):
        super().__init__(param)
        self.tops = len(param.top)

    def forward(self, bottom):
        return (bottom,) * self.tops if self.tops > 1 else bottom


@register("Silence")
class Silence(Layer):
    """Takes bottoms so that they are no outputs of the net (silence_layer.cpp)."""

    def forward(self, *bottoms):
        return ()
