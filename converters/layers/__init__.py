"""The layers, one small file a family. Importing this imports every file here, which fills the registry."""

from importlib import import_module
from pkgutil import iter_modules

from converters.layers.base import REGISTRY, Layer, layer, register
from converters.layers.pixels import ALIGNED, SAME, Pixels, Window
from converters.layers.sources import LayerSource
from converters.layers.table import LEFT_OUT, layer_table

__all__ = ["ALIGNED", "LEFT_OUT", "REGISTRY", "SAME", "Layer", "LayerSource", "Pixels", "Window", "layer", "layer_table",
           "register"]

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
