"""The layers, one small file a family; importing this fills the registry."""

from converters.layers import (  # noqa: F401
    activation,
    arithmetic,
    arrangement,
    convolution,
    inner_product,
    inputs,
    loss,
    normalization,
    pooling,
)
from converters.layers.base import REGISTRY, Layer, register

__all__ = ["REGISTRY", "Layer", "register"]
