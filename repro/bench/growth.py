"""How time and memory grow with the image."""

import math

import numpy as np

from converters.files import atomic_write


def exponent(pixels, values):
    """The p for which values ~ pixels ** p fits best."""
    return float(np.polyfit(np.log(pixels), np.log(values), 1)[0])


def by_name(sizes, results):
    """{contestant: (pixels, seconds, bytes)}, a list each, from image sizes and the measurements at each."""
    pixels = [math.prod(size) for size in sizes]
    return {row[0].name: (pixels, [one.seconds for one in row], [one.peak for one in row])
            for row in zip(*results, strict=True)}


def lines(sizes, results):
    """A line for each contestant: the exponents of its time and of its memory."""
    for name, (pixels, seconds, peaks) in by_name(sizes, results).items():
        yield f"{name:24} time ~ pixels^{exponent(pixels, seconds):.2f}, memory ~ pixels^{exponent(pixels, peaks):.2f}"


def draw(path, sizes, results):
    """Write a plot of time and memory against the image's side (the square root of its pixels); needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, layout="constrained", figsize=(9, 3.6))
    for name, (pixels, seconds, peaks) in by_name(sizes, results).items():
        sides = np.sqrt(pixels)
        for panel, values in zip(panels, (seconds, np.array(peaks) / 2**20), strict=True):
            panel.loglog(sides, values, marker="o", label=f"{name} ({exponent(pixels, values):.2f})")
            panel.set_xticks(sides, [f"{side:.0f}" for side in sides])
            panel.minorticks_off()
            panel.set_xlabel("side of the image, pixels")
    for panel, what in zip(panels, ("seconds", "peak memory, MiB"), strict=True):
        panel.set_ylabel(what)
        panel.legend(title="exponent by pixels", fontsize="x-small", title_fontsize="x-small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
