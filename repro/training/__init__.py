"""Caffe's solver, the loop around it, and what a training starts from and leaves behind."""

from typing import TYPE_CHECKING

from converters import exports

_HOMES = {
    "repro.training.initial_weights": ("prepare",),
    "repro.training.loop": ("train",),
}

if TYPE_CHECKING:  # as in converters
    from repro.training.initial_weights import prepare as prepare
    from repro.training.loop import train as train
else:
    __getattr__, __dir__, __all__ = exports(__name__, _HOMES)
