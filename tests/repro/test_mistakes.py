"""Ten plain mistakes: one useful line each, the rest of the work goes on where it can, and nothing written is lost."""

import shutil
import subprocess
import sys

import pytest
from helpers.calls import assert_refused, call, files
from PIL import Image

from repro.data.images import load_labels
from repro.miniature.classifier import WEIGHTS


def segment(images, weights, output, *more, net="voc-fcn32s"):
    return call("segment", *images, "--net", net, "--weights", weights, "-o", output, *more)


@pytest.fixture
def photographs(tmp_path):
    """A folder of three photographs, a.png to c.png."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for name in "abc":
        Image.radial_gradient("L").resize((48, 40)).convert("RGB").save(folder / f"{name}.png")
    return folder


def test_1_a_wrong_path(tmp_path):
    shutil.copy(WEIGHTS, tmp_path / "net.caffemodel")
    wrong = tmp_path / "net.cafemodel"
    assert_refused(call("inspect", wrong), wrong, "does not exist; did you mean 'net.caffemodel'?")
    assert_refused(call("convert", "caffemodel", wrong, "-o", tmp_path / "out.npz"), wrong, "did you mean 'net.caffemodel'?")
    assert [path.name for path in files(tmp_path)] == ["net.caffemodel"]


def test_2_a_caffemodel_for_a_prototxt(golden, tmp_path):
    small, out = golden / "formats/tiny_v1.caffemodel", tmp_path / "net.py"
    assert_refused(call("convert", "prototxt", small, "-o", out), small, "is binary (a caffemodel?), not a prototxt")
    assert_refused(call("convert", "prototxt", WEIGHTS, "-o", out), WEIGHTS, "weights are read as a caffemodel")
    assert files(tmp_path) == {}


def test_3_swapped_arguments(golden, photographs, fcn_weights, tmp_path):
    prototxt, weights, out = golden / "formats/tiny_v1.prototxt", golden / "formats/tiny_v1.caffemodel", tmp_path / "out"
    assert_refused(call("convert", "caffemodel", prototxt, "--prototxt", weights, "-o", out / "net.npz"), prototxt,
                   "is text (a prototxt or a web page?), not a caffemodel; are the arguments swapped?")
    assert_refused(call("convert", "pytorch", weights, "--prototxt", prototxt, "-o", out / "net.caffemodel"), weights,
                   "give a .safetensors or a .pt")
    assert_refused(segment([fcn_weights()], photographs / "a.png", out), photographs / "a.png", "is an image",
                   "are the arguments swapped?")
    assert not out.exists()


def test_4_a_missing_extra(golden, tmp_path):
    without = "import sys; sys.modules['onnxscript'] = None; from repro.cli import main; main(sys.argv[1:])"
    arguments = ["convert", "onnx", golden / "formats/tiny_v1.caffemodel", "--prototxt", golden / "formats/tiny_v1.prototxt",
                 "-o", tmp_path / "net.onnx"]
    result = subprocess.run([sys.executable, "-c", without, *arguments], capture_output=True, text=True)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1
    assert "pip install 'caffe-fcn[onnx]'" in result.stderr
    assert files(tmp_path) == {}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz", ".caffemodel", ".caffemodel.h5"])
def test_5_no_space_left(suffix, tmp_path):
    target = tmp_path / f"out{suffix}"
    target.write_text("what was there before")
    # A limit on the size of files stands for the disk's end.
    limited = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
               "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)); from repro.cli import main; main(sys.argv[1:])")
    arguments = [sys.executable, "-c", limited, "convert", "caffemodel", WEIGHTS, "-o", target]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert result.returncode == 2 and len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith(f"Error: {target}: cannot be written") and "room" in result.stderr
    assert files(tmp_path) == {target: b"what was there before"}


def test_6_an_unwritable_folder(photographs, fcn_weights, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    # Neither depends on who runs the tests: a file is no folder, and nobody makes files in /proc.
    for folder in (taken / "out", "/proc/out"):
        assert_refused(segment([photographs], fcn_weights(), folder), f"{folder}/a.png: cannot be written", "choose another")
        assert_refused(call("convert", "caffemodel", WEIGHTS, "-o", f"{folder}/net.npz"), f"{folder}/net.npz",
                       "choose another place")
    assert taken.read_text() == "mine"


def test_7_a_corrupt_image_in_the_middle_of_a_folder(photographs, fcn_weights, tmp_path):
    spoilt = photographs / "b.png"
    spoilt.write_bytes(spoilt.read_bytes()[:200])
    assert_refused(segment([photographs], fcn_weights(), tmp_path / "out"), spoilt, "cannot be read")
    assert {path.name for path in files(tmp_path / "out")} == {"a.png", "a-overlay.png", "c.png", "c-overlay.png"}
    assert load_labels(tmp_path / "out/c.png").shape == (40, 48)


def test_8_weights_of_another_net(photographs, fcn_weights, tmp_path):
    weights = fcn_weights()
    assert_refused(segment([photographs], weights, tmp_path / "out", net="voc-fcn16s"), weights,
                   "not the weights of voc-fcn16s: it lacks")
    assert_refused(segment([photographs], WEIGHTS, tmp_path / "out"), WEIGHTS, "not the weights of voc-fcn32s")
    assert not (tmp_path / "out").exists()


def test_9_an_unknown_net(photographs, voc_set, fcn_weights, tmp_path):
    near = "no net 'voc-fnc32s'; did you mean 'voc-fcn32s'"
    assert_refused(segment([photographs], fcn_weights(), tmp_path / "out", net="voc-fnc32s"), near)
    assert_refused(call("surgery", WEIGHTS, "--net", "voc-fnc32s", "-o", tmp_path / "out.caffemodel"), near)
    assert_refused(call("evaluate", "--net", "voc-fnc32s", "--weights", fcn_weights(), "--data", voc_set), "'voc-fcn32s'")
    assert_refused(call("reference", "voc-fnc32s"), near)
    assert_refused(call("segmnt"), "no command 'segmnt'; did you mean 'segment'?")
    assert {path.parent for path in files(tmp_path)} == {photographs}


def test_near_misses_of_what_is_to_be_trained(tmp_path):
    (tmp_path / "solver.prototxt").touch()
    wrong = tmp_path / "solvr.prototxt"
    assert_refused(call("train", wrong), f"{wrong}: no such file; did you mean 'solver.prototxt'?")
    assert_refused(call("train", "voc-fcn32"), "no net 'voc-fcn32'; did you mean 'voc-fcn32s'")
