"""Softmax and the losses (loss_layer.cpp)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from converters.caffe_pb2 import HingeLossParameter, LayerParameter, LossParameter
from converters.formats.blob import dims_text, read_blob
from converters.layers.base import Layer, canonical_axis, check_indices, layer, root
from converters.layers.pixels import SAME, Pixels, along_axis
from converters.layers.sources import LayerSource

LOG_FLT_MIN = math.log(torch.finfo(torch.float32).tiny)
LOG_THRESHOLD = 1e-20  # kLOG_THRESHOLD: the smallest probability of which a loss takes the logarithm


@layer("Softmax")
class Softmax(Layer):
    """exp(x) over its sum along `axis` (softmax_layer.cpp)."""

    pixels: Pixels | None = SAME

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.axis = param.softmax_param.axis
        self.pixels = along_axis(self.axis)

    def forward(self, bottom: Tensor) -> Tensor:
        return bottom.softmax(canonical_axis(self.axis, bottom.ndim, self))

    def source(self, step: LayerSource) -> str:
        return f"{step.bottom}.softmax({self.axis % len(step.shapes[0])})"


def normalization_mode(param: LossParameter, default: int = LossParameter.VALID) -> int:
    """The mode a LossParameter asks for; `normalize`, the older switch, counts where `normalization` is not given."""
    if param.HasField("normalization"):
        return param.normalization
    if param.HasField("normalize"):
        return LossParameter.VALID if param.normalize else LossParameter.BATCH_SIZE
    return default


def normalizer(mode: int, outer: int, inner: int, valid: Tensor | None) -> Tensor | int:
    """What a summed loss is divided by: `outer` items of `inner` places, of which `valid`, a tensor or None for all, count.

    Never below one (LossLayer, GetNormalizer).
    """
    if mode == LossParameter.VALID and valid is not None:
        return valid.clamp(min=1)
    counts: dict[int, int] = {LossParameter.FULL: outer * inner, LossParameter.VALID: outer * inner,
              LossParameter.BATCH_SIZE: outer, LossParameter.NONE: 1}
    return max(1, counts[mode])


def at_least(values: Tensor, limit: float) -> Tensor:
    """max(values, limit), but with the gradient of `values`: Caffe's gradients do not know of the limit."""
    return values + (values.detach().clamp(min=limit) - values.detach())


class _Loss(Layer):
    loss_weight = 1.0
    ignores = True  # whether Caffe's layer knows ignore_label

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.tops = len(param.top)
        given = self.ignores and param.loss_param.HasField("ignore_label")
        self.ignore = param.loss_param.ignore_label if given else None

    def targets(self, labels: Tensor, scores: Tensor, axis: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(labels along `axis` of the scores, ignored ones 0; where they are ignored or None; how many are not, or None)."""
        shape, labels = scores.shape, labels.detach()
        if shape[:1] != labels.shape[:1]:
            raise self.error(f"needs as many items of labels as of scores: scores are {dims_text(shape)}, labels "
                             f"{dims_text(labels.shape)}")
        if labels.numel() != scores.numel() // shape[axis]:
            raise self.error(f"{labels.numel()} labels for {scores.numel() // shape[axis]} predictions: scores are "
                             f"{dims_text(shape)}, labels {dims_text(labels.shape)}")
        labels = labels.reshape(*shape[:axis], 1, *shape[axis + 1:])
        if self.ignore is None:
            return check_indices(labels, shape[axis], self, "label"), None, None
        ignored = labels.long() == self.ignore
        labels = check_indices(labels.masked_fill(ignored, 0), shape[axis], self, "label")
        return labels, ignored, ignored.numel() - ignored.sum()


@layer("SoftmaxWithLoss")
class SoftmaxWithLoss(_Loss):
    """Multinomial logistic loss of the softmax over `axis` (softmax_loss_layer.cpp).

    Bottoms: scores (N, C, ...) and labels (N, 1, ...) or (N, ...), whole numbers in any type. Labels equal to
    ignore_label count neither in the loss nor in a VALID normalization. A second top is the probabilities.
    """

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.axis = param.softmax_param.axis
        self.mode = normalization_mode(param.loss_param)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        axis = canonical_axis(self.axis, scores.ndim, self)
        target, ignored, valid = self.targets(labels, scores, axis)
        log_probabilities = scores.log_softmax(axis)
        picked = at_least(log_probabilities.gather(axis, target), LOG_FLT_MIN)
        if ignored is not None:
            picked = picked.masked_fill(ignored, 0)
        outer, inner = math.prod(scores.shape[:axis]), math.prod(scores.shape[axis + 1:])
        loss = -picked.sum() / normalizer(self.mode, outer, inner, valid)
        return (loss, log_probabilities.exp()) if self.tops > 1 else loss


@layer("InfogainLoss")
class InfogainLoss(_Loss):
    """Minus the sum of H[label, c] * log softmax(scores)[c] (infogain_loss_layer.cpp).

    H (C, C) is the third bottom or the file `source`, a BlobProto. Otherwise as SoftmaxWithLoss.
    """

    infogain: Tensor

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.axis = param.infogain_loss_param.axis
        if param.loss_param.HasField("normalize"):
            raise self.error("takes normalization, not the older normalize")
        self.mode = param.loss_param.normalization
        infogain = None  # where it is a bottom
        if len(param.bottom) < 3:
            if not param.infogain_loss_param.source:
                raise self.error("needs the infogain matrix, as a third bottom or as the file `source`")
            infogain = torch.from_numpy(read_blob(param.infogain_loss_param.source).copy())
        self.register_buffer("infogain", infogain, persistent=False)

    def forward(self, scores: Tensor, labels: Tensor, infogain: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        axis = canonical_axis(self.axis, scores.ndim, self)
        classes = scores.shape[axis]
        matrix = self.infogain if infogain is None else infogain.detach()
        if matrix.numel() != classes**2:
            raise self.error(f"an infogain matrix of shape {dims_text(matrix.shape)} for {classes} classes")
        target, ignored, valid = self.targets(labels, scores, axis)
        log_probabilities = scores.log_softmax(axis)
        rows = matrix.reshape(classes, classes)[target.squeeze(axis)].movedim(-1, axis)
        gains = rows * at_least(log_probabilities, math.log(LOG_THRESHOLD))
        if ignored is not None:
            gains = gains.masked_fill(ignored, 0)
        outer, inner = math.prod(scores.shape[:axis]), math.prod(scores.shape[axis + 1:])
        loss = -gains.sum() / normalizer(self.mode, outer, inner, valid)
        return (loss, log_probabilities.exp()) if self.tops > 1 else loss


@layer("MultinomialLogisticLoss")
class MultinomialLogisticLoss(_Loss):
    """Minus the mean logarithm of the probability of each item's label (multinomial_logistic_loss_layer.cpp).

    Bottoms: probabilities (N, C) and labels (N,). It knows no ignore_label.
    """

    ignores = False

    def forward(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        rows = probabilities.reshape(len(probabilities), -1)
        picked = rows.gather(1, self.targets(labels, rows, 1)[0])
        # Caffe's gradient is 1 / max(p, limit), below the limit too.
        return -at_least(picked, LOG_THRESHOLD).log().sum() / len(rows)


@layer("EuclideanLoss")
class EuclideanLoss(_Loss):
    """Half the mean over the items of the summed squared differences, with gradients to both (euclidean_loss_layer.cpp)."""

    def forward(self, bottom: Tensor, target: Tensor) -> Tensor:
        if bottom.shape[0] != target.shape[0] or bottom.numel() != target.numel():
            raise self.error(f"bottoms differ in shape: {dims_text(bottom.shape)} and {dims_text(target.shape)}")
        return (bottom - target.reshape(bottom.shape)).square().sum() / (2 * bottom.shape[0])


@layer("HingeLoss")
class HingeLoss(_Loss):
    """The mean over the items of the summed one-against-all hinge losses, norm L1 or squared, L2 (hinge_loss_layer.cpp).

    It knows no ignore_label.
    """

    ignores = False

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.squared = param.hinge_loss_param.norm == HingeLossParameter.L2

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        rows = scores.reshape(len(scores), -1)
        sign = torch.ones_like(rows).scatter(1, self.targets(labels, rows, 1)[0], -1)
        margins = F.relu(1 + sign * rows)
        return (margins.square() if self.squared else margins).sum() / len(rows)


@layer("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(_Loss):
    """Cross entropy of sigmoid(scores) with targets in [0, 1] (sigmoid_cross_entropy_loss_layer.cpp).

    The sum is divided by the number of items unless loss_param asks otherwise. Targets equal to ignore_label do not count.
    """

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.mode = normalization_mode(param.loss_param, LossParameter.BATCH_SIZE)

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        if scores.numel() != targets.numel() or scores.shape[0] != targets.shape[0]:
            raise self.error(f"bottoms differ in shape: {dims_text(scores.shape)} and {dims_text(targets.shape)}")
        targets = targets.detach().reshape(scores.shape).to(scores.dtype)
        losses, valid = F.binary_cross_entropy_with_logits(scores, targets, reduction="none"), None
        if self.ignore is not None:
            ignored = targets.long() == self.ignore
            losses, valid = losses.masked_fill(ignored, 0), ignored.numel() - ignored.sum()
        items = scores.shape[0]
        return losses.sum() / normalizer(self.mode, items, scores.numel() // items, valid)


@layer("ContrastiveLoss")
class ContrastiveLoss(_Loss):
    """Half the mean of d^2 for similar pairs and max(margin - d, 0)^2 for others, d their distance
    (contrastive_loss_layer.cpp).

    Bottoms: two of shape (N, C) and one of N numbers, not zero where the pair is similar. With legacy_version others
    cost max(margin - d^2, 0).
    """

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.margin = param.contrastive_loss_param.margin
        self.legacy = param.contrastive_loss_param.legacy_version

    def forward(self, left: Tensor, right: Tensor, similar: Tensor) -> Tensor:
        if left.shape != right.shape or similar.numel() != left.shape[0] or left[0].numel() != left.shape[1]:
            raise self.error(f"needs bottoms (N, C), (N, C) and (N,), got {dims_text(left.shape)}, {dims_text(right.shape)} "
                             f"and {dims_text(similar.shape)}")
        squared = (left - right).flatten(1).square().sum(1)
        short = F.relu(self.margin - (squared if self.legacy else root(squared, 1e-4)))
        apart = short if self.legacy else short.square()
        return torch.where(similar.flatten().long() != 0, squared, apart).sum() / (2 * left.shape[0])
