"""What every layer is: a module made from a LayerParameter, found by its Caffe type name."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from converters.caffe_pb2 import FillerParameter, LayerParameter
from converters.errors import CaffeError
from converters.formats.blob import MAX_COUNT, dims_text
from converters.layers.fillers import fill
from converters.layers.pixels import Pixels
from converters.layers.sources import LayerSource

REGISTRY: dict[str, type["Layer"]] = {}
Shape = Sequence[int]


Made = TypeVar("Made", bound=type["Layer"])


def layer(*types: str, origin: str = "BVLC", replace: bool = False) -> Callable[[Made], Made]:
    """Class decorator: make layers of these Caffe types with this subclass of `Layer`.

    A layer of one's own::

        @converters.register("Double")
        class Double(converters.Layer):
            pixels = converters.layers.SAME

            def forward(self, bottom):
                return 2 * bottom

            def source(self, step):
                return f"2 * {step.bottom}"

    A layer's settings are in the LayerParameter that `__init__` takes. Only `forward` is needed: bottoms are its arguments,
    several tops are a tuple. Without `pixels`, crops and the fast path refuse the layer; without `source` it is not written
    as PyTorch source or ONNX. A layer with parameter blobs also sets `blob_names` and gives their shapes in `blob_shapes`;
    a loss sets `loss_weight` to 1. Fields that caffe.proto does not know do not survive reading: give such
    settings in the class.

    origin: the Caffe that the type comes from. replace: take the place of a class that is registered already, which raises
    CaffeError otherwise.
    """

    def add(cls: Made) -> Made:
        for name in types:
            if name in REGISTRY and not replace:
                other = REGISTRY[name]
                raise CaffeError(f"layer type '{name}' is registered already, by {other.__module__}.{other.__qualname__}; "
                                 "give replace=True to take its place")
        REGISTRY.update(dict.fromkeys(types, cls))
        cls.origin = origin
        return cls

    return add


register = layer  # the public name


class Layer(nn.Module):
    """A Caffe layer. `forward` takes the bottoms as tensors and returns the top, or a tuple of tops.

    Settings are read from the LayerParameter once, in `__init__`. Parameter blobs are made when the bottoms' shapes are
    known (Caffe's LayerSetUp); until then they are None.
    """

    origin = "BVLC"  # the Caffe that this layer comes from
    blob_names: tuple[str, ...] = ()  # the parameter blobs in Caffe's order; also their keys in the state_dict
    fillers: tuple[FillerParameter | None, ...] = ()  # a FillerParameter for each blob; a missing one fills with zeros
    blob_axes: int | None = None  # of the first blob, where old files store every blob with 4 axes (others have one then)
    buffers_only = False  # True where the blobs are statistics, not learned (BatchNorm)
    loss_weight = 0.0  # of the first top, where the description gives none
    scores = False  # True where, as a loss does, it scores or stores what the net computes: inference leaves it out
    in_place = False  # True where the top may overwrite the bottom
    overwrite = False  # set by the net where it is to
    apart = False  # True where Caffe refuses a top that takes the bottom's place
    spares_top = False  # True where the gradient does not need the top, which a layer in place may then overwrite
    shares = False  # True where the tops are the bottom's memory (ShareData): what a layer in place writes shows in both
    mapped_bottoms: int | None = None  # how many bottoms, from the first, `pixels` speaks of; None: all. Others lend a size
    type: str  # type: ignore[assignment]  # Caffe's; a Module's own `type` casts
    # The parameter blobs, where a layer has them.
    weight: Tensor
    bias: Tensor

    def __init__(self, param: LayerParameter):
        super().__init__()
        self.layer_name = param.name
        self.type = param.type
        self.own_shapes: dict[str, tuple[int, ...]] = {}  # of the blobs that are another layer's in another shape
        self.frozen = {index for index, spec in enumerate(param.param) if spec.lr_mult == 0}
        self.is_in_place = bool(set(param.bottom) & set(param.top))
        if self.apart and self.is_in_place:
            raise self.error("cannot be in place; give its top another name")

    @property
    def pixels(self) -> Pixels | None:
        """How the top's pixels lie over the bottoms': SAME, or windows. None: there is no map, and crops refuse to pass.

        A class may give it as an attribute, or as a property where it depends on the settings.
        """
        return None

    def source(self, step: LayerSource) -> str | Sequence[str]:
        """The expression that makes the top, or one for each top, in PyTorch source. Raises CaffeError where it has none.

        `step` holds the bottoms' expressions and shapes, takes what `__init__` needs (`step.module`), and refuses settings
        that cannot be written (`step.refuse`).
        """
        raise self.error("cannot be written as PyTorch source; CaffeNet runs it as it is")

    def blob_shapes(self, *bottoms: Any, **optional: Any) -> tuple[Shape, ...]:
        """The shape of each parameter blob, from the bottoms' shapes."""
        return ()

    def top_shape(self, *bottoms: Any, **optional: Any) -> Shape | None:
        """The shape of the only top, from the bottoms' shapes; None to have `forward` find it on the meta device.

        The layers that most nets are made of say it, since PyTorch's own rules import a compiler: a second and 70 MB.
        """
        return None

    def refuse_training_in_place(self) -> None:
        """For `__init__`, where Caffe's Backward reads data or diffs that are overwritten if the layer is in place.

        Forward runs; a gradient that reaches the layer raises CaffeError.
        """
        if self.is_in_place:
            self.register_forward_hook(_refuse_gradient)

    def declare_blobs(self) -> None:
        """Give every blob its place in the state_dict, empty for now."""
        for name in self.blob_names:
            if self.buffers_only:
                self.register_buffer(name, None)
            else:
                self.register_parameter(name, None)

    def make_blob(self, index: int, shape: Shape, like: Tensor | None = None) -> None:
        """Make blob `index` with this shape and fill it as described, where the tensor `like` is and of its type."""
        self.check_count(shape, self.blob_names[index])
        blob = torch.zeros(tuple(shape))
        filler = self.fillers[index] if index < len(self.fillers) else None
        if filler is not None and not blob.is_meta:
            try:
                fill(blob, filler)
            except CaffeError as error:
                raise self.error(str(error)) from None
        if like is not None and not like.is_meta:
            blob = blob.to(like.device, like.dtype if like.is_floating_point() else None)
        self.set_blob(index, blob)

    def set_blob(self, index: int, blob: Tensor) -> None:
        """Make a tensor the blob `index`, as it is."""
        if not self.buffers_only:
            blob = nn.Parameter(blob, requires_grad=index not in self.frozen)
        setattr(self, self.blob_names[index], blob)

    def share_blob(self, index: int, owner: Tensor, shape: Shape) -> None:
        """Take another layer's blob as blob `index`; one of another shape is seen in this one (share_mode PERMISSIVE)."""
        name = self.blob_names[index]
        setattr(self, name, owner)
        if tuple(owner.shape) != tuple(shape):
            self.own_shapes[name] = tuple(shape)

    def blobs(self) -> list[Any]:
        """The parameter blobs as tensors, in Caffe's order; None where not made yet."""
        blobs = [getattr(self, name) for name in self.blob_names]
        return [blob.view(self.own_shapes[name]) if name in self.own_shapes else blob
                for name, blob in zip(self.blob_names, blobs, strict=True)]

    def blobs_by_name(self) -> dict[str, Tensor]:
        """{name: parameter blob} of those that are made."""
        return {name: blob for name, blob in zip(self.blob_names, self.blobs(), strict=True) if blob is not None}

    def check_count(self, shape: Shape, what: str = "top") -> None:
        """An error that names this layer for a blob that Caffe refuses for its size (blob.cpp, Reshape)."""
        if too_large(shape):
            raise self.error(f"its {what} of shape {dims_text(shape)} {too_large(shape)}")

    def error(self, reason: str) -> CaffeError:
        """A CaffeError that names this layer."""
        return CaffeError(f"layer '{self.layer_name}' ({self.type}): {reason}")

    def extra_repr(self) -> str:
        shapes = [f"{name}={tuple(blob.shape)}" for name, blob in zip(self.blob_names, self.blobs(), strict=True)
                  if blob is not None]
        return ", ".join([self.type, *shapes])


def _refuse_gradient(layer: Layer, bottoms: tuple[Tensor, ...], top: Tensor) -> None:
    def refuse(gradient: Tensor) -> None:
        raise layer.error("cannot be trained in place: Caffe computes its gradient from what has overwritten its bottom; "
                          "give its top another name")

    if top.requires_grad:
        top.register_hook(refuse)  # type: ignore[no-untyped-call]


OVERWRITES = "cannot be in place: Caffe overwrites its bottom before it has read it; give its top another name"


def too_large(shape: Shape) -> str:
    """Why Caffe has no blob of this shape, or nothing."""
    return f"holds more than {MAX_COUNT} numbers, which no blob of Caffe's can" if math.prod(shape) > MAX_COUNT else ""


def constant(value: float) -> FillerParameter:
    """A filler of one value."""
    return FillerParameter(type="constant", value=value)


def canonical_axis(axis: int, ndim: int, layer: Layer) -> int:
    """`axis` counted from the front, as Caffe's CanonicalAxisIndex; out of range is an error that names the layer."""
    if not -ndim <= axis < ndim:
        raise layer.error(f"axis {axis} is out of range for a bottom of {ndim} axes")
    return axis % ndim


def check_indices(values: Tensor, size: int, layer: Layer, what: str = "index") -> Tensor:
    """`values` as whole numbers; one outside [0, size) is an error that names the layer.

    Only looked at on the CPU, where it costs no waiting, and not while a graph is being captured.
    """
    indices = values.long()
    if indices.device.type == "cpu" and indices.numel() and not torch.compiler.is_compiling():
        low, high = indices.aminmax()
        if low < 0 or high >= size:
            raise layer.error(f"{what} {int(low if low < 0 else high)} is outside 0 to {size - 1}")
    return indices


def root(squares: Tensor, slack: float) -> Tensor:
    """The square root of `squares`, with Caffe's gradient 1 / (2 * (root + slack)), finite at zero."""
    value = squares.detach().sqrt()
    return value + (squares - squares.detach()) / (2 * (value + slack))
