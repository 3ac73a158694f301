"""What a .safetensors says of its net's input is what the net is fed."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

import repro
from converters import CaffeError
from repro.cli import main
from repro.data.images import load_labels
from repro.inference.segmentation import classes_of

NAMES = ["wall", "door", "window"]


@pytest.fixture
def photograph(voc_set):
    return sorted((voc_set / "JPEGImages").glob("val_*.jpg"))[0]


@pytest.fixture
def converted(fcn_weights, tmp_path):
    """converted(*options of `repro convert caffemodel`) -> the path of a .safetensors."""

    def convert(*options, suffix=".safetensors"):
        path = tmp_path / f"net{suffix}"
        done = CliRunner().invoke(main, ["convert", "caffemodel", str(fcn_weights()), "-o", str(path), *map(str, options)])
        assert done.exit_code == 0, done.output
        return path

    return convert


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_converted_weights_label_as_the_caffemodel(converted, fcn_weights, photograph, suffix):
    ours = repro.load("voc-fcn32s", converted(suffix=suffix))
    theirs = repro.load("voc-fcn32s", fcn_weights())
    assert np.array_equal(repro.segment(ours, photograph), repro.segment(theirs, photograph))
    assert classes_of(ours) == ["class 0", "class 1", "class 2"]


def test_mean_order_and_scale_are_those_that_were_kept(converted, photograph, tmp_path):
    (tmp_path / "names").write_text("\n".join(NAMES))
    options = ["--mean", "120,110,100", "--rgb", "--scale", 0.5, "--classes", tmp_path / "names", "--input-size", "64x48"]
    net = repro.load("voc-fcn32s", converted(*options))
    assert net.preprocessing.scale == 0.5 and classes_of(net) == NAMES
    assert net.input_shapes["data"] == (1, 3, 64, 48)
    image = np.array(Image.open(photograph).convert("RGB"), np.float32)
    fed = torch.from_numpy(((image - np.array([120, 110, 100])) * 0.5).astype(np.float32).transpose(2, 0, 1))[None]
    with torch.no_grad():
        expected = net(data=fed)["score"][0].argmax(0)
    labels = repro.segment(net, photograph)
    assert labels.shape == image.shape[:2] and np.array_equal(labels, expected)
    assert np.array_equal(repro.segment(net, fed), expected)
    other = repro.segment(repro.load("voc-fcn32s", converted()), photograph)
    assert not np.array_equal(labels, other)


def test_evaluation_feeds_the_same(converted, voc_set, tmp_path):
    weights = converted("--mean", "120,110,100", "--rgb", "--scale", 0.5)
    net, right, counted = repro.load("voc-fcn32s", weights), 0, 0
    for path in (voc_set / "JPEGImages").glob("val_*.jpg"):
        truth = load_labels(voc_set / f"SegmentationClass/{path.stem}.png")
        right += np.sum(truth == repro.segment(net, path))
        counted += np.sum(truth != 255)
    done = CliRunner().invoke(main, ["evaluate", "--net", "voc-fcn32s", "--weights", str(weights), "--data", str(voc_set),
                                     "--split", "val", "-o", str(tmp_path / "scores.json")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "scores.json").read_text())["pixel_acc"] == pytest.approx(right / counted)


def test_other_checkpoints_are_refused(tmp_path, converted):
    torch.save({"conv1_1": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(CaffeError, match="other.pt: has 'conv1_1', which is no key of a CaffeNet's state_dict"):
        repro.load("voc-fcn32s", tmp_path / "other.pt")
    with pytest.raises(CaffeError, match="not the weights of voc-fcn16s: it lacks"):
        repro.load("voc-fcn16s", converted())
