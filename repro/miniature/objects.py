"""The ten objects of the miniature: what each is made of, and its texture.

An object is a list of parts in its own frame: x to the right, y down, about -0.5 to 0.5 each way. Most of each is thin
(legs, wings, spokes, poles), so that a net must place fine parts to score well. No class can be told by its colour
alone: hues are only tendencies, drawn widely and shared by several classes.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage


class Part(NamedTuple):
    """An outline to fill, or a stroke `width` thin lines wide along its points (N x 2)."""

    points: np.ndarray
    width: float = 0.0


class Kind(NamedTuple):
    """A class of objects: `shape(rng)` gives its parts, back to front, `texture(rng, x, y)` values from 0 to 1."""

    shape: Callable
    texture: Callable
    hue: float


def fill(*points):
    return Part(np.array(points, float))


def stroke(*points, width=1.0):
    return Part(np.array(points, float), width)


def arc(x, y, rx, ry, start=0.0, end=360.0):
    """Points along an ellipse's arc, clockwise on the screen, in degrees from the x axis."""
    angle = np.radians(np.linspace(start, end, 37))
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)


def turned(points, degrees, about=(0, 0)):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (np.array(points, float) - about) @ np.array([[c, s], [-s, c]]) + about


# Shapes


def aeroplane(rng):
    sweep, span = rng.uniform(0.05, 0.3), rng.uniform(0.4, 0.5)
    parts = []
    for side in (-1, 1):
        parts.append(stroke((-0.08, 0), (-0.08 + sweep, side * span), width=1.5))
        parts.append(stroke((0.4, 0), (0.42 + sweep / 2, side * span * 0.45), width=1.2))
        parts.append(stroke((-0.12 + sweep / 2, side * span / 2), (0.02 + sweep / 2, side * span / 2), width=1.5))
    return [*parts, fill(*arc(0, 0, 0.5, rng.uniform(0.07, 0.1)))]


def bicycle(rng):
    wheel, hub = rng.uniform(0.2, 0.23), 0.28
    parts = []
    for x in (-hub, hub):
        first = rng.uniform(0, 60)
        for degrees in (first, first + 60, first + 120):
            parts.append(stroke(*turned([(x - wheel, 0.2), (x + wheel, 0.2)], degrees, (x, 0.2)), width=0.7))
        parts.append(stroke(*arc(x, 0.2, wheel, wheel), width=1.1))
    seat, head = (-0.12, -0.16), (0.2, -0.18)
    parts.append(stroke((-hub, 0.2), seat, (-0.02, 0.2), (-hub, 0.2)))
    parts.append(stroke((-0.02, 0.2), head, seat))
    parts.append(stroke((hub, 0.2), (0.17, -0.3), (0.29, -0.33)))
    return [*parts, fill((-0.24, -0.25), (-0.05, -0.25), (-0.1, -0.17), (-0.2, -0.17))]


def boat(rng):
    mast, reach = rng.uniform(-0.05, 0.08), rng.uniform(0.26, 0.38)
    return [
        stroke((mast, 0.25), (mast, -0.5)),
        stroke((mast, -0.48), (-0.44, 0.22), width=0.7),
        stroke((-0.36, 0.26), (-0.54, 0.14)),
        fill((mast + 0.06, -0.46), (mast + 0.06, 0.1), (mast + reach, 0.1)),
        fill((-0.44, 0.22), (0.46, 0.22), (0.34, 0.4), (-0.3, 0.4)),
    ]


def chair(rng):
    back, lean = rng.uniform(-0.5, -0.42), rng.uniform(0, 0.08)
    parts = [stroke((x, 0.05), (x - lean, back)) for x in (-0.28, 0.04)]
    parts += [stroke((-0.28 - lean * t, y), (0.04 - lean * t, y)) for t, y in ((1, back), (0.6, back * 0.55))]
    parts += [stroke((x, 0.08), (x + spread, bottom)) for x, spread, bottom in
              ((-0.28, -0.05, 0.42), (0.04, -0.02, 0.36), (-0.1, -0.01, 0.5), (0.28, 0.05, 0.46))]
    return [*parts, fill((-0.33, 0.02), (0.08, 0.02), (0.34, 0.14), (-0.12, 0.14))]


def fish(rng):
    depth = rng.uniform(0.14, 0.18)
    parts = [stroke((0.1, 0), (0.48, -0.26), (0.4, 0), (0.48, 0.26), (0.1, 0), width=1.1)]
    for x in (-0.12, 0.0, 0.12):
        parts.append(stroke((x, 0), (x + 0.14, -depth - rng.uniform(0.14, 0.2))))
    parts.append(stroke((-0.05, 0), (0.08, depth + rng.uniform(0.14, 0.18)), width=1.2))
    return [*parts, fill(*arc(-0.14, 0, 0.36, depth))]


def giraffe(rng):
    head = rng.uniform(-0.42, -0.3)
    stride = rng.uniform(0, 0.06)
    parts = [stroke((x, 0.08), (x + step, 0.5)) for x, step in
             ((-0.14, -stride), (-0.05, stride), (0.19, -stride), (0.28, stride))]
    parts += [stroke((0.3, 0), (0.4, 0.06), (0.41, 0.22), width=0.8)]
    parts += [stroke((head + 0.02, -0.4), (head + 0.04, -0.53), width=0.7)]
    return [
        *parts,
        fill((-0.18, 0.1), (0.0, -0.06), (head + 0.1, -0.42), (head, -0.4)),
        fill(*turned(arc(head - 0.02, -0.39, 0.11, 0.055), -20, (head, -0.39))),
        fill(*arc(0.07, 0.04, 0.28, 0.13)),
    ]


def spider(rng):
    parts = []
    for side in (-1, 1):
        for tip, knee in ((-65, -0.32), (-25, -0.2), (20, 0.0), (60, 0.16)):
            angle = np.radians(tip + rng.uniform(-8, 8))
            foot = (side * 0.5 * np.cos(angle), 0.5 * np.sin(angle) + 0.06)
            parts.append(stroke((0, -0.02), (side * rng.uniform(0.22, 0.3), knee), foot))
    return [*parts, fill(*arc(0, -0.14, 0.1, 0.1)), fill(*arc(0, 0.1, 0.15, 0.19))]


def tree(rng):
    parts = [stroke((0, 0.5), (0, -0.2), width=1.3), stroke((-0.14, 0.5), (0, 0.4), (0.14, 0.5))]
    crown = []
    for x, y, joint in ((-0.33, -0.08, 0.2), (0.34, -0.02, 0.24), (-0.16, -0.34, 0.0), (0.2, -0.32, 0.02)):
        x, y = x + rng.uniform(-0.04, 0.04), y + rng.uniform(-0.04, 0.04)
        parts.append(stroke((0, joint), (x, y)))
        crown.append(fill(*arc(x, y, rng.uniform(0.11, 0.16), rng.uniform(0.1, 0.14))))
    return parts + crown


def umbrella(rng):
    rim = rng.uniform(-0.16, -0.08)
    dome = arc(0, rim, 0.5, rim + 0.44, 180, 360)
    scallops = np.concatenate([arc(x, rim, 0.125, 0.11, 0, -180) for x in (0.375, 0.125, -0.125, -0.375)])
    handle = arc(0.08, 0.4, 0.08, 0.09, 180, 0)
    return [stroke((0, -0.54), (0, 0.4), *handle), fill(*dome, *scallops)]


def windmill(rng):
    hub, first = (0.0, -0.1), rng.uniform(0, 90)
    sails = []
    for quarter in range(4):
        for line in [[(0, 0), (0.42, 0)], *([(x, 0), (x, 0.15)] for x in (0.2, 0.4))]:
            sails.append(stroke(*(turned(line, first + 90 * quarter) + hub), width=0.9))
    return [fill((-0.09, -0.16), (0.09, -0.16), (0.17, 0.5), (-0.17, 0.5)), *sails]


# Textures


def noise(rng, x, y, scale):
    """Smooth noise from 0 to 1 whose grains are `scale` wide, looked up at (x, y)."""
    lattice = rng.random((16, 16), np.float32)
    return ndimage.map_coordinates(lattice, [y / scale, x / scale], order=1, mode="grid-wrap")


def windows(rng, x, y):
    return ((np.abs(y) < 0.03) & (np.mod(x, 0.1) < 0.045)).astype(float)


def plain(rng, x, y):
    return 0.3 * noise(rng, x, y, 0.2)


def planks(rng, x, y):
    return (np.mod(y + 0.01 * np.sin(20 * x), 0.07) < 0.03).astype(float)


def grain(rng, x, y):
    return noise(rng, x / 6, y, 0.025)


def scales(rng, x, y):
    return np.clip(0.5 + 2 * np.sin(x * 55) * np.sin(y * 55), 0, 1)


def blotches(rng, x, y):
    return np.clip(8 * (noise(rng, x, y, 0.065) - 0.45), 0, 1)


def hair(rng, x, y):
    return noise(rng, x, y, 0.02)


def leaves(rng, x, y):
    return np.clip(4 * (noise(rng, x, y, 0.035) - 0.4), 0, 1)


def gores(rng, x, y):
    return (np.mod(np.arctan2(y - 0.05, x) / np.pi * 8, 2) < 1).astype(float)


def bricks(rng, x, y):
    course = np.floor(y / 0.06)
    return ((np.mod(y, 0.06) < 0.018) | (np.mod(x + 0.05 * np.mod(course, 2), 0.1) < 0.022)).astype(float)


KINDS = {
    "aeroplane": Kind(aeroplane, windows, 0.58),
    "bicycle": Kind(bicycle, plain, 0.98),
    "boat": Kind(boat, planks, 0.08),
    "chair": Kind(chair, grain, 0.08),
    "fish": Kind(fish, scales, 0.55),
    "giraffe": Kind(giraffe, blotches, 0.1),
    "spider": Kind(spider, hair, 0.75),
    "tree": Kind(tree, leaves, 0.3),
    "umbrella": Kind(umbrella, gores, 0.95),
    "windmill": Kind(windmill, bricks, 0.05),
}
