"""What `inspect` says of each kind of file, against figures counted by hand or published."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import converters
import reference
from converters.inspect import inspect, lines
from converters.pytorch.preprocessing import Preprocessing
from converters.pytorch.weights import write_weights
from repro.cli import main


@pytest.fixture
def formats(golden):
    return golden / "formats"


@pytest.mark.parametrize(("name", "generation"), [
    ("tiny_v0.caffemodel", "V0"), ("tiny_v1.caffemodel", "V1"), ("tiny_v2.caffemodel", "V2"),
    ("tiny_v2.caffemodel.h5", "HDF5"),
])
def test_weights_of_every_generation(formats, name, generation):
    found = inspect(formats / name)
    with np.load(formats / "tiny.npz") as tiny:
        parameters = sum(tiny[key].size for key in tiny if "/" in key)
        shapes = {key: tiny[key].shape for key in tiny}
    assert found["generation"] == generation
    assert found["parameters"] == parameters and found["weight_bytes"] == 4 * parameters
    assert {layer["name"] for layer in found["layers"] if layer["blobs"]} == {"conv1", "fc6", "fc8"}
    if generation == "HDF5":  # describes no layers
        assert found["multiply_adds"] is None
        return
    conv1 = next(layer for layer in found["layers"] if layer["name"] == "conv1")
    outputs, (*_, height, width) = shapes["conv1/0"][0], conv1["shapes"][0]
    assert conv1["multiply_adds"] == outputs * height * width * np.prod(shapes["conv1/0"][1:])
    assert next(layer for layer in found["layers"] if layer["name"] == "fc8")["multiply_adds"] == np.prod(shapes["fc8/0"])


def test_published_counts():
    """VGG16: 138M parameters, 15.5G multiply-adds; CaffeNet 61M and 0.72G; at twice the side an FCN costs four times."""
    for name, parameters, multiply_adds in ("vgg16", 138357544, 15470264320), ("caffenet", 60965224, 724406816):
        found = converters.inspect.describe_net(reference.net(name, "deploy"))
        assert (found["parameters"], found["multiply_adds"]) == (parameters, multiply_adds)


def test_a_deconvolution_spreads_each_number_of_its_bottom():
    net = converters.read_prototxt("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 5, 6] } } }
        layer { name: "up" type: "Deconvolution" bottom: "data" top: "up"
                convolution_param { num_output: 2 kernel_size: 4 stride: 2 } }""")
    found = converters.inspect.describe_net(net)
    assert found["multiply_adds"] == 3 * 5 * 6 * 2 * 4 * 4
    assert found["blob_bytes"] == 4 * (3 * 5 * 6 + 2 * 12 * 14)
    assert converters.inspect.describe_net(net, input_size=(10, 12))["multiply_adds"] == 4 * found["multiply_adds"]


def test_a_training_net_is_measured_up_to_its_loss():
    net = converters.read_prototxt("""
        layer { name: "data" type: "Data" top: "data" top: "label" }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                convolution_param { num_output: 2 kernel_size: 3 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }""")
    assert "give an input size" in converters.inspect.describe_net(net)["remarks"][0]
    found = converters.inspect.describe_net(net, input_size=(8, 8))
    assert found["multiply_adds"] == 2 * 6 * 6 * 3 * 3 * 3 and found["inputs"] == {"data": [1, 3, 8, 8]}
    assert [layer["name"] for layer in found["layers"]] == ["data", "conv", "loss"]


def test_an_unknown_layer_is_listed_all_the_same():
    net = converters.read_prototxt("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 3, 5, 6] } } }
        layer { name: "norm" type: "Normalize" bottom: "data" top: "norm" }""")
    found = converters.inspect.describe_net(net)
    assert [layer["type"] for layer in found["layers"]] == ["Input", "Normalize"]
    assert "layer 'norm'" in found["remarks"][0]


def test_other_kinds_of_file(formats, tmp_path):
    state = inspect(formats / "tiny_iter_3.solverstate")
    assert (state["iter"], len(state["tensors"])) == (3, 6)
    assert inspect(formats / "tiny_iter_3.solverstate.h5")["tensors"] == state["tensors"]
    assert inspect(formats / "mean.binaryproto")["tensors"]["blob"] == list(np.load(formats / "mean.npy").shape)
    assert inspect(formats / "tiny_v1.prototxt")["kind"] == "a net"
    (tmp_path / "solver.prototxt").write_text('base_lr: 0.5 lr_policy: "fixed" net: "train.prototxt"')
    assert "base_lr: 0.5" in "\n".join(lines(inspect(tmp_path / "solver.prototxt")))

    model = converters.read_caffemodel(formats / "tiny_v2.caffemodel")
    write_weights(tmp_path / "tiny.safetensors", model, Preprocessing(mean=(1.0, 2.0, 3.0)))
    found = inspect(tmp_path / "tiny.safetensors")
    assert found["metadata"] == {"mean": (1.0, 2.0, 3.0)}
    assert found["tensors"]["conv1.weight"] == list(model.blobs["conv1"][0].shape)
    assert found["multiply_adds"] == inspect(formats / "tiny_v2.caffemodel")["multiply_adds"]


@pytest.mark.parametrize("name", ["tiny_v0.caffemodel", "tiny_v2.prototxt", "tiny_iter_3.solverstate", "mean.binaryproto"])
def test_the_command_prints_text_and_json(formats, name):
    text = CliRunner().invoke(main, ["inspect", str(formats / name)])
    assert text.exit_code == 0 and name in text.output
    found = CliRunner().invoke(main, ["inspect", str(formats / name), "--json"])
    assert json.loads(found.output)["bytes"] == (formats / name).stat().st_size


def test_a_damaged_file_ends_with_one_line(formats, tmp_path):
    (tmp_path / "cut.caffemodel").write_bytes((formats / "tiny_v2.caffemodel").read_bytes()[:500])
    (tmp_path / "cut.safetensors").write_bytes(b"\x08" + b"\0" * 15)
    (tmp_path / "none.prototxt").write_text("layer {")
    for path in tmp_path.iterdir():
        result = CliRunner().invoke(main, ["inspect", str(path)])
        assert result.exit_code == 2 and result.stderr.count("\n") == 1 and str(path) in result.stderr
