"""Caffe's fillers: how a parameter blob starts before training (filler.hpp)."""

import math

import torch
from torch import Generator, Tensor

from converters.caffe_pb2 import FillerParameter
from converters.errors import CaffeError
from converters.formats.blob import dims_text


def fill(blob: Tensor, filler: FillerParameter, generator: Generator | None = None) -> Tensor:
    """Fill the tensor `blob` in place as `filler`, a FillerParameter, says, and return it.

    Fans are Caffe's: fan in is count / shape[0], fan out count / shape[1]. An unknown type raises CaffeError.
    """
    if filler.type not in FILLERS:
        raise CaffeError(f"unknown filler type '{filler.type}': known are {', '.join(sorted(FILLERS))}")
    with torch.no_grad():
        FILLERS[filler.type](blob, filler, generator)
    return blob


def _constant(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    blob.fill_(filler.value)


def _uniform(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    blob.uniform_(filler.min, filler.max, generator=generator)


def _gaussian(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    blob.normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse >= 0:
        # `sparse` is the expected number of non-zero weights for each output.
        keep = min(1.0, filler.sparse / blob.shape[0])
        blob.mul_(torch.empty_like(blob).bernoulli_(keep, generator=generator))


def _fan(blob: Tensor, filler: FillerParameter) -> float:
    fan_in = blob.numel() / blob.shape[0]
    fan_out = blob.numel() / blob.shape[1] if blob.ndim > 1 else blob.numel()
    return {
        FillerParameter.FAN_IN: fan_in,
        FillerParameter.FAN_OUT: fan_out,
        FillerParameter.AVERAGE: (fan_in + fan_out) / 2,
    }[filler.variance_norm]


def _xavier(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    bound = math.sqrt(3 / _fan(blob, filler))
    blob.uniform_(-bound, bound, generator=generator)


def _msra(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    blob.normal_(0, math.sqrt(2 / _fan(blob, filler)), generator=generator)


def _positive_unitball(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    blob.uniform_(0, 1, generator=generator)
    blob.div_(blob.reshape(len(blob), -1).sum(1).reshape(-1, *[1] * (blob.ndim - 1)))


def _bilinear(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    if blob.ndim != 4 or blob.shape[2] != blob.shape[3]:
        raise CaffeError(f"the bilinear filler needs a 4-D blob with square kernels, not {dims_text(blob.shape)}")
    size = blob.shape[3]
    factor = math.ceil(size / 2)
    center = (2 * factor - 1 - factor % 2) / (2 * factor)
    line = 1 - (torch.arange(size, dtype=torch.float64) / factor - center).abs()
    blob.copy_(line[:, None] * line)


FILLERS = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "bilinear": _bilinear,
}
