"""How fast, and in how much memory, a net labels an image: the fast path, the plain net, and whichever peers are installed.

All have the same random weights and take turns, one image each; the median of each one's turns is compared, with the rates
that the machine reaches in a convolution and in a matrix product for the limit.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

import reference
from converters import CaffeError, CaffeNet, write_caffemodel
from converters.formats.prototxt import write_prototxt
from repro.bench.contestants import table, take_turns
from repro.bench.peers import FAST, PLAIN, machine, one_image, programs
from surgery import interp


def bench(name="voc-fcn8s", sizes=((375, 500),), runs=5, width=1, peers=True):
    """Yield ([Measurement, ...], {limit: GFLOP/s}) of a net at each image size (height, width).

    Raises CaffeError if a program's label map is not the plain net's, and for nets of several inputs or heads.
    """
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        param = write_net(folder, name, width)
        for size in sizes:
            write_image(folder, param, size)
            found = programs(name, width, folder, threads, peers)
            counted = [program for program in found if program.startswith((FAST, PLAIN))]
            contestants = {program: (one_image, folder, *load) for program, load in found.items()}
            *measured, limits = take_turns({**contestants, "machine": (machine, threads)}, runs, counted)
            check(measured)
            yield measured, {what: max(rates[what] for rates in limits.results) for what in limits.results[0]}


def write_net(folder, name, width=1):
    """Write a published net with random weights, which keep the numbers' size from layer to layer; its NetParameter."""
    net = CaffeNet(reference.net(name, "deploy", width=width))
    if net.inputs != ["data"] or len(net.outputs) > 1:
        raise CaffeError(f"{name} has several inputs or heads; choose a net that takes one image and has one score")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.layers.values():
            for blob in layer.blobs() if layer.type in ("Convolution", "Deconvolution") else ():
                bound = (6 / blob[0].numel()) ** 0.5 if blob.ndim > 1 else 0.1
                blob.uniform_(-bound, bound, generator=generator)
    interp(net)
    write_caffemodel(Path(folder) / "net.caffemodel", net.param, net.to_blobs())
    torch.save(net.state_dict(), Path(folder) / "net.pth")
    return net.param


def write_image(folder, param, size):
    """Write an image of noise, and the net's description for images of its size."""
    param.layer[0].input_param.shape[0].dim[:] = [1, 3, *size]
    write_prototxt(Path(folder) / "net.prototxt", param)
    noise = np.random.default_rng(1).standard_normal((1, 3, *size), dtype=np.float32)
    np.save(Path(folder) / "image.npy", 60 * noise)


def check(measured):
    """Raise CaffeError unless all label alike, but for a pixel in a thousand, where two scores are all but equal."""
    labels = {one.name: one.results[0] for one in measured}
    for name, found in labels.items():
        if (found != labels[PLAIN]).mean() > 1e-3:
            raise CaffeError(f"{name} labels {(found != labels[PLAIN]).mean():.1%} of the pixels otherwise than {PLAIN}")


def lines(measured, limits):
    """A table: medians with their spread, ratios to the fast path, how near the machine's best rate each comes, memory."""
    def rate(one):
        return f"{one.gflop:9.1f} {one.gflop / one.seconds / max(limits.values()):8.0%}" if one.gflop else " " * 18

    yield from table(measured, "    GFLOP  of limit", rate)
    yield "GFLOP/s at best: " + ", ".join(f"{what} {rate:.0f}" for what, rate in limits.items())
