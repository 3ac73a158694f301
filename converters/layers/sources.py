"""What a layer needs to write itself as PyTorch source (`Layer.source`)."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from converters.caffe_pb2 import LayerParameter

if TYPE_CHECKING:
    from converters.layers.base import Layer

HELPERS: dict[str, str] = {}  # {name: source of the function or class}, for what PyTorch has no name for


def helper(text: str) -> str:
    """Register the source of a function or class that written layers may use; returns its name, for `LayerSource.use`."""
    name = re.search(r"^(?:def|class) (\w+)", text, re.MULTILINE)[1]  # type: ignore[index]
    HELPERS[name] = text
    return name


BLOBS = helper('''
class Blobs(nn.Module):
    """The parameter blobs of one Caffe layer that PyTorch has no module for."""

    def __init__(self, **shapes):
        super().__init__()
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
''')


class LayerSource:
    """One layer while its source is written.

    layer: the Layer; param: its LayerParameter; bottoms: the expressions of its bottoms, `bottom` the first; shapes,
    top_shapes: of bottoms and tops; own: the expression of its module; blob_shapes: {blob name: shape}.
    """

    def __init__(self, layer: "Layer", param: LayerParameter, own: str, bottoms: list[str],
                 shapes: list[tuple[int, ...]], top_shapes: list[tuple[int, ...]]):
        self.layer, self.param, self.own, self.bottoms = layer, param, own, bottoms
        self.tops, self.shapes, self.top_shapes = list(param.top), shapes, top_shapes
        self.blob_shapes = {name: tuple(blob.shape) for name, blob in layer.blobs_by_name().items()}
        self.made: str | None = None
        self.used: list[str] = []

    @property
    def bottom(self) -> str:
        """The expression of the first bottom."""
        return self.bottoms[0]

    def module(self, expression: str) -> None:
        """Say what makes the layer's module."""
        self.made = expression

    def blobs(self) -> None:
        """The same for a layer that has parameters and no module of PyTorch's."""
        if self.blob_shapes:
            self.made = f"{self.use(BLOBS)}({', '.join(f'{name}={shape}' for name, shape in self.blob_shapes.items())})"

    def use(self, name: str) -> str:
        """Put a registered `helper` before the module; returns its name."""
        self.used.append(name)
        return name

    def refuse(self, reason: str) -> NoReturn:
        """Raise CaffeError: this layer, or these settings, cannot be written."""
        raise self.layer.error(f"cannot be written as PyTorch source: {reason}; CaffeNet runs it as it is")


def number(value: float) -> str:
    """A float32 of a description as it was typed: 0.0001, not 9.999999747378752e-05."""
    value = float(str(np.float32(value)))
    return repr(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)


def pair(values: Iterable[int]) -> str:
    """(3, 3) as 3, (3, 5) as it is."""
    values = tuple(values)
    return repr(values[0]) if len(set(values)) == 1 else repr(values)


def keywords(**settings: tuple[Any, Any]) -> str:
    """", name=value" for every setting that is not PyTorch's default, which is given with it."""
    return "".join(f", {name}={value}" for name, (value, default) in settings.items() if value != default)
