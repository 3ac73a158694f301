"""The paper's four scores (PAMI 2016, section 5) from one confusion matrix, as fractions; tables print percent."""

from dataclasses import dataclass

import numpy as np

from converters.errors import CaffeError
from repro.data.images import VOID


@dataclass(frozen=True)
class Scores:
    """Pixel accuracy, mean accuracy, mean IU and frequency weighted IU, and the IU of each class, from 0 to 1.

    A class that is neither in the truth nor predicted has the IU nan and counts in no mean.
    """

    pixel_acc: float
    mean_acc: float
    mean_iu: float
    fw_iu: float
    class_iu: np.ndarray

    def means(self):
        """The four numbers of the paper's tables: {"pixel_acc", "mean_acc", "mean_iu", "fw_iu"}."""
        return {name: getattr(self, name) for name in ("pixel_acc", "mean_acc", "mean_iu", "fw_iu")}

    def by_class(self, names):
        """{name of a class: its IU}, with None in place of nan, which JSON does not know."""
        return {name: None if np.isnan(iu) else float(iu) for name, iu in zip(names, self.class_iu, strict=True)}


class Confusion:
    """Counts pixels by true and predicted class. `hist` is int64, num_classes x num_classes, one row a true class."""

    def __init__(self, num_classes):
        if not 1 <= num_classes <= VOID:
            raise CaffeError(f"a confusion matrix of {num_classes} classes: there may be 1 to {VOID}")
        self.num_classes = num_classes
        self.hist = np.zeros((num_classes, num_classes), np.int64)

    def add(self, truth, prediction):
        """Count one image: two label maps (integers, HxW); the pixels that are void in the truth are left out.

        Raises CaffeError where the sizes differ or a label is not of the classes.
        """
        truth, prediction = _labels("truth", truth), _labels("prediction", prediction)
        if truth.shape != prediction.shape:
            raise CaffeError(f"a prediction of {prediction.shape} cannot be scored against a truth of {truth.shape}")
        # Every pair of bytes is counted, void and wrong values too: one pass, no masks, and the checks come free.
        pairs = truth.ravel().astype(np.uint16) << 8 | prediction.ravel()
        counts = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)[:VOID]
        n = self.num_classes
        _refuse("truth", counts[n:].any(axis=1), n)
        _refuse("prediction", counts[:, n:].any(axis=0), n)
        self.hist += counts[:n, :n]

    def scores(self, excluded_classes=()):
        """The `Scores` of all that was added; the classes numbered in `excluded_classes` count in no mean."""
        return scores(self.hist, excluded_classes)


def scores(hist, excluded_classes=()):
    """Compute the `Scores` of a confusion matrix (rows: truth), as the release's score.py does.

    With n_ij the pixels of class i predicted as j, t_i those of class i and IU_i = n_ii / (t_i + sum_j n_ji - n_ii):
    pixel acc. is sum n_ii / sum t_i, mean acc. the mean of n_ii / t_i, mean IU the mean of IU_i, and f.w. IU
    sum t_i IU_i / sum t_i; classes with an empty denominator are left out, and from mean acc. and mean IU those numbered
    in `excluded_classes` too (SIFT Flow's that its test set lacks). Raises CaffeError on a matrix of zeros.
    """
    total = hist.sum()
    if total == 0:
        raise CaffeError("nothing to score: no pixel that is not void was counted")
    right, true, predicted = np.diag(hist), hist.sum(axis=1), hist.sum(axis=0)
    class_acc = _divide(right, true)
    class_iu = _divide(right, true + predicted - right)
    kept = np.delete(np.arange(len(hist)), excluded_classes)
    return Scores(
        pixel_acc=float(right.sum() / total),
        mean_acc=float(np.nanmean(class_acc[kept])),
        mean_iu=float(np.nanmean(class_iu[kept])),
        fw_iu=float(np.nansum(true * class_iu) / total),
        class_iu=class_iu,
    )


def _divide(part, whole):
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _labels(what, labels):
    labels = np.asarray(labels)
    if labels.dtype == np.uint8:
        return labels
    if labels.dtype.kind not in "iu":
        raise CaffeError(f"the {what} holds {labels.dtype} values; labels are integers")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 255:
        raise CaffeError(f"the {what} holds labels from {labels.min()} to {labels.max()}; they are 0 to 255")
    return labels.astype(np.uint8)


def _refuse(what, beyond, num_classes):
    """`beyond[k]` says whether the label num_classes + k occurs."""
    if beyond.any():
        label = num_classes + beyond.argmax()
        raise CaffeError(f"the {what} holds the label {label}, which is none of the {num_classes} classes")
