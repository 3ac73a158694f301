"""The program: commands, training, inference, scoring, data sets, the paper's reproduction. A wing for each."""

import sys

from converters import Moved, exports

_HOMES = {
    "repro.data.images": ("load_image", "preprocess"),
    "repro.fast.accelerate": ("accelerate",),
    "repro.inference.segmentation": ("load", "segment"),
    "repro.scoring.evaluation": ("evaluate",),
    "repro.training.initial_weights": ("prepare",),
    "repro.training.loop": ("train",),
    "repro.training.solver": ("Solver",),
}
# Modules that were published under another name, which stays importable.
_MOVED = {
    "repro.evaluation": "repro.scoring.evaluation",
    "repro.images": "repro.data.images",
    "repro.segmentation": "repro.inference.segmentation",
    "repro.solver": "repro.training.solver",
}

__getattr__, __dir__, __all__ = exports(__name__, _HOMES)
sys.meta_path.insert(0, Moved(_MOVED))  # first: another checkout, installed, may still have such files
