"""A net with its weights as ONNX (the extra `onnx`), by way of the PyTorch module that `module_source` writes."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError, counted
from converters.files import FilePath, atomic_write
from converters.formats.blob import Blobs, Size, dims_text
from converters.formats.wire import MAX_BYTES
from converters.pytorch.module_source import make_module
from converters.pytorch.preprocessing import Preprocessing
from converters.shapes import infer_shapes

OPSET = 18
OTHER_SIZE = 1.5  # times the input's size: where this fits too, any does


class Preprocessed(nn.Module):
    """A net whose input is an RGB image of values 0 to 255 (N, 3, H, W), or gray, and not yet what it was trained on."""

    mean: torch.Tensor

    def __init__(self, net: nn.Module, preprocessing: Preprocessing):
        super().__init__()
        self.net, self.bgr = net, preprocessing.channels == "bgr"
        self.scale = 1.0 if preprocessing.scale is None else preprocessing.scale
        self.register_buffer("mean", torch.tensor(preprocessing.mean or (0.0,)).reshape(-1, 1, 1))

    def forward(self, image: torch.Tensor) -> Any:
        image = image.flip(1) if self.bgr else image
        return self.net((image - self.mean) * self.scale)


def write_onnx(path: FilePath, net: NetParameter, blobs: Blobs, input_size: Size | None = None,
               preprocessing: Preprocessing | None = None) -> list[str]:
    """Write `net`, a NetParameter, with `blobs`, {layer: [array, ...]}, and return which inputs are of any height and width.

    Inputs and outputs have the names of the blobs, and so has every value in between that is one. The batch may be of any
    size, and height and width where all layers and weights fit others too. preprocessing: a `Preprocessing` to be put into
    the graph, whose input then is an RGB image of values 0 to 255. Raises CaffeError for layers that cannot be written.
    """
    caffe, shapes = infer_shapes(net, input_size)
    inputs = {name: shapes[name] for name in caffe.inputs if name in shapes}
    outputs = [name for name in caffe.outputs if name in shapes]
    if 4 * sum(array.size for arrays in blobs.values() for array in arrays) > MAX_BYTES:
        raise CaffeError(f"{path}: the weights are more than one ONNX file can hold (2 GB)")
    blob_names = [name for name in shapes if name not in inputs]
    module = make_module(net, blobs, input_size, blob_names)
    if preprocessing is not None:
        module = _preprocessed(module, preprocessing, inputs)
    any_size = [name for name, shape in inputs.items() if len(shape) == 4] if _fits_other_sizes(net, inputs) else []
    dynamic = tuple(dict.fromkeys((0, 2, 3) if name in any_size else (0,), torch.export.Dim.DYNAMIC) for name in inputs)
    images = tuple(torch.zeros(shape) for shape in inputs.values())
    with _quiet():
        try:
            program: Any = torch.onnx.export(
                module, images, dynamo=True, opset_version=OPSET, verbose=False, dynamic_shapes=dynamic,
                input_names=list(inputs), output_names=blob_names)
        except (ImportError, torch.onnx.errors.OnnxExporterError) as error:
            if isinstance(error, ImportError):
                raise CaffeError(f"writing ONNX needs the extra 'onnx': pip install 'caffe-fcn[onnx]' ({error})") from None
            reason = str(error.__cause__ or error).strip().split("\n")[0]
            raise CaffeError(f"net '{net.name}': PyTorch cannot export it to ONNX: {reason}") from None
        graph = program.model.graph
        made = dict(zip(blob_names, graph.outputs, strict=True))
        graph.outputs[:] = [made[name] for name in outputs]
        with atomic_write(path) as temporary:
            program.save(temporary)
    return any_size


def _fits_other_sizes(net: NetParameter, inputs: Mapping[str, tuple[int, ...]]) -> bool:
    """Do all layers, and the shapes of their weights, allow an image of another size?"""
    sizes = {shape[2:] for shape in inputs.values() if len(shape) == 4}
    if len(sizes) != 1:
        return False
    height, width = sizes.pop()
    try:
        here, there = (infer_shapes(net, (int(height * factor), int(width * factor)))[0] for factor in (1, OTHER_SIZE))
    except CaffeError:
        return False
    return all(a.shape == b.shape for a, b in zip(here.parameters(), there.parameters(), strict=True))


def _preprocessed(module: nn.Module, preprocessing: Preprocessing, inputs: Mapping[str, tuple[int, ...]]) -> Preprocessed:
    if preprocessing == Preprocessing():
        raise CaffeError("nothing is known of the net's preprocessing: give --mean, --bgr or --rgb, --scale")
    if len(inputs) != 1:
        raise CaffeError(f"the net has the inputs {', '.join(inputs)}: preprocessing is put before a single one only")
    (shape,) = inputs.values()
    channels = shape[1] if len(shape) == 4 else 0
    if preprocessing.mean and len(preprocessing.mean) not in (1, channels):
        raise CaffeError(f"{counted(len(preprocessing.mean), 'mean')} for an input of shape {dims_text(shape)}: give one, "
                         "or one for each channel")
    if preprocessing.channels and channels != 3:
        raise CaffeError(f"an input of shape {dims_text(shape)} has no red, green and blue; leave --bgr and --rgb out")
    return Preprocessed(module, preprocessing)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own workings."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
