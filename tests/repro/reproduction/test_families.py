"""The paper's job on NYUDv2, SIFT Flow and PASCAL-Context, in small: their stages, sets, heads and scores."""

import json
import shutil

import pytest
from click.testing import CliRunner
from helpers.release_data import write_nyud, write_pascalcontext, write_siftflow

import reference
from converters import CaffeError, read_caffemodel
from reference import lists
from reference.solvers import stages_of
from repro.cli import main
from repro.reproduction.job import real_job


def reproduce(net, folder, weights, *arguments, iterations=2):
    done = CliRunner().invoke(main, ["reproduce", net, "-o", str(folder), "--weights", str(weights), "--iterations",
                                     str(iterations), *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return json.loads((folder / "results.json").read_text()), done.stdout


@pytest.fixture
def nyud(tmp_path):
    write_nyud(tmp_path / "nyud")
    write_nyud(tmp_path / "nyud", split="test", ids=("5004", "5005"))
    return tmp_path / "nyud"


@pytest.fixture
def siftflow(tmp_path):
    write_siftflow(tmp_path / "siftflow")
    write_siftflow(tmp_path / "siftflow", split="test", ids=("highway_c3",))
    return tmp_path / "siftflow"


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """publish(split, ids): have the published list of a split name these images, for the time of a test."""
    copied = tmp_path / "published"
    for folder in ("classes", "splits"):
        shutil.copytree(lists.HERE / folder, copied / folder)
    monkeypatch.setattr(lists, "HERE", copied)
    return lambda split, *ids: (copied / f"splits/{split}.txt").write_text("".join(f"{id}\n" for id in ids))


def test_stages_of_two_streams_are_both_of_their_nets():
    assert stages_of("nyud-fcn32s-color-hha") == ["nyud-fcn32s-color", "nyud-fcn32s-hha", "nyud-fcn32s-color-hha"]
    assert stages_of("siftflow-fcn8s") == ["siftflow-fcn32s", "siftflow-fcn16s", "siftflow-fcn8s"]


def test_color_and_hha_are_trained_and_then_both(nyud, classifier, publish, tmp_path):
    publish("nyud-test", "5004", "5005")
    results, said = reproduce("nyud-fcn32s-color-hha", tmp_path / "run", classifier, "--data", nyud)
    color, hha, both = stages = [f"nyud-fcn32s-{kind}" for kind in ("color", "hha", "color-hha")]
    assert list(results["stages"]) == stages and results["job"]["train_images"] == 3 and results["job"]["val_images"] == 2
    for stage in stages:
        assert list(results["stages"][stage]["class_iu"]) == reference.classes("nyud")
        assert read_caffemodel(tmp_path / f"run/{stage}.caffemodel").blobs
    surgery = (tmp_path / "run" / both / "surgery.txt").read_text()
    assert f"{color}.caffemodel and " in surgery and f"{hha}.caffemodel to {both}" in surgery
    carried = dict(line.split()[:2] for line in surgery.splitlines()[1:])
    assert carried["conv1_1color"] == carried["fc7hha"] == "copied"
    assert "the paper's: 100000 at 1e-10" in said and "the paper's, on NYUDv2 test: pixel acc. 65.3" in said
    assert (tmp_path / "run/figure.png").exists()


def test_color_and_depth_start_from_the_classifier(nyud, classifier, tmp_path):
    results, _ = reproduce("nyud-fcn32s-color-d", tmp_path / "run", classifier, "--data", nyud)
    assert list(results["stages"]) == ["nyud-fcn32s-color-d"]
    assert read_caffemodel(tmp_path / "run/nyud-fcn32s-color-d.caffemodel").blobs["conv1_1_bgrd"][0].shape[1] == 4


def test_siftflow_has_scores_of_both_heads(siftflow, classifier, publish, tmp_path):
    publish("siftflow-test", "highway_c3")
    results, said = reproduce("siftflow-fcn16s", tmp_path / "run", classifier, "--data", siftflow)
    assert results["job"]["classes"] == {"sem": 33, "geo": 3}
    result = results["stages"]["siftflow-fcn16s"]
    assert list(result["class_iu"]) == reference.classes("siftflow-sem")
    assert list(result["geo"]["class_iu"]) == reference.classes("siftflow-geo")
    kept = [iu for name, iu in result["class_iu"].items() if iu is not None and name not in ("cow", "desert", "moon")]
    assert result["mean_iu"] == pytest.approx(sum(kept) / len(kept))
    lines = [line for line in said.splitlines() if line.startswith("siftflow-fcn16s, ") and "mean IU" in line]
    assert "SIFT Flow test: pixel acc. 85.2" in lines[0] and "SIFT Flow test, geometric: pixel acc. 94.3" in lines[1]


def test_pascal_context_takes_its_labels_from_a_folder_of_their_own(classifier, tmp_path):
    voc, context = tmp_path / "voc", tmp_path / "context"
    write_pascalcontext(voc, context)
    write_pascalcontext(voc, context, split="val", ids=("2008_000020",))
    results, said = reproduce("pascalcontext-fcn32s", tmp_path / "run", classifier, "--data", voc, "--context", context)
    assert list(results["stages"]["pascalcontext-fcn32s"]["class_iu"]) == reference.classes("pascalcontext")
    assert "paper" not in said  # one image is not VOC 2010's val


def test_the_papers_numbers_stand_beside_its_own_set_alone(siftflow, classifier, tmp_path):
    _, said = reproduce("siftflow-fcn16s", tmp_path / "run", classifier, "--data", siftflow)
    report = (tmp_path / "run/report.html").read_text()
    assert "mean IU" in said and "the paper's" not in said
    assert "cannot be compared with the paper's" in report and "<td>39.5</td>" not in report and "85.2" not in report


def test_a_finished_run_is_only_told_again(siftflow, classifier, tmp_path):
    results, _ = reproduce("siftflow-fcn32s", tmp_path / "run", classifier, "--data", siftflow)
    again, said = reproduce("siftflow-fcn32s", tmp_path / "run", classifier, "--data", siftflow)
    assert again == results and "siftflow-fcn32s, geo" in said and "iterations at rate" not in said


def test_what_is_missing_or_too_much_is_said(nyud, siftflow, classifier, tmp_path):
    for net, given, said in (
        ("pascalcontext-fcn8s", {"data": tmp_path}, r"CONTEXT \(--context\).*WEIGHTS \(--weights\): VGG16"),
        ("nyud-fcn32s-color", {"weights": classifier}, r"DATA \(--data\): NYUDv2"),
        ("nyud-fcn32s-color", {"data": nyud, "sbd": nyud, "weights": classifier}, r"SBD \(--sbd\) plays no part"),
        ("voc-fcn-alexnet", {"data": nyud, "sbd": nyud}, "bvlc_reference_caffenet"),
    ):
        with pytest.raises(CaffeError, match=said):
            real_job(net, **given)
    (siftflow / "trainval.txt").write_text("coast_a1\nhighway_c3\n")
    with pytest.raises(CaffeError, match="1 of the 1 images are trained on .highway_c3"):
        real_job("siftflow-fcn32s", siftflow, weights=classifier)
