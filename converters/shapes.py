"""The shapes that a net's blobs have for an image of a given size; nothing is computed and no weights are made."""

import torch

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError
from converters.formats.blob import Size
from converters.layers import REGISTRY
from converters.net import CaffeNet


def inference_net(net: NetParameter) -> NetParameter:
    """A copy of `net` without its losses, and without layers that score or store: what is run on an image."""
    copy = NetParameter()
    copy.CopyFrom(net)
    del copy.layer[:]
    copy.layer.extend(layer for layer in net.layer if not _scores(layer.type))
    return copy


def _scores(type: str) -> bool:
    """Does a layer of this type score or store what the net computes? Of types that are not here the name tells."""
    if type in REGISTRY:
        return REGISTRY[type].scores or REGISTRY[type].loss_weight != 0
    return type == "HDF5Output" or type.endswith("Loss")


def infer_shapes(net: NetParameter, input_size: Size | None = None) -> tuple[CaffeNet, dict[str, tuple[int, ...]]]:
    """(CaffeNet on PyTorch's meta device, {blob: shape}) of a NetParameter, without its losses.

    input_size: (height, width) of every input with four axes; undeclared ones have three channels. Inputs that nothing
    takes, such as labels, are left out. Raises CaffeError where a shape is missing or does not fit.
    """
    silenced = {bottom for layer in net.layer if layer.type == "Silence" for bottom in layer.bottom}
    net = inference_net(net)
    if input_size:
        for layer in net.layer:
            for shape in layer.input_param.shape if layer.type == "Input" else ():
                if len(shape.dim) == 4:
                    shape.dim[2:] = input_size
    with torch.device("meta"):
        caffe = CaffeNet(net)
        if not silenced.union(caffe.inputs).issuperset(caffe.outputs):  # as CaffeNet's, of the net with its Silence layers
            caffe.outputs[:] = [name for name in caffe.outputs if name not in silenced]
        taken = {bottom for param in caffe.param.layer for bottom in param.bottom}
        unused = {name: (1,) for name in caffe.inputs if name not in taken}
        shapes = {name: shape or (input_size and (1, 3, *input_size))
                  for name, shape in caffe.input_shapes.items() if name in taken}
        if missing := [name for name, shape in shapes.items() if not shape]:
            raise CaffeError(f"net '{net.name}': no shape is declared for input {', '.join(missing)}; give an input size")
        found = caffe.reshape(**{name: shape for name, shape in shapes.items() if shape}, **unused)
    return caffe, {name: shape for name, shape in found.items() if name not in unused}
