"""Layers without bottoms: what the caller feeds, what a filler makes, what is learned."""

import torch

from converters.caffe_pb2 import FillerParameter
from converters.errors import CaffeError
from converters.layers.base import Layer, register
from converters.layers.fillers import fill


@register("Input")
class Input(Layer):
    """Tops that the caller feeds (input_layer.cpp).

    `shape` may be given once, or once for each top.
    """

    # `shapes` holds the declared shape of each top, or None where the description gives none.

    def __init__(self, param):
        super().__init__(param)
        declared = self.declared(param)
        if len(declared) not in (0, 1, len(param.top)):
            raise self.error(f"{len(declared)} shapes for {len(param.top)} tops: give none, one, or one for each")
        self.shapes = (declared or [None]) * len(param.top) if len(declared) < 2 else declared

    def declared(self, param):
        return [tuple(shape.dim) for shape in param.input_param.shape]


@register("Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "Python")
class Data(Input):
    """A data layer, whose tops the caller feeds instead (base_data_layer.cpp).

    Nothing is read and transform_param is not applied. A Python layer that computes is refused.
    """

    def declared(self, param):
        if param.type == "Python" and param.bottom:
            raise self.error("a Python layer that computes has no meaning here: only Python data layers can become inputs; "
                             "register a layer of your own for it (converters.register)")
        if param.type != "MemoryData":
            return []
        memory = param.memory_data_param
        return [(memory.batch_size, memory.channels, memory.height, memory.width), (memory.batch_size,)]


@register("DummyData")
class DummyData(Layer):
    """Tops that fillers make, random ones anew in every pass (dummy_data_layer.cpp)."""

    def __init__(self, param):
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
        # Says on which device and in which precision the tops are wanted.
        self.register_buffer("like", torch.empty(0), persistent=False)

    def _for_each_top(self, values, tops, what):
        if len(values) not in (1, tops):
            raise self.error(f"{what}: give one, or one for each of the {tops} tops, not {len(values)}")
        return list(values) * tops if len(values) == 1 else list(values)

    def forward(self):
        try:
            tops = tuple(fill(self.like.new_empty(shape), filler)
                         for shape, filler in zip(self.shapes, self.data_fillers, strict=True))
        except CaffeError as error:
            raise self.error(error) from None
        return tops if len(tops) > 1 else tops[0]


@register("Parameter")
class Parameter(Layer):
    """A learned blob as a top; it starts at zero (parameter_layer.cpp)."""

    blob_names = ("weight",)

    def __init__(self, param):
        super().__init__(param)
        self.shape = tuple(param.parameter_param.shape.dim)

    def blob_shapes(self):
        return (self.shape,)

    def forward(self):
        return self.weight.clone()
