"""The program: commands, training, inference, scoring, data sets, the paper's reproduction. A wing for each."""

import sys
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:  # as in converters
    from repro.data.images import load_image as load_image
    from repro.data.images import preprocess as preprocess
    from repro.fast.accelerate import accelerate as accelerate
    from repro.inference.segmentation import load as load
    from repro.inference.segmentation import segment as segment
    from repro.scoring.evaluation import evaluate as evaluate
    from repro.training.initial_weights import prepare as prepare
    from repro.training.loop import train as train
    from repro.training.solver import Solver as Solver
else:
    __getattr__, __dir__, __all__ = exports(__name__, _HOMES)
sys.meta_path.insert(0, Moved(_MOVED))  # first: another checkout, installed, may still have such files
