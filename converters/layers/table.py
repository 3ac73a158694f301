"""What layers there are, for the documentation and the programs."""

import inspect
import re
from typing import NamedTuple

from converters.layers.base import REGISTRY

# Caffe's layers that are not here, and why.
LEFT_OUT = {
    "LSTM": "recurrent layers are not supported",
    "LSTMUnit": "recurrent layers are not supported",
    "RNN": "recurrent layers are not supported",
    "HDF5Output": "it writes a file instead of computing; take it out and write the blob yourself",
}


class Row(NamedTuple):
    type: str
    what: str
    source: str  # Caffe's file in src/caffe/layers, empty for a layer of one's own
    notes: str


def layer_table() -> list[Row]:
    """A Row for each registered layer type, by name: what its class's docstring says."""
    return [_row(name, cls) for name, cls in sorted(REGISTRY.items())]


def _row(name, cls):
    what, _, notes = (inspect.cleandoc(cls.__doc__ or "") + "\n\n").partition("\n\n")
    found = re.search(r"\s*\((\w+_layer\.cpp)\)", what)
    what = what.replace(found[0], "") if found else what
    return Row(name, " ".join(what.split()), found[1] if found else "", " ".join(notes.split()))
