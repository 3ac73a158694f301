"""How fast, and in how much memory, a caffemodel becomes a safetensors, beside what else could read or copy it.

Every contestant is a process of its own, so that its start and its peak memory count. They take turns, and the median of
each one's turns is compared with that of `cp`.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.errors import CaffeError
from converters.formats.caffemodel import read_caffemodel, write_caffemodel
from converters.formats.prototxt import write_prototxt
from repro.bench.contestants import Measurement
from repro.bench.peers import OPENCV, installed

PEER = f"{OPENCV}, loading"
STARTED = "import converters.pytorch.weights, converters.pytorch.safetensors_file, repro.commands.convert"
PROTOBUF = """
import sys
from converters.caffe_pb2 import NetParameter
NetParameter.FromString(open(sys.argv[1], "rb").read())
"""
LOAD = """
import sys
import cv2
cv2.dnn.readNetFromCaffe(sys.argv[2], sys.argv[1])
"""
MAKE = """
import sys
from repro.bench.convert import make_model
make_model(sys.argv[1], int(sys.argv[2]))
"""


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
        if OPENCV in installed():
            contestants[PEER] = [*python, LOAD, source, prototxt]
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
    return size, [_measurement(name, runs) for name, runs in measured.items() if name not in failed], failed


def _measurement(name, runs):
    """Of [(seconds, peak), ...]: each run is a process of its own, and the median of their peaks counts."""
    seconds, peaks = zip(*runs, strict=True)
    return Measurement(name, list(seconds), int(median(peaks)), None, [])


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
    for one in measurements:
        yield (f"{one.name:22} {one.seconds:10.2f} {one.seconds / copy.seconds:7.2f} {one.peak / 2**20:10.0f} "
               f"{one.peak / size:9.2f}")
    convert, start = (next(m for m in measurements if m.name == name) for name in ("repro convert", "its start alone"))
    yield f"conversion without its start: {(convert.seconds - start.seconds) / copy.seconds:.2f} of cp"
    yield from (f"not measured: {reason}" for reason in failed.values())
