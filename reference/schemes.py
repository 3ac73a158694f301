"""The ways of training that the papers compare (CVPR 2015, sections 4.2 and 4.3; PAMI 2016, section 4.4)."""

from typing import NamedTuple


class Batches(NamedTuple):
    """How many images make an update, and how their losses count."""

    momentum: float
    iter_size: int
    averaged: bool  # the loss over the pixels of an image; else it is summed


BATCHES = {
    "accumulated": Batches(momentum=0.9, iter_size=20, averaged=True),
    "online": Batches(momentum=0.9, iter_size=1, averaged=False),
    "heavy": Batches(momentum=0.99, iter_size=1, averaged=False),
}
STAGING = ("staged", "at-once")  # from which weights; each makes several trainings, or another net
SCHEMES = (*BATCHES, "fixed-trunk", "fixed-interpolation", "learned-interpolation", "sampled", "balanced")

# The learning rates of averaged losses (CVPR 2015, section 4.3).
AVERAGED_RATES = {"caffenet": 1e-3, "vgg16": 1e-4, "googlenet": 5e-5}

SAMPLED = 0.5  # the share of the coarsest scores' cells that are kept; 1 / 0.5 as many images make up for it

JITTER = 32  # pixels that images are moved by at most, where they are at all
