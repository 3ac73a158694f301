"""From weights and a photograph to a label map."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from small import WIDTH

import reference
import repro
from converters import CaffeError, CaffeNet, read_caffemodel, write_caffemodel
from repro.cli import main
from repro.images import load_labels, overlay, voc_palette


@pytest.fixture
def photograph(tmp_path):
    blocks = np.random.default_rng(0).integers(0, 256, size=(3, 4, 3)).astype(np.uint8)
    pixels = blocks.repeat(32, 0).repeat(32, 1)[:90, :125]
    path = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(path)
    return path, pixels


@pytest.mark.parametrize("name, classes", [("voc-fcn32s", 3), ("voc-fcn8s", 5), ("voc-fcn8s-atonce", 3)])
def test_labels_are_the_highest_scores_of_the_published_net(fcn_weights, photograph, name, classes):
    path, pixels = photograph
    net = CaffeNet(reference.net(name, "deploy", num_classes=classes, width=WIDTH))
    net.copy_from(fcn_weights(name, classes))
    data = (pixels[:, :, ::-1].astype(np.float32) - [104.00699, 116.66877, 122.67892]).transpose(2, 0, 1)
    with torch.no_grad():
        scores = net(data=torch.tensor(data[None], dtype=torch.float32))["score"][0].numpy()
    assert scores.shape == (classes, 90, 125)

    labels = repro.segment(repro.load(name, fcn_weights(name, classes)), path)
    assert labels.shape == (90, 125) and labels.dtype == np.uint8
    assert len(np.unique(labels)) > 1
    # Where two scores are all but equal, another order of summation may choose the other.
    best = np.sort(scores, axis=0)[-2:]
    clear = best[1] - best[0] > 1e-4 * np.abs(scores).max()
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(labels[clear], scores.argmax(0)[clear])


def test_dropout_is_off_and_a_picture_may_have_any_size_and_mode(fcn_weights, photograph):
    net = repro.load("voc-fcn32s", fcn_weights())
    path, pixels = photograph
    labels = repro.segment(net, path)
    np.testing.assert_array_equal(repro.segment(net, path), labels)
    np.testing.assert_array_equal(repro.segment(net, Image.fromarray(pixels)), labels)
    for size in ((1, 1), (100, 3), (64, 64)):
        for mode in ("RGB", "L"):
            assert repro.segment(net, Image.new(mode, size, 90)).shape == size[::-1]


@pytest.mark.parametrize("suffix", [".caffemodel.h5", ".caffemodel"])
def test_weights_of_any_container(fcn_weights, photograph, tmp_path, suffix):
    model = read_caffemodel(fcn_weights())
    write_caffemodel(tmp_path / f"copy{suffix}", model.net, model.blobs)
    ours = repro.segment(repro.load("voc-fcn32s", tmp_path / f"copy{suffix}"), photograph[0])
    np.testing.assert_array_equal(ours, repro.segment(repro.load("voc-fcn32s", fcn_weights()), photograph[0]))


def test_weights_of_another_net_are_refused_by_name(fcn_weights, classifier, golden):
    with pytest.raises(CaffeError, match="not the weights of voc-fcn16s: it lacks .*score_pool4"):
        repro.load("voc-fcn16s", fcn_weights("voc-fcn32s"))
    with pytest.raises(CaffeError, match="not the weights of voc-fcn32s: it lacks upscore"):
        repro.load("voc-fcn32s", fcn_weights("voc-fcn8s"))
    with pytest.raises(CaffeError, match="not the weights of voc-fcn8s: voc-fcn8s has no scale_pool4, scale_pool3"):
        repro.load("voc-fcn8s", fcn_weights("voc-fcn8s-atonce"))
    with pytest.raises(CaffeError, match="no layer score_fr"):
        repro.load("voc-fcn32s", classifier)
    with pytest.raises(CaffeError, match="tiny_v2.caffemodel: not the weights"):
        repro.load("voc-fcn32s", golden / "formats" / "tiny_v2.caffemodel")


def test_the_command_writes_palette_labels_and_an_overlay_for_each_picture(fcn_weights, photograph, tmp_path):
    path, pixels = photograph
    (tmp_path / "folder").mkdir()
    Image.fromarray(pixels[:12]).save(tmp_path / "folder" / "half.png")
    (tmp_path / "folder" / "notes.txt").write_text("no picture")
    arguments = ["segment", path, tmp_path / "folder", "--net", "voc-fcn32s", "--weights", fcn_weights(),
                 "-o", tmp_path / "out", "--threads", "1"]
    result = CliRunner().invoke(main, list(map(str, arguments)))
    # The pictures are labelled; the file that is none is named.
    assert result.exit_code == 2
    assert result.stderr.startswith("Error:") and len(result.stderr.splitlines()) == 1 and "notes.txt" in result.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "half-overlay.png", "half.png", "photograph-overlay.png", "photograph.png"]

    labels = repro.segment(repro.load("voc-fcn32s", fcn_weights()), path)
    np.testing.assert_array_equal(load_labels(tmp_path / "out" / "photograph.png"), labels)
    with Image.open(tmp_path / "out" / "photograph.png") as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[labels])
    with Image.open(tmp_path / "out" / "photograph-overlay.png") as image:
        np.testing.assert_array_equal(np.array(image), overlay(pixels, labels))
