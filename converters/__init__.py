"""Caffe's files and nets, to PyTorch's and back.

What needs no torch does not import it, so that converting files starts quickly.
"""

from importlib import import_module

_HOMES = {
    "converters.errors": ("CaffeError", "CaffeFileError"),
    "converters.formats.caffemodel": ("read_caffemodel", "write_caffemodel"),
    "converters.formats.prototxt": ("read_prototxt", "read_solver", "write_prototxt"),
    "converters.formats.blob": ("read_blob",),
    "converters.formats.solverstate": ("read_solverstate", "write_solverstate"),
    "converters.net": ("CaffeNet",),
    "converters.layers": ("Layer", "layer_table", "register"),
    "converters.pytorch.preprocessing": ("Preprocessing", "read_metadata"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"module 'converters' has no attribute '{name}'")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__():
    return __all__
