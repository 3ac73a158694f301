"""Prints docs/architecture.svg, drawn from the imports of the checkout that this file lies in: make architecture.

Every wing (a folder) and every file beside the wings is a box, with the first sentence of its docstring. An arrow leads to
what a box imports. Arrows that follow from others are left out: where a leads to b and b to c, none is drawn from a to c. A
package without wings is one box, with the names of its modules.
"""

import ast
import re
from html import escape
from pathlib import Path
from textwrap import wrap

ROOT = Path(__file__).resolve().parents[1]
FLOORS = ("repro", "reference", "surgery", "converters")  # from the top

BOX, LANE, GAP, ROW, LINE = 222, 12, 22, 38, 16  # pixels: a box's and a lane's width, between them, between rows, of text
BETWEEN = 30  # pixels between two packages
LEFT, MARGIN, LEAST = 24, 40, 850  # pixels: beside and above the boxes, and the width of a package at least
CHARACTERS, MOST_LINES = 31, 4  # of the text in a box


def sources(root):
    """{module: its syntax tree} of all modules below `root`, in the order of their names."""
    paths = sorted(path for floor in FLOORS for path in (root / floor).rglob("*.py"))
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
            for path in paths}


def public_names(trees):
    """{package.name: module that defines it} of the names that the four packages hand out, as their sources say."""
    homes = {}
    for floor in FLOORS:
        for node in ast.walk(trees[floor]):
            if isinstance(node, ast.ImportFrom):
                homes |= {f"{floor}.{alias.asname or alias.name}": node.module for alias in node.names}
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple):
                        homes |= {f"{floor}.{name.value}": key.value for name in value.elts}
    return homes


def imports(tree, homes):
    """The modules (or names in modules) that a source imports, within functions and by import_module("...") too."""
    whole = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} & set(FLOORS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (homes.get(name, name) for name in (f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in whole:
            yield homes.get(f"{node.value.id}.{node.attr}", f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"\w+\.\w+[\w.]*$", node.value):
            yield node.value  # the name of a module, or of none that is known


def graph(root):
    """({box: its docstring's first sentence}, {box: the boxes that it imports})."""
    trees = sources(root)
    homes, says, arrows = public_names(trees), {}, {}
    flat = [floor for floor in FLOORS if not any((root / floor).glob("*/__init__.py"))]

    def box_of(name):
        """A wing, a file beside the wings or a package without wings; None for a package that has wings, and for others'."""
        floor, *inner = name.split(".")
        box = floor if floor in flat else ".".join([floor, *inner[:1]])
        return box if box in trees and (floor in flat or inner) and inner != ["__main__"] else None

    for module, tree in trees.items():
        here = box_of(module)
        if here is None:
            continue
        if module == here:
            text = " ".join((ast.get_docstring(tree) or "").split())
            says[here] = re.split(r"(?<=[.;]) ", text.replace("`", ""))[0].rstrip(".:;")
        arrows.setdefault(here, set()).update({box_of(name) for name in imports(tree, homes)} - {None, here})
    return says, arrows


def reduced(arrows):
    """The arrows without those that follow from others."""
    below = {}

    def reach(box, above=()):
        if box in above:
            raise SystemExit(f"imports in a circle: {' -> '.join((*above, box))}")
        if box not in below:
            below[box] = set().union(*(reach(other, (*above, box)) | {other} for other in sorted(arrows[box])))
        return below[box]

    for box in arrows:
        reach(box)
    return {box: {other for other in found if not any(other in below[third] for third in found)}
            for box, found in arrows.items()}


def rows(boxes, arrows):
    """(rows from the top, the links between neighbouring rows), all arrows downward.

    A row holds boxes and lanes; an arrow that spans rows passes each in a lane, which is (from, to, row).
    """
    depth = {}

    def height(box):
        if box not in depth:
            depth[box] = 1 + max((height(other) for other in arrows[box] if other in boxes), default=-1)
        return depth[box]

    top = max(map(height, boxes))
    level = {box: top - height(box) for box in boxes}
    lines = [[box for box in boxes if level[box] == n] for n in range(top + 1)]
    links = []  # between neighbouring rows
    for box in boxes:
        for other in sorted(arrows[box] & set(boxes)):
            stops = [box, *((box, other, n) for n in range(level[box] + 1, level[other])), other]
            for stop in stops[1:-1]:
                lines[stop[2]].append(stop)
            links += zip(stops, stops[1:], strict=False)
    for turn in range(24):  # each thing towards the middle of what it is linked with, so that few arrows cross
        downward = turn % 2 == 0
        for n in range(1, len(lines)) if downward else range(len(lines) - 2, -1, -1):
            fixed = {thing: place for place, thing in enumerate(lines[n - 1 if downward else n + 1])}
            size = max(len(fixed), 1)

            def middle(thing, fixed=fixed, size=size, here=lines[n], downward=downward):
                near = [fixed[a if downward else b] for a, b in links if (b if downward else a) == thing
                        and (a if downward else b) in fixed]
                return sum(near) / len(near) / size if near else here.index(thing) / len(here)

            lines[n] = sorted(lines[n], key=middle)
    return lines, links


def width_of(line):
    """The width of a row."""
    return sum(LANE if isinstance(thing, tuple) else BOX for thing in line) + GAP * (len(line) - 1)


def placed(lines, text, top, width):
    """({thing: (x of its middle, top, bottom)}, the bottom of all)."""
    places = {}
    for line in lines:
        x = LEFT / 2 + (width - width_of(line)) / 2
        tall = 30 + LINE * max((len(text[thing]) for thing in line if not isinstance(thing, tuple)), default=1)
        for thing in line:
            own = width_of([thing])
            places[thing] = x + own / 2, top, top + tall
            x += own + GAP
        top += tall + ROW
    return places, top - ROW


def curve(points):
    """A path through (x, y) points, steep at each."""
    x, y = points[0]
    path = f"M{x:.0f} {y:.0f}"
    for x2, y2 in points[1:]:
        bend = (y2 - y) / 2
        path += f" C{x:.0f} {y + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}"
        x, y = x2, y2
    return path


def draw(root):
    """The picture, as the text of an SVG file."""
    says, arrows = graph(root)
    arrows = reduced(arrows)
    of = {floor: [box for box in says if box.partition(".")[0] == floor] for floor in FLOORS}
    laid = {floor: rows(boxes, arrows) for floor, boxes in of.items()}
    width = max(LEAST, *(width_of(line) + 2 * LEFT for lines, _ in laid.values() for line in lines))
    parts, y = [], 20
    for place, (floor, boxes) in enumerate(of.items()):
        below = {other.partition(".")[0] for box in boxes for other in arrows[box]} & set(FLOORS[place + 1:])
        if boxes == [floor]:
            names = [path.stem for path in sorted((root / floor).glob("*.py")) if path.stem != "__init__"]
            inside, bottom = [label("what left", LEFT + 8, y + 46, says[floor]),
                              label("what left", LEFT + 8, y + 62, " \u00b7 ".join(names))], y + 52
        else:
            inside, bottom = wings(root, boxes, says, laid[floor], y + MARGIN, width)
        parts += [*band(floor, y, width, bottom - y + 20, below), *inside]
        y = round(bottom) + 20 + BETWEEN
    parts += [label("what left", LEFT + 8, y - 8 + LINE * n, line) for n, line in enumerate(KEY)]
    return HEAD.format(width=width + LEFT, height=y + 8 + LINE) + "\n".join(parts) + "\n</svg>\n"


def wings(root, boxes, says, laid, top, width):
    """([the boxes of one package and their arrows, as SVG], the bottom of all)."""
    text = {box: wrap(says[box], CHARACTERS, max_lines=MOST_LINES, placeholder=" ...") for box in boxes}
    lines, links = laid
    places, bottom = placed(lines, text, top, width)
    onward = {start: stop for start, stop in links if isinstance(start, tuple)}
    parts = []
    for start, stop in links:
        if start in onward:
            continue
        points, end = [(places[start][0], places[start][2])], stop
        while end in onward:
            points += [(places[end][0], places[end][1]), (places[end][0], places[end][2])]
            end = onward[end]
        points.append((places[end][0], places[end][1] - 7))
        parts.append(f'<path class="arrow" d="{curve(points)}"><title>{start} imports {end}</title></path>')
    for box in boxes:
        x, y, low = places[box]
        floor, _, name = box.partition(".")
        kind, slash = ("wing", "/") if (root / floor / name).is_dir() else ("file", "")
        size = f'width="{BOX}" height="{low - y:.0f}"'
        parts += [f'<rect class="{kind} {floor}" x="{x - BOX / 2:.0f}" y="{y:.0f}" {size} rx="5"/>',
                  label("box", x, y + 18, name + slash),
                  *(label("what", x, y + 20 + LINE * n, line) for n, line in enumerate(text[box], start=1))]
    return parts, bottom


def band(floor, y, width, height, below):
    """A package's background, its name, and an arrow down if it imports one of `below`, the packages below it."""
    arrow = (f'<path class="down" d="M{(width + LEFT) / 2:.0f} {y + height:.0f} v{BETWEEN - 10}"/>',) if below else ()
    return [f'<rect class="floor {floor}" x="{LEFT / 2:.0f}" y="{y}" width="{width}" height="{height:.0f}" rx="10"/>',
            label("name", LEFT + 8, y + 27, f"{floor}/"), *arrow]


def label(kind, x, y, text):
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


KEY = ("Solid: a wing, which is a folder. Dashed: a file beside the wings. Packages import those below them.",
       "An arrow leads to what a box imports; arrows that follow from others are left out.")
HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" role="img">
<title>The packages, their wings, and which imports which</title>
<style>
.floor {{ fill-opacity: .10 }}
.wing, .file {{ stroke-width: 1.5 }} .file {{ stroke-dasharray: 4 3 }}
.repro {{ fill: #3b6fb6; stroke: #3b6fb6 }} .reference {{ fill: #7a5ea8; stroke: #7a5ea8 }}
.surgery {{ fill: #b0622d; stroke: #b0622d }} .converters {{ fill: #2f7d5b; stroke: #2f7d5b }}
.floor {{ stroke: none }} rect.wing, rect.file {{ fill: #fff }}
.arrow {{ fill: none; stroke: #555; stroke-width: 1.2; marker-end: url(#head) }}
.down {{ stroke: #999; stroke-width: 5; marker-end: url(#head) }}
text {{ fill: #222 }} .name {{ font-size: 20px; font-weight: 600 }}
.box {{ font-size: 15px; font-weight: 600; text-anchor: middle }}
.what {{ font-size: 12.5px; text-anchor: middle; fill: #444 }}
.left {{ text-anchor: start }}
</style>
<rect width="100%" height="100%" fill="#fff"/>
<marker id="head" viewBox="0 0 8 8" refX="1" refY="4" markerWidth="7" markerHeight="7" orient="auto"
 markerUnits="userSpaceOnUse">
<path d="M0 0L8 4L0 8z" fill="#555"/></marker>
"""


if __name__ == "__main__":
    print(draw(ROOT), end="")
