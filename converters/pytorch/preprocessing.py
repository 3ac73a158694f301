"""How an image becomes a net's input. Caffe keeps that in data layers and scripts; here it travels with the weights."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from converters.errors import CaffeError, CaffeFileError
from converters.files import FilePath

ORDERS = ("bgr", "rgb")


@dataclass(frozen=True)
class Preprocessing:
    """What was given at conversion; None where nothing was.

    An image of values 0 to 255, its channels in the order of `channels`, becomes `(image - mean) * scale`, as in Caffe's
    data_transformer.cpp.

    mean: one number for each channel, in that order. scale: a number. input_size: (height, width). classes: names.
    """

    mean: tuple[float, ...] | None = None
    channels: str | None = None
    scale: float | None = None
    input_size: tuple[int, int] | None = None
    classes: tuple[str, ...] | None = None

    def metadata(self) -> dict[str, str]:
        """As text, {field: JSON}, for the metadata of a safetensors file."""
        return {name: json.dumps(value) for name, value in asdict(self).items() if value is not None}


def read_metadata(path: FilePath) -> Preprocessing:
    """The `Preprocessing` kept in a .safetensors; of any other file, which cannot keep it, an empty one.

    Raises CaffeFileError for a damaged file, or metadata that is not of that form.
    """
    if Path(path).suffix != ".safetensors":
        return Preprocessing()
    from converters.pytorch.safetensors_file import read_header

    return from_metadata(read_header(path).metadata, path)


def from_metadata(metadata: Mapping[str, str], path: FilePath) -> Preprocessing:
    """The `Preprocessing` in a safetensors file's metadata, {name: text}; other names are not looked at."""
    values: dict[str, Any] = {}
    for name, is_valid in VALID.items():
        if name not in metadata:
            continue
        try:
            value = json.loads(metadata[name])
        except (ValueError, RecursionError):
            value = None
        if not is_valid(value):
            raise CaffeFileError(path, f"is not what a conversion writes: {metadata[name][:60]!r}", f"metadata '{name}'")
        values[name] = tuple(value) if isinstance(value, list) else value
    return Preprocessing(**values)


def mean_of(path: FilePath) -> tuple[float, ...]:
    """The mean of each channel in a mean.binaryproto (1xCxHxW), a tuple: what Caffe's classifiers subtract.

    The image in the file has one size, the nets' inputs another; see examples/cpp_classification, SetMean.
    """
    from converters.formats.blob import dims_text, read_blob

    mean = read_blob(path)
    if mean.ndim < 3:
        raise CaffeError(f"{path}: a mean has the axes 1xCxHxW, not {dims_text(mean.shape)}")
    mean = mean.reshape(mean.shape[-3], -1).mean(1, dtype=float)
    return tuple(round(float(value), 5) for value in mean)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list_of(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_valid, value))


VALID: dict[str, Callable[[Any], bool]] = {
    "mean": _is_list_of(_is_number),
    "channels": lambda value: value in ORDERS,
    "scale": _is_number,
    "input_size": lambda value: _is_list_of(_is_number)(value) and len(value) == 2,
    "classes": _is_list_of(lambda value: isinstance(value, str)),
}
