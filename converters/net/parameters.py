"""Parameter blobs: which weights go where, what fits, and how fast a blob that layers share learns."""

from collections.abc import Mapping, Sequence

import numpy as np

from converters.caffe_pb2 import ParamSpec
from converters.files import FilePath
from converters.formats.blob import Blobs, unique_names
from converters.layers import Layer


def weights_of(source: Blobs | FilePath, names: Mapping[str, str]) -> list[tuple[str, str | None, Sequence[np.ndarray]]]:
    """[(layer of the source, layer of the net that takes its blobs or None, its blobs)] of the layers that have blobs.

    names: {layer of the net: its name in the description}. A mapping gives each layer its own. From a file all layers of one
    name go, in turn, to the net's first of that name (CopyTrainedLayersFrom), or to its last from HDF5 (which looks in
    layer_names_index_).
    """
    if isinstance(source, Mapping):
        return [(name, name if name in names else None, arrays) for name, arrays in source.items() if len(arrays)]
    from converters.formats.caffemodel import read_caffemodel

    model = read_caffemodel(source)
    order = list(names.items()) if model.generation == "HDF5" else list(names.items())[::-1]
    taking = {name: layer for layer, name in order}
    unique = unique_names(param.name for param in model.net.layer)
    return [(name, taking.get(param.name), model.blobs[name])
            for name, param in zip(unique, model.net.layer, strict=True) if model.blobs.get(name)]


def same_shape(source: Sequence[int], target: Sequence[int]) -> bool:
    """Caffe's ShapeEquals: equal, or equal to the target with ones in front, as legacy 4-D blobs are stored."""
    source, target = tuple(source), tuple(target)
    return source == target or (len(source) == 4 and source == (1,) * (4 - len(target)) + target)


def multiplier(specs: Sequence[ParamSpec], field: str, layer: Layer) -> float:
    """lr_mult or decay_mult of a blob from the ParamSpecs of all layers that share it; those that give it must agree."""
    given: set[float] = {getattr(spec, field) for spec in specs if spec.HasField(field)}
    if len(given) > 1:
        raise layer.error(f"its shared parameter '{specs[0].name}' has several values of {field}: {sorted(given)}")
    return given.pop() if given else 1.0
