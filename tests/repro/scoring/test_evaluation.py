"""`repro evaluate`: nets and saved label maps, on sets of every layout, and what it refuses."""

import csv
import json
import tracemalloc

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.release_data import write_nyud, write_pascalcontext, write_sbd, write_siftflow
from helpers.small import write_voc
from helpers.weights import write_narrow
from PIL import Image
from scipy.spatial.distance import cdist

import reference
from converters import CaffeError, CaffeNet
from repro.cli import main
from repro.data.folder import LabelFolder
from repro.data.images import save_labels, voc_palette
from repro.data.published import excluded_classes
from repro.data.sbd import read_sbd_labels
from repro.data.siftflow import open_siftflow
from repro.data.voc import open_voc
from repro.scoring.evaluation import count, predictions, saved_predictions
from repro.scoring.trimap import Trimap, distances


def evaluate(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def scored(*arguments, path):
    done = evaluate(*arguments, "-o", path)
    assert done.exit_code == 0, done.output
    return json.loads(path.read_text())


def refused(*arguments):
    done = evaluate(*arguments)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1, done.output
    return done.stderr


def label_folder(path, maps):
    for id, labels in maps.items():
        save_labels(path / f"{id}.png", labels)
    return path


def compared(folder, truth, guess):
    """The report on label maps {id: labels} against others, both written to `folder` first."""
    return scored("--predictions", label_folder(folder / "guess", guess), "--data", label_folder(folder / "truth", truth),
                  path=folder / "scores.json")


@pytest.fixture
def maps():
    random = np.random.RandomState(3)
    truth = {id: random.choice([0, 1, 2, 255], (9, 12)).astype(np.uint8).repeat(5, 0).repeat(5, 1) for id in "abc"}
    guess = {id: np.where(random.rand(*labels.shape) < 0.3, 0, labels % 255) for id, labels in truth.items()}
    return truth, guess


def test_saved_label_maps_score_as_counted_by_hand(tmp_path, maps):
    truth, guess = maps
    result = compared(tmp_path, truth, guess)
    t, g = (np.concatenate([maps[id].ravel() for id in "abc"]) for maps in (truth, guess))
    t, g = t[t != 255], g[t != 255]
    iu = [np.sum((t == k) & (g == k)) / np.sum((t == k) | (g == k)) for k in range(3)]
    assert result["images"] == 3
    assert result["pixel_acc"] == pytest.approx(np.mean(t == g)) and result["mean_iu"] == pytest.approx(np.mean(iu))
    assert result["class_iu"]["bicycle"] == pytest.approx(iu[2]) and result["class_iu"]["cow"] is None


def test_three_forms_of_one_report(tmp_path, maps):
    truth, guess = maps
    maps = ["--predictions", label_folder(tmp_path / "guess", guess), "--data", label_folder(tmp_path / "truth", truth)]
    paths = [tmp_path / f"scores.{suffix}" for suffix in ("json", "csv", "txt")]
    done = evaluate(*maps, *(part for path in paths for part in ("-o", path)))
    assert done.exit_code == 0, done.output
    result, rows = json.loads(paths[0].read_text()), list(csv.DictReader(paths[1].open()))
    assert paths[2].read_text() == done.stdout
    assert {row["score"]: float(row["value"]) for row in rows if row["kind"] == "all"} == {
        name: result[name] for name in ("pixel_acc", "mean_acc", "mean_iu", "fw_iu")}
    bands = {int(row["name"]): float(row["value"]) for row in rows if (row["kind"], row["score"]) == ("trimap", "mean_iu")}
    assert bands == {int(width): band["mean_iu"] for width, band in result["trimap"].items()}
    assert set(bands) == set(range(1, 41))
    assert f"mean IU          {100 * result['mean_iu']:6.2f}" in done.stdout
    assert "scores are written as .json, .csv, .txt" in refused(*maps, "-o", tmp_path / "scores.xls")


def test_the_band_is_what_is_near_a_boundary():
    random = np.random.RandomState(0)
    labels = random.choice([0, 1, 255], (6, 8)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
    guess = random.choice([0, 1], labels.shape).astype(np.uint8)
    height, width = labels.shape
    edge = [(y, x) for y in range(height) for x in range(width)
            if any(labels[y, x] != labels[v, u] for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
                   if 0 <= v < height and 0 <= u < width)]
    away = cdist(np.argwhere(labels >= 0), edge, "chebyshev").min(axis=1).reshape(labels.shape)
    assert np.array_equal(distances(labels), away)
    trimap = Trimap(2, widest=3)
    trimap.add(labels, guess)
    for band, scores in trimap.scores().items():
        inside = (away < band) & (labels != 255)
        assert scores.pixel_acc == pytest.approx(np.mean(labels[inside] == guess[inside]))
    flat = Trimap(2)
    flat.add(np.zeros((5, 5), np.uint8), np.zeros((5, 5), np.uint8))
    assert flat.scores() == {}


DROPPING = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "drop" type: "Dropout" bottom: "data" top: "drop" }
layer { name: "score" type: "Convolution" bottom: "drop" top: "score" convolution_param {
        num_output: 3 kernel_size: 1 weight_filler { type: "gaussian" } } }
"""


def test_a_net_is_scored_in_its_test_phase_and_left_in_its_own(tmp_path):
    write_voc(tmp_path, {"val": 3}, ["background", "a", "b"])
    dataset, net = open_voc(tmp_path, "val"), CaffeNet(DROPPING, "train")
    net.eval()
    settled = [prediction for _, _, prediction in predictions(net, dataset)]
    assert not net.training
    net.train()
    for _ in range(2):
        found = [prediction for _, _, prediction in predictions(net, dataset)]
        assert all(map(np.array_equal, found, settled))
        assert net.training and net.layers["drop"].training
    wrong = open_voc(tmp_path, "val")
    wrong.classes = ["background", "a", "b", "c"]
    with pytest.raises(CaffeError, match="the net has 3 classes"):
        list(predictions(net, wrong))
    assert net.training


def test_the_classes_that_count_depend_on_the_data_set_and_not_on_its_name(tmp_path):
    write_siftflow(tmp_path / "anything", split="test")
    sem, geo = (open_siftflow(tmp_path / "anything", "test", head) for head in ("sem", "geo"))
    assert [sem.classes[label] for label in excluded_classes(sem)] == ["cow", "desert", "moon"]
    assert excluded_classes(geo) == []
    write_voc(tmp_path / "siftflow", {"val": 1}, ["background", "cow", "moon"])
    assert excluded_classes(open_voc(tmp_path / "siftflow", "val")) == []


def test_more_images_take_no_more_memory(tmp_path):
    random = np.random.RandomState(3)
    maps = {f"{number:03d}": random.choice([0, 1, 255], (30, 40)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
            for number in range(40)}
    label_folder(tmp_path, maps)
    peaks = []
    for limit in (2, 40):
        dataset = LabelFolder(tmp_path, limit=limit)
        tracemalloc.start()
        found = count(saved_predictions(tmp_path, dataset), dataset, trimap=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.confusion.hist.sum() == sum(np.sum(labels != 255) for labels in list(maps.values())[:limit])
    assert peaks[1] < peaks[0] + maps["000"].nbytes  # not one image more


def test_a_shift_hurts_the_boundary_most(tmp_path, shared):
    paths = sorted(shared("voc-masks").glob("*.png"))[::60]
    truth = {path.stem: np.array(Image.open(path)) for path in paths}
    guess = {id: np.where(np.roll(labels, 8, 1) == 255, 0, np.roll(labels, 8, 1)) for id, labels in truth.items()}
    result = compared(tmp_path, truth, guess)
    bands = [result["trimap"][str(width)]["pixel_acc"] for width in (1, 10, 40)]
    assert bands == sorted(bands) and bands[-1] < result["pixel_acc"]


@pytest.mark.parametrize(("net", "write", "classes"), [
    ("nyud-fcn32s-color", write_nyud, 40), ("nyud-fcn32s-hha", write_nyud, 40), ("nyud-fcn32s-color-d", write_nyud, 40),
    ("nyud-fcn32s-color-hha", write_nyud, 40), ("siftflow-fcn8s", write_siftflow, 33),
])
def test_every_family_is_scored_on_its_own_set(tmp_path, net, write, classes):
    write(tmp_path / "data", split="test", **({"ids": ("9001", "9002")} if net.startswith("nyud") else {}))
    weights = write_narrow(tmp_path / "net.caffemodel", net)
    result = scored("--net", net, "--weights", weights, "--data", tmp_path / "data", path=tmp_path / "scores.json")
    assert result["images"] == 2 and len(result["class_iu"]) == classes and 0 < result["pixel_acc"] < 1
    if net.startswith("siftflow"):
        left = [iu for name, iu in result["class_iu"].items() if iu is not None and name not in ("cow", "desert", "moon")]
        assert result["mean_iu"] == pytest.approx(np.mean(left))
        geo = scored("--net", net, "--weights", weights, "--data", tmp_path / "data", "--head", "geo",
                     path=tmp_path / "geo.json")
        assert set(geo["class_iu"]) == set(reference.classes("siftflow-geo"))


def test_pascal_context_takes_its_labels_from_a_folder_of_their_own(tmp_path):
    write_pascalcontext(tmp_path / "voc", tmp_path / "context", split="val")
    weights = write_narrow(tmp_path / "net.caffemodel", "pascalcontext-fcn32s")
    arguments = ["--net", "pascalcontext-fcn32s", "--weights", weights, "--data", tmp_path / "voc"]
    assert "--context" in refused(*arguments)
    result = scored(*arguments, "--context", tmp_path / "context", path=tmp_path / "scores.json")
    assert len(result["class_iu"]) == 60


def test_sbd_and_plain_folders_are_known_by_their_layout(tmp_path):
    write_sbd(tmp_path / "sbd")
    (tmp_path / "sbd/train.txt").rename(tmp_path / "sbd/val.txt")
    weights = write_narrow(tmp_path / "net.caffemodel", "voc-fcn32s")
    arguments = ["--net", "voc-fcn32s", "--weights", weights]
    result = scored(*arguments, "--data", tmp_path / "sbd", "--split", "val", path=tmp_path / "scores.json")
    assert result["images"] == 2 and "aeroplane" in result["class_iu"]
    for path in (tmp_path / "sbd/cls").glob("*.mat"):
        save_labels(path.with_suffix(".png"), read_sbd_labels(path))
        path.unlink()
    as_png = scored(*arguments, "--data", tmp_path / "sbd", "--split", "val", path=tmp_path / "scores.json")
    assert as_png == result

    own = tmp_path / "own"
    (own / "images").mkdir(parents=True)
    Image.new("RGB", (30, 20), "red").save(own / "images/x.png")
    label_folder(own / "labels", {"x": np.ones((20, 30), np.uint8)})
    (own / "list.txt").write_text("x\n")
    (tmp_path / "names").write_text("sky\nsea\n")
    arguments = ["--net", "voc-fcn32s", "--data", own, "--split", "list"]
    two = write_narrow(tmp_path / "two.caffemodel", "voc-fcn32s", num_classes=2)
    result = scored(*arguments, "--weights", two, "--classes", tmp_path / "names", path=tmp_path / "scores.json")
    assert list(result["class_iu"]) == ["sky", "sea"]
    assert "the net has 21 classes" in refused(*arguments, "--weights", weights, "--classes", tmp_path / "names")


def test_images_that_were_trained_on_are_refused_unless_forced(tmp_path):
    shared_ids = reference.split("seg11valid")[:2]
    voc = write_voc(tmp_path / "voc", {"val": 3, "train": 2}, 21)
    for number, id in enumerate(shared_ids):  # two of val's three images are seg11valid's
        for folder, suffix in (("JPEGImages", "jpg"), ("SegmentationClass", "png")):
            (voc / folder / f"val_{number}.{suffix}").rename(voc / folder / f"{id}.{suffix}")
    val = voc / "ImageSets/Segmentation/val.txt"
    val.write_text("\n".join([*shared_ids, "val_2"]))
    arguments = ["--net", "voc-fcn32s", "--weights", write_narrow(tmp_path / "net.caffemodel", "voc-fcn32s"), "--data", voc]
    assert "1 of the 3 images are trained on (val_2" in refused(*arguments, "--split", "val")
    assert "2 of the 2 images are trained on" in refused(*arguments, "--split", "train")
    assert evaluate(*arguments, "--split", "val", "--force").exit_code == 0
    (voc / "ImageSets/Segmentation/mine.txt").write_text("\n".join(shared_ids))
    assert evaluate(*arguments, "--split", "mine").exit_code == 0
    (tmp_path / "sbd-train.txt").write_text(shared_ids[1])
    assert f"({shared_ids[1]}" in refused(*arguments, "--split", "mine", "--trained-on", tmp_path / "sbd-train.txt")


def test_a_submission_is_in_the_servers_layout(tmp_path):
    voc = write_voc(tmp_path / "VOC2012", {"test": 2}, 21)
    weights = write_narrow(tmp_path / "net.caffemodel", "voc-fcn32s")
    arguments = ["--net", "voc-fcn32s", "--weights", weights, "--data", voc, "--split", "test", "--submission", tmp_path]
    with_labels = evaluate(*arguments)
    assert with_labels.exit_code == 0 and "mean IU" in with_labels.stdout
    folder = tmp_path / "results/VOC2012/Segmentation/comp6_test_cls"
    first = (folder / "test_0.png").read_bytes()
    for path in folder.iterdir():
        path.unlink()

    (voc / "SegmentationClass").rename(tmp_path / "secret")
    without = evaluate(*arguments)
    assert without.exit_code == 0 and "2 label maps" in without.stdout, without.output
    assert sorted(path.name for path in folder.iterdir()) == ["test_0.png", "test_1.png"]
    assert (folder / "test_0.png").read_bytes() == first
    image = Image.open(folder / "test_0.png")
    assert image.mode == "P" and image.size == Image.open(voc / "JPEGImages/test_0.jpg").size
    assert np.array_equal(np.reshape(image.getpalette(), (-1, 3)), voc_palette()[: len(image.getpalette()) // 3])


def test_what_is_wrong_with_saved_label_maps_is_said(tmp_path, maps):
    truth, guess = maps
    data, saved = label_folder(tmp_path / "truth", truth), label_folder(tmp_path / "guess", guess)
    (saved / "b.png").unlink()
    (saved / "c.png").unlink()
    assert "b.png: no such label map (nor 1 more)" in refused("--predictions", saved, "--data", data)
    label_folder(saved, {"b": guess["b"][:, :-1], "c": guess["c"]})
    assert "b.png: is 59x45, but" in refused("--predictions", saved, "--data", data)
    label_folder(saved, {"b": np.full_like(guess["b"], 30)})
    assert "b: the prediction holds the label 30" in refused("--predictions", saved, "--data", data)
    assert "--predictions" in refused("--data", data)
    weights = write_narrow(tmp_path / "net.caffemodel", "voc-fcn32s")
    assert "holds only label images" in refused("--net", "voc-fcn32s", "--weights", weights, "--data", data)
    (tmp_path / "empty").mkdir()
    assert "seg11valid" in refused("--predictions", saved, "--data", tmp_path / "empty")
