"""The skip architecture of a net as a picture: a box for each step, a row for each resolution (the paper's figure 3).

Boxes are the inputs, the poolings that halve the map, the class scores, the upsamplings, the sums, and the net's outputs.
What lies between, convolutions above all, is counted in the box that it leads to.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from html import escape

from converters.errors import CaffeError
from converters.shapes import inference_net
from surgery.coordinates import receptive_field, stride

BOX, GAP, MARGIN = (146, 46), (34, 22), 24  # pixels: width and height, the space between boxes, and around all of them
SHORT = 12  # letters: longer names of what lies between are counted instead
COLORS = {"Input": "#e3e8ee", "Pooling": "#cfe0f4", "Convolution": "#d3ecd5", "Deconvolution": "#fbe3c0",
          "Eltwise": "#f6cfd6"}


@dataclass(eq=False)
class Box:
    """One step, and the boxes before it."""

    name: str
    type: str  # of its layer
    stride: Fraction  # in pixels of the input
    note: str
    before: list
    column: int = field(default=0)


def boxes(net):
    """[Box, ...] of a NetParameter, in the net's order; losses are left out."""
    net = inference_net(net)
    taken = {bottom for layer in net.layer for bottom in layer.bottom}
    found, origin, passed = [], {}, {}
    for layer in net.layer:
        # Crop's second bottom lends its size alone.
        bottoms = layer.bottom[:1] if layer.type == "Crop" else layer.bottom
        before = list(dict.fromkeys(box for bottom in bottoms for box in origin[bottom]))
        between = list(dict.fromkeys(name for bottom in bottoms for name in passed[bottom]))
        for top in layer.top:
            if layer.type == "Input" or _is_step(layer, is_output=top not in taken):
                name = top if layer.type == "Input" else layer.name
                box = Box(name, layer.type, _stride(net, top, before), _note(layer, between), before)
                found.append(box)
                origin[top], passed[top] = [box], []
            else:
                origin[top] = before
                passed[top] = between + [layer.name] * (layer.type in ("Convolution", "InnerProduct", "Scale"))
    return found


def dot(net):
    """The picture as graphviz text."""
    lines = [f"digraph {_quoted(net.name)} {{", "  rankdir=LR; node [shape=box, style=filled, fontname=Helvetica];"]
    steps = boxes(net)
    number = {box: index for index, box in enumerate(steps)}
    for box in steps:
        label = _quoted("\n".join(_lines(box))).replace("\n", "\\n")
        lines.append(f'  n{number[box]} [label={label}, fillcolor="{_color(box)}"];')
        lines += [f"  n{number[before]} -> n{number[box]};" for before in box.before]
    return "\n".join([*lines, "}"]) + "\n"


def svg(net):
    """The picture as SVG: coarser to the bottom, time to the right."""
    steps = boxes(net)
    _set_columns(steps)
    rows = sorted({box.stride for box in steps})
    cells = {(column, factor): sorted((box for box in steps if (box.column, box.stride) == (column, factor)), key=_source)
             for column in {box.column for box in steps} for factor in rows}
    top, tops = MARGIN, {}
    for factor in rows:
        tops[factor] = top
        top += max(len(cell) for (_, row), cell in cells.items() if row == factor) * (BOX[1] + GAP[1])
    place = {box: (MARGIN + column * (BOX[0] + GAP[0]), tops[row] + i * (BOX[1] + GAP[1]))
             for (column, row), cell in cells.items() for i, box in enumerate(cell)}
    width = max(x for x, _ in place.values()) + BOX[0] + MARGIN
    title = escape(net.name)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + MARGIN - GAP[1]}" width="{width}" '
             f'height="{top + MARGIN - GAP[1]}" font-family="Helvetica, Arial, sans-serif" role="img" aria-label="{title}">',
             f"<title>{title}</title>", '<rect width="100%" height="100%" fill="white"/>',
             '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
             '<path d="M0,0 L8,4 L0,8 z" fill="#555"/></marker></defs>']
    parts += [_arrow(place[before], place[box]) for box in steps for before in box.before]
    parts += [_drawn(box, *place[box]) for box in steps]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _is_step(layer, is_output):
    if layer.type == "Pooling":
        return layer.pooling_param.stride > 1 or is_output
    return is_output or layer.type in ("Deconvolution", "Eltwise") or (
        layer.type == "Convolution" and layer.name.startswith("score"))


def _stride(net, blob, before):
    try:
        receptive_field(net, blob)
    except CaffeError:
        return max(box.stride for box in before)  # a classifier's scores, which have no map
    factor = stride(net, blob)
    return max(factor) if isinstance(factor, tuple) else factor


def _note(layer, between):
    after = ", ".join(between)
    if len(after) > SHORT:
        after = f"{len(between)} convolution{'s' if len(between) > 1 else ''}"
    if layer.type == "Pooling":
        return f"{after}, pooled" if after else "pooled"
    if layer.type == "Convolution":
        return f"{after}, {layer.convolution_param.num_output} classes" if after else (
            f"{layer.convolution_param.num_output} classes")
    if layer.type == "Deconvolution":
        return f"{layer.convolution_param.stride[0]}x upsampled"
    return {"Eltwise": "sum", "Crop": "cropped"}.get(layer.type, after)


def _lines(box):
    return [box.name, *([box.note] if box.note else []), f"stride {box.stride}"]


def _set_columns(steps):
    """Each box as far right as what follows allows, so that a skip's scores stand beside what they are added to."""
    depth = {}
    for box in steps:
        depth[box] = max((depth[before] + 1 for before in box.before), default=0)
    for box in steps:
        box.column = max(depth.values())
    for box in reversed(steps):
        for before in box.before:
            before.column = min(before.column, box.column - 1)


def _source(box):
    """What comes from further left stands higher: a skip passes above the upsampled scores that it joins."""
    return min((before.column for before in box.before), default=0)


def _color(box):
    return COLORS.get(box.type, "#eeeeee")


def _drawn(box, x, y):
    name, *notes = _lines(box)
    middle = x + BOX[0] / 2
    text = "".join(f'<text x="{middle:g}" y="{y + 28 + 12 * i}" font-size="9.5" fill="#333" text-anchor="middle">'
                   f"{escape(note)}</text>" for i, note in enumerate(notes))
    return (f'<rect x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="5" fill="{_color(box)}" stroke="#555"/>'
            f'<text x="{middle:g}" y="{y + 15}" font-size="12" font-weight="bold" text-anchor="middle">{escape(name)}</text>'
            f"{text}")


def _arrow(start, end):
    x0, y0, x1, y1 = start[0] + BOX[0], start[1] + BOX[1] / 2, end[0], end[1] + BOX[1] / 2
    bend = GAP[0] / 2
    return (f'<path d="M{x0},{y0:g} C{x1 - bend},{y0:g} {x1 - bend},{y1:g} {x1},{y1:g}" fill="none" stroke="#555" '
            'stroke-width="1.4" marker-end="url(#tip)"/>')


def _quoted(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
