"""The geometry of the learning curves, as a template draws it in SVG."""

import math
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 10, 30  # margins, where the axes' numbers stand
POINTS = 60  # a curve is drawn of so many means


@dataclass
class Curve:
    """A stage's loss per pixel over its iterations: the mean line, the band of its middle 80 %, and the axes' ticks.

    Coordinates are those of an SVG of WIDTH by HEIGHT; ticks are (place, text).
    """

    line: str
    band: str
    x_ticks: list
    y_ticks: list
    first: float
    last: float
    iterations: int


def learning_curves(logs):
    """A Curve for each log, [(iteration, loss), ...]; all have the same scale of losses, from zero."""
    binned = [_binned(log) for log in logs]
    highest = max(high.max() for _, _, _, high in binned)
    ticks = _ticks(highest)
    highest = max(highest, ticks[-1])
    return [_curve(*points, log[-1][0], highest, ticks) for points, log in zip(binned, logs, strict=True)]


def _binned(log):
    """(iterations, means, 10th and 90th percentiles) of a log cut into equal stretches."""
    log = np.array(log, float)
    stretches = np.array_split(log, min(POINTS, len(log)))
    return (np.array([stretch[:, 0].mean() for stretch in stretches]),
            np.array([stretch[:, 1].mean() for stretch in stretches]),
            *(np.array([np.percentile(stretch[:, 1], rank) for stretch in stretches]) for rank in (10, 90)))


def _curve(iterations, means, low, high, last, highest, ticks):
    def x(iteration):
        return LEFT + (WIDTH - LEFT - RIGHT) * iteration / last

    def y(loss):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * loss / highest

    def path(xs, ys):
        return " ".join(f"{x(i):.1f},{y(loss):.1f}" for i, loss in zip(xs, ys, strict=True))

    band = f"{path(iterations, high)} {path(iterations[::-1], low[::-1])}"
    return Curve(path(iterations, means), band, [(x(at), f"{at:g}") for at in (0, last // 2, last)],
                 [(y(tick), f"{tick:g}") for tick in ticks], means[0], means[-1], last)


def _ticks(highest):
    """Round numbers from zero up to `highest`, four to eight of them."""
    step = 10 ** math.floor(math.log10(highest)) if highest > 0 else 1
    step *= next(factor for factor in (0.2, 0.5, 1, 2) if highest / (step * factor) <= 7)
    return [round(step * k, 10) for k in range(math.ceil(highest / step) + 1)]
