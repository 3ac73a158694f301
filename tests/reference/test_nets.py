"""The descriptions: names, shapes and settings as the golden nets have them, and the paper's architecture table."""


import numpy as np
import pytest
import torch
from google.protobuf import text_format
from helpers import GOLDEN

import reference
from converters import CaffeError, CaffeNet
from converters.caffe_pb2 import NetParameter
from reference.nets import sizes_of
from surgery import receptive_field, stride

FCNS = [name for name in reference.names() if "-fcn" in name]


def shapes(param, phase="test"):
    """["layer/i shape"] of all parameters, and how many numbers they hold; nothing is allocated."""
    with torch.device("meta"):
        blobs = CaffeNet(param, phase).params
    flat = [(f"{name}/{i}", tuple(blob.shape)) for name, layer in blobs.items() for i, blob in enumerate(layer)]
    return [f"{name} {'x'.join(map(str, shape))}" for name, shape in flat], sum(int(np.prod(shape)) for _, shape in flat)


@pytest.mark.parametrize("path", sorted((GOLDEN / "nets").glob("*.npz")), ids=lambda path: path.stem)
def test_parameters_are_those_of_the_golden_nets(path):
    golden = np.load(path)
    names, count = shapes(reference.net(path.stem, "deploy"))
    assert names == list(golden["param_names"])
    assert count == golden["parameters"]


@pytest.mark.parametrize(("golden", "name"), [
    ("fcn32s_heavy", "voc-fcn32s"), ("fcn16s_heavy", "voc-fcn16s"), ("fcn8s_heavy", "voc-fcn8s"),
    ("fcn8s_atonce", "voc-fcn8s-atonce"),
])
def test_layers_are_those_of_the_golden_training_nets(golden, name):
    """These are 1/16 as wide, but 1/128 at fc6 and fc7, have neither data layer nor dropout, and scale the pools earlier."""
    text = str(np.load(GOLDEN / "solver" / f"{golden}.npz")["net"])
    ours = reference.net(name, "train", num_classes=5, width=1 / 16)
    kept = [layer for layer in ours.layer if layer.type not in ("Input", "Dropout")]
    golden = text_format.Parse(text, NetParameter()).layer
    assert {layer.name: settings(layer) for layer in kept} == {layer.name: settings(layer) for layer in golden}
    if name != "voc-fcn8s-atonce":
        assert [layer.name for layer in kept] == [layer.name for layer in golden]


def settings(layer):
    """A layer, with what is left to Caffe's defaults spelled out, as text."""
    conv = layer.convolution_param
    if layer.type in ("Convolution", "Deconvolution"):
        conv.pad[:], conv.stride[:] = conv.pad or [0], conv.stride or [1]
        if layer.name in ("fc6", "fc7"):
            conv.num_output = 0
    return str(layer)


@pytest.mark.slow
@pytest.mark.parametrize(("fcn", "classifier", "parameters", "conv_layers", "field"), [
    ("voc-fcn-alexnet", "caffenet", 57, 8, 355),
    ("voc-fcn32s", "vgg16", 134, 16, 404),
    ("voc-fcn-googlenet", "googlenet", 6, 22, 907),
])
def test_architecture_table(fcn, classifier, parameters, conv_layers, field):
    """CVPR, table 1."""
    param = reference.net(fcn, "deploy")
    names, count = shapes(param)
    upsampling = sum(int(np.prod(list(map(int, name.split()[1].split("x"))))) for name in names if name.startswith("up"))
    assert round((count - upsampling) / 1e6) == parameters
    depth = {}
    for layer in param.layer:
        before = max((depth[bottom] for bottom in layer.bottom), default=0)
        depth[layer.top[0]] = before + (layer.type == "Convolution")
    assert depth["score"] == conv_layers
    assert stride(param, "score_fr") == 32
    last = "pool5/7x7_s1" if classifier == "googlenet" else "fc7"
    assert receptive_field(reference.net(f"{classifier}-fullconv", "deploy"), last) == field
    published = next(row for row in reference.paper.ARCHITECTURES if row.trunk == classifier)
    assert published[2:] == (conv_layers, parameters, field, 32)


@pytest.mark.parametrize("name", FCNS)
def test_scores_have_the_images_size(name):
    param = reference.net(name, "deploy", width=1 / 8)
    images = [blob for layer in param.layer if layer.type == "Input" for blob in layer.top]
    with torch.device("meta"):
        net = CaffeNet(param)
    random = np.random.RandomState(0)
    drawn = [(random.randint(1, 1001), random.randint(1, 701)) for _ in range(8)]  # odd and even
    for height, width in [(1, 1), (2, 1), (1, 33), (64, 65), (1000, 700), (999, 701), *drawn]:
        with torch.device("meta"):
            found = net.reshape(**{blob: (1, 1 if blob == "depth" else 3, height, width) for blob in images})
        for score in net.outputs:
            assert found[score][2:] == (height, width)


@pytest.mark.parametrize("name", reference.names())
def test_every_net_is_one_net_in_three_phases(name):
    nets = {phase: reference.net(name, phase, width=1 / 8) for phase in ("train", "val", "deploy")}
    assert nets["train"].layer == nets["val"].layer
    trained, deployed = ([layer for layer in nets[phase].layer if layer.type not in ("Input", "SoftmaxWithLoss", "Softmax")]
                         for phase in ("train", "deploy"))
    if "googlenet" not in name or "fcn" in name:  # which trains with two classifiers more
        assert trained == deployed
    losses = sum(layer.type == "SoftmaxWithLoss" for layer in nets["train"].layer)
    assert losses == 2 if name.startswith("siftflow") else losses >= 1
    with torch.device("meta"):
        made = CaffeNet(nets["train"], "train")
    assert all(blob is not None for blobs in made.params.values() for blob in blobs)


def test_losses_are_as_released():
    for name in FCNS:
        for layer in reference.net(name).layer:
            if layer.type == "SoftmaxWithLoss":
                averaged = name in ("voc-fcn-alexnet", "voc-fcn-googlenet")
                assert layer.loss_param.ignore_label == 255 and layer.loss_param.normalize == averaged
    assert [layer.name for layer in reference.net("siftflow-fcn8s").layer if "loss" in layer.name] == ["loss", "loss_geo"]


def test_the_fixed_trunk_learns_its_scores_alone():
    with torch.device("meta"):
        net = CaffeNet(reference.net("voc-fcn32s-fixed"), "train")
    assert {learned.name for learned in net.learnable() if learned.lr_mult} == {"score_fr/0", "score_fr/1"}


def test_a_net_of_ones_own():
    own = reference.fcn(trunk="vgg16", skips=("pool4", "pool3"), num_classes=12)
    published = reference.net("voc-fcn8s", num_classes=12)
    own.name = published.name
    assert own == published
    # All the way down: the last upsampling cannot be upscore2, which is the first.
    finer = reference.fcn(skips=("pool4", "pool3", "pool2", "pool1"), num_classes=2, width=1 / 8, phase="deploy")
    assert finer.layer[-2].name == "upscore_pool1" and finer.layer[-2].convolution_param.stride == [2]
    with torch.device("meta"):
        assert CaffeNet(finer).reshape(data=(1, 3, 57, 43))["score"] == (1, 2, 57, 43)
    skipping = reference.fcn(skips=("pool3",), phase="deploy", width=1 / 8)
    with torch.device("meta"):
        assert CaffeNet(skipping).reshape(data=(1, 3, 57, 43))["score"] == (1, 21, 57, 43)


def test_width_and_classes():
    names, _ = shapes(reference.net("voc-fcn8s", "deploy", num_classes=9, width=1 / 8))
    assert {"conv1_1/0 8x3x3x3", "conv5_3/0 64x64x3x3", "fc6/0 512x64x7x7", "score_fr/0 9x512x1x1"} <= set(names)
    names, _ = shapes(reference.net("vgg16", "deploy", num_classes=9, width=1 / 8))
    assert {"fc6/0 512x3136", "fc8/0 9x512"} <= set(names)
    names, _ = shapes(reference.net("siftflow-fcn32s", "deploy", num_classes={"sem": 5, "geo": 2}, width=1 / 8))
    assert {"score_fr_sem/0 5x512x1x1", "score_fr_geo/0 2x512x1x1"} <= set(names)


def test_fc6_and_fc7_may_have_a_width_of_their_own():
    net = CaffeNet(reference.net("voc-fcn32s", "deploy", 5, width=(1 / 16, 1 / 64)))
    channels = {name: blobs[0].shape[0] for name, blobs in net.params.items()}
    assert channels["conv1_1"] == 4 and channels["conv5_3"] == 32 and channels["fc6"] == channels["fc7"] == 64
    assert sizes_of(net.to_blobs()) == {"num_classes": 5, "width": (1 / 16, 1 / 64)}
    assert sizes_of(CaffeNet(reference.net("vgg16", "deploy", width=1 / 16)).to_blobs())["width"] == 1 / 16


def test_classifiers_are_as_large_as_released():
    """The parameter counts of VGG_ILSVRC_16_layers, bvlc_reference_caffenet and bvlc_googlenet."""
    counts = {name: shapes(reference.net(name, "deploy"))[1] for name in ("vgg16", "caffenet", "googlenet")}
    assert counts == {"vgg16": 138357544, "caffenet": 60965224, "googlenet": 6998552}


@pytest.mark.parametrize(("call", "said"), [
    (lambda: reference.net("fcn8s"), "no net 'fcn8s'.*voc-fcn8s"),
    (lambda: reference.net("voc-fcn8s", "test"), "no phase 'test'.*deploy"),
    (lambda: reference.net("vgg16", "test"), "no phase 'test'.*deploy"),
    (lambda: reference.fcn("resnet"), "no trunk 'resnet'.*vgg16"),
    (lambda: reference.fcn(skips=("pool9",)), "pool9"),
    (lambda: reference.fcn(skips=("pool3", "pool4")), "pool4"),
    (lambda: reference.net("siftflow-fcn8s", num_classes=5), "sem.*geo"),
    (lambda: reference.net("voc-fcn8s", num_classes=0), "num_classes"),
])
def test_mistakes_are_said(call, said):
    with pytest.raises(CaffeError, match=said):
        call()
