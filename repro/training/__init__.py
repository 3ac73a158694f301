"""Caffe's solver, the loop around it, and what a training starts from and leaves behind."""

from converters import exports

__getattr__, __dir__, __all__ = exports(__name__, {
    "repro.training.initial_weights": ("prepare",),
    "repro.training.loop": ("train",),
})
