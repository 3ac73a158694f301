"""How fast, and in how much memory, a caffemodel becomes a safetensors, beside what else could read or copy it.

Every contestant is a process of its own, so that its start and its peak memory count. They take turns, and the median of
each one's turns is compared with that of `cp`.
"""

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError
from converters.formats.caffemodel import read_caffemodel, write_caffemodel
from converters.formats.prototxt import write_prototxt

PEER = "OpenCV, loading"
STARTED = "import converters.pytorch.weights, converters.pytorch.safetensors_file, repro.commands.convert"
PROTOBUF = """
import sys
from converters.caffe_pb2 import NetParameter
NetParameter.FromString(open(sys.argv[1], "rb").read())
"""
OPENCV = """
import sys
import cv2
cv2.dnn.readNetFromCaffe(sys.argv[2], sys.argv[1])
"""
MAKE = """
import sys
from repro.bench.convert import make_model
make_model(sys.argv[1], int(sys.argv[2]))
"""


class Measurement(NamedTuple):
    """The median of a contestant's runs: seconds, and the peak of its memory in bytes."""

    name: str
    seconds: float
    peak: int


def bench(source=None, runs=5, megabytes=512):
    """(size of the file in bytes, [Measurement, ...], {peer: why it failed}), with `cp` first, then this converter, then the
    others.

    source: a caffemodel with the description of its net in it; otherwise one of random weights is made, in a folder that is
    removed. What is not installed is left out.
    """
    with tempfile.TemporaryDirectory() as folder:
        python = [sys.executable, "-c"]
        if source is None:
            source = Path(folder) / "net.caffemodel"
            # This process stays small: a new one's peak counts what it was before it became another program.
            run("making a file", [*python, MAKE, str(source), str(megabytes)])
        prototxt, target = Path(folder) / "net.prototxt", Path(folder) / "net.safetensors"
        write_prototxt(prototxt, read_caffemodel(source, aligned=False).net)
        contestants = {
            "cp": ["cp", source, target],
            "repro convert": [sys.executable, "-m", "repro", "convert", "caffemodel", source, "-o", target],
            "its start alone": [*python, STARTED],
            "protobuf, parsing": [*python, PROTOBUF, source],
        }
        if find_spec("cv2"):
            contestants[PEER] = [*python, OPENCV, source, prototxt]
        measured, failed = {name: [] for name in contestants}, {}
        for _ in range(runs):
            for name in [name for name in contestants if name not in failed]:
                target.unlink(missing_ok=True)
                try:
                    measured[name].append(run(name, list(map(str, contestants[name]))))
                except CaffeError as error:
                    if name != PEER:
                        raise
                    failed[name] = str(error)
        size = os.path.getsize(source)
    return size, [Measurement(name, *map(median, zip(*turns, strict=True)))
                  for name, turns in measured.items() if name not in failed], failed


def run(name, command):
    """(seconds, peak memory in bytes) of a process; CaffeError if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    reason = process.stderr.read().decode(errors="replace").strip().split("\n")[-1]
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise CaffeError(f"{name} failed: {reason}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def make_model(path, megabytes):
    """Write a caffemodel of about this size: most of it one layer, as in VGG16."""
    net, blobs, rng = NetParameter(name="bench"), {}, np.random.default_rng(0)
    net.layer.add(name="data", type="Input", top=["data"], input_param={"shape": [{"dim": [1, 1024]}]})
    for i, share in enumerate((0.1, 0.7, 0.2)):
        outputs = max(1, round(megabytes * 2**20 * share / 4 / 1024))
        name = f"fc{i}"
        net.layer.append(LayerParameter(name=name, type="InnerProduct", bottom=["data"], top=[name],
                                        inner_product_param={"num_output": outputs}))
        blobs[name] = [rng.standard_normal((outputs, 1024), dtype=np.float32), np.zeros(outputs, np.float32)]
    write_caffemodel(path, net, blobs)


def lines(size, measurements, failed):
    """A table of the measurements, with ratios to the first one's time and to the file's size, and who failed."""
    copy = measurements[0]
    yield f"a file of {size / 2**20:.0f} MiB       seconds   of cp   peak MiB   of file"
    for name, seconds, peak in measurements:
        yield f"{name:22} {seconds:10.2f} {seconds / copy.seconds:7.2f} {peak / 2**20:10.0f} {peak / size:9.2f}"
    convert, start = (next(m for m in measurements if m.name == name) for name in ("repro convert", "its start alone"))
    yield f"conversion without its start: {(convert.seconds - start.seconds) / copy.seconds:.2f} of cp"
    yield from (f"not measured: {reason}" for reason in failed.values())
