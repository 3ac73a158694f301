"""Caffe's fillers: how a parameter blob starts before training (filler.hpp).

Where Caffes differ, the reference is BVLC's last commit, 9b89154, here as in every other file.
"""

import math

import torch
from torch import Generator, Tensor

from converters.caffe_pb2 import FillerParameter
from converters.errors import CaffeError
from converters.formats.blob import dims_text


def fill(blob: Tensor, filler: FillerParameter, generator: Generator | None = None) -> Tensor:
    """Fill the tensor `blob` in place as `filler`, a FillerParameter, says, and return it.

    Fans are Caffe's: fan in is count / shape[0], fan out count / shape[1]. Raises CaffeError for an unknown type and for
    what Caffe refuses.
    """
    if filler.type not in FILLERS:
        raise CaffeError(f"unknown filler type '{filler.type}': known are {', '.join(sorted(FILLERS))}")
    if not blob.numel():
        raise CaffeError(f"cannot fill an empty blob, of shape {dims_text(blob.shape)}")
    if filler.type != "gaussian" and filler.sparse != -1:
        raise CaffeError(f"filler '{filler.type}' takes no sparse; only 'gaussian' does")
    with torch.no_grad():
        FILLERS[filler.type](blob, filler, generator)
    return blob


def _constant(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    blob.fill_(filler.value)


def _uniform(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    if filler.min > filler.max:
        raise CaffeError(f"filler 'uniform': min {filler.min} must not be above max {filler.max}")
    blob.uniform_(filler.min, filler.max, generator=generator)


def _gaussian(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    if filler.std <= 0:
        raise CaffeError(f"filler 'gaussian': std {filler.std} must be positive")
    blob.normal_(filler.mean, filler.std, generator=generator)
    if filler.sparse == -1:
        return
    outputs = _outputs(blob)
    if not 0 <= filler.sparse <= outputs:
        raise CaffeError(f"filler 'gaussian': sparse {filler.sparse} must be from 0 to the {outputs} outputs, "
                         "or -1 to leave no weight out")
    blob.mul_(torch.empty_like(blob).bernoulli_(filler.sparse / outputs, generator=generator))


def _outputs(blob: Tensor) -> int:
    if not blob.ndim:
        raise CaffeError("this filler needs a blob of at least one axis, not a single number")
    return blob.shape[0]


def _fan(blob: Tensor, filler: FillerParameter) -> float:
    fan_in = blob.numel() / _outputs(blob)
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
    blob.div_(blob.reshape(_outputs(blob), -1).sum(1).reshape(-1, *[1] * (blob.ndim - 1)))


def _bilinear(blob: Tensor, filler: FillerParameter, generator: Generator | None) -> None:
    if blob.ndim != 4 or blob.shape[2] != blob.shape[3]:
        raise CaffeError(f"the bilinear filler needs a 4-D blob with square kernels, not {dims_text(blob.shape)}")
    size = blob.shape[3]
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)  # before 2017 another one, which was off the middle for sizes such as 3 and 6
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
