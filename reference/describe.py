"""A net as a table, a line for each layer."""

from collections.abc import Sequence
from typing import NamedTuple

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError
from converters.formats.blob import dims_text
from converters.inspect import multiply_adds
from converters.shapes import infer_shapes
from surgery.coordinates import receptive_field

Pair = tuple[int, int]


class LayerRow(NamedTuple):
    """One layer. Pairs are (height, width), None where the layer has no window; a receptive field of None: sees it all."""

    layer: str
    type: str
    kernel: tuple[int, ...] | None
    stride: Pair | None
    pad: Pair | None
    output: tuple[int, ...]  # the shape of its first top
    receptive_field: Pair | None  # in pixels of the input, padding included
    parameters: int
    multiply_adds: int  # of a forward pass


def describe(net: NetParameter, size: Pair | None = None) -> list[LayerRow]:
    """[LayerRow, ...] of a NetParameter for images of `size`, (height, width), or the declared one.

    Left out are losses and the layers that work in place, which neither change a shape nor multiply.
    """
    caffe, shapes = infer_shapes(net, size)
    rows = []
    for param in caffe.param.layer:
        if not param.top or param.top[0] in param.bottom:
            continue
        layer = caffe.layers[param.name]
        top = shapes[param.top[0]]
        rows.append(LayerRow(
            param.name, param.type,
            shapes[param.bottom[0]][2:] if getattr(layer, "is_global", False) else getattr(layer, "kernel", None),
            getattr(layer, "stride", None), getattr(layer, "pad", None), top, _field(caffe.param, param.top[0]),
            sum(blob.numel() for blob in layer.blobs()), multiply_adds(param, layer.blobs(), shapes)))
    return rows


def format_table(rows: Sequence[LayerRow]) -> str:
    """The rows as text, in columns, with a line of totals."""
    lines: list[tuple[str, ...]] = [
        ("layer", "type", "kernel", "stride", "pad", "output", "field", "parameters", "multiply-adds")]
    lines += [(row.layer, row.type, _pair(row.kernel), _pair(row.stride), _pair(row.pad), dims_text(row.output),
               _pair(row.receptive_field), _count(row.parameters), _count(row.multiply_adds)) for row in rows]
    lines.append(("total", *[""] * 6, _count(sum(row.parameters for row in rows)),
                  _count(sum(row.multiply_adds for row in rows))))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" if i < 2 else f"{cell:>{width}}"
                  for i, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines)


def _field(net: NetParameter, blob: str) -> Pair | None:
    try:
        field = receptive_field(net, blob)
    except CaffeError:
        return None  # below an inner product or a global pooling
    return field if isinstance(field, tuple) else (field, field)


def _pair(values: tuple[int, ...] | None) -> str:
    if values is None:
        return ""
    return str(values[0]) if values[0] == values[1] else f"{values[0]}x{values[1]}"


def _count(number: int) -> str:
    return f"{number:,}" if number else ""
