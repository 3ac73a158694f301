"""Softmax and the losses."""

import math

import torch

from converters.caffe_pb2 import LossParameter
from converters.layers.base import Layer, canonical_axis, register

LOG_FLT_MIN = math.log(torch.finfo(torch.float32).tiny)


@register("Softmax")
class Softmax(Layer):
    """(softmax_layer.cpp)"""

    def __init__(self, param):
        super().__init__(param)
        self.axis = param.softmax_param.axis

    def forward(self, bottom):
        return bottom.softmax(canonical_axis(self.axis, bottom.ndim, self))


def normalization_mode(param, default=LossParameter.VALID):
    """The mode a LossParameter asks for; `normalize`, the older switch, counts where `normalization` is not given."""
    if param.HasField("normalization"):
        return param.normalization
    if param.HasField("normalize"):
        return LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
    return default


def normalizer(mode, outer, inner, valid):
    """What a summed loss is divided by: `outer` items of `inner` places, of which `valid`, a tensor or None for all, count.

    Never below one (LossLayer, GetNormalizer).
    """
    if mode == LossParameter.VALID and valid is not None:
        return valid.clamp(min=1)
    counts = {LossParameter.FULL: outer * inner, LossParameter.VALID: outer * inner,
              LossParameter.BATCH_SIZE: outer, LossParameter.NONE: 1}
    return max(1, counts[mode])


@register("SoftmaxWithLoss")
class SoftmaxWithLoss(Layer):
    """Multinomial logistic loss of the softmax over `axis` (softmax_loss_layer.cpp).

    Bottoms: scores (N, C, ...) and labels (N, 1, ...) or (N, ...), whole numbers in any type. Labels equal to
    ignore_label count neither in the loss nor in a VALID normalization. A second top is the probabilities.
    """

    loss_weight = 1.0

    def __init__(self, param):
        super().__init__(param)
        self.axis, self.tops = param.softmax_param.axis, len(param.top)
        self.ignore = param.loss_param.ignore_label if param.loss_param.HasField("ignore_label") else None
        self.mode = normalization_mode(param.loss_param)

    def forward(self, scores, labels):
        axis = canonical_axis(self.axis, scores.ndim, self)
        outer, inner = math.prod(scores.shape[:axis]), math.prod(scores.shape[axis + 1:])
        if labels.numel() != outer * inner:
            raise self.error(f"{labels.numel()} labels for {outer * inner} predictions: scores are {tuple(scores.shape)}, "
                             f"labels {tuple(labels.shape)}")
        log_probabilities = scores.log_softmax(axis)
        target = labels.long().reshape(*scores.shape[:axis], 1, *scores.shape[axis + 1:])
        valid = None
        if self.ignore is not None:
            ignored = target == self.ignore
            valid = target.numel() - ignored.sum()
            target = target.masked_fill(ignored, 0)
        picked = log_probabilities.gather(axis, target)
        # Caffe takes the logarithm of max(p, FLT_MIN), but its gradient does not know of the limit.
        picked = picked + (picked.detach().clamp(min=LOG_FLT_MIN) - picked.detach())
        if self.ignore is not None:
            picked = picked.masked_fill(ignored, 0)
        loss = -picked.sum() / normalizer(self.mode, outer, inner, valid)
        return (loss, log_probabilities.exp()) if self.tops > 1 else loss
