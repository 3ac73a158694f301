"""Bilinear interpolation as a deconvolution's weights."""

from collections.abc import Iterable

import numpy as np
import torch

from converters.errors import CaffeError
from converters.net import CaffeNet


def bilinear_kernel(size: int) -> np.ndarray:
    """The (size, size) kernel that a deconvolution of stride (size + 1) // 2 upsamples bilinearly with, float64.

    The release's upsample filter: a tent around the kernel's middle. Caffe's own "bilinear" filler gives the same; before
    2017 it was another one for sizes such as 3 and 6.
    """
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    line = 1 - np.abs(np.arange(size) - center) / factor
    return np.outer(line, line)


def interp(net: CaffeNet, layers: Iterable[str] | None = None) -> list[str]:
    """Set deconvolutions of a CaffeNet, in place, to interpolate each channel bilinearly by itself.

    layers: their names; default: every Deconvolution whose name holds "up", as in the release's surgery.py. Returns the
    names. Raises CaffeError for kernels that are not square or another number of channels out than in.
    """
    names = upsampling_layers(net) if layers is None else list(layers)
    for name in names:
        if not net.params.get(name):
            raise CaffeError(f"cannot interpolate in layer '{name}': the net has no such layer with parameters")
        weight = net.params[name][0]
        if weight is None or weight.ndim != 4 or weight.shape[2] != weight.shape[3]:
            shape = None if weight is None else tuple(weight.shape)
            raise CaffeError(f"cannot interpolate in layer '{name}': its kernels must be square, its weights are {shape}")
        # A grouped deconvolution has one kernel for each channel already.
        channels, outputs = weight.shape[:2]
        if outputs not in (channels, 1):
            raise CaffeError(f"cannot interpolate in layer '{name}': {channels} channels in but {outputs} out")
        kernel = torch.as_tensor(bilinear_kernel(weight.shape[2]), dtype=weight.dtype, device=weight.device)
        with torch.no_grad():
            weight.zero_()
            weight[range(channels), range(channels) if outputs == channels else 0] = kernel
    return names


def upsampling_layers(net: CaffeNet) -> list[str]:
    """The layers of a CaffeNet that `interp` sets: the deconvolutions whose names hold "up"."""
    return [name for name, layer in net.layers.items() if layer.type == "Deconvolution" and "up" in name]
