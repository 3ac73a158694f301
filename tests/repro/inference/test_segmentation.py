"""From weights and a photograph to a label map."""

import json
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.small import WIDTH
from helpers.weights import write_narrow
from PIL import Image

import reference
import repro
from converters import CaffeError, CaffeNet, read_caffemodel, write_caffemodel
from repro.cli import main
from repro.data.images import load_labels, overlay, voc_palette
from repro.inference.segmentation import classes_of, mean_of, probabilities


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


# ---- tensors ----


def fed(pixels, order=(2, 1, 0), mean=(104.00699, 116.66877, 122.67892)):
    return torch.tensor((pixels[:, :, order].astype(np.float32) - np.float32(mean)).transpose(2, 0, 1))


def test_a_tensor_as_caffe_is_fed_gives_the_same_labels_and_no_warning(fcn_weights, photograph, recwarn):
    net = repro.load("voc-fcn32s", fcn_weights())
    path, pixels = photograph
    labels = repro.segment(net, path)
    for tensor in (fed(pixels), fed(pixels)[None], fed(pixels).double()):
        np.testing.assert_array_equal(repro.segment(net, tensor), labels)
    assert not recwarn.list


@pytest.mark.parametrize("mistake, says", [
    (lambda pixels: torch.tensor(pixels / 255).permute(2, 0, 1), "from 0 to 1"),
    (lambda pixels: torch.tensor((pixels / 255 - 0.45) / 0.225).permute(2, 0, 1), "unit variance"),
    (lambda pixels: fed(pixels, mean=(0, 0, 0)), "mean was not subtracted"),
    (lambda pixels: fed(pixels, order=(0, 1, 2), mean=(122.67892, 116.66877, 104.00699)), "red first"),
    (lambda pixels: 2 * fed(pixels), "beyond a photograph"),
])
def test_a_tensor_made_for_another_net_is_warned_of(fcn_weights, photograph, mistake, says):
    net = repro.load("voc-fcn32s", fcn_weights())
    with pytest.warns(UserWarning, match=says) as warned:
        repro.segment(net, mistake(photograph[1]))
    assert warned[0].filename == __file__  # it points at the caller


def test_what_is_no_photograph_is_refused(fcn_weights, photograph):
    net = repro.load("voc-fcn32s", fcn_weights())
    pixels = photograph[1]
    for wrong, says in [(torch.tensor(pixels).permute(2, 0, 1), "torch.uint8"), (torch.zeros(5, 5, 3), "(5, 5, 3)"),
                        (torch.full((3, 5, 5), torch.nan), "not finite"), (pixels, "Image.fromarray")]:
        with pytest.raises(CaffeError, match=re.escape(says)):
            repro.segment(net, wrong)


def test_each_net_takes_off_the_mean_of_its_own_set(tmp_path):
    def mean(name):
        return mean_of(CaffeNet(reference.net(name, "deploy", width=WIDTH)))

    assert mean("siftflow-fcn16s") == (114.578, 115.294, 108.353)
    assert mean("nyud-fcn32s-color") == (116.190, 97.203, 92.318)
    depth = repro.load("nyud-fcn32s-hha", write_narrow(tmp_path / "hha.caffemodel", "nyud-fcn32s-hha"))
    with pytest.raises(CaffeError, match="nyud-fcn32s-hha needs depth"):
        repro.segment(depth, Image.new("RGB", (9, 9)))


def test_siftflow_has_two_labelings(tmp_path):
    net = repro.load("siftflow-fcn16s", write_narrow(tmp_path / "siftflow.caffemodel", "siftflow-fcn16s"))
    picture = Image.new("RGB", (20, 10), "red")
    assert probabilities(net, picture).shape == (33, 10, 20)
    assert probabilities(net, picture, "geo").shape == (3, 10, 20)
    assert repro.segment(net, picture, "geo").max() < 3
    assert classes_of(net, head="geo") == ["sky", "horizontal", "vertical"] and len(classes_of(net)) == 33


# ---- the command ----


def segment(*arguments):
    return CliRunner().invoke(main, list(map(str, ["segment", *arguments, "--threads", 1])))


@pytest.fixture
def options(fcn_weights, tmp_path):
    return "--net", "voc-fcn32s", "--weights", fcn_weights(), "-o", tmp_path / "out"


def test_the_command_writes_palette_labels_and_an_overlay(fcn_weights, photograph, options, tmp_path):
    path, pixels = photograph
    assert segment(path, *options).exit_code == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["photograph-overlay.png", "photograph.png"]

    labels = repro.segment(repro.load("voc-fcn32s", fcn_weights()), path)
    np.testing.assert_array_equal(load_labels(tmp_path / "out" / "photograph.png"), labels)
    with Image.open(tmp_path / "out" / "photograph.png") as image:
        np.testing.assert_array_equal(np.array(image.convert("RGB")), voc_palette()[labels])
    with Image.open(tmp_path / "out" / "photograph-overlay.png") as image:
        drawn = np.array(image)
    np.testing.assert_array_equal(drawn[:90, :125], overlay(pixels, labels))
    for label in np.unique(labels):  # the legend below shows the colour of each class
        assert (drawn[90:] == voc_palette()[label]).all(2).sum() > 50


def test_the_command_writes_probabilities_and_areas_when_asked(fcn_weights, photograph, options, tmp_path):
    (tmp_path / "classes.txt").write_text("nothing\ncat\ndog\n")
    options += ("--probabilities", "--areas", "--classes", tmp_path / "classes.txt")
    assert segment(photograph[0], *options).exit_code == 0
    labels = load_labels(tmp_path / "out" / "photograph.png")
    with np.load(tmp_path / "out" / "photograph-probabilities.npz") as kept:
        assert kept["classes"].tolist() == ["nothing", "cat", "dog"]
        assert kept["probabilities"].shape == (3, 90, 125)
        np.testing.assert_allclose(kept["probabilities"].astype(float).sum(0), 1, atol=2e-3)
        chosen = np.take_along_axis(kept["probabilities"], labels[None].astype(int), 0)[0]
        assert (chosen == kept["probabilities"].max(0)).all()
    said = json.loads((tmp_path / "out" / "photograph-areas.json").read_text())
    assert (said["width"], said["height"]) == (125, 90)
    assert {name: area["pixels"] for name, area in said["areas"].items()} == {
        ["nothing", "cat", "dog"][label]: (labels == label).sum() for label in np.unique(labels)}
    assert sum(area["fraction"] for area in said["areas"].values()) == pytest.approx(1)


def test_a_damaged_picture_in_a_folder_is_named_and_the_rest_goes_on(photograph, options, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in (10, 2, 1):
        Image.fromarray(photograph[1][:12, :15]).save(folder / f"frame{number}.png")
    (folder / "frame3.jpg").write_bytes(b"\xff\xd8 cut off")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("nor this")
    result = segment(folder, *options)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error:") and len(result.stderr.splitlines()) == 1 and "frame3.jpg" in result.stderr
    assert "notes.txt" not in result.output and "hidden" not in result.output
    labelled = [line.split()[0].rsplit("/")[-1] for line in result.stdout.splitlines()]
    assert labelled == ["frame1.png", "frame2.png", "frame10.png"]
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_a_pattern_and_an_animation(photograph, options, tmp_path):
    pictures = [Image.fromarray(photograph[1][:12, :15]), Image.new("RGB", (15, 12), "red")]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:])
    result = segment(tmp_path / "mov*.gif", *options)
    assert result.exit_code == 0 and "the first of 2 pictures" in result.stdout
    assert load_labels(tmp_path / "out" / "moving.png").shape == (12, 15)
    assert "holds no images" in segment(tmp_path / "*.jpg", *options).stderr


def test_nothing_is_written_over(photograph, fcn_weights, options, tmp_path):
    path, _ = photograph
    before = path.read_bytes()
    (tmp_path / "other").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "other" / "photograph.jpg")
    result = segment(path, tmp_path / "other", *options)
    assert result.exit_code == 2 and "would both be written" in result.stderr and not (tmp_path / "out").exists()
    result = segment(path, *options[:-1], tmp_path)
    assert result.exit_code == 2 and "would be overwritten" in result.stderr and path.read_bytes() == before
