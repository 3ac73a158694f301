"""The PyTorch source that is written for a net computes what Caffe computes, stands alone, and reads well."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import GOLDEN

import converters
import reference
from converters.formats.caffemodel import Caffemodel
from converters.layers import REGISTRY, Layer
from converters.pytorch.module_source import build_module, module_source
from converters.pytorch.weights import write_weights

# Losses are left out of what is written.
CASES = sorted((GOLDEN / "layers").glob("[!l]*.npz"))
CASES += sorted((GOLDEN / "layers").glob("lrn*.npz"))
NETS = ["vgg16", "caffenet", "googlenet", "voc-fcn8s", "voc-fcn8s-atonce", "nyud-fcn32s-color-hha"]


def parameters(golden):
    """{layer: [array, ...]} from the keys param_<layer>_<i>."""
    blobs = {}
    for key in sorted(key for key in golden.files if key.startswith("param_")):
        blobs.setdefault(key[len("param_"):].rsplit("_", 1)[0], []).append(golden[key])
    return blobs


def load(source, net, blobs, folder):
    """The module of `source`, with its weights from a safetensors file."""
    write_weights(folder / "net.safetensors", Caffemodel(net, blobs))
    return build_module(source)["load"](folder / "net.safetensors")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_layer_as_caffe(path, tmp_path):
    golden = np.load(path)
    net = converters.read_prototxt(str(golden["prototxt"]))
    layers = [layer for layer in net.layer if layer.type != "Input"]
    if any(REGISTRY[layer.type].source is Layer.source for layer in layers):
        with pytest.raises(converters.CaffeError, match="cannot be written as PyTorch source|no shape is declared"):
            module_source(net)
        return
    source = module_source(net, outputs=[key[4:] for key in golden.files if key.startswith("out_")])
    module = load(source, net, parameters(golden), tmp_path)
    with torch.no_grad():
        outputs = module(**{key[3:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("in_")})
    for name, output in outputs.items():
        expected = golden[f"out_{name}"]
        assert output.shape == expected.shape
        assert np.abs(output.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("name", NETS)
def test_net_as_caffenet(name, tmp_path):
    torch.manual_seed(0)
    size = (80, 120) if "fcn" in name else None
    net = reference.net(name, "deploy", width=1 / 16)
    caffe = converters.CaffeNet(net)
    with torch.no_grad():
        for blobs in caffe.params.values():
            for blob in blobs:
                blob.normal_(0, 0.1)
        module = load(module_source(net), net, caffe.to_blobs(), tmp_path)
        inputs = {blob: torch.randn(*shape[:2], *(size or shape[2:])) for blob, shape in caffe.input_shapes.items()}
        expected, outputs = caffe(**inputs), module(**inputs)
    assert list(outputs) == list(expected)
    for blob, output in outputs.items():
        assert (output - expected[blob]).abs().max() <= 2e-6 * expected[blob].abs().max()


def test_the_file_stands_alone(golden, tmp_path):
    """In a folder of its own, with nothing but torch, it gives Caffe's output."""
    formats = golden / "formats"
    net = converters.read_prototxt(formats / "tiny_v0.prototxt")
    (tmp_path / "tiny.py").write_text(module_source(net))
    write_weights(tmp_path / "tiny.safetensors", converters.read_caffemodel(formats / "tiny_v1.caffemodel"))
    code = ("import sys, torch, numpy, tiny; data = torch.from_numpy(numpy.load(sys.argv[1])['data']);"
            "numpy.save('prob', tiny.load()(data)['prob'].detach());"
            "assert not {'converters', 'safetensors', 'google.protobuf'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code, formats / "tiny.npz"], cwd=tmp_path, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "prob.npy"), np.load(formats / "tiny.npz")["prob"], atol=1e-6)


@pytest.mark.parametrize("name", ["caffenet", "googlenet", "voc-fcn8s"])
def test_the_source_is_formatted(name, tmp_path):
    path = tmp_path / "net.py"
    path.write_text(module_source(reference.net(name, "deploy", width=1 / 16)))
    ruff = [sys.executable, "-m", "ruff"]
    subprocess.run([*ruff, "check", "--isolated", "--select", "E,F,I,UP,B", "--line-length", "100", path], check=True)
    subprocess.run([*ruff, "format", "--isolated", "--check", "--line-length", "100", path], check=True)


def test_any_name_becomes_an_identifier_of_its_own(tmp_path):
    net = converters.read_prototxt("""
        layer { name: "input" type: "Input" top: "class" input_param { shape { dim: [1, 2, 4, 4] } } }
        layer { name: "a/b" type: "Convolution" bottom: "class" top: "torch"
                convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "a_b" type: "Convolution" bottom: "torch" top: "a-b"
                convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "forward" type: "PReLU" bottom: "a-b" top: "a.b" }
        layer { name: "1\\"\\n.x" type: "Scale" bottom: "a.b" top: "\\"); raise SystemExit #" }""")
    net.name = '"""\nraise SystemExit'
    caffe = converters.CaffeNet(net)
    with torch.no_grad():
        for blobs in caffe.params.values():
            for blob in blobs:
                blob.normal_()
        module = load(module_source(net), net, caffe.to_blobs(), tmp_path)
        image = torch.randn(1, 2, 4, 4)
        (expected,), (output,) = caffe(**{"class": image}).values(), module(image).values()
    assert torch.equal(output, expected)


def test_shared_blobs_stay_shared():
    net = converters.read_prototxt("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [1, 2, 4, 4] } } }
        layer { name: "a" type: "Convolution" bottom: "data" top: "a" param { name: "w" }
                convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }
        layer { name: "b" type: "Convolution" bottom: "a" top: "b" param { name: "w" }
                convolution_param { num_output: 2 kernel_size: 1 bias_term: false } }""")
    module = build_module(module_source(net))["Module"]()
    assert module.a.weight is module.b.weight


def test_what_cannot_be_written_is_said():
    net = converters.read_prototxt("""
        layer { name: "data" type: "Input" top: "data" }
        layer { name: "find" type: "ArgMax" bottom: "data" top: "find" }""")
    with pytest.raises(converters.CaffeError, match="give an input size"):
        module_source(net)
    with pytest.raises(converters.CaffeError, match="layer 'find' .ArgMax.: cannot be written"):
        module_source(net, input_size=(8, 8))


def test_what_is_silenced_is_written_as_the_output():
    net = converters.read_prototxt("""
        layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 } } }
        layer { name: 'ab' type: 'TanH' bottom: 'data' top: 'ab' }
        layer { name: 'quiet' type: 'Silence' bottom: 'ab' }""")
    outputs = build_module(module_source(net))["Module"]()(torch.ones(2))
    assert list(outputs) == ["ab"] and torch.equal(outputs["ab"], torch.ones(2).tanh())
