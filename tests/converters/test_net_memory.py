"""Blobs that share memory: what a layer in place writes to one shows in the others, in the order of the layers.

The answers follow from Caffe's source. FlattenLayer and SplitLayer share their bottom's data in Forward, ReshapeLayer, a
ConcatLayer of one bottom and a SliceLayer of one top in Reshape (ShareData). A blob with several readers gets a SplitLayer
(insert_splits.cpp), which shares the data with all its tops as well, so all names of that memory see one set of numbers. A
layer on the same bottom and top has one Blob for both (Net::AppendTop) and writes there. Diffs are not shared across a
SplitLayer: its Backward adds its tops' diffs.
"""

import pytest
import torch

import converters
from converters.pytorch.module_source import make_module, module_source
from converters.pytorch.onnx import write_onnx
from converters.pytorch.weights import write_weights
from converters.verify import verify_module, verify_onnx, verify_weights
from repro.fast.graph import Graph
from repro.fast.operations import Unsupported

SHARING = {
    "Flatten": "type: 'Flatten' bottom: 'c' top: 'k'",
    "Reshape": "type: 'Reshape' bottom: 'c' top: 'k' reshape_param { shape { dim: 0 dim: -1 } }",
    "Split": "type: 'Split' bottom: 'c' top: 'k'",
    "Concat": "type: 'Concat' bottom: 'c' top: 'k'",
    "Slice": "type: 'Slice' bottom: 'c' top: 'k'",
}
DATA = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }\n"
CONV = "convolution_param { num_output: 2 kernel_size: 1 bias_term: false }"
FIRST = f"layer {{ name: 'conv' type: 'Convolution' bottom: 'data' top: 'c' {CONV} }}\n"
RELU = "layer { name: 'relu' type: 'ReLU' bottom: 'k' top: 'k' }\n"
LAST = f"layer {{ name: 'last' type: 'Convolution' bottom: 'c' top: 'd' {CONV} }}\n"


def share(type):
    return f"layer {{ name: 'share' {SHARING[type]} }}\n"


def made(text):
    net = converters.CaffeNet(DATA + text)
    generator = torch.Generator().manual_seed(0)
    for blobs in net.params.values():
        torch.nn.init.normal_(blobs[0], generator=generator)
    return net, torch.randn(1, 2, 3, 3, generator=generator)


def convolved(net, layer, x):
    return torch.nn.functional.conv2d(x, net.params[layer][0])


@pytest.mark.parametrize("type", SHARING)
def test_a_later_reader_sees_what_was_written_in_place(type):
    net, x = made(FIRST + share(type) + RELU + LAST)
    c = convolved(net, "conv", x)
    assert (c < 0).any()
    torch.testing.assert_close(net(data=x)["d"], convolved(net, "last", c.relu()))
    blobs = net.forward_blobs({"data": x}, ["c", "k"])
    assert torch.equal(blobs["c"], c.relu()) and torch.equal(blobs["k"].flatten(), c.relu().flatten())


@pytest.mark.parametrize("type", SHARING)
def test_an_earlier_reader_does_not(type):
    net, x = made(FIRST + share(type) + LAST + RELU)
    torch.testing.assert_close(net(data=x)["d"], convolved(net, "last", convolved(net, "conv", x)))


def test_a_layer_with_several_tops_or_bottoms_copies():
    cut = "layer { name: 'cut' type: 'Slice' bottom: 'c' top: 'k' top: 'm' }\n"
    net, x = made(FIRST + cut + RELU + LAST)
    torch.testing.assert_close(net(data=x)["d"], convolved(net, "last", convolved(net, "conv", x)))
    joined = "layer { name: 'both' type: 'Concat' bottom: 'c' bottom: 'c' top: 'k' }\n"
    net, x = made(FIRST + joined + RELU + LAST)
    torch.testing.assert_close(net(data=x)["d"], convolved(net, "last", convolved(net, "conv", x)))


def test_memory_is_shared_along_a_chain_and_with_an_input():
    text = """
        layer { name: 'flat' type: 'Flatten' bottom: 'data' top: 'm' }
        layer { name: 'shape' type: 'Reshape' bottom: 'm' top: 'k' reshape_param { shape { dim: 18 } } }
        layer { name: 'relu' type: 'ReLU' bottom: 'k' top: 'k' }
        layer { name: 'power' type: 'Power' bottom: 'k' top: 'k' power_param { shift: 1 } }
        layer { name: 'a' type: 'TanH' bottom: 'data' top: 'a' }
        layer { name: 'b' type: 'TanH' bottom: 'm' top: 'b' }
    """
    net, x = made(text)
    before = x.clone()
    out = net(data=x)
    torch.testing.assert_close(out["a"], (x.relu() + 1).tanh())
    torch.testing.assert_close(out["b"], (x.relu() + 1).tanh().flatten(1))
    assert torch.equal(x, before)  # the caller's tensor stays what it is


def test_gradients_flow_by_name():
    # d's diff goes to c through the Split that Caffe inserts, past the ReLU; k's goes through the ReLU.
    net, x = made(FIRST + share("Flatten") + RELU + LAST)
    weight, last = (net.params[name][0].detach() for name in ("conv", "last"))
    outputs = net.forward_blobs({"data": x}, ["k", "d"])
    (outputs["k"].sum() + outputs["d"].sum()).backward()
    c = torch.nn.functional.conv2d(x, weight)
    c_diff = (c > 0).float() + last.sum(0)[None]
    expected = torch.einsum("nohw,nihw->oi", c_diff, x)[:, :, None, None]
    torch.testing.assert_close(net.params["conv"][0].grad, expected)
    # The last convolution's weights meet the rectified numbers.
    seen = c.relu().sum((0, 2, 3))[None, :, None, None].expand(2, -1, 1, 1)
    torch.testing.assert_close(net.params["last"][0].grad, seen)


@pytest.mark.parametrize("type", SHARING)
def test_the_source_does_the_same(type, tmp_path):
    net, x = made(FIRST + share(type) + RELU + LAST)
    with torch.no_grad():
        outputs = make_module(net.param, net.to_blobs())(x)
    torch.testing.assert_close(outputs["d"], net(data=x)["d"].detach())
    (tmp_path / "net.py").write_text(module_source(net.param))
    verify_module(net.param, tmp_path / "net.py").check()


def test_nothing_is_written_where_nobody_reads_it():
    net, _ = made(FIRST + share("Flatten") + RELU)
    assert "view_as" not in module_source(net.param)
    assert not any(step.written for step in net.route(net.outputs)[1])


def test_the_fast_path_leaves_such_nets_to_the_plain_one():
    net, x = made(FIRST + share("Split") + RELU + LAST)
    with pytest.raises(Unsupported, match="'relu' .* writes in place is read as 'c', too"):
        Graph(net, ["d"])
    net, x = made(FIRST + share("Split") + RELU)
    Graph(net, ["k"])


def test_opencv_is_not_asked_about_such_nets(tmp_path):
    pytest.importorskip("cv2")
    net, _ = made(FIRST + share("Flatten") + RELU + LAST)
    model = converters.formats.caffemodel.Caffemodel(net.param, net.to_blobs())
    write_weights(tmp_path / "net.npz", model)
    report = verify_weights(model, tmp_path / "net.npz")
    report.check()
    assert any("'relu' writes in place" in reason for *_, reason in report.uncompared)


@pytest.mark.slow
def test_onnx_does_the_same(tmp_path):
    pytest.importorskip("onnxruntime")
    net, _ = made(FIRST + share("Flatten") + RELU + LAST)
    write_onnx(tmp_path / "net.onnx", net.param, net.to_blobs())
    report = verify_onnx(net.param, net.to_blobs(), tmp_path / "net.onnx")
    report.check()
    assert [name for _, name, *_ in report.rows] == ["c", "k", "d"]
