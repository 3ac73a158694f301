"""A net is known by what it is: the release's prototxts, which have no name, are fed as the release feeds them."""

import pytest
import torch
from helpers.small import WIDTH
from PIL import Image

import reference
import repro
from converters import CaffeError, CaffeNet, Preprocessing, read_prototxt
from reference.export import export
from reference.recognition import head_sizes
from repro.inference.segmentation import classes_of, mean_of

MEANS = {"voc-fcn32s": (104.00699, 116.66877, 122.67892), "nyud-fcn32s-color": (116.190, 97.203, 92.318),
         "siftflow-fcn32s": (114.578, 115.294, 108.353), "pascalcontext-fcn32s": (104.007, 116.669, 122.679)}
PHOTOGRAPH = Image.new("RGB", (9, 9), "red")


def nameless(name, folder, file="deploy"):
    """A CaffeNet of a prototxt of the release: narrow, and without a name."""
    net = read_prototxt(next(path for path in export(name, folder, width=WIDTH) if path.name.startswith(file)))
    net.ClearField("name")
    return CaffeNet(net)


@pytest.mark.parametrize("file", ["train", "deploy"])
@pytest.mark.parametrize("name", ["voc-fcn32s", "siftflow-fcn32s", "pascalcontext-fcn32s"])
def test_a_net_without_a_name_is_known_by_its_data_layer_or_its_classes(name, file, tmp_path):
    net = nameless(name, tmp_path, file)
    assert mean_of(net) == MEANS[name]
    family = reference.family_of(name)
    assert classes_of(net) == family.classes()
    assert repro.segment(net, PHOTOGRAPH).shape == (9, 9)
    if family.heads:
        assert classes_of(net, head="geo") == family.classes("geo")
        assert repro.segment(net, PHOTOGRAPH, "geo").max() < 3


def test_nyud_color_is_known_by_its_data_layer_alone(tmp_path):
    assert mean_of(nameless("nyud-fcn32s-color", tmp_path, "train")) == MEANS["nyud-fcn32s-color"]
    for name in ("nyud-fcn32s-color", "nyud-fcn32s-hha"):
        net = nameless(name, tmp_path / name)
        with pytest.raises(CaffeError, match="are fed color or hha, so the mean to subtract is not known; give it as"):
            repro.segment(net, PHOTOGRAPH)
        assert classes_of(net) == reference.classes("nyud")
        net.preprocessing = Preprocessing(mean=MEANS["nyud-fcn32s-color"], channels="bgr")
        assert repro.segment(net, PHOTOGRAPH).shape == (9, 9)


@pytest.mark.parametrize("name, file", [("nyud-fcn32s-hha", "train"), ("nyud-fcn32s-color-d", "train"),
                                        ("nyud-fcn32s-color-d", "deploy"), ("nyud-fcn32s-color-hha", "train"),
                                        ("nyud-fcn32s-color-hha", "deploy")])
def test_a_net_without_a_name_that_needs_depth_is_refused(name, file, tmp_path):
    net = nameless(name, tmp_path, file)
    with pytest.raises(CaffeError, match="this net needs depth, which a photograph does not have; use nyud-fcn32s-color"):
        repro.segment(net, PHOTOGRAPH)


def test_a_mean_in_the_data_layer_is_taken(tmp_path):
    export("voc-fcn32s", tmp_path, width=WIDTH)
    net = read_prototxt(tmp_path / "train.prototxt")
    text = net.layer[0].python_param.param_str
    net.layer[0].python_param.param_str = text.replace("104.00699, 116.66877, 122.67892", "1, 2, 3")
    assert mean_of(CaffeNet(net, "test")) == (1, 2, 3)


def test_a_net_of_ones_own_asks_for_its_mean():
    own = reference.fcn(num_classes=5, phase="deploy", width=WIDTH, name="")
    for name, says in ("", "this net without a name"), ("roads", "net 'roads'"), ("voc", "net 'voc'"):
        own.name = name
        net = CaffeNet(own)
        with pytest.raises(CaffeError, match=f"^{says}: neither .*Preprocessing\\(mean="):
            repro.segment(net, PHOTOGRAPH)
        assert repro.segment(net, torch.zeros(3, 9, 9) - 20).shape == (9, 9)  # already as the net needs it
        assert classes_of(net) == [f"class {label}" for label in range(5)]
    net.preprocessing = Preprocessing(mean=(1, 2, 3), channels="bgr", classes=tuple("abcde"))
    assert mean_of(net) == (1, 2, 3) and classes_of(net) == list("abcde")
    assert repro.segment(net, PHOTOGRAPH).shape == (9, 9)


def test_a_data_layer_of_ones_own_is_not_taken_for_a_published_one(tmp_path):
    net = reference.net("voc-fcn32s", "train", width=WIDTH)
    net.name = ""
    del net.layer[0].input_param.shape[:]
    net.layer[0].type = "ImageData"
    with pytest.raises(CaffeError, match="mean to subtract is not known"):
        mean_of(CaffeNet(net, "test"))


def test_a_published_mean_is_turned_for_a_net_that_is_fed_red_first():
    net = CaffeNet(reference.net("nyud-fcn32s-color", "deploy", width=WIDTH))
    net.preprocessing = Preprocessing(channels="rgb")
    assert mean_of(net) == (92.318, 97.203, 116.190)


def test_a_name_may_go_on():
    net = CaffeNet(reference.net("nyud-fcn32s-color", "deploy", num_classes=3, width=WIDTH))
    net.param.name += " (miniature)"
    assert mean_of(net) == MEANS["nyud-fcn32s-color"]


@pytest.mark.parametrize("name", reference.names())
def test_numbers_of_classes_are_those_that_were_built(name):
    published = reference.family_of(name).num_classes if "-fcn" in name else None
    assert head_sizes(reference.net(name, "deploy")) == published
