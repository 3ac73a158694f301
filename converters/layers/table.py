"""What layers there are, for the documentation and the programs."""

import inspect
import re
from typing import NamedTuple

from converters.layers.base import REGISTRY, Layer

# Caffe's layers that are not here, and why.
LEFT_OUT = {
    "LSTM": "recurrent layers are not supported",
    "LSTMUnit": "recurrent layers are not supported",
    "RNN": "recurrent layers are not supported",
    "HDF5Output": "it writes a file instead of computing; take it out and write the blob yourself",
}


class LayerDoc(NamedTuple):
    """What is known of a layer type. `mapped`, `written`: for some settings at least."""

    type: str
    what: str
    source: str  # Caffe's file in src/caffe/layers, empty for a layer of one's own
    notes: str
    origin: str  # the Caffe that it comes from
    mapped: bool  # its top's pixels lie over its bottom's: crops pass it
    written: bool  # it can be written as PyTorch source, and so as ONNX


def layer_table() -> list[LayerDoc]:
    """A LayerDoc for each registered layer type, by name: what its class's docstring says."""
    return [_doc(name, cls) for name, cls in sorted(REGISTRY.items())]


def _doc(name: str, cls: type[Layer]) -> LayerDoc:
    what, _, notes = (inspect.cleandoc(cls.__doc__ or "") + "\n\n").partition("\n\n")
    found = re.search(r"\s*\((\w+_layer\.cpp)\)", what)
    what = what.replace(found[0], "") if found else what
    return LayerDoc(name, " ".join(what.split()), found[1] if found else "", " ".join(notes.split()), cls.origin,
                    cls.pixels is not Layer.pixels, cls.source is not Layer.source)
