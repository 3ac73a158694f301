"""`repro surgery`: every net that the release makes from another."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.small import WIDTH

import reference
from converters import CaffeNet, read_caffemodel, write_caffemodel
from repro import load
from repro.cli import main


@pytest.fixture
def weights(tmp_path):
    """weights(net, **options) writes a narrow net with random weights, and returns the path."""

    def write(name, width=WIDTH, **options):
        net = CaffeNet(reference.net(name, "deploy", width=width, **options))
        torch.manual_seed(1)
        with torch.no_grad():
            for blobs in net.params.values():
                for blob in blobs:
                    blob.normal_(0, (2 / max(2, blob[0].numel())) ** 0.5)
        path = tmp_path / f"{name}-source.caffemodel"
        write_caffemodel(path, net.param, net.to_blobs())
        return path

    return write


def operate(net, *sources, more=()):
    output = sources[0].with_name(f"{net}.caffemodel")
    result = CliRunner().invoke(main, list(map(str, ["surgery", *sources, "--net", net, "-o", output, *more])))
    return result, output


def made(net, *sources, more=()):
    """(blobs of the made net, the report's lines by layer)"""
    result, output = operate(net, *sources, more=more)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line and not line.startswith("wrote")}
    return read_caffemodel(output).blobs, lines


@pytest.mark.parametrize("name", ["voc-fcn32s", "voc-fcn8s-atonce", "siftflow-fcn8s", "pascalcontext-fcn16s"])
def test_a_classifier_becomes_an_fcn(name, classifier):
    blobs, lines = made(name, classifier)
    assert lines["fc6"].split()[1:] == ["coerced", "blob", "0:", "1x1x128x784", "to", "128x16x7x7"]
    assert lines["fc8"].split()[1] == "dropped" and lines["conv5_3"].split()[1] == "copied"
    source = read_caffemodel(classifier).blobs
    assert np.array_equal(blobs["fc6"][0].ravel(), source["fc6"][0].ravel())
    assert all(not array.any() for name, arrays in blobs.items() if name.startswith("score") for array in arrays)
    load(name, classifier.with_name(f"{name}.caffemodel"))


@pytest.mark.parametrize("name", ["vgg16", "caffenet", "googlenet"])
def test_a_classifier_becomes_fully_convolutional(name, weights):
    width = 1 / 16  # CaffeNet's groups want even channels
    source = weights(name, width)
    blobs, _ = made(f"{name}-fullconv", source)
    net, full = (CaffeNet(reference.net(name + form, "deploy", width=width)) for form in ("", "-fullconv"))
    net.copy_from(source)
    full.copy_from(blobs)
    image = torch.randn(net.input_shapes["data"])
    with torch.no_grad():
        assert torch.allclose(full(data=image)["prob"].flatten(), net(data=image)["prob"].flatten(), rtol=1e-4)


def test_finer_from_coarser(weights):
    source = weights("voc-fcn16s", num_classes=4)
    blobs, lines = made("voc-fcn8s", source)
    old = read_caffemodel(source).blobs
    assert blobs["score_fr"][0].shape[0] == 4  # the source's own
    for layer in ("conv3_3", "score_fr", "score_pool4"):
        assert np.array_equal(blobs[layer][0], old[layer][0])
    assert not blobs["score_pool3"][0].any() and lines["score_pool3"].split()[1] == "untouched"


def test_depth_is_a_fourth_channel(classifier):
    blobs, lines = made("nyud-fcn32s-color-d", classifier)
    old = read_caffemodel(classifier).blobs["conv1_1"]
    assert np.array_equal(blobs["conv1_1_bgrd"][0][:, :3], old[0])
    assert blobs["conv1_1_bgrd"][0][:, 3] == pytest.approx(old[0].mean(1), abs=1e-7)
    assert np.array_equal(blobs["conv1_1_bgrd"][1], old[1].ravel())
    assert lines["conv1_1_bgrd"].split()[1:] == ["coerced", "blob", "0:", "2x3x3x3", "to", "2x4x3x3"]
    assert "conv1_1" not in lines


def test_two_nets_become_two_streams(weights):
    color, hha = weights("nyud-fcn32s-color"), weights("nyud-fcn32s-hha")
    blobs, lines = made("nyud-fcn32s-color-hha", color, hha)
    for kind, source in ("color", color), ("hha", hha):
        for layer, arrays in read_caffemodel(source).blobs.items():
            if layer != "upscore":
                assert all(np.array_equal(*pair) for pair in zip(blobs[layer + kind], arrays, strict=True))
                assert lines[layer + kind].split()[1] == "copied"


def test_more_classes(weights):
    source = weights("voc-fcn16s", num_classes=4)
    blobs, lines = made("voc-fcn16s", source, more=["--num-classes", 6, "--expand-scores"])
    old = read_caffemodel(source).blobs
    for layer in ("score_fr", "score_pool4"):
        assert np.array_equal(blobs[layer][0][:4], old[layer][0]) and np.array_equal(blobs[layer][1][:4], old[layer][1])
        assert not blobs[layer][0][4:].any() and lines[layer].split()[1] == "coerced"
    blobs, lines = made("voc-fcn16s", source, more=["--num-classes", 6])
    assert not blobs["score_fr"][0].any() and lines["score_fr"].split()[1] == "dropped"


def test_what_would_not_learn_is_refused_or_filled(classifier, weights, tmp_path):
    model = read_caffemodel(classifier)
    blobs = {name: arrays for name, arrays in model.blobs.items() if name not in ("fc7", "conv2_1")}
    write_caffemodel(tmp_path / "short.caffemodel", model.net, blobs)
    result, output = operate("voc-fcn32s", tmp_path / "short.caffemodel")
    assert result.exit_code == 2 and "layers conv2_1, fc7 have no weights in" in result.stderr
    assert not output.exists()
    blobs, _ = made("voc-fcn32s", tmp_path / "short.caffemodel", more=["--fill-missing", "msra"])
    assert blobs["fc7"][0].std() == pytest.approx((2 / 128) ** 0.5, rel=0.05)
    result, _ = operate("nyud-fcn32s-color-hha", classifier)
    assert result.exit_code == 2 and "conv1_1color" in result.stderr
    result, _ = operate("voc-fcn32s", classifier, classifier, classifier)
    assert result.exit_code == 2 and "3 nets to start from" in result.stderr
    result, _ = operate("voc-fcn8s", weights("voc-fcn8s", num_classes=30), more=["--num-classes", 4, "--expand-scores"])
    assert result.exit_code == 2 and "only the number of classes may grow" in result.stderr
