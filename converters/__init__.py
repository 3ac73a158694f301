"""Caffe's files and nets, to PyTorch's and back.

What needs no torch does not import it, so that converting files starts quickly: a public name is imported when it is first
used. `formats` holds Caffe's files, `pytorch` PyTorch's, `layers` the layers, a file for each family.
"""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec

_HOMES = {
    "converters.errors": ("CaffeError", "CaffeFileError"),
    "converters.formats.caffemodel": ("Caffemodel", "read_caffemodel", "write_caffemodel"),
    "converters.formats.prototxt": ("read_prototxt", "read_solver", "write_prototxt"),
    "converters.formats.blob": ("read_blob",),
    "converters.formats.solverstate": ("SolverState", "read_solverstate", "write_solverstate"),
    "converters.net": ("CaffeNet", "CopyReport", "Learnable"),
    "converters.layers": ("Layer", "layer_table", "register"),
    "converters.pytorch.preprocessing": ("Preprocessing", "read_metadata"),
}
# Modules that were published under another name, which stays importable.
_MOVED = {
    **{f"converters.{name}": f"converters.formats.{name}" for name in ("blob", "caffemodel", "prototxt", "solverstate")},
    **{f"converters.{name}": f"converters.pytorch.{name}" for name in ("keys", "preprocessing")},
}


def exports(package, homes):
    """(__getattr__, __dir__, __all__) of a package whose public names are imported when they are first used.

    homes: {module: the names that it defines}.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def find(name):
        if name not in home_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(home_of[name]), name)

    return find, lambda: sorted(home_of), sorted(home_of)


class Moved:
    """An import finder: {old name of a module: its name today}, so that both give the same module."""

    def __init__(self, names):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name in self.names else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        sys.modules[module.__name__] = import_module(self.names[module.__name__])


__getattr__, __dir__, __all__ = exports(__name__, _HOMES)
sys.meta_path.insert(0, Moved(_MOVED))  # first: another checkout, installed, may still have such files
