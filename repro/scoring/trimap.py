"""Quality near the boundaries: scores of the pixels in a narrow band around them, the trimap of PAMI 2016's comparisons."""

import numpy as np
from scipy.ndimage import distance_transform_cdt

from repro.data.images import VOID
from repro.scoring.metrics import scores

WIDEST = 40


class Trimap:
    """Counts the pixels near boundaries by distance, true and predicted class; `add` images, then read `scores`.

    A boundary pixel has one of its four neighbours in another label, void included. The band of width w is all pixels
    that are not void and fewer than w steps, diagonal ones too, from a boundary pixel: a width of 1 is the boundary.
    """

    def __init__(self, num_classes, widest=WIDEST):
        self.hist = np.zeros((widest, num_classes, num_classes), np.int64)

    def add(self, truth, prediction):
        """Count one image: two label maps, uint8 HxW, which `Confusion.add` has found right."""
        near = distances(truth)
        band = (near < len(self.hist)) & (truth != VOID)
        places = np.ravel_multi_index((near[band], truth[band], prediction[band]), self.hist.shape)
        self.hist += np.bincount(places, minlength=self.hist.size).reshape(self.hist.shape)

    def scores(self, excluded_classes=()):
        """{width in pixels: the `Scores` of its band}, from 1; {} where there is no boundary.

        excluded_classes: as in `scores`.
        """
        return {width: scores(hist, excluded_classes) for width, hist in enumerate(self.hist.cumsum(axis=0), start=1)
                if hist.any()}


def distances(labels):
    """How many steps each pixel is from the nearest boundary pixel, HxW; beyond all bounds where there is none."""
    boundary = np.zeros(labels.shape, bool)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    boundary[:, 1:] |= across
    boundary[:, :-1] |= across
    boundary[1:] |= down
    boundary[:-1] |= down
    if not boundary.any():
        return np.full(labels.shape, np.iinfo(np.int32).max)
    return distance_transform_cdt(~boundary, "chessboard")
