"""Caffe's weights: .caffemodel of every generation, and HDF5."""

from collections.abc import Callable
from dataclasses import dataclass, field
from mmap import mmap
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from converters.caffe_pb2 import LayerParameter, NetParameter, V1LayerParameter
from converters.errors import CaffeError
from converters.files import FilePath, atomic_write
from converters.formats.blob import Blobs, as_floats, blob_field, parse_blob, unique_names
from converters.formats.upgrade import generation, upgrade_net
from converters.formats.wire import (
    BYTES,
    MAX_BYTES,
    Field,
    Malformed,
    blame,
    check_complete,
    header,
    is_hdf5,
    map_file,
    read_fields,
    refuse_other_kinds,
)

MAX_DESCRIPTION = 4 << 20  # bytes of a net without its blobs; published nets stay below a tenth of it

# Field numbers: a net's V1 and V2 layers and where they keep their blobs; a V1 layer's type; the V0 layer inside a V1 layer.
V1_LAYERS, V1_BLOBS, V1_TYPE = 2, 6, 5
V2_LAYER, V2_BLOBS = 100, 7
TRANSFORM_PARAM = 100  # a V2 layer's parameters of one type or another have the numbers that follow it
V0_LAYER, V0_BLOBS = 1, 50

# Layer types of Caffe 1.0; any other one is a fork's.
TYPES = {
    "AbsVal", "Accuracy", "ArgMax", "BNLL", "BatchNorm", "BatchReindex", "Bias", "Clip", "Concat", "ContrastiveLoss",
    "Convolution", "Crop", "Data", "Deconvolution", "Dropout", "DummyData", "ELU", "Eltwise", "Embed", "EuclideanLoss",
    "Exp", "Filter", "Flatten", "HDF5Data", "HDF5Output", "HingeLoss", "Im2col", "ImageData", "InfogainLoss",
    "InnerProduct", "Input", "LRN", "LSTM", "LSTMUnit", "Log", "MVN", "MemoryData", "MultinomialLogisticLoss", "PReLU",
    "Parameter", "Pooling", "Power", "Python", "RNN", "ReLU", "Recurrent", "Reduction", "Reshape", "SPP", "Scale",
    "Sigmoid", "SigmoidCrossEntropyLoss", "Silence", "Slice", "Softmax", "SoftmaxWithLoss", "Split", "Swish", "TanH",
    "Threshold", "Tile", "WindowData",
}


@dataclass
class Caffemodel:
    """What a weights file holds.

    net: NetParameter in today's format, without blobs; of an HDF5 file only the layers' names are known.
    blobs: {layer name: [float32 ndarray, ...]} of the layers that have any, in the shapes stored (legacy ones have 4 axes).
    Of layers of one name the second is "<name>_2", and so on (`unique_names`).
    generation: "V0", "V1", "V2" or "HDF5".
    unknown: the fields and types that Caffe 1.0 does not know, one line each.
    doubles: the layers whose blobs are stored as doubles; here they are floats, as Caffe loads them.
    """

    net: NetParameter
    blobs: dict[str, list[np.ndarray]] = field(default_factory=dict)
    generation: str = "HDF5"
    unknown: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)


def read_caffemodel(path: FilePath, aligned: bool = True) -> Caffemodel:
    """The `Caffemodel` in a file of any generation, protobuf or HDF5, told apart by what is in it.

    Packed floats are not copied: the arrays are views of a private memory map of the file, so memory grows only as they are
    read, writing to them leaves the file alone, and the file must not be cut short while they live. Floats that do not lie
    at a multiple of 4 are moved there at once, within the map, as torch and BLAS want them; with `aligned` false they stay
    where they are, which suits a reader that only copies bytes. Raises `CaffeFileError`.
    """
    with blame(path):
        data = map_file(path)
        if is_hdf5(data):
            from converters.formats.hdf5 import read_hdf5_blobs

            blobs = read_hdf5_blobs(path)
            net = NetParameter(layer=[LayerParameter(name=name) for name in blobs])
            return Caffemodel(net, {name: arrays for name, arrays in blobs.items() if arrays})
        refuse_other_kinds(data, "a caffemodel")
        return _read_protobuf(data, aligned)


def _read_protobuf(data: mmap, aligned: bool) -> Caffemodel:
    model, kept = Caffemodel(NetParameter()), bytearray()
    fork_types: dict[int | None, str] = {}
    net = model.net
    size = 0
    found: list[tuple[str, list[np.ndarray]]] = []
    for part in read_fields(data, 0, len(data)):
        if part.number in (V1_LAYERS, V2_LAYER) and part.wire == BYTES:
            layers: Any = net.layer if part.number == V2_LAYER else net.layers
            layer = layers.add()
            blobs, unknown, length = _read_layer(layer, data, part)
            size += length
            name = layer.layer.name if isinstance(layer, V1LayerParameter) and layer.HasField("layer") else layer.name
            if isinstance(layer, V1LayerParameter) and (fork_type := _fork_type(layer)):
                fork_types[len(layers) - 1] = fork_type
                unknown.remove(f"field {V1_TYPE}")  # the upgrade names it
            arrays = []
            for i, blob in enumerate(blobs):
                array, double, extra = parse_blob(data, blob.value, blob.end, f"layer '{name}', blob {i}", aligned)
                arrays.append(array)
                unknown += [f"blobs.{line}" for line in extra]
                if double and name not in model.doubles:
                    model.doubles.append(name)
            found.append((name, arrays))
            model.unknown += [f"layer '{name}': {line}" for line in dict.fromkeys(unknown)]
        elif part.number in NetParameter.DESCRIPTOR.fields_by_number:
            kept += data[part.start : part.end]
            size += part.end - part.start
        else:
            model.unknown.append(f"field {part.number}")
        if size > MAX_DESCRIPTION:
            raise Malformed("a net implausibly large without its weights; the file is damaged", f"byte {part.start}")
    unique = unique_names(name for name, _ in found)
    model.blobs.update({name: arrays for name, (_, arrays) in zip(unique, found, strict=True) if arrays})
    rest = NetParameter()
    rest.ParseFromString(bytes(kept))
    model.unknown += _unknown_fields(rest)
    net.MergeFrom(rest)
    if not (net.layer or net.layers):
        raise Malformed("holds no layers; not a caffemodel")
    check_complete(net)
    model.generation = generation(net)
    upgrade_net(net, fork_types, model.unknown)
    return model


def _read_layer(layer: LayerParameter | V1LayerParameter, data: mmap, part: Field) -> tuple[list[Field], list[str], int]:
    """Fill `layer` with the message at `part` but for its blobs: (the blobs' fields, unknown fields, bytes kept)."""
    pieces: list[tuple[Field, bytes]] = []
    blobs: list[Field] = []
    unknown: list[str] = []
    v1 = isinstance(layer, V1LayerParameter)
    known = layer.DESCRIPTOR.fields_by_number
    for inner in read_fields(data, part.value, part.end):
        if inner.number == (V1_BLOBS if v1 else V2_BLOBS) and inner.wire == BYTES:
            blobs.append(inner)
        elif v1 and inner.number == V0_LAYER and inner.wire == BYTES:
            v0 = list(read_fields(data, inner.value, inner.end))
            blobs += [field_ for field_ in v0 if field_.number == V0_BLOBS and field_.wire == BYTES]
            rest = b"".join(data[field_.start : field_.end] for field_ in v0 if field_.number != V0_BLOBS)
            pieces.append((inner, header(V0_LAYER, len(rest)) + rest))
        elif inner.number in known and inner.end - inner.start <= MAX_DESCRIPTION:
            pieces.append((inner, data[inner.start : inner.end]))
        else:
            unknown.append(f"field {inner.number}")
    try:
        layer.ParseFromString(b"".join(piece for _, piece in pieces))
    except DecodeError:  # a fork gave one of Caffe's numbers to a field of its own: keep what can be read
        layer.Clear()
        merge: Callable[[Any], None] = layer.MergeFrom
        for inner, piece in pieces:
            try:
                merge(type(layer).FromString(piece))
            except DecodeError:
                unknown.append(f"field {inner.number}, which is not Caffe's {known[inner.number].name}")
    if not v1 and layer.type not in ("", *TYPES):
        unknown += [f"field {field_.number}, read as Caffe's {field_.name}, though its type is not Caffe's"
                    for field_, _ in layer.ListFields() if field_.number > TRANSFORM_PARAM]
    return blobs, unknown + _unknown_fields(layer), sum(len(piece) for _, piece in pieces)


def _unknown_fields(message: Message, prefix: str = "") -> list[str]:
    """The fields of a message, and of those in it, that the schema does not have: "convolution_param.field 19"."""
    names = [f"{prefix}field {extra.field_number}" for extra in _extras(message)]
    for descriptor, value in message.ListFields():
        values = [value] if isinstance(value, (str, bytes)) or not hasattr(value, "__len__") else value
        if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in values:
                names += _unknown_fields(inner, f"{prefix}{descriptor.name}.")
        elif descriptor.type == FieldDescriptor.TYPE_STRING and any(isinstance(text, bytes) for text in values):
            raise Malformed(f"the text of {prefix}{descriptor.name} is not UTF-8; the file is damaged")
    return names


def _extras(message: Message) -> Any:
    """What protobuf has kept of fields that the schema does not have."""
    return UnknownFieldSet(message)


def _fork_type(layer: V1LayerParameter) -> str:
    """The number of a V1 layer's type if Caffe 1.0 has no such number, as text."""
    for extra in _extras(layer):
        if extra.field_number == V1_TYPE:
            return str(extra.data)
    return ""


def write_caffemodel(path: FilePath, net: NetParameter, blobs: Blobs) -> None:
    """Write weights that Caffe 1.0 loads: protobuf (V2) as `.caffemodel`, HDF5 as `.h5`.

    net: NetParameter; blobs: {layer name: [array, ...]}, written as float32, without a copy where they are that already; of
    layers of one name the second is "<name>_2", and so on. Raises `CaffeError` for a suffix that is neither, for blobs of a
    layer that the net lacks and for what a container cannot hold (2 GB in protobuf; a "/" in a layer's name in HDF5, or
    blobs of several layers of one name).
    """
    net = _without_blobs(net)
    names = unique_names(layer.name for layer in net.layer)
    if strangers := [name for name in blobs if name not in set(names)]:
        raise CaffeError(f"{path}: there are blobs for layer '{strangers[0]}', which the net does not have")
    if str(path).endswith(".h5"):
        from converters.formats.hdf5 import write_hdf5_blobs

        for layer, name in zip(net.layer, names, strict=True):
            if name != layer.name and (blobs.get(name) or blobs.get(layer.name)):
                raise CaffeError(f"{path}: HDF5 holds one layer of a name, but several are named '{layer.name}'; write a "
                                 ".caffemodel")
        write_hdf5_blobs(path, {layer.name: blobs.get(layer.name, ()) for layer in net.layer})
    elif str(path).endswith(".caffemodel"):
        _write_protobuf(path, net, blobs)
    else:
        raise CaffeError(f"{path}: weights are written as .caffemodel or .h5")


def _without_blobs(net: NetParameter) -> NetParameter:
    bare = NetParameter()
    bare.CopyFrom(net)
    upgrade_net(bare)
    for layer in bare.layer:
        layer.ClearField("blobs")
    return bare


def _write_protobuf(path: FilePath, net: NetParameter, blobs: Blobs) -> None:
    top = NetParameter()
    top.CopyFrom(net)
    top.ClearField("layer")
    description = top.SerializeToString()
    parts: list[bytes | np.ndarray] = [description]  # the arrays are to be written as float32
    total = len(description)
    for layer, name in zip(net.layer, unique_names(layer.name for layer in net.layer), strict=True):
        arrays = [np.asarray(array) for array in blobs.get(name, ())]
        bare = layer.SerializeToString()
        fields = [blob_field(V2_BLOBS, array.shape) for array in arrays]
        size = len(bare) + sum(size for _, size in fields)
        parts.append(header(V2_LAYER, size) + bare)
        for (start, _), array in zip(fields, arrays, strict=True):
            parts += [start, array]
        total += len(header(V2_LAYER, size)) + size
    if total > MAX_BYTES:
        raise CaffeError(f"{path}: {total} bytes are more than a protobuf can hold (2 GB); write a .caffemodel.h5")
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        for part in parts:
            file.write(part if isinstance(part, bytes) else as_floats(part).data)
