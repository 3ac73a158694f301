"""The layers, one small file a family; importing this fills the registry."""

from converters.layers import (  # noqa: F401
    activation,
    arithmetic,
    arrangement,
    classification,
    convolution,
    inner_product,
    inputs,
    loss,
    normalization,
    pooling,
)
from converters.layers.base import REGISTRY, Layer, register
from converters.layers.table import LEFT_OUT, layer_table

__all__ = ["LEFT_OUT", "REGISTRY", "Layer", "layer_table", "register"]
