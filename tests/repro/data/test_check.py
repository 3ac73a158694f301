"""`repro data check`: a set with one of every fault, of which each is named and none ends the walk."""

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.release_data import write_nyud, write_sbd, write_siftflow
from helpers.small import write_voc
from PIL import Image
from scipy.io import savemat

from repro.cli import main
from repro.data.check import check
from repro.data.images import load_labels, save_labels


def run(*arguments):
    return CliRunner().invoke(main, ["data", "check", *map(str, arguments)])


@pytest.fixture
def voc(tmp_path):
    return write_voc(tmp_path / "voc", {"train": 6, "val": 2}, 21)


def test_a_sound_set_is_counted(voc):
    done = run(voc)
    assert done.exit_code == 0 and "train: 6 images, 6 read, 0 problems" in done.stdout and "val: 2 images" in done.stdout
    findings = check("voc-fcn8s", voc, "train")
    maps = [load_labels(voc / f"SegmentationClass/train_{number}.png") for number in range(6)]
    every = np.concatenate([labels.ravel() for labels in maps])
    assert findings.pixels.tolist() == [np.count_nonzero(every == label) for label in range(256)]
    assert findings.images_with[255] == 6 and sum(findings.sizes.values()) == 6
    share = 100 * np.mean(every == 0)
    assert f"  0 background           {share:7.3f}% of the pixels, in 6 images" in done.stdout


def test_every_fault_is_named_and_the_rest_is_read(voc):
    photographs, labels = voc / "JPEGImages", voc / "SegmentationClass"
    whole = (photographs / "train_0.jpg").read_bytes()
    (photographs / "train_0.jpg").write_bytes(whole[:-60])
    wrong = load_labels(labels / "train_1.png")
    wrong[3, 4] = 30
    save_labels(labels / "train_1.png", wrong)
    save_labels(labels / "train_2.png", np.zeros((9, 9), np.uint8))
    Image.open(photographs / "train_3.jpg").convert("CMYK").save(photographs / "train_3.jpg")  # converted, no fault
    Image.new("RGB", Image.open(labels / "train_4.png").size).save(labels / "train_4.png")
    done = run(voc, "--split", "train")
    assert done.exit_code == 1 and "6 images, 2 read, 4 problems" in done.stdout
    for message in ("train_0.jpg: cannot be read as a photograph", "train_1.png: row 3, column 4: label 30 is neither",
                    "train_2.png: is 9x9, but", "train_4.png: holds RGB pixels"):
        assert message in done.stdout


@pytest.mark.parametrize(("text", "message"), [
    ("", "the list is empty"),
    ("train_0\ntrain_0\n", "train_0 is already on line 1"),
    ("gone\n", "there is no JPEGImages/gone.jpg"),
])
def test_bad_lists(voc, text, message):
    (voc / "ImageSets/Segmentation/train.txt").write_text(text)
    done = run(voc)
    assert done.exit_code == 1 and message in done.stdout and "val: 2 images, 2 read, 0 problems" in done.stdout


def test_overlaps_are_said(voc, tmp_path):
    (voc / "ImageSets/Segmentation/val.txt").write_text("val_0\ntrain_3\n")
    (tmp_path / "sbd.txt").write_text("val_0\n2008_000001\n")
    done = run(voc, "--trained-on", tmp_path / "sbd.txt")
    assert done.exit_code == 0
    assert "train and val share 1 images (train_3" in done.stdout
    assert f"val and {tmp_path / 'sbd.txt'} share 1 images (val_0" in done.stdout


@pytest.mark.parametrize(("net", "write", "broken", "key", "message"), [
    ("voc-fcn8s", write_sbd, "cls/2008_000002.mat", "GTinst", "has no variable GTcls"),
    ("nyud-fcn32s-color-hha", write_nyud, "segmentation/img_5002.mat", "labels", "has no variable segmentation"),
    ("siftflow-fcn8s", write_siftflow, "GeoLabels/spatial_envelope_256x256_static_8outdoorcategories/coast_a1.mat", "T",
     "has no variable S"),
])
def test_other_sets(tmp_path, net, write, broken, key, message):
    write(tmp_path)
    assert run(tmp_path, "--net", net).exit_code == 0
    savemat(tmp_path / broken, {key: np.zeros((3, 3), np.uint8)})
    done = run(tmp_path, "--net", net)
    assert done.exit_code == 1 and message in done.stdout and "1 problems" in done.stdout


def test_real_sets(shared):
    done = run(shared("voc-sample"))
    assert done.exit_code == 0 and "train: 4 images, 4 read, 0 problems" in done.stdout
