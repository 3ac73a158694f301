"""A net as a picture: a box for each step, a row for each resolution (as the FCN paper's figure 3).

A step is an input, what changes the resolution, what joins several steps, a layer of class scores, and an output of the net.
What lies between is counted in the box that it leads to, so that a residual net of 150 layers takes 30 boxes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from html import escape
from itertools import pairwise
from pathlib import Path

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError
from converters.files import FilePath, atomic_write
from converters.phase import filter_net
from converters.shapes import inference_net
from surgery.coordinates import CoordinateMap, coordinate_map, mapped_bottoms

BOX, GAP, MARGIN = (168, 46), (34, 22), 24  # pixels: width and height, the space between boxes, and around all of them
LETTERS = 20, 32  # that a box has room for: in its name, and in a line below
SHORT = 12  # letters: longer names of what lies between are counted instead
MOST = 250  # boxes that a person can follow in one picture
COLORS = {"Input": "#e3e8ee", "Pooling": "#cfe0f4", "Convolution": "#d3ecd5", "InnerProduct": "#d3ecd5",
          "Deconvolution": "#fbe3c0", "Eltwise": "#f6cfd6", "Concat": "#e6d8f2"}
LEARNED = ("Convolution", "InnerProduct", "Scale", "Deconvolution")
PRIOR_BOX = "PriorBox"  # a fork's layer that has no class here, whose second bottom lends its size alone

Place = tuple[int, int]  # (x, y)
Stride = tuple[Fraction, ...] | None  # (height, width) in pixels of the input; None where pixels have no place any more


@dataclass(eq=False)
class Box:
    """One step, and the boxes before it."""

    name: str
    type: str  # of its layer
    stride: Stride
    note: str
    before: list["Box"]
    column: int = 0


def boxes(net: NetParameter) -> list[Box]:
    """The steps of a net in its test phase, in its order; losses are left out.

    Where a layer has no coordinate map, as an inner product, what follows has no stride.
    """
    net = inference_net(filter_net(net, "test"))
    taken = {bottom for layer in net.layer for bottom in layer.bottom}
    found: list[Box] = []
    origin: dict[str, list[Box]] = {}  # {blob: the boxes that it comes from}
    passed: dict[str, list[LayerParameter]] = {}  # {blob: the learned layers since}
    strides: dict[str, Stride] = {}

    def add(blobs: Iterable[str], box: Box) -> None:
        found.append(box)
        for blob in blobs:
            origin[blob], passed[blob], strides[blob] = [box], [], box.stride

    def add_input(blob: str) -> None:
        add([blob], Box(blob, "Input", (Fraction(1), Fraction(1)), "", []))

    for layer in net.layer:
        bottoms = list(layer.bottom)[:1 if layer.type == PRIOR_BOX else mapped_bottoms(layer)]
        if not bottoms:
            for top in layer.top:
                if top in taken or len(layer.top) == 1:  # without its loss nothing takes a label
                    add_input(top)
            continue
        for bottom in bottoms:
            if bottom not in origin:  # an input that the net does not declare
                add_input(bottom)
        before = list(dict.fromkeys(box for bottom in bottoms for box in origin[bottom]))
        between = list({id(each): each for bottom in bottoms for each in passed[bottom]}.values())
        step = coordinate_map(layer)
        stride = _stride(step, [strides[bottom] for bottom in bottoms])
        joins = len({tuple(origin[bottom]) for bottom in bottoms}) > 1
        # A Permute or an unknown layer has no map either, but is no step of its own.
        ends = any(strides[bottom] for bottom in bottoms) and stride is None and layer.type in (*LEARNED, "Pooling")
        changes = ends or step is not None and step.scale != CoordinateMap().scale
        is_output = any(top not in taken for top in layer.top)
        if joins or changes or is_output or (layer.type == "Convolution" and layer.name.startswith("score")):
            add(layer.top, Box(layer.name, layer.type, stride, _note(layer, between), before))
            continue
        for top in layer.top:
            if top not in layer.bottom:
                origin[top], strides[top] = before, stride
                passed[top] = between + [layer] * (layer.type in LEARNED)
    return found


def write_picture(path: FilePath, net: NetParameter) -> None:
    """Write the picture of a net as .svg, or as .dot for graphviz. Raises CaffeError for other suffixes, and as `svg`."""
    draw = {".svg": svg, ".dot": dot}.get(Path(path).suffix)
    if draw is None:
        raise CaffeError(f"{path}: a picture is written as .svg or .dot, not '{Path(path).suffix}'")
    text = draw(net)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def dot(net: NetParameter) -> str:
    """The picture as graphviz text."""
    lines = [f"digraph {_quoted(net.name)} {{", "  rankdir=LR; node [shape=box, style=filled, fontname=Helvetica];"]
    steps = boxes(net)
    number = {box: index for index, box in enumerate(steps)}
    for box in steps:
        label = _quoted("\n".join([box.name, *_lines(box)])).replace("\n", "\\n")
        lines.append(f'  n{number[box]} [label={label}, fillcolor="{_color(box)}"];')
        lines += [f"  n{number[before]} -> n{number[box]};" for before in box.before]
    return "\n".join([*lines, "}"]) + "\n"


def svg(net: NetParameter) -> str:
    """The picture as SVG: coarser to the bottom, time to the right.

    Raises CaffeError for a net of no layers, or of more steps than a person can follow.
    """
    steps = boxes(net)
    if not steps:
        raise CaffeError(f"net '{net.name}' has no layers to draw")
    if len(steps) > MOST:
        raise CaffeError(f"the picture of net '{net.name}' would have {len(steps)} boxes, more than the {MOST} that "
                         "can be followed; write it as .dot, and draw parts of it with graphviz")
    _set_columns(steps)
    rows = _rows(steps)
    place, bottom = _places(steps, rows)
    width = max(x for x, _ in place.values()) + BOX[0] + MARGIN
    height, title = bottom + MARGIN - GAP[1], escape(net.name or "net", quote=True)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
             f'font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{title}">',
             f"<title>{title}</title>", '<rect width="100%" height="100%" fill="white"/>',
             '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
             '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>']
    parts += [_arrow(before, box, place) for box in steps for before in box.before]
    parts += [_drawn(box, *place[box]) for box in steps]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _stride(step: CoordinateMap | None, before: list[Stride]) -> Stride:
    """The stride of a layer's tops, from its coordinate map and the strides of its bottoms; None where one is not known."""
    known = [stride for stride in before if stride is not None]
    if step is None or not known or not all(step.scale):
        return None
    finest = min(known)  # inputs of a join have one stride; where they do not, it is drawn with the finest
    return tuple(pixels / scale for pixels, scale in zip(finest, step.scale, strict=True))


def _note(layer: LayerParameter, between: list[LayerParameter]) -> str:
    after = ", ".join(each.name for each in between)
    if len(after) > SHORT:
        kind = "convolution" if all(each.type == "Convolution" for each in between) else "layer"
        after = f"{len(between)} {kind}{'s' if len(between) > 1 else ''}"
    convolution = layer.convolution_param
    what = {
        "Pooling": "pooled",
        "Convolution": f"{convolution.num_output} " + ("classes" if layer.name.startswith("score") else "channels"),
        "InnerProduct": f"{layer.inner_product_param.num_output} outputs",
        "Eltwise": {0: "product", 1: "sum", 2: "maximum"}.get(layer.eltwise_param.operation, ""),
        "Concat": "joined", "Crop": "cropped",
    }.get(layer.type, layer.type)
    if layer.type == "Deconvolution":
        return f"{max(convolution.stride, default=1) or 1}x upsampled"
    if layer.type in ("Eltwise", "Crop"):
        return what
    return f"{after}, {what}" if after else what


def _lines(box: Box) -> list[str]:
    """What stands below a box's name."""
    if box.stride is None:
        return [box.note] if box.note else []
    text = str(box.stride[0]) if box.stride[0] == box.stride[1] else f"{box.stride[0]}x{box.stride[1]}"
    return [*([box.note] if box.note else []), f"stride {text}"]


def _set_columns(steps: list[Box]) -> None:
    """Each box as far right as what follows allows, so that a skip's scores stand beside what they are added to."""
    depth: dict[Box, int] = {}
    for box in steps:
        depth[box] = max((depth[before] + 1 for before in box.before), default=0)
    followed = {before for box in steps for before in box.before}
    for box in steps:
        box.column = max(depth.values()) if box in followed else depth[box]
    for box in reversed(steps):
        for before in box.before:
            before.column = min(before.column, box.column - 1)


def _rows(steps: list[Box]) -> dict[Box, int]:
    """{box: its row}: finer above, and below all what has no stride."""
    order = sorted({max(box.stride) for box in steps if box.stride is not None})
    return {box: order.index(max(box.stride)) if box.stride is not None else len(order) for box in steps}


def _places(steps: list[Box], rows: dict[Box, int]) -> tuple[dict[Box, Place], int]:
    """({box: (x, y) of its corner}, where the lowest row ends); the boxes of one row and column stand below one another."""
    cells: dict[tuple[int, int], list[Box]] = {}
    for box in steps:
        cells.setdefault((box.column, rows[box]), []).append(box)
    place: dict[Box, Place] = {}
    top = MARGIN
    for row in range(max(rows.values()) + 1):
        here = {column: sorted(cell, key=_source) for (column, other), cell in cells.items() if other == row}
        for column, cell in here.items():
            for i, box in enumerate(cell):
                place[box] = MARGIN + column * (BOX[0] + GAP[0]), top + i * (BOX[1] + GAP[1])
        top += max(map(len, here.values()), default=0) * (BOX[1] + GAP[1])
    return place, top


def _source(box: Box) -> int:
    """What comes from further left stands higher: a skip passes above the upsampled scores that it joins."""
    return min((before.column for before in box.before), default=0)


def _color(box: Box) -> str:
    return COLORS.get(box.type, "#eeeeee")


def _drawn(box: Box, x: int, y: int) -> str:
    middle, notes = x + BOX[0] / 2, _lines(box)
    text = "".join(f'<text x="{middle:g}" y="{y + 28 + 12 * i}" font-size="9.5" fill="#333" text-anchor="middle">'
                   f"{escape(_cut(note, LETTERS[1]))}</text>" for i, note in enumerate(notes))
    return (f'<g><title>{escape(", ".join([box.name, box.type, *notes]))}</title>'
            f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="5" fill="{_color(box)}" stroke="#555"/>'
            f'<text x="{middle:g}" y="{y + 15}" font-size="12" font-weight="bold" text-anchor="middle">'
            f"{escape(_cut(box.name, LETTERS[0]))}</text>{text}</g>")


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[:letters - 1]}…"


def _arrow(start: Box, end: Box, place: dict[Box, Place]) -> str:
    """From the right side of one box to the left side of another, behind no box that stands between."""
    (x0, top0), (x1, top1) = place[start], place[end]
    x0, y0, y1 = x0 + BOX[0], top0 + BOX[1] / 2, top1 + BOX[1] / 2
    bend = GAP[0] / 2

    def free(y: float) -> bool:
        return not any(x0 < x < x1 and top - 2 < y < top + BOX[1] + 2 for x, top in place.values() if x + BOX[0] < x1)

    # Along the height of its start, of its end, or else in the gap above the lower one.
    along = next((y for y in (y0, y1) if free(y)), max(top0, top1) - GAP[1] / 2)
    turns = [(x0, y0), (x0 + GAP[0], along), (x1 - GAP[0], along), (x1, y1)] if x1 - x0 > GAP[0] else [(x0, y0), (x1, y1)]
    path = f"M{x0},{y0:g}"
    for (x, y), (next_x, next_y) in pairwise(turns):
        path += (f" L{next_x},{next_y:g}" if y == next_y else
                 f" C{x + bend},{y:g} {next_x - bend},{next_y:g} {next_x},{next_y:g}")
    return f'<path d="{path}" fill="none" stroke="#555" stroke-width="1.4" marker-end="url(#tip)"/>'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
