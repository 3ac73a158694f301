"""The program: commands, solver, data sets, evaluation, reproduction."""

from importlib import import_module

_HOME_OF = {
    "Solver": "repro.solver",
    "accelerate": "repro.fast.accelerate",
    "load": "repro.segmentation",
    "segment": "repro.segmentation",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'repro' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__():
    return __all__
