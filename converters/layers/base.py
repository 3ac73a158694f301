"""What every layer is: a module made from a LayerParameter, found by its Caffe type name."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

from converters.caffe_pb2 import FillerParameter
from converters.errors import CaffeError
from converters.layers.fillers import fill

REGISTRY: dict[str, type["Layer"]] = {}


Made = TypeVar("Made", bound=type["Layer"])


def register(*types: str) -> Callable[[Made], Made]:
    """Class decorator: make layers of these Caffe types with this subclass of `Layer`.

    A layer of one's own::

        @converters.register("Double")
        class Double(converters.Layer):
            def forward(self, bottom):
                return 2 * bottom

    A layer's settings are in the LayerParameter that `__init__` takes. One with parameter blobs also sets `blob_names` and
    says their shapes in `blob_shapes`; a loss sets `loss_weight` to 1. Bottoms are forward's arguments; several tops are a
    tuple. Fields that caffe.proto does not know do not survive reading: give such settings in the class.
    """

    def add(cls):
        for name in types:
            REGISTRY[name] = cls
        return cls

    return add


class Layer(nn.Module):
    """A Caffe layer. `forward` takes the bottoms as tensors and returns the top, or a tuple of tops.

    Settings are read from the LayerParameter once, in `__init__`. Parameter blobs are made when the bottoms' shapes are
    known (Caffe's LayerSetUp); until then they are None.
    """

    blob_names: tuple[str, ...] = ()  # the parameter blobs in Caffe's order; also their keys in the state_dict
    fillers: tuple[FillerParameter | None, ...] = ()  # a FillerParameter for each blob; a missing one fills with zeros
    buffers_only = False  # True where the blobs are statistics, not learned (BatchNorm)
    loss_weight = 0.0  # of the first top, where the description gives none
    in_place = False  # True where the top may overwrite the bottom
    overwrite = False  # set by the net where it is to

    def __init__(self, param):
        super().__init__()
        self.layer_name, self.type = param.name, param.type
        self.own_shapes = {}  # of the blobs that are another layer's in another shape
        self.frozen = {index for index, spec in enumerate(param.param) if spec.lr_mult == 0}

    def blob_shapes(self, *bottoms):
        """The shape of each parameter blob, from the bottoms' shapes."""
        return ()

    def top_shape(self, *bottoms):
        """The shape of the only top, from the bottoms' shapes; None to have `forward` find it on the meta device.

        The layers that most nets are made of say it, since PyTorch's own rules import a compiler: a second and 70 MB.
        """
        return None

    def declare_blobs(self):
        """Give every blob its place in the state_dict, empty for now."""
        for name in self.blob_names:
            if self.buffers_only:
                self.register_buffer(name, None)
            else:
                self.register_parameter(name, None)

    def make_blob(self, index, shape, like=None):
        """Make blob `index` with this shape and fill it as described, where the tensor `like` is and of its type."""
        blob = torch.zeros(tuple(shape))
        if index < len(self.fillers) and self.fillers[index] is not None and not blob.is_meta:
            try:
                fill(blob, self.fillers[index])
            except CaffeError as error:
                raise self.error(error) from None
        if like is not None and not like.is_meta:
            blob = blob.to(like.device, like.dtype if like.is_floating_point() else None)
        self.set_blob(index, blob)

    def set_blob(self, index, blob):
        """Make a tensor the blob `index`, as it is."""
        if not self.buffers_only:
            blob = nn.Parameter(blob, requires_grad=index not in self.frozen)
        setattr(self, self.blob_names[index], blob)

    def share_blob(self, index, owner, shape):
        """Take another layer's blob as blob `index`; one of another shape is seen in this one (share_mode PERMISSIVE)."""
        name = self.blob_names[index]
        setattr(self, name, owner)
        if tuple(owner.shape) != tuple(shape):
            self.own_shapes[name] = tuple(shape)

    def blobs(self):
        """The parameter blobs as tensors, in Caffe's order; None where not made yet."""
        blobs = [getattr(self, name) for name in self.blob_names]
        return [blob.view(self.own_shapes[name]) if name in self.own_shapes else blob
                for name, blob in zip(self.blob_names, blobs, strict=True)]

    def blobs_by_name(self):
        """{name: parameter blob} of those that are made."""
        return {name: blob for name, blob in zip(self.blob_names, self.blobs(), strict=True) if blob is not None}

    def error(self, reason):
        """A CaffeError that names this layer."""
        return CaffeError(f"layer '{self.layer_name}' ({self.type}): {reason}")

    def extra_repr(self):
        shapes = [f"{name}={tuple(blob.shape)}" for name, blob in zip(self.blob_names, self.blobs(), strict=True)
                  if blob is not None]
        return ", ".join([self.type, *shapes])


def constant(value):
    """A filler of one value."""
    return FillerParameter(type="constant", value=value)


def canonical_axis(axis, ndim, layer):
    """`axis` counted from the front, as Caffe's CanonicalAxisIndex; out of range is an error that names the layer."""
    if not -ndim <= axis < ndim:
        raise layer.error(f"axis {axis} is out of range for a bottom of {ndim} axes")
    return axis % ndim


def check_indices(values, size, layer, what="index"):
    """`values` as whole numbers; one outside [0, size) is an error that names the layer.

    Only looked at on the CPU, where it costs no waiting, and not while a graph is being captured.
    """
    indices = values.long()
    if indices.device.type == "cpu" and indices.numel() and not torch.compiler.is_compiling():
        low, high = indices.aminmax()
        if low < 0 or high >= size:
            raise layer.error(f"{what} {int(low if low < 0 else high)} is outside 0 to {size - 1}")
    return indices


def root(squares, slack):
    """The square root of `squares`, with Caffe's gradient 1 / (2 * (root + slack)), finite at zero."""
    value = squares.detach().sqrt()
    return value + (squares - squares.detach()) / (2 * (value + slack))
