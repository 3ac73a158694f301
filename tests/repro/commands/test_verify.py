"""`repro verify` can fail: on the miniature's weights and data, on runs that fall short, on what is not at hand."""

import json

import pytest
from click.testing import CliRunner
from helpers.release_data import write_nyud, write_pascalcontext, write_siftflow
from helpers.weights import write_narrow

import reference
from converters import CaffeNet, write_caffemodel
from repro.cli import main
from repro.data.locate import AtHand, set_folder
from repro.miniature.classifier import WEIGHTS, WIDTH
from repro.miniature.dataset import write_dataset
from repro.miniature.draw import CLASSES
from repro.reproduction.compare import Check, published_scores
from repro.training.initial_weights import prepare


def repro(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """The miniature's classifier made an untrained FCN-32s, and drawn pictures under the list seg11valid."""
    folder = tmp_path_factory.mktemp("miniature")
    voc = write_dataset(folder / "voc2011", train=1, val=2)
    lists = voc / "ImageSets/Segmentation"
    (lists / "seg11valid.txt").write_text((lists / "val.txt").read_text())
    net = CaffeNet(reference.net("voc-fcn32s", "train", num_classes=len(CLASSES), width=WIDTH), "train")
    prepare(net, WEIGHTS)
    weights = folder / "fcn32s-heavy-pascal.caffemodel"
    write_caffemodel(weights, net.param, net.to_blobs())
    return folder, voc, weights


def test_the_check_fails_on_other_weights_and_data(miniature):
    folder, voc, weights = miniature
    done = repro("verify", "released", "--folder", folder)
    assert done.exit_code == 1
    line = next(line for line in done.stdout.splitlines() if "voc-fcn32s: mean IU" in line)
    ours, published = map(float, line.split()[3:5])
    assert published == 63.6261 and ours < 50 and line.endswith("FAILED")
    images = next(line for line in done.stdout.splitlines() if "seg11valid" in line)
    assert images.split()[-4:] == ["0", "736", "-736", "FAILED"]
    assert "voc-fcn16s: mean IU" in done.stdout and "repro fetch voc-fcn16s)" in done.stdout
    elsewhere = repro("verify", "released", "--folder", folder / "none", "--at", f"voc2011={voc}",
                      "--at", f"voc-fcn32s={weights}")
    assert elsewhere.exit_code == 1 and line in elsewhere.stdout.splitlines()


def test_the_check_passes_where_the_number_is_what_is_measured(miniature, tmp_path):
    folder, voc, weights = miniature
    scores = tmp_path / "scores.json"
    assert repro("evaluate", "--net", "voc-fcn32s", "--weights", weights, "--data", voc, "-o", scores).exit_code == 0
    done = repro("verify", "released", "--folder", folder, "--against", scores, "--strict")
    assert done.exit_code == 0 and "4 ok, 0 FAILED" in done.stdout
    report = json.loads(scores.read_text())
    scores.write_text(json.dumps(report | {"mean_iu": report["mean_iu"] + 0.0006}))
    done = repro("verify", "released", "--folder", folder, "--against", scores)
    assert done.exit_code == 1 and "3 ok, 1 FAILED" in done.stdout
    scores.write_text("{}")
    assert "does not hold the scores of a net" in repro("verify", "--against", scores).stderr


@pytest.mark.parametrize(("scale", "mean_iu", "verdict", "status"), [
    ("paper", 0.6501, "ok", 0), ("paper", 0.649, "FAILED", 1), ("paper", 0.661, "FAILED", 1),
    ("paper", float("nan"), "FAILED", 1), ("miniature", 0.1, "skipped", 0),
])
def test_runs_are_held_to_the_paper(tmp_path, scale, mean_iu, verdict, status):
    (tmp_path / "voc-fcn8s").mkdir()
    results = {"scale": scale, "stages": {"voc-fcn8s": {"mean_iu": mean_iu}}}
    (tmp_path / "voc-fcn8s/results.json").write_text(json.dumps(results))
    done = repro("verify", "retrained", "--runs", tmp_path)
    line = next(line for line in done.stdout.splitlines() if "voc-fcn8s" in line)
    assert verdict in line and done.exit_code == status
    if verdict == "skipped":
        assert "make reproduce-fcn8s DATA=" in line
    assert repro("verify", "retrained", "--runs", tmp_path, "--strict").exit_code == 1  # the other two are missing


def test_every_set_is_scored_with_its_own_nets(tmp_path):
    write_nyud(tmp_path / "nyud", split="test", ids=("5001", "5002"))
    write_siftflow(tmp_path / "siftflow", split="test")
    write_pascalcontext(tmp_path / "voc2010", tmp_path / "pascalcontext", split="val")
    nets = ["nyud-fcn32s-color", "nyud-fcn32s-color-hha", "siftflow-fcn16s", "pascalcontext-fcn32s"]
    for net in nets:
        write_narrow(tmp_path / reference.download(net).file, net)
    done = repro("verify", "released", "--folder", tmp_path)
    rows = {line[2:46].strip(): line.split() for line in done.stdout.splitlines()}
    for net in nets:
        row = rows[f"{net}: mean IU"]
        ours, published = map(float, row[3:5])
        assert 0 < ours < 50 and published == reference.paper.scores(net)["mean_iu"]
        assert row[-1] == ("FAILED" if net.startswith("siftflow") else "information")  # which is not from memory
    assert rows["siftflow-fcn16s, geometric: pixel acc."][-1] == "FAILED"
    assert done.exit_code == 1
    assert repro("verify", "released", "--folder", tmp_path / "none").exit_code == 0


def test_runs_on_other_sets_only_inform(tmp_path):
    (tmp_path / "run").mkdir()
    stages = {"pascalcontext-fcn32s": {"mean_iu": 0.2}, "siftflow-fcn16s": {"mean_iu": 0.2}}
    (tmp_path / "run/results.json").write_text(json.dumps({"scale": "paper", "stages": stages}))
    done = repro("verify", "retrained", "--runs", tmp_path)
    verdicts = {net: next(line for line in done.stdout.splitlines() if net in line).split()[-1] for net in stages}
    assert verdicts == {"pascalcontext-fcn32s": "information", "siftflow-fcn16s": "FAILED"} and done.exit_code == 1


def test_facts_need_nothing(tmp_path):
    done = repro("verify", "facts", "--folder", tmp_path, "--strict")
    assert done.exit_code == 0 and ", 0 FAILED, 0 skipped" in done.stdout
    assert "voc-fcn8s: crop of score_pool3c" in done.stdout


def test_what_is_known_from_memory_never_fails():
    assert Check("x", 30.0, 31.6, 0.05, informs=True).verdict == "information"
    assert [Check("x", ours, 48.0, 0.05).verdict for ours in (47.95, 48.05, 48.06)] == ["ok", "ok", "FAILED"]
    assert published_scores("nyud-fcn32s-color") == (
        {"pixel_acc": 61.8, "mean_acc": 44.7, "mean_iu": 31.6, "fw_iu": 46.0}, True)
    assert published_scores("siftflow-fcn16s", "geo") == ({"pixel_acc": 94.3}, False)
    assert published_scores("siftflow-fcn32s") == ({}, True)
    assert published_scores("voc-fcn-alexnet") == ({"mean_iu": 48.0}, False)
    scores, informs = published_scores("voc-fcn8s")
    assert scores["mean_iu"] == 65.5126 and len(scores) == 4 and not informs


def test_sets_are_found_where_their_archives_have_them(tmp_path):
    (tmp_path / "voc2011/TrainVal/VOCdevkit/VOC2011/ImageSets").mkdir(parents=True)
    (tmp_path / "sbd/benchmark_RELEASE/dataset/cls").mkdir(parents=True)
    at_hand = AtHand(tmp_path)
    assert at_hand.find("voc2011") == tmp_path / "voc2011/TrainVal/VOCdevkit/VOC2011"
    assert at_hand.find("sbd") == tmp_path / "sbd/benchmark_RELEASE/dataset"
    assert set_folder("sbd", tmp_path / "voc2011") is None
    assert at_hand.missing("sbd", "voc-fcn8s", "nyud") == (
        "no voc-fcn8s, nyud: repro fetch voc-fcn8s, give --at nyud=DIR")


@pytest.mark.parametrize(("arguments", "message"), [
    (("--at", "voc-fcn99=x"), "voc-fcn99"), (("--at", "voc2011"), "not NAME=PATH"),
    (("--at", "voc2011=/nowhere/at/all"), "no such file or directory"),
])
def test_mistakes_are_said(arguments, message):
    done = repro("verify", *arguments)
    assert done.exit_code == 2 and message in done.stderr
