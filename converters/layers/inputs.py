"""Layers without bottoms: their tops are what the caller feeds."""

from converters.layers.base import Layer, register


@register("Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "Python")
class Input(Layer):
    """A source of data. Whatever Caffe would read it from, here its tops are inputs of the net.

    `shapes` holds the declared shape of each top, or None where the description gives none.
    """

    def __init__(self, param):
        super().__init__(param)
        if param.type == "Python" and param.bottom:
            raise self.error("a Python layer that computes has no meaning here: only Python data layers can become inputs; "
                             "register a layer of your own for it (converters.register)")
        declared = [tuple(shape.dim) for shape in param.input_param.shape]
        if len(declared) not in (0, 1, len(param.top)):
            raise self.error(f"{len(declared)} shapes for {len(param.top)} tops: give none, one, or one for each")
        if param.type == "MemoryData":
            memory = param.memory_data_param
            declared = [(memory.batch_size, memory.channels, memory.height, memory.width), (memory.batch_size,)]
        self.shapes = (declared or [None]) * len(param.top) if len(declared) < 2 else declared
