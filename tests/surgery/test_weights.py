"""Transplants, bilinear kernels, score layers expanded, classifiers made fully convolutional."""

import numpy as np
import pytest
import torch
from google.protobuf import text_format

import reference
import surgery
from converters import CaffeError, CaffeNet
from converters.caffe_pb2 import NetParameter


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def randomized(net):
    """A CaffeNet of this description, with random weights that keep the signal's size."""
    net = CaffeNet(net)
    with torch.no_grad():
        for blobs in net.params.values():
            blobs[0].normal_(0, (2 / blobs[0][0].numel()) ** 0.5)
            for bias in blobs[1:]:
                bias.normal_(0, 0.1)
    return net


def small(name, phase="deploy", **more):
    return reference.net(name, phase, width=1 / 32, **more)


# ---- bilinear kernels ----

@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 32, 63, 64])
def test_bilinear_kernel_is_a_triangle_of_its_stride(size):
    factor = (size + 1) // 2
    line = [max(0, factor - abs(2 * i - (size - 1)) / 2) / factor for i in range(size)]
    assert surgery.bilinear_kernel(size) == pytest.approx(np.outer(line, line))


def test_bilinear_upsampling_keeps_a_ramp():
    net = text_format.Parse("""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }
        layer { name: "up" type: "Deconvolution" bottom: "data" top: "up"
          convolution_param { num_output: 2 kernel_size: 4 stride: 2 bias_term: false } }
    """, NetParameter())
    net = CaffeNet(net)
    assert surgery.interp(net) == ["up"]
    ramp = torch.arange(5.0).expand(1, 2, 5, 5) * torch.tensor([1.0, 10.0])[:, None, None]
    inner = net(data=ramp)["up"][0, :, 3:-3, 3:-3]
    steps = inner.diff(dim=2)
    assert torch.allclose(steps[0], torch.tensor(0.5)) and torch.allclose(steps[1], torch.tensor(5.0))


def test_interp_sets_the_layers_with_up_in_their_names():
    net = randomized(small("voc-fcn8s", num_classes=3))
    assert surgery.interp(net) == ["upscore2", "upscore_pool4", "upscore8"]
    weight = net.params["upscore8"][0].detach().numpy()
    assert weight[1, 1] == pytest.approx(surgery.bilinear_kernel(16))
    assert not weight[0, 1].any() and not weight[2, 0].any()


def test_interp_refuses_what_is_no_interpolation():
    net = CaffeNet(small("voc-fcn32s", num_classes=3))
    with pytest.raises(CaffeError, match="score_fr"):
        surgery.interp(net, ["score_fr"])
    with pytest.raises(CaffeError, match="nowhere"):
        surgery.interp(net, ["nowhere"])


# ---- transplant ----

def test_transplant_reports_every_layer():
    source, target = randomized(small("vgg16", num_classes=7)), CaffeNet(small("voc-fcn16s", num_classes=7))
    report = surgery.transplant(target, source)
    convolutions = [name for name in target.params if name.startswith("conv")]
    assert report.copied == convolutions
    assert report.coerced == [
        ("fc6", 0, (128, 16 * 49), (128, 16, 7, 7)),
        ("fc7", 0, (128, 128), (128, 128, 1, 1)),
    ]
    assert [name for name, _ in report.dropped] == ["fc8"]
    assert report.untouched == ["score_fr", "upscore2", "score_pool4", "upscore16"]
    assert torch.equal(target.params["fc6"][0].flatten(1), source.params["fc6"][0])
    assert torch.equal(target.params["fc6"][1], source.params["fc6"][1])
    for name in (*convolutions, "fc6", "fc7", "fc8", "score_fr"):
        assert sum(line.startswith(f"{name} ") for line in str(report).splitlines()) == 1
    assert "128x784 to 128x16x7x7" in report.table()


def test_transplant_takes_arrays_and_drops_misfits_whole():
    target = CaffeNet(small("voc-fcn32s", num_classes=3))
    weights, bias = np.ones((3, 128, 1, 1), np.float32), np.ones((1, 1, 1, 3), np.float32)
    report = surgery.transplant(target, {"score_fr": [weights, bias], "fc7": [weights, np.ones(128, np.float32)]})
    assert report.copied == ["score_fr"] and report.coerced == []  # a legacy bias is no other shape
    assert report.dropped == [("fc7", "3x128x1x1 in the source does not fit 128x128x1x1")]
    assert not target.params["fc7"][1].any() and target.params["score_fr"][0].all()


def test_two_streams_take_a_suffix_each():
    color, hha = (randomized(small(f"nyud-fcn32s-{data}", num_classes=4)) for data in ("color", "hha"))
    target = CaffeNet(small("nyud-fcn32s-color-hha", num_classes=4))
    reports = [surgery.transplant(target, net, suffix) for net, suffix in ((color, "color"), (hha, "hha"))]
    assert [report.dropped[0][0] for report in reports] == ["upscore", "upscore"]
    surgery.interp(target)
    surgery.interp(color)
    surgery.interp(hha)
    image, other = torch.randn(2, 1, 3, 20, 30)
    both = target(color=image, hha=other)["score"]
    mean = (color(data=image)["score"] + hha(data=other)["score"]) / 2
    assert torch.allclose(both, mean, atol=1e-5)


def test_depth_starts_as_the_mean_of_color():
    source, target = randomized(small("vgg16")), CaffeNet(small("nyud-fcn32s-color-d"))
    assert ("conv1_1", "the target has no layer 'conv1_1' with parameters") in surgery.transplant(target, source).dropped
    surgery.expand_input(target, "conv1_1_bgrd", source, "conv1_1")
    old, new = source.params["conv1_1"], target.params["conv1_1_bgrd"]
    assert torch.equal(new[0][:, :3], old[0]) and torch.equal(new[1], old[1])
    assert torch.allclose(new[0][:, 3], old[0].sum(1) / 3)


def test_expanded_scores_begin_with_the_old_classes():
    source, target = (randomized(small("voc-fcn32s", num_classes=n)) for n in (3, 5))
    rest = target.params["score_fr"][0][3:].clone()
    surgery.expand_score(target, "score_fr", source, "score_fr")
    for new, old in zip(target.params["score_fr"], source.params["score_fr"], strict=True):
        assert torch.equal(new[:3], old)
    assert torch.equal(target.params["score_fr"][0][3:], rest)
    with pytest.raises(CaffeError, match="only the number of classes may grow"):
        surgery.expand_score(source, "score_fr", target, "score_fr")


def test_layers_that_would_learn_nothing_are_named_and_filled():
    source, target = randomized(small("vgg16")), CaffeNet(small("voc-fcn8s-atonce", "train"), "train")
    blobs = source.to_blobs()
    del blobs["conv3_2"], blobs["fc6"]
    surgery.transplant(target, blobs)
    surgery.interp(target)
    assert surgery.unfilled(target) == ["conv3_2", "fc6"]
    surgery.fill_missing(target, surgery.unfilled(target), "msra")
    assert surgery.unfilled(target) == []
    weight = target.params["fc6"][0]
    assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.05)


def test_fillers_fill_what_has_them():
    assert surgery.unfilled(CaffeNet(reference.net("caffenet", "train", width=1 / 8), "train")) == []


# ---- classifiers made fully convolutional ----

@pytest.mark.parametrize(("name", "size"), [("vgg16", 224), ("caffenet", 227), ("googlenet", 224)])
def test_the_fully_convolutional_net_gives_the_classifiers_scores(name, size):
    param = reference.net(name, "deploy", num_classes=9, width=1 / 8)
    classifier = randomized(param)
    net, blobs = surgery.convolutionize(param, classifier.to_blobs())
    assert not any(layer.type == "InnerProduct" for layer in net.layer)
    assert net == reference.net(f"{name}-fullconv", "deploy", num_classes=9, width=1 / 8)
    convolutional = CaffeNet(net)
    assert convolutional.copy_from(blobs).missing == []
    image = torch.randn(1, 3, size, size)
    score = param.layer[-1].bottom[0]
    expected = classifier.forward_blobs({"data": image}, [score])[score]
    got = convolutional.forward_blobs({"data": image}, [score])[score]
    assert got.shape == (1, 9, 1, 1)
    assert torch.allclose(got.flatten(1), expected, atol=1e-5 * expected.abs().max().item())


def test_the_score_map_is_the_classifier_slid_over_the_image():
    """Without padding, and at a size (244) whose poolings come out even, windows 32 pixels apart give the map."""
    param = reference.net("vgg16", "deploy", num_classes=5, width=1 / 16)
    param.layer[0].input_param.shape[0].dim[2:] = [244, 244]
    for layer in param.layer:
        layer.convolution_param.ClearField("pad")
    classifier = randomized(param)
    net, blobs = surgery.convolutionize(param, classifier.to_blobs())
    convolutional = CaffeNet(net)
    convolutional.copy_from(blobs)
    image = torch.randn(1, 3, 244 + 64, 244 + 32)
    scores = convolutional.forward_blobs({"data": image}, ["fc8"])["fc8"]
    assert scores.shape == (1, 5, 3, 2)
    for row in range(3):
        for column in range(2):
            window = image[:, :, 32 * row : 32 * row + 244, 32 * column : 32 * column + 244]
            expected = classifier.forward_blobs({"data": window}, ["fc8"])["fc8"]
            assert torch.allclose(scores[:, :, row, column], expected, atol=1e-5 * scores.abs().max().item())


def test_with_paddings_the_last_layers_slide_over_the_pooled_map():
    """fc6 to fc8 of the classifier, at each place of pool5, are the score map's pixels, whatever the image's size."""
    param = reference.net("vgg16", "deploy", num_classes=5, width=1 / 16)
    classifier = randomized(param)
    net, blobs = surgery.convolutionize(param, classifier.to_blobs())
    convolutional = CaffeNet(net)
    convolutional.copy_from(blobs)
    for size in (224, 224), (301, 258):
        maps = convolutional.forward_blobs({"data": torch.randn(1, 3, *size)}, ["pool5", "fc8"])
        scores, pooled = maps["fc8"], maps["pool5"]
        assert scores.shape[2:] == tuple(side - 6 for side in pooled.shape[2:])
        for row in range(scores.shape[2]):
            for column in range(scores.shape[3]):
                x = pooled[:, :, row : row + 7, column : column + 7].flatten(1)
                for name in ("fc6", "fc7", "fc8"):
                    weight, bias = classifier.params[name]
                    x = x @ weight.T + bias
                    x = x if name == "fc8" else x.relu()
                assert torch.allclose(scores[:, :, row, column], x, atol=1e-5 * scores.abs().max().item())


def test_kernels_need_not_be_square_and_flattening_is_refused():
    text = """
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 5 } } }
        %s
        layer { name: "ip" type: "InnerProduct" bottom: "%s" top: "ip"
          inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
    """
    param = text_format.Parse(text % ("", "data"), NetParameter())
    net, blobs = surgery.convolutionize(param, CaffeNet(param).to_blobs())
    assert blobs["ip"][0].shape == (6, 3, 4, 5) and blobs["ip"][1].shape == (6,)
    assert CaffeNet(net).reshape()["ip"] == (2, 6, 1, 1)
    flatten = 'layer { name: "flat" type: "Reshape" bottom: "data" top: "flat" reshape_param { shape { dim: 0 dim: -1 } } }'
    from converters.layers import REGISTRY
    if "Reshape" in REGISTRY:
        with pytest.raises(CaffeError, match="flattens"):
            surgery.convolutionize(text_format.Parse(text % (flatten, "flat"), NetParameter()))
    with pytest.raises(CaffeError, match="another net's"):
        surgery.convolutionize(param, {"ip": [np.zeros((6, 7)), np.zeros(6)]})
