"""Caffe's files and nets, to PyTorch's and back.

What needs no torch does not import it, so that converting files starts quickly: a public name is imported when it is first
used. `formats` holds Caffe's files, `pytorch` PyTorch's, `layers` the layers, a file for each family.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

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
Exports = tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]


def exports(package: str, homes: Mapping[str, Sequence[str]]) -> Exports:
    """(__getattr__, __dir__, __all__) of a package whose public names are imported when they are first used.

    homes: {module: the names that it defines}.
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(home_of[name]), name)

    return find, lambda: sorted(home_of), sorted(home_of)


class Moved:
    """An import finder: {old name of a module: its name today}, so that both give the same module."""

    def __init__(self, names: Mapping[str, str]):
        self.names = names

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        # It is no importlib.abc.Loader: that is slow to import, and this is imported by every command.
        return ModuleSpec(name, self) if name in self.names else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = import_module(self.names[module.__name__])


if TYPE_CHECKING:  # the names of _HOMES, for type checkers: the real types, and a name that is not here is an error
    from converters.errors import CaffeError as CaffeError
    from converters.errors import CaffeFileError as CaffeFileError
    from converters.formats.blob import read_blob as read_blob
    from converters.formats.caffemodel import Caffemodel as Caffemodel
    from converters.formats.caffemodel import read_caffemodel as read_caffemodel
    from converters.formats.caffemodel import write_caffemodel as write_caffemodel
    from converters.formats.prototxt import read_prototxt as read_prototxt
    from converters.formats.prototxt import read_solver as read_solver
    from converters.formats.prototxt import write_prototxt as write_prototxt
    from converters.formats.solverstate import SolverState as SolverState
    from converters.formats.solverstate import read_solverstate as read_solverstate
    from converters.formats.solverstate import write_solverstate as write_solverstate
    from converters.layers import Layer as Layer
    from converters.layers import layer_table as layer_table
    from converters.layers import register as register
    from converters.net import CaffeNet as CaffeNet
    from converters.net import CopyReport as CopyReport
    from converters.net import Learnable as Learnable
    from converters.pytorch.preprocessing import Preprocessing as Preprocessing
    from converters.pytorch.preprocessing import read_metadata as read_metadata
else:
    __getattr__, __dir__, __all__ = exports(__name__, _HOMES)
sys.meta_path.insert(0, Moved(_MOVED))  # first: another checkout, installed, may still have such files
