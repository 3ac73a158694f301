"""What is in a file: its generation, its layers and their shapes, and what the net costs in numbers, bytes and products."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError, CaffeFileError
from converters.files import FilePath
from converters.formats.blob import Blobs, Size, dims_text, read_blob, unique_names
from converters.formats.caffemodel import read_caffemodel
from converters.formats.prototxt import format_prototxt, read_prototxt, read_solver
from converters.formats.solverstate import read_solverstate
from converters.pytorch.preprocessing import from_metadata

if TYPE_CHECKING:  # most files are described without torch
    from converters.layers import Layer

Found = dict[str, Any]  # ready for JSON
SINGLE = "net", "iter", "learned_net", "current_step", "parameters", "weight_bytes", "blob_bytes", "multiply_adds"


def inspect(path: FilePath, input_size: Size | None = None) -> Found:
    """A dictionary, ready for JSON, of what a file holds; its kind goes by the suffix, and is a caffemodel's otherwise.

    .prototxt (a net's or a solver's), .safetensors, .solverstate, .solverstate.h5, .binaryproto, and weights in protobuf or
    HDF5. Shapes, memory and multiply-adds of a net are those at input_size, (height, width), or at the size it declares.
    Raises CaffeFileError.
    """
    name = Path(path).name
    suffix = ".solverstate" if name.endswith(".solverstate.h5") else Path(name).suffix
    found = KINDS.get(suffix, _caffemodel)(path, input_size)
    return {"file": str(path), "bytes": os.path.getsize(path), **found}


def describe_net(net: NetParameter, blobs: Blobs | None = None, input_size: Size | None = None) -> Found:
    """{"net", "inputs", "layers", "parameters", "weight_bytes", "blob_bytes", "multiply_adds", "remarks"} of a NetParameter.

    blobs: {layer: [array, ...]}, for a net with weights. Where no shapes can be had, they are None and a remark says why.
    """
    remarks: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    made: dict[str, Layer] = {}
    inputs: list[str] = []
    if any(layer.type for layer in net.layer):
        from converters.shapes import infer_shapes

        try:
            caffe, shapes = infer_shapes(net, input_size)
            made, inputs = caffe.layers, [name for name in caffe.inputs if name in shapes]
            if blobs:
                caffe.copy_from(blobs)
        except CaffeError as error:
            remarks.append(f"shapes of the blobs are not known: {error}")
    names = unique_names(layer.name for layer in net.layer)
    layers = [_describe_layer(layer, shapes, made.get(name), (blobs or {}).get(name))
              for layer, name in zip(net.layer, names, strict=True)]
    if blobs is None:
        tensors = {id(blob): blob for layer in made.values() for blob in layer.blobs()}
        parameters = sum(blob.numel() for blob in tensors.values())  # shared ones once
    else:
        parameters = sum(array.size for arrays in blobs.values() for array in arrays)
    return {
        "net": net.name,
        "inputs": {name: list(shapes[name]) for name in inputs},
        "layers": layers,
        "parameters": parameters,
        "weight_bytes": 4 * parameters,
        "blob_bytes": 4 * sum(map(prod, shapes.values())) if shapes else None,
        "multiply_adds": sum(layer["multiply_adds"] or 0 for layer in layers) if shapes else None,
        "remarks": remarks,
    }


def _describe_layer(layer: LayerParameter, shapes: Mapping[str, tuple[int, ...]], made: "Layer | None",
                    arrays: Sequence[Any] | None) -> Found:
    tops = [shapes.get(top) for top in layer.top]
    if arrays is None:
        arrays = [blob for blob in made.blobs() if blob is not None] if made is not None else []
    blob_shapes = [list(array.shape) for array in arrays]
    known = all(blob in shapes for blob in (*layer.bottom, *layer.top))
    return {
        "name": layer.name,
        "type": layer.type,
        "bottoms": list(layer.bottom),
        "tops": list(layer.top),
        "shapes": [list(shape) if shape else None for shape in tops],
        "blobs": blob_shapes,
        "parameters": sum(map(prod, blob_shapes)),
        "multiply_adds": multiply_adds(layer, made.blobs(), shapes) if made is not None and known else None,
    }


def multiply_adds(layer: LayerParameter, blobs: Sequence[Any], shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Products of weights and numbers in one forward pass of a convolution, deconvolution or inner product; of others 0."""
    if layer.type in ("Convolution", "Deconvolution"):
        swept = layer.top if layer.type == "Convolution" else layer.bottom
        products: int = prod(blobs[0].shape[1:])  # for each of its pixels
        return sum(prod(shapes[name]) for name in swept) * products
    if layer.type == "InnerProduct":
        return prod(shapes[layer.bottom[0]]) * layer.inner_product_param.num_output
    return 0


def lines(found: Found) -> Iterator[str]:
    """What `inspect` found, for reading: a table of the layers, and a line for each of the other things."""
    yield f"{found['file']}: {found['kind']}, {found['bytes']} bytes"
    if "layers" in found:
        rows = [("layer", "type", "top", "blobs", "parameters", "multiply-adds")]
        for layer in found["layers"]:
            shape = next((dims_text(shape) for shape in layer["shapes"] if shape), "")
            blobs = " ".join(map(dims_text, layer["blobs"]))
            counts = _count(layer["parameters"]), _count(layer["multiply_adds"])
            rows.append((layer["name"], layer["type"], shape, blobs, *counts))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        for row in rows:
            left = "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=False))
            yield f"  {left}  {row[4]:>{widths[4]}}  {row[5]:>{widths[5]}}".rstrip()
    for name, shape in found.get("tensors", {}).items():
        yield f"  {name:40} {dims_text(shape)}"
    for name in SINGLE:
        if found.get(name) is not None:
            yield f"{name.replace('_', ' ')}: {found[name] if isinstance(found[name], str) else f'{found[name]:,}'}"
    if found.get("inputs"):
        yield "inputs: " + ", ".join(f"{name} {dims_text(shape)}" for name, shape in found["inputs"].items())
    for name, value in found.get("metadata", {}).items():
        yield f"{name}: {value if len(str(value)) < 200 else f'{len(value)} entries'}"
    if "solver" in found:
        yield found["solver"].rstrip()
    yield from found.get("remarks", ())


def _count(number: int | None) -> str:
    return f"{number:,}" if number else ""


def _caffemodel(path: FilePath, input_size: Size | None) -> Found:
    model = read_caffemodel(path)
    found = describe_net(model.net, model.blobs, input_size)
    found["remarks"] += [f"not known to Caffe 1.0: {line}" for line in model.unknown]
    if model.doubles:
        found["remarks"].append(f"stored as doubles: {', '.join(model.doubles)}")
    return {"kind": f"weights, {model.generation}", "generation": model.generation, **found}


def _prototxt(path: FilePath, input_size: Size | None) -> Found:
    unknown: list[str] = []
    try:
        net = read_prototxt(path, unknown)
    except CaffeFileError as error:
        try:
            solver = read_solver(path, unknown)
        except CaffeFileError:
            raise error from None
        return {"kind": "a solver", "solver": format_prototxt(solver), "remarks": _unknown(unknown)}
    found = describe_net(net, None, input_size)
    found["remarks"] += _unknown(unknown)
    return {"kind": "a net", **found}


def _safetensors(path: FilePath, input_size: Size | None) -> Found:
    from converters.pytorch.safetensors_file import read_header

    header = read_header(path)
    found: Found = {
        "kind": "safetensors",
        "tensors": {name: list(shape) for name, (_, shape) in header.tensors.items()},
        "parameters": sum(prod(shape) for _, shape in header.tensors.values()),
        "metadata": {name: value for name, value in vars(from_metadata(header.metadata, path)).items() if value is not None},
    }
    if "prototxt" in header.metadata:
        text = header.metadata["prototxt"]
        net = describe_net(read_prototxt(text if "\n" in text else text + "\n"), None, input_size)
        found |= net | {"parameters": found["parameters"]}
    return found


def _solverstate(path: FilePath, input_size: Size | None) -> Found:
    state = read_solverstate(path)
    history = {f"history {i}": list(array.shape) for i, array in enumerate(state.history)}
    return {"kind": "a solver's state", "iter": state.iter, "learned_net": state.learned_net,
            "current_step": state.current_step, "tensors": history}


def _blob(path: FilePath, input_size: Size | None) -> Found:
    return {"kind": "one blob, such as a mean", "tensors": {"blob": list(read_blob(path).shape)}}


def _unknown(found: Sequence[str]) -> list[str]:
    return [f"not known to Caffe 1.0: {line}" for line in found]


KINDS: dict[str, Callable[[FilePath, Size | None], Found]] = {
    ".prototxt": _prototxt, ".pbtxt": _prototxt, ".safetensors": _safetensors, ".solverstate": _solverstate,
    ".binaryproto": _blob,
}
