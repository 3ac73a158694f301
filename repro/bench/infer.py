"""How fast a net labels an image: the fast path, the plain net, and whichever other programs are installed.

All compute with the same random weights in one process and take turns, one image each; the median of each one's turns is
compared, with the rates that the machine reaches in a convolution and in a matrix product for the limit.
"""

import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import reference
from converters import CaffeError, CaffeNet, write_caffemodel
from converters.prototxt import write_prototxt
from repro.fast import accelerate
from surgery import interp


class Measurement(NamedTuple):
    """The turns of a contestant in seconds, and the GFLOP of one turn where they are known."""

    name: str
    turns: list
    gflop: float | None = None


def bench(name="voc-fcn8s", size=(375, 500), runs=5, width=1):
    """([Measurement, ...], {limit: GFLOP/s}) of a net at an image size (height, width).

    Raises CaffeError if another program's label map is not the plain net's, and for nets of several inputs or heads.
    """
    net, data = random_net(name, size, width), 60 * torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    runners = {"repro, fast": lambda: accelerate(net).labels(data), "CaffeNet": lambda: plainly(net, data),
               "CaffeNet, channels_last": lambda: plainly(net, data.contiguous(memory_format=torch.channels_last))}
    runners.update(others(name, net, data))
    labels = {name: run() for name, run in runners.items()}  # the first turn, not counted
    for other, found in labels.items():
        if (found != labels["CaffeNet"]).mean() > 1e-3:
            raise CaffeError(f"{other} labels {(found != labels['CaffeNet']).mean():.1%} of the pixels otherwise")
    gflop = {own: count(run) for own, run in runners.items() if own.startswith(("repro", "CaffeNet"))}
    turns = {name: [] for name in runners}
    for _ in range(runs):
        for contestant, run in runners.items():
            turns[contestant].append(seconds(run))
    return [Measurement(name, turns[name], gflop.get(name)) for name in runners], limits(runs)


def random_net(name, size, width=1):
    """A published net with random weights that keep the numbers' size from layer to layer, for images of `size`."""
    param = reference.net(name, "deploy", width=width)
    net = CaffeNet(param)
    if net.inputs != ["data"] or len(net.outputs) > 1:
        raise CaffeError(f"{name} has several inputs or heads; choose a net that takes one image and has one score")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in net.layers.values():
            for blob in layer.blobs() if layer.type in ("Convolution", "Deconvolution") else ():
                bound = (6 / blob[0].numel()) ** 0.5 if blob.ndim > 1 else 0.1
                blob.uniform_(-bound, bound, generator=generator)
    interp(net)
    net.param.layer[0].input_param.shape[0].dim[:] = [1, 3, *size]
    return net


@torch.no_grad()
def plainly(net, data):
    return net(data=data)[net.outputs[0]][0].argmax(0).to(torch.uint8).numpy()


def others(name, net, data):
    """{name: function} of the other programs that are installed."""
    runners = {}
    if find_spec("cv2"):
        runners["OpenCV"] = opencv(net, data)
    if find_spec("torchfcn") and name == "voc-fcn8s":
        model = torchfcn(net)
        runners["torchfcn"] = lambda: forward(model, data)
        runners["torchfcn, channels_last"] = lambda: forward(model, data.contiguous(memory_format=torch.channels_last))
    return runners


def opencv(net, data):
    import cv2

    cv2.setNumThreads(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        prototxt, weights = Path(folder) / "net.prototxt", Path(folder) / "net.caffemodel"
        write_prototxt(prototxt, net.param)
        write_caffemodel(weights, net.param, net.to_blobs())
        loaded = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))

    def run():
        loaded.setInput(data.numpy())
        return loaded.forward()[0].argmax(0).astype(np.uint8)

    return run


def torchfcn(net):
    """torchfcn's FCN8s with the net's weights; its layers bear Caffe's names."""
    from torchfcn.models import FCN8s

    model = FCN8s(n_class=net.params["score_fr"][0].shape[0]).eval()
    with torch.no_grad():
        for layer, blobs in net.params.items():
            for blob, target in zip(blobs, getattr(model, layer).parameters(), strict=True):
                target.copy_(blob)
    return model


@torch.no_grad()
def forward(model, data):
    return model(data)[0].argmax(0).to(torch.uint8).numpy()


def limits(runs):
    """{what: GFLOP/s}: the best that a 3x3 convolution and a matrix product of PyTorch's reach here."""
    image = torch.randn(1, 256, 96, 128).contiguous(memory_format=torch.channels_last)
    kernels, matrix = torch.randn(256, 256, 3, 3), torch.randn(2048, 2048)
    works = {"convolution": lambda: torch.nn.functional.conv2d(image, kernels), "matrix product": lambda: matrix @ matrix}
    return {what: count(work) / min(seconds(work) for _ in range(runs + 1)) for what, work in works.items()}


def count(run):
    """The GFLOP (two for a multiplication with an addition) of a call."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def lines(measurements, limits):
    """A table: medians with their spread, ratios to the fast path, and how near the machine's best rate each comes."""
    fast, best = median(measurements[0].turns), max(limits.values())
    yield f"{'':26} seconds    least     most    ratio    GFLOP  of limit"
    for name, turns, gflop in measurements:
        took = median(turns)
        rate = f"{gflop:9.1f} {gflop / took / best:8.0%}" if gflop else ""
        yield f"{name:24} {took:9.2f} {min(turns):8.2f} {max(turns):8.2f} {took / fast:8.2f}{rate}"
    yield "GFLOP/s at best: " + ", ".join(f"{what} {rate:.0f}" for what, rate in limits.items())
