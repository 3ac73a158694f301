"""CaffeNet: phases, sharing, copying, and the errors of nets that Caffe would refuse too."""

import copy

import numpy as np
import pytest
import torch

import converters
from converters.layers import LEFT_OUT, REGISTRY
from converters.pytorch.weights import TYPES
from converters.shapes import infer_shapes

DATA = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 6 } } }\n"
SHARED = """
layer { name: 'a' type: 'InnerProduct' bottom: 'data' top: 'a' param { name: 'w' lr_mult: 3 } param { name: 'b' }
        inner_product_param { num_output: 6 weight_filler { type: 'xavier' } } }
layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' param { name: 'w' } param { name: 'b' lr_mult: 2 decay_mult: 0 }
        inner_product_param { num_output: 6 } }
"""
PERMISSIVE = """
layer { name: 'a' type: 'InnerProduct' bottom: 'data' top: 'a' param { name: 'w' }
        inner_product_param { num_output: 4 bias_term: false weight_filler { type: 'xavier' } } }
layer { name: 'b' type: 'InnerProduct' bottom: 'a' top: 'b' param { name: 'w' share_mode: PERMISSIVE }
        inner_product_param { num_output: 6 bias_term: false } }
"""


def refused(text, match, **settings):
    with pytest.raises(converters.CaffeError, match=match) as caught:
        net = converters.CaffeNet(text, **settings)
        net(**{name: torch.zeros(2, 6) for name in net.inputs})
    assert "\n" not in str(caught.value)


# ---- weight sharing ----

def test_shared_parameters_are_one():
    net = converters.CaffeNet(DATA + SHARED)
    assert net.params["a"][0] is net.params["b"][0]
    assert [(param.name, param.lr_mult, param.decay_mult) for param in net.learnable()] == [("a/0", 3, 1), ("a/1", 2, 0)]
    x = torch.randn(2, 6)
    weight, bias = (blob.detach().clone() for blob in net.params["a"])
    torch.testing.assert_close(net(data=x)["b"], (x @ weight.T + bias) @ weight.T + bias)
    net(data=x)["b"].sum().backward()
    assert len(list(net.parameters())) == 2


def test_sharing_survives_copies_and_state_dicts():
    net = converters.CaffeNet(DATA + SHARED)
    twin = copy.deepcopy(net)
    assert twin.params["a"][0] is twin.params["b"][0] is not net.params["a"][0]
    unshaped = converters.CaffeNet(SHARED)
    unshaped.load_state_dict(net.state_dict())
    assert unshaped.params["a"][0] is unshaped.params["b"][0]
    x = torch.randn(2, 6)
    assert torch.equal(unshaped(data=x)["b"], net(data=x)["b"])


def test_permissive_sharing_sees_the_same_numbers_in_another_shape():
    net = converters.CaffeNet(DATA + PERMISSIVE)
    assert [tuple(net.params[name][0].shape) for name in "ab"] == [(4, 6), (6, 4)]
    assert [param.name for param in net.learnable()] == ["a/0"]
    weight, x = net.params["a"][0].detach(), torch.randn(2, 6)
    torch.testing.assert_close(net(data=x)["b"], x @ weight.T @ weight.reshape(6, 4).T)
    net(data=x)["b"].sum().backward()
    gradient = net.params["a"][0].grad
    reference = weight.clone().requires_grad_()
    (x @ reference.T @ reference.reshape(6, 4).T).sum().backward()
    torch.testing.assert_close(gradient, reference.grad)

    twin = converters.CaffeNet(DATA + PERMISSIVE)
    assert twin.copy_from(net.to_blobs()).copied == ["a", "b"]
    assert torch.equal(twin(data=x)["b"], net(data=x)["b"])
    twin = converters.CaffeNet(DATA + PERMISSIVE)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(data=x)["b"], net(data=x)["b"])


def test_sharing_that_does_not_fit():
    refused(DATA + PERMISSIVE.replace("share_mode: PERMISSIVE", ""), "'b'.*cannot share 'w' of shape")
    refused(DATA + PERMISSIVE.replace("num_output: 6", "num_output: 5"), "'b'.*cannot share 'w' of shape")
    net = converters.CaffeNet(DATA + SHARED.replace("param { name: 'w' }", "param { name: 'w' lr_mult: 1 }"))
    with pytest.raises(converters.CaffeError, match="shared parameter 'w' has several values of lr_mult"):
        net.learnable()


# ---- phases ----

def test_stages_and_levels():
    text = """state { stage: 'deploy' level: 2 }
        layer { name: 'data' type: 'Input' top: 'data' }
        layer { name: 'deploy' type: 'TanH' bottom: 'data' top: 'deploy' include { stage: 'deploy' } }
        layer { name: 'extra' type: 'TanH' bottom: 'data' top: 'extra' include { stage: 'extra' phase: TEST } }
        layer { name: 'deep' type: 'TanH' bottom: 'data' top: 'deep' include { min_level: 2 } }
        layer { name: 'train' type: 'TanH' bottom: 'data' top: 'train' exclude { phase: TEST } }"""
    assert converters.CaffeNet(text).outputs == ["deploy", "deep"]
    assert converters.CaffeNet(text, stages=["extra"], level=0).outputs == ["deploy", "extra"]
    assert converters.CaffeNet(text, phase="train", stages=["extra"]).outputs == ["deploy", "deep", "train"]


# ---- outputs ----

SILENCED = DATA + """
layer { name: 'ab' type: 'TanH' bottom: 'data' top: 'ab' }
layer { name: 'quiet' type: 'Silence' bottom: 'ab' }
"""


def test_what_is_silenced_is_the_output_of_a_net_that_has_no_other():
    net = converters.CaffeNet(SILENCED)  # so the nets of "Colorful Image Colorization" end
    assert net.outputs == ["ab"]
    assert torch.equal(net(data=torch.ones(2, 6))["ab"], torch.ones(2, 6).tanh())


@pytest.mark.parametrize(("more", "outputs"), [
    ("layer { name: 'e' type: 'TanH' bottom: 'ab' top: 'e' }", ["e"]),
    ("layer { name: 'e' type: 'TanH' bottom: 'data' top: 'e' }", ["e"]),
    ("layer { name: 'e' type: 'TanH' bottom: 'ab' top: 'e' } layer { name: 'q' type: 'Silence' bottom: 'e' }", ["e"]),
    ("layer { name: 'l' type: 'Input' top: 'l' } layer { name: 'q' type: 'Silence' bottom: 'l' }", ["ab"]),
    ("layer { name: 'l' type: 'Input' top: 'l' }", ["l", "ab"]),
])
def test_what_is_silenced_beside_others(more, outputs):
    assert converters.CaffeNet(SILENCED + more).outputs == outputs
    caffe, shapes = infer_shapes(converters.read_prototxt(SILENCED + more))
    assert [name for name in caffe.outputs if name in shapes] == [name for name in outputs if name != "l"]


# ---- errors ----

def test_unknown_layer_names_layer_type_and_file(tmp_path):
    text = "layer { name: 'odd' type: 'Wavelet' bottom: 'data' top: 'odd' }\n"
    refused(text, "layer 'odd' in the net: unknown layer type 'Wavelet'.*converters.register")
    (tmp_path / "odd.prototxt").write_text(text)
    refused(tmp_path / "odd.prototxt", r"layer 'odd' in .*odd\.prototxt: unknown layer type 'Wavelet'")


@pytest.mark.parametrize("type", LEFT_OUT)
def test_layers_left_out_say_why(type):
    refused(f"layer {{ name: 'l' type: '{type}' bottom: 'data' }}\n", f"layer 'l' in the net.*'{type}': {LEFT_OUT[type]}")


@pytest.mark.parametrize(("layer", "match"), [
    ("type: 'InnerProduct' bottom: 'data' bottom: 'data' inner_product_param { num_output: 1 }",
     r"takes 1 bottom \(bottom\), but 2 are given"),
    ("type: 'Bias' bottom: 'data' bottom: 'data' bottom: 'data'",
     r"takes 1 to 2 bottoms \(bottom, operand\), but 3 are given"),
    ("type: 'SoftmaxWithLoss' bottom: 'data'", r"takes 2 bottoms \(scores, labels\), but 1 is given"),
    ("type: 'TanH' bottom: 'data' top: 't' top: 'u'", "makes 1 top, but 2 are named"),
    ("type: 'TanH' bottom: 'data' top: 't' loss_weight: 1 loss_weight: 2", "2 loss_weights for 1 top:"),
    ("type: 'TanH' bottom: 'data' top: 't' propagate_down: true propagate_down: true", "2 values of propagate_down"),
    ("type: 'TanH' bottom: 'data' top: 'data2' top: 'data2'", "makes 1 top,"),
    ("type: 'Convolution' bottom: 'data' top: 't' convolution_param { num_output: 2 kernel_size: 1 }",
     "one to three spatial axes"),
    ("type: 'Convolution' bottom: 'data' top: 't' convolution_param { num_output: 2 kernel_size: 1 kernel_h: 1 }",
     "give kernel once"),
    ("type: 'Pooling' bottom: 'data' top: 't' pooling_param { kernel_size: 2 pool: STOCHASTIC }", "STOCHASTIC"),
    ("type: 'Pooling' bottom: 'data' top: 't' pooling_param { kernel_size: 2 }", "4 axes"),
    ("type: 'Slice' bottom: 'data' top: 't' top: 'u' slice_param { slice_point: 9 }", "must rise and lie inside axis 1"),
    ("type: 'Slice' bottom: 'data' top: 't' top: 'u' slice_param { axis: 1 slice_dim: 1 }", "not both"),
    ("type: 'Reshape' bottom: 'data' top: 't' reshape_param { shape { dim: 5 dim: -1 } }", "does not fit into"),
    ("type: 'Reshape' bottom: 'data' top: 't' reshape_param { shape { dim: 2 dim: 6 dim: 0 } }", "copies an axis"),
    ("type: 'Reshape' bottom: 'data' top: 't' reshape_param { shape { dim: -1 dim: -1 } }", "one dim at most"),
    ("type: 'Flatten' bottom: 'data' top: 't' flatten_param { axis: 3 }", "axis 3 is out of range"),
    ("type: 'Tile' bottom: 'data' top: 't'", "tiles must be given"),
    ("type: 'Log' bottom: 'data' top: 't' log_param { base: -3 }", "base -3.0 must be positive"),
    ("type: 'ArgMax' bottom: 'data' top: 't' argmax_param { top_k: 7 }", "top_k 7 of only 6"),
    ("type: 'Embed' bottom: 'data' top: 't' embed_param { num_output: 2 }", "input_dim must be positive"),
    ("type: 'InfogainLoss' bottom: 'data' bottom: 'label'", "needs the infogain matrix"),
    ("type: 'DummyData' top: 't' dummy_data_param { shape { dim: 1 } num: 1 }", "not both"),
    ("type: 'DummyData' top: 't' dummy_data_param { num: 1 channels: 1 height: 1 width: 1 data_filler { type: 'noise' } }",
     "filler type 'noise'"),
    ("type: 'SPP' bottom: 'data' top: 't'", "pyramid_height"),
    ("type: 'Python' bottom: 'data' top: 't'", "Python layer that computes"),
])
def test_bad_layers_are_refused_by_name(layer, match):
    refused(f"{DATA}layer {{ name: 'l' {layer} }}", f"layer 'l' .*{match}")


def test_a_missing_input():
    net = converters.CaffeNet(DATA + "layer { name: 'sum' type: 'Eltwise' bottom: 'data' bottom: 'more' top: 'sum' }\n")
    with pytest.raises(converters.CaffeError, match="missing input 'more'; this net needs data, more"):
        net(data=torch.zeros(2, 6))


def test_an_input_of_another_size():
    net = converters.CaffeNet(DATA + SHARED)
    with pytest.raises(converters.CaffeError, match="'a' .*has 7 numbers from axis 1 on, the weights need 6"):
        net(data=torch.zeros(2, 7))


SMALL = """
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv' convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: 'top' type: 'TanH' bottom: 'conv' top: 'top' }
layer { name: 'other' type: 'TanH' bottom: 'unfed' top: 'other' }
"""


@pytest.mark.parametrize("made", [False, True])
def test_an_input_smaller_than_a_kernel(made):
    net = converters.CaffeNet(SMALL)
    if made:
        net.forward_blobs({"data": torch.zeros(1, 3, 4, 4)}, ["top"])
    with pytest.raises(converters.CaffeError, match=r"layer 'conv' \(Convolution\): bottom of 1x3x2x2: .*[Kk]ernel size"):
        net.forward_blobs({"data": torch.zeros(1, 3, 2, 2)}, ["top"])


def test_other_errors_of_a_forward_pass_stay_what_they_are():
    net = converters.CaffeNet(SMALL)

    def fail(error):
        def hook(layer, bottoms):
            raise error
        return net.layers["top"].register_forward_pre_hook(hook)

    for error in (torch.OutOfMemoryError("no room"), RuntimeError("of one's own")):
        hook = fail(error)
        with pytest.raises(RuntimeError) as caught:
            net.forward_blobs({"data": torch.zeros(1, 3, 4, 4)}, ["top"])
        assert caught.value is error
        hook.remove()
    with pytest.raises(RuntimeError, match="dtype|type"):  # not the shapes' fault
        net.forward_blobs({"data": torch.zeros(1, 3, 4, 4, dtype=torch.float64)}, ["top"])


# ---- the registry ----

def test_a_layer_of_ones_own_once_for_each_type():
    @converters.register("Double")
    class Double(converters.Layer):
        """Twice the bottom."""

        def forward(self, bottom):
            return 2 * bottom

    class Other(Double):
        pass

    text = "layer { name: 'l' type: 'Double' bottom: 'x' top: 'y' }\n"
    try:
        net = converters.CaffeNet(text)
        assert net(x=torch.ones(1))["y"] == 2
        assert ("Double", "Twice the bottom.", "", "", "BVLC", False, False) in converters.layer_table()
        with pytest.raises(converters.CaffeError, match="'Double' is registered already, by .*Double; give replace=True"):
            converters.register("TanH2", "Double")(Other)
        assert "TanH2" not in REGISTRY
        assert converters.register("Double", origin="ssd", replace=True)(Other) is REGISTRY["Double"]
        assert converters.CaffeNet(text).layers["l"].origin == "ssd"
    finally:
        del REGISTRY["Double"]


def test_the_table_describes_every_layer():
    table = converters.layer_table()
    assert [row.type for row in table] == sorted(REGISTRY)
    assert all(row.what.endswith(".") and row.source.endswith("_layer.cpp") for row in table)
    assert not set(REGISTRY) & set(LEFT_OUT)


def test_caffe_layers_are_all_there():
    assert TYPES - {*REGISTRY, *LEFT_OUT} <= {"Recurrent"}  # no type, but LSTM's and RNN's base class


def test_statistics_travel_with_the_weights():
    text = DATA + "layer { name: 'bn' type: 'BatchNorm' bottom: 'data' top: 'bn' }\n"
    net = converters.CaffeNet(text, phase="train")
    net(data=torch.randn(2, 6))
    assert set(net.state_dict()) == {"bn.running_mean", "bn.running_var", "bn.scale_factor"}
    assert [(param.lr_mult, param.decay_mult) for param in net.learnable()] == [(0, 0)] * 3
    tested = converters.CaffeNet(text)
    tested.copy_from(net.to_blobs())
    for ours, theirs in zip(tested.params["bn"], net.params["bn"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
