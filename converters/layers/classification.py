"""From scores to classes: ArgMax and Accuracy."""

import torch
from torch import Tensor

from converters.caffe_pb2 import LayerParameter
from converters.layers.base import Layer, canonical_axis, check_indices, layer


@layer("ArgMax")
class ArgMax(Layer):
    """Where the top_k largest numbers lie along `axis`, or among all of an item; with out_max_val they themselves
    (argmax_layer.cpp).

    Of equal numbers the last comes first. Without `axis` the top is (N, 1, top_k), and out_max_val makes it (N, 2, top_k):
    places, then numbers. No gradient.
    """

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        argmax = param.argmax_param
        self.axis = argmax.axis if argmax.HasField("axis") else None
        self.top_k, self.out_max_val = argmax.top_k, argmax.out_max_val
        if self.top_k < 1:
            raise self.error("top_k must be positive")

    def forward(self, bottom: Tensor) -> Tensor:
        if self.axis is not None:
            values, places = self._largest(bottom, canonical_axis(self.axis, bottom.ndim, self))
            return values if self.out_max_val else places
        values, places = self._largest(bottom.reshape(len(bottom), -1), 1)
        top = torch.stack([places, values], 1) if self.out_max_val else places.unsqueeze(1)
        return top.reshape(*top.shape, *[1] * (bottom.ndim - 3))

    def _largest(self, bottom: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        bottom, size = bottom.detach(), bottom.shape[axis]
        if self.top_k > size:
            raise self.error(f"top_k {self.top_k} of only {size} numbers")
        backwards = bottom.flip(axis)  # so that the first of equal numbers is Caffe's
        if self.top_k == 1:
            values, order = backwards.max(axis, keepdim=True)
        else:
            values, order = backwards.sort(dim=axis, descending=True, stable=True)
            values, order = values.narrow(axis, 0, self.top_k), order.narrow(axis, 0, self.top_k)
        return values, (size - 1 - order).to(bottom.dtype)


@layer("Accuracy")
class Accuracy(Layer):
    """The share of labels that are among the top_k scores along `axis` (accuracy_layer.cpp).

    A score equal to the label's counts as better. Labels equal to ignore_label do not count. A second top is the accuracy
    of each class, zero where there is none of it. No gradient.
    """

    scores = True

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        accuracy = param.accuracy_param
        self.axis, self.top_k, self.tops = accuracy.axis, accuracy.top_k, len(param.top)
        self.ignore = accuracy.ignore_label if accuracy.HasField("ignore_label") else None

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, ...]:
        axis = canonical_axis(self.axis, scores.ndim, self)
        classes = scores.shape[axis]
        if labels.numel() != scores.numel() // classes:
            raise self.error(f"{labels.numel()} labels for {scores.numel() // classes} predictions")
        if self.top_k > classes:
            raise self.error(f"top_k {self.top_k} of only {classes} classes")
        rows, labels = scores.detach().movedim(axis, -1).reshape(-1, classes), labels.detach().flatten()
        counted = torch.ones_like(labels, dtype=torch.bool) if self.ignore is None else labels.long() != self.ignore
        labels = check_indices(labels.masked_fill(~counted, 0), classes, self, "label")
        ranks = (rows >= rows.gather(1, labels[:, None])).sum(1)
        right = ((ranks <= self.top_k) & counted).to(rows.dtype)
        counted = counted.to(rows.dtype)
        accuracy = right.sum() / counted.sum().clamp(min=1)
        if self.tops < 2:
            return accuracy
        of_class = [rows.new_zeros(classes).scatter_add(0, labels, share) for share in (right, counted)]
        return accuracy, of_class[0] / of_class[1].clamp(min=1)
