"""Layers without bottoms: what the caller feeds, what a filler makes, what is learned."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from converters.caffe_pb2 import FillerParameter, LayerParameter
from converters.errors import CaffeError
from converters.layers.base import Layer, Shape, layer
from converters.layers.fillers import fill
from converters.layers.sources import LayerSource

T = TypeVar("T")


@layer("Input")
class Input(Layer):
    """Tops that the caller feeds (input_layer.cpp).

    `shape` may be given once, or once for each top.
    """

    # `shapes` holds the declared shape of each top, or None where the description gives none.

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        declared = self.declared(param)
        if len(declared) not in (0, 1, len(param.top)):
            raise self.error(f"{len(declared)} shapes for {len(param.top)} tops: give none, one, or one for each")
        shapes: Sequence[tuple[int, ...] | None] = declared or [None]
        self.shapes = shapes if len(shapes) == len(param.top) else [*shapes] * len(param.top)

    def declared(self, param: LayerParameter) -> list[tuple[int, ...]]:
        return [tuple(shape.dim) for shape in param.input_param.shape]


@layer("Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "Python")
class Data(Input):
    """A data layer, whose tops the caller feeds instead (base_data_layer.cpp).

    Nothing is read and transform_param is not applied. A Python layer that computes is refused.
    """

    def declared(self, param: LayerParameter) -> list[tuple[int, ...]]:
        if param.type == "Python" and param.bottom:
            raise self.error("a Python layer that computes has no meaning here: only Python data layers can become inputs; "
                             "register a layer of your own for it (converters.register)")
        if param.type != "MemoryData":
            return []
        memory = param.memory_data_param
        return [(memory.batch_size, memory.channels, memory.height, memory.width), (memory.batch_size,)]


@layer("DummyData")
class DummyData(Layer):
    """Tops that fillers make, random ones anew in every pass (dummy_data_layer.cpp)."""

    like: Tensor
    shapes: list[tuple[int, ...]]

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        dummy, tops = param.dummy_data_param, len(param.top)
        legacy = (dummy.num, dummy.channels, dummy.height, dummy.width)
        if any(legacy) and dummy.shape:
            raise self.error("give shape, or num, channels, height and width, not both")
        if any(legacy):
            dims = [self._for_each_top(values, tops, "num, channels, height and width") for values in legacy]
            self.shapes = list(zip(*dims, strict=True))
        else:
            self.shapes = self._for_each_top([tuple(shape.dim) for shape in dummy.shape], tops, "shape")
        self.data_fillers = self._for_each_top(list(dummy.data_filler) or [FillerParameter()], tops, "data_filler")
        # Says on which device and in which precision the tops are to be.
        self.register_buffer("like", torch.empty(0), persistent=False)

    def _for_each_top(self, values: Sequence[T], tops: int, what: str) -> list[T]:
        if len(values) not in (1, tops):
            raise self.error(f"{what}: give one, or one for each of the {tops} tops, not {len(values)}")
        return list(values) * tops if len(values) == 1 else list(values)

    def forward(self) -> Tensor | tuple[Tensor, ...]:
        for shape in self.shapes:
            self.check_count(shape)
        try:
            tops = tuple(fill(self.like.new_empty(shape), filler)
                         for shape, filler in zip(self.shapes, self.data_fillers, strict=True))
        except CaffeError as error:
            raise self.error(str(error)) from None
        return tops if len(tops) > 1 else tops[0]


@layer("Parameter")
class Parameter(Layer):
    """A learned blob as a top; it starts at zero (parameter_layer.cpp)."""

    blob_names = ("weight",)

    def __init__(self, param: LayerParameter):
        super().__init__(param)
        self.shape = tuple(param.parameter_param.shape.dim)

    def blob_shapes(self) -> tuple[Shape, ...]:
        return (self.shape,)

    def forward(self) -> Tensor:
        return self.weight.clone()

    def source(self, step: LayerSource) -> str:
        step.blobs()
        return f"{step.own}.weight"
