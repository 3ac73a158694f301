"""A verification compares every layer with the source, finds what differs, and names what it could not compare."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import converters
from converters.caffe_pb2 import NetParameter
from converters.pytorch.weights import write_weights
from converters.verify import Report, verify_module, verify_weights
from repro.cli import main

LAYERS = ["conv1", "pool1", "fc6", "fc8", "prob"]


@pytest.fixture
def formats(golden):
    return golden / "formats"


@pytest.fixture
def model(formats):
    return converters.read_caffemodel(formats / "tiny_v2.caffemodel")


def repro(*arguments):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz", ".h5", ".caffemodel"])
def test_every_container_is_compared_with_its_source(formats, tmp_path, suffix):
    lines = repro("convert", "caffemodel", formats / "tiny_v1.caffemodel", "-o", tmp_path / f"tiny{suffix}", "--verify")
    weights = [line for line in lines if line.startswith("weights")]
    assert len(weights) == 6 and all(" 0 of " in line for line in weights)


def test_opencv_is_compared_layer_by_layer(formats, tmp_path):
    pytest.importorskip("cv2")
    lines = repro("convert", "caffemodel", formats / "tiny_v0.caffemodel", "-o", tmp_path / "tiny.npz", "--verify")
    assert [line.split()[2] for line in lines if line.startswith("CaffeNet, OpenCV")] == LAYERS


def test_a_module_is_compared_layer_by_layer(formats, tmp_path):
    lines = repro("convert", "prototxt", formats / "tiny_v1.prototxt", "-o", tmp_path / "tiny.py", "--verify")
    assert [line.split()[2] for line in lines if line.startswith("CaffeNet, module")] == LAYERS
    assert [line.split()[2] for line in lines if line.startswith("CaffeNet, tiny.py")] == ["prob"]


@pytest.mark.slow
def test_onnx_is_compared_layer_by_layer(formats, tmp_path):
    pytest.importorskip("onnxruntime")
    lines = repro("convert", "onnx", formats / "tiny_v2.caffemodel", "--prototxt", formats / "tiny_v2.prototxt",
                  "-o", tmp_path / "tiny.onnx", "--verify")
    assert [line.split()[2] for line in lines if line.startswith("CaffeNet, onnxruntime")] == LAYERS


@pytest.mark.parametrize("suffix", [".safetensors", ".caffemodel"])
def test_a_changed_weight_is_found(model, tmp_path, suffix):
    changed = converters.formats.caffemodel.Caffemodel(model.net, {name: [a.copy() for a in arrays]
                                                           for name, arrays in model.blobs.items()})
    changed.blobs["fc6"][1][0] += 1e-6
    write_weights(tmp_path / f"x{suffix}", changed)
    with pytest.raises(converters.CaffeError, match="fc6.*1 of 6|1 of .* comparisons differ, first fc6"):
        verify_weights(model, tmp_path / f"x{suffix}").check()


def test_a_changed_module_is_found(formats, tmp_path):
    net = converters.read_prototxt(formats / "tiny_v2.prototxt")
    converters.pytorch.module_source.write_module(tmp_path / "tiny.py", net)
    source = (tmp_path / "tiny.py").read_text()
    assert ".softmax(1)" in source
    (tmp_path / "tiny.py").write_text(source.replace(".softmax(1)", ".sigmoid()"))
    with pytest.raises(converters.CaffeError, match="first prob .CaffeNet, tiny.py"):
        verify_module(net, tmp_path / "tiny.py").check()


def test_a_layer_that_opencv_does_not_run_is_listed(model, tmp_path):
    pytest.importorskip("cv2")
    net = NetParameter()
    net.CopyFrom(model.net)
    net.layer.add(name="loss", type="SoftmaxWithLoss", bottom=["fc8", "label"], top=["loss"])
    path = tmp_path / "tiny.npz"
    model.net.CopyFrom(net)
    write_weights(path, model)
    lines = verify_weights(model, path).lines()
    assert any("loss" in line and "not compared" in line for line in lines)


SLICED = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 6 dim: 5 dim: 5 } } }
layer { name: 'cut' type: 'Slice' bottom: 'data' top: 'a' top: 'b' top: 'c' }
layer { name: 'conv' type: 'Convolution' bottom: 'b' top: 'conv' convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: 'relu' type: 'ReLU' bottom: 'c' top: 'c' }
"""


def sliced(tmp_path):
    net = converters.read_prototxt(SLICED)
    caffe = converters.CaffeNet(net)
    torch.nn.init.normal_(caffe.params["conv"][0])
    model = converters.formats.caffemodel.Caffemodel(net, caffe.to_blobs())
    write_weights(tmp_path / "sliced.npz", model)
    return model


def test_every_top_of_a_slice_is_compared_with_opencv(tmp_path):
    # OpenCV's forward gives a layer's first top only.
    pytest.importorskip("cv2")
    report = verify_weights(sliced(tmp_path), tmp_path / "sliced.npz")
    report.check()
    assert [name for sides, name, *_ in report.rows if sides == "CaffeNet, OpenCV"] == ["a", "b", "c", "conv"]


def test_a_top_of_a_slice_that_differs_is_found(tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    model = sliced(tmp_path)
    narrow = torch.Tensor.narrow
    # The slices begin one channel late, but for the first.
    monkeypatch.setattr(torch.Tensor, "narrow", lambda x, axis, start, n: narrow(x, axis, start and start - 1, n))
    with pytest.raises(converters.CaffeError, match="first b .CaffeNet, OpenCV"):
        verify_weights(model, tmp_path / "sliced.npz").check()


def test_what_was_not_compared_is_listed(formats, tmp_path):
    hdf5 = converters.read_caffemodel(formats / "tiny_v2.caffemodel.h5")  # describes no layers
    write_weights(tmp_path / "tiny.h5", hdf5)
    report = verify_weights(hdf5, tmp_path / "tiny.h5")
    report.check()
    assert report.uncompared


@pytest.mark.parametrize("written", [[1, 2], [1, 2, 4], [1, 2, np.nan]])
def test_a_report_fails_on_any_difference(written):
    report = Report()
    report.compare("a, b", "same", np.ones(3), np.ones(3))
    report.check()
    report.compare("a, b", "blob", np.float32([1, 2, 3]), np.float32(written))
    with pytest.raises(converters.CaffeError, match="1 of 2 comparisons differ, first blob"):
        report.check()
    assert "DIFFERS" in report.lines()[1]
