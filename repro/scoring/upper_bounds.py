"""How good coarse labels can be: the mean IU of the truth sampled down by a factor and up again (CVPR 2015, section 4.1).

The paper says neither how it resized nor which images of VOC 2011's val it took; these are two readings of it.
"""

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d, interpolate, one_hot
from tqdm import tqdm

from repro.data.images import VOID
from repro.scoring.metrics import Confusion

FACTORS = (128, 64, 32, 16, 8, 4)


def upper_bounds(dataset, method, factors=FACTORS):
    """{factor: mean IU} of labels resampled by a method of METHODS, over all images of a data set, void left out."""
    confusions = {factor: Confusion(dataset.num_classes) for factor in factors}
    for index in tqdm(range(len(dataset)), desc=f"bounds, {method}", unit="image", disable=None):
        labels = dataset.labels(index)
        for factor, confusion in confusions.items():
            confusion.add(labels, METHODS[method](labels, factor))
    return {factor: confusion.scores().mean_iu for factor, confusion in confusions.items()}


def nearest(labels, factor):
    """Every cell takes the label of the pixel in its middle, and every pixel that of its cell; void becomes class 0."""
    image = Image.fromarray(np.where(labels == VOID, 0, labels).astype(np.uint8))
    small = image.resize(coarse_size(labels, factor)[::-1], Image.Resampling.NEAREST)
    return np.array(small.resize(image.size, Image.Resampling.NEAREST))


def majority(labels, factor):
    """Every cell takes its commonest label but void, and these are upsampled bilinearly, as a net's scores are."""
    present = np.unique(labels[labels != VOID])
    if not len(present):
        return np.zeros_like(labels)
    # A label beyond the last of `present` is void: it has a channel of its own, which has no vote.
    channels = torch.from_numpy(np.searchsorted(present, labels))
    votes = one_hot(channels, len(present) + 1)[:, :, :-1].permute(2, 0, 1).float()
    cells = adaptive_avg_pool2d(votes, coarse_size(labels, factor)).argmax(0)
    scores = one_hot(cells, len(present)).permute(2, 0, 1)[None].float()
    return present[interpolate(scores, size=labels.shape, mode="bilinear")[0].argmax(0).numpy()]


def coarse_size(labels, factor):
    """Height and width over the factor, rounded, at least 1."""
    return tuple(max(1, round(side / factor)) for side in labels.shape)


METHODS = {"nearest": nearest, "majority": majority}
