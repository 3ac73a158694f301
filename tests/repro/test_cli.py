"""The commands: what they give for good input, and one clear line, exit status 2 and no half-written file for bad."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.calls import assert_refused, call, files
from helpers.small import WIDTH
from PIL import Image

import repro
from converters import read_caffemodel
from repro.cli import COMMANDS
from repro.data.images import load_labels, save_labels


def train(data, weights, output, *more, net="voc-fcn32s"):
    return call("train", net, "--data", data, "--weights", weights, "-o", output, "--width", WIDTH,
                "--iterations", 3, "--base-lr", 1e-7, *more)


def evaluate(data, weights, *more, net="voc-fcn32s"):
    return call("evaluate", "--net", net, "--data", data, "--weights", weights, "--split", "val", *more)


@pytest.fixture
def data(voc_set, tmp_path):
    """A copy of the data set, to be spoilt."""
    return shutil.copytree(voc_set, tmp_path / "data")


@pytest.fixture
def truncated(classifier, tmp_path):
    path = tmp_path / "truncated.caffemodel"
    path.write_bytes(classifier.read_bytes()[:-5000])
    return path


# ---- good input ----


def test_help_names_every_command():
    result = call("--help")
    assert result.exit_code == 0
    for name, summary in COMMANDS.items():
        assert f"{name} " in result.stdout and summary in result.stdout
        assert call(name, "--help").exit_code == 0


def test_a_trained_net_is_written_and_can_be_loaded(voc_set, classifier, tmp_path):
    result = train(voc_set, classifier, tmp_path / "out", "--snapshot-every", 2)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "voc-fcn32s.caffemodel", "log.csv", "tensorboard", "iter_2.safetensors", "iter_3.safetensors"}
    repro.load("voc-fcn32s", tmp_path / "out" / "voc-fcn32s.caffemodel")
    assert train(voc_set, tmp_path / "out" / "voc-fcn32s.caffemodel", tmp_path / "finer", net="voc-fcn16s").exit_code == 0
    blobs = read_caffemodel(tmp_path / "finer" / "voc-fcn16s.caffemodel").blobs
    assert blobs["score_pool4"][0].shape == (3, 16, 1, 1)


def test_scores_are_those_of_the_label_maps(voc_set, fcn_weights, tmp_path):
    result = evaluate(voc_set, fcn_weights(), "-o", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)

    net, truth, ours = repro.load("voc-fcn32s", fcn_weights()), [], []
    for name in (voc_set / "ImageSets/Segmentation/val.txt").read_text().split():
        truth.append(load_labels(voc_set / f"SegmentationClass/{name}.png").ravel())
        ours.append(repro.segment(net, voc_set / f"JPEGImages/{name}.jpg").ravel())
    truth, ours = np.concatenate(truth), np.concatenate(ours)[np.concatenate(truth) != 255]
    truth = truth[truth != 255]
    ious = [((truth == c) & (ours == c)).sum() / max(1, ((truth == c) | (ours == c)).sum()) for c in range(3)]
    shares = [(truth == c).mean() for c in range(3)]
    assert scores["pixel_acc"] == pytest.approx((truth == ours).mean())
    assert scores["mean_acc"] == pytest.approx(np.mean([(ours[truth == c] == c).mean() for c in range(3)]))
    assert scores["mean_iu"] == pytest.approx(np.mean(ious))
    assert scores["fw_iu"] == pytest.approx(np.dot(shares, ious))
    assert list(scores["class_iu"].values()) == pytest.approx(ious)
    assert f"{100 * scores['mean_iu']:.2f}" in result.stdout


def test_a_class_that_never_occurs_has_no_iu(data, fcn_weights, tmp_path):
    for path in (data / "SegmentationClass").iterdir():
        save_labels(path, np.full_like(load_labels(path), 0))
    with (data / "classes.txt").open("a") as file:
        file.write("unseen\n")
    result = evaluate(data, fcn_weights(num_classes=4), "-o", tmp_path / "scores.json", "--limit", 1)
    assert result.exit_code == 0, result.output
    scores = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert all(iu in (None, 0) for name, iu in scores["class_iu"].items() if name != "background")


# ---- bad input ----


def test_a_process_ends_with_status_2_and_no_traceback(voc_set, truncated, tmp_path):
    arguments = ["segment", voc_set / "JPEGImages", "--weights", truncated, "-o", tmp_path / "out"]
    result = subprocess.run([sys.executable, "-m", "repro", *arguments], capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"Error: {truncated}: ") and len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [
    ["reproduce", "--data", "absent"],
    ["reproduce", "--weights", "absent.caffemodel"],
    ["train", "voc-fcn32s", "--data", "absent", "--weights", __file__, "-o", "out"],
    ["train", "voc-fcn32s", "--data", ".", "--weights", "absent.caffemodel", "-o", "out"],
    ["evaluate", "--weights", "absent.caffemodel", "--data", "."],
    ["segment", "absent.jpg", "--weights", __file__],
    ["convert", "caffemodel", "absent.caffemodel", "-o", "out.npz"],
])
def test_a_missing_path_is_named(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(call(*arguments), "absent", "does not exist")
    assert files(tmp_path) == {}


def test_what_must_be_given_and_what_must_be_a_number():
    assert_refused(call("train"), "NET")
    assert_refused(call("evaluate", "--data", "."), "--weights")
    assert_refused(call("reproduce", "--iterations", "many"), "many", "not a number")
    assert_refused(call("reproduce", "voc-fcn8s", "--iterations", "1,2"), "2 numbers for 3 stages")


@pytest.mark.parametrize("name", ["train", "evaluate", "segment", "convert"])
def test_a_truncated_caffemodel(name, voc_set, truncated, tmp_path):
    out = tmp_path / "out"
    result = {"train": lambda: train(voc_set, truncated, out),
              "evaluate": lambda: evaluate(voc_set, truncated, "-o", out / "scores.json"),
              "segment": lambda: call("segment", voc_set / "JPEGImages", "--weights", truncated, "-o", out),
              "convert": lambda: call("convert", "caffemodel", truncated, "-o", out / "weights.npz")}[name]()
    assert_refused(result, truncated)
    assert not out.exists() or files(out) == {}


def other_size(data, split):
    path = data / "SegmentationClass" / f"{split}_0.png"
    save_labels(path, load_labels(path)[:-1])
    return path, f"{split}_0.jpg"


def label_beyond_the_classes(data, split):
    path = data / "SegmentationClass" / f"{split}_0.png"
    labels = load_labels(path)
    labels[3, 4] = 77
    save_labels(path, labels)
    return path, "label 77", "row 3, column 4"


def colours_for_labels(data, split):
    path = data / "SegmentationClass" / f"{split}_0.png"
    Image.new("RGB", (30, 30)).save(path)
    return path, "RGB"


def broken_photograph(data, split):
    path = data / "JPEGImages" / f"{split}_0.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return (path,)


def missing_photograph(data, split):
    (data / "JPEGImages" / f"{split}_0.jpg").unlink()
    return data / f"ImageSets/Segmentation/{split}.txt", "line 1", f"{split}_0.jpg"


def missing_list(data, split):
    path = data / f"ImageSets/Segmentation/{split}.txt"
    path.unlink()
    return path, "no such file"


def empty_list(data, split):
    path = data / f"ImageSets/Segmentation/{split}.txt"
    path.write_text("\n")
    return path, "empty"


SPOILT_IMAGES = [other_size, label_beyond_the_classes, colours_for_labels, broken_photograph]


@pytest.mark.parametrize("spoil", [*SPOILT_IMAGES, missing_photograph, missing_list, empty_list])
def test_a_spoilt_data_set_to_train_on(spoil, data, classifier, tmp_path):
    says = spoil(data, "train")
    if spoil in SPOILT_IMAGES:  # so that it is drawn
        (data / "ImageSets/Segmentation/train.txt").write_text("train_0\n")
    assert_refused(train(data, classifier, tmp_path / "out"), *says)
    assert not (tmp_path / "out" / "voc-fcn32s.caffemodel").exists()


@pytest.mark.parametrize("spoil", SPOILT_IMAGES)
def test_a_spoilt_image_to_score(spoil, data, fcn_weights, tmp_path):
    says = spoil(data, "val")
    assert_refused(evaluate(data, fcn_weights(), "-o", tmp_path / "scores.json"), *says)
    assert not (tmp_path / "scores.json").exists()


def test_weights_of_another_net(data, voc_set, classifier, fcn_weights, golden, tmp_path):
    tiny, out = golden / "formats" / "tiny_v2.caffemodel", tmp_path / "out"
    assert_refused(train(voc_set, tiny, out), tiny, "conv1_1", "--fill-missing msra")
    assert_refused(evaluate(voc_set, tiny), tiny, "not the weights of voc-fcn32s")
    assert_refused(evaluate(voc_set, fcn_weights("voc-fcn16s")), "not the weights of voc-fcn32s")
    assert_refused(call("segment", voc_set / "JPEGImages", "--weights", classifier, "-o", out), classifier, "score_fr")
    (data / "classes.txt").write_text("one\ntwo\nthree\nfour\n")
    assert_refused(evaluate(data, fcn_weights()), "3 classes", "4")
    assert not out.exists()


def test_an_unknown_name(voc_set, classifier, fcn_weights, golden, tmp_path):
    tiny, out = golden / "formats" / "tiny_v2.caffemodel", tmp_path / "out"
    assert_refused(train(voc_set, classifier, out, net="voc-fcn4s"), "voc-fcn4s", "voc-fcn8s")
    assert_refused(evaluate(voc_set, fcn_weights(), net="voc-fcn4s"), "voc-fcn4s", "voc-fcn8s")
    assert_refused(call("reproduce", "voc-fcn4s", "--run", out), "voc-fcn4s", "voc-fcn8s")
    assert_refused(evaluate(voc_set, fcn_weights(), "--split", "holdout"), "holdout.txt")
    assert_refused(call("convert", "caffemodel", classifier, "-o", tmp_path / "out.docx"), "docx", ".safetensors")
    assert_refused(train(voc_set, tiny, out, "--fill-missing", "orthogonal"), "orthogonal")
    assert files(tmp_path) == {}


def test_an_output_that_cannot_be_written(voc_set, classifier, fcn_weights, tmp_path):
    taken = tmp_path / "file"
    taken.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    assert_refused(train(voc_set, classifier, taken / "run"), taken)
    assert_refused(train(voc_set, classifier, taken), taken)
    assert_refused(evaluate(voc_set, fcn_weights(), "-o", taken / "scores.json"), taken)
    assert_refused(evaluate(voc_set, fcn_weights(), "-o", folder), folder)
    assert_refused(call("segment", voc_set / "JPEGImages", "--net", "voc-fcn32s", "--weights", fcn_weights(), "-o",
                        taken / "labels"), taken)
    assert_refused(call("convert", "caffemodel", classifier, "-o", taken / "weights.npz"), taken)
    reproduce = ("reproduce", "voc-fcn32s", "--data", voc_set, "--weights", classifier)
    assert_refused(call(*reproduce, "--run", taken / "run"), taken)
    assert files(tmp_path) == {taken: b"mine"}


@pytest.mark.parametrize("name", [".npz", ".safetensors", ".caffemodel", ".caffemodel.h5", ".pt", "train"])
def test_a_full_disk_leaves_nothing_behind(name, voc_set, classifier, tmp_path):
    """A limit on the size of files stands for the disk's end."""
    limited = ("import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
               "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000)); from repro.cli import main; main(sys.argv[1:])")
    arguments = ["convert", "caffemodel", classifier, "-o", tmp_path / f"out{name}"] if name != "train" else [
        "train", "voc-fcn32s", "--data", voc_set, "--weights", classifier, "-o", tmp_path, "--width", str(WIDTH),
        "--iterations", "1", "--snapshot-every", "1", "--threads", "1"]
    result = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1 and result.stderr.startswith("Error: ")
    left = [path.name for path in files(tmp_path) if path.parent.name != "tensorboard"]
    assert left == (["log.csv"] if name == "train" else [])


def test_a_snapshot_of_another_run_in_the_output_folder(data, voc_set, classifier, tmp_path):
    assert train(voc_set, classifier, tmp_path / "out", "--snapshot-every", 1).exit_code == 0
    resumed = train(voc_set, classifier, tmp_path / "out", "--resume", net="voc-fcn16s")
    assert_refused(resumed, "iter_3.safetensors", "another net")
    assert_refused(train(voc_set, classifier, tmp_path / "out", "--resume", "--seed", 5), "seed")
    snapshot = tmp_path / "out" / "iter_3.safetensors"
    snapshot.write_bytes(snapshot.read_bytes()[:2000])
    assert_refused(train(voc_set, classifier, tmp_path / "out", "--resume"), snapshot, "damaged")
