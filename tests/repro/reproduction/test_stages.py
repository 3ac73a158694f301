"""The stages one after the other: what a run leaves, how it goes on, and the paper's job on a small set of its layout."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from helpers import ENVIRONMENT
from helpers.small import WIDTH, wait_for, write_voc
from PIL import Image
from scipy.io import savemat

import reference
from converters import CaffeError, read_caffemodel, write_caffemodel
from reference.solvers import stages_of
from repro.cli import main
from repro.data import open_voc
from repro.data.images import load_labels
from repro.data.voc import voc_classes
from repro.miniature import schedule
from repro.reproduction.job import Job, Sets, real_job
from repro.reproduction.stages import reproduce

STAGES = ["voc-fcn32s", "voc-fcn16s", "voc-fcn8s"]
ITERATIONS = 60  # more than lie between two snapshots
SCORES = {"pixel_acc", "mean_acc", "mean_iu", "fw_iu"}


def small_job(data, weights, **options):
    """A miniature of the miniature."""
    sets = Sets(open_voc(data, "train"), {None: open_voc(data, "val")})
    return Job("miniature", dict.fromkeys(STAGES, sets), weights, WIDTH,
               iterations=dict.fromkeys(STAGES, ITERATIONS), base_lr=dict.fromkeys(STAGES, 1e-7), **options)


def rows(path):
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def timeless(results):
    results = json.loads(json.dumps(results))
    for stage in results["stages"].values():
        for name in [name for name in stage if name.endswith(("seconds", "environment"))]:
            del stage[name]
    return results


@pytest.fixture(scope="module")
def finished(voc_set, classifier, tmp_path_factory):
    """An unbroken run: its folder and its results."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    return folder, reproduce(small_job(voc_set, classifier), folder)


def test_stages_come_coarsest_first():
    assert stages_of("voc-fcn8s") == STAGES
    assert stages_of("voc-fcn32s") == ["voc-fcn32s"] and stages_of("voc-fcn-alexnet") == ["voc-fcn-alexnet"]
    assert stages_of("voc-fcn8s-atonce") == ["voc-fcn8s-atonce"]
    with pytest.raises(CaffeError, match="no solver for 'voc-fcn4s'"):
        stages_of("voc-fcn4s")


def test_results_are_as_promised(finished):
    folder, results = finished
    assert json.loads((folder / "results.json").read_text()) == results
    assert results["scale"] == "miniature" and list(results["stages"]) == STAGES
    for stage in results["stages"].values():
        assert stage.keys() >= SCORES | {"iterations", "loss"}
        assert all(0 <= stage[name] <= 1 for name in SCORES)
        assert stage["iterations"] == ITERATIONS
        assert 0 < stage["loss"] < np.log(3)  # it learned: a pixel's loss starts at ln 3
        assert list(stage["class_iu"]) == ["background", "grey", "white"]


def test_every_stage_starts_from_the_one_before(finished, classifier):
    folder, _ = finished
    for before, stage in zip([classifier, *STAGES], STAGES, strict=False):
        report = (folder / stage / "surgery.txt").read_text()
        assert str(before) in report
        carried = {line.split()[0]: line.split()[1] for line in report.splitlines() if len(line.split()) > 1}
        assert carried["conv1_1"] == "copied"
        assert carried["fc6"] == ("coerced" if stage == "voc-fcn32s" else "copied")
        assert carried["score_fr"] == ("untouched" if stage == "voc-fcn32s" else "copied")
    assert read_caffemodel(folder / "voc-fcn8s.caffemodel").blobs["score_pool3"][0].any()


def test_it_leaves_logs_checkpoints_and_a_picture_of_every_stage(finished):
    folder, _ = finished
    for stage in STAGES:
        assert rows(folder / stage / "log.csv") == 1 + ITERATIONS
        assert (folder / stage / "iter_50.safetensors").exists()
        assert (folder / f"{stage}.caffemodel").exists()
    with Image.open(folder / "figure.png") as figure:
        columns, pictures = 2 + len(STAGES), 2
        assert figure.width > 100 * columns and figure.height > 100 * pictures
    assert "32s" in (folder / "log.txt").read_text()


def test_nothing_half_written_is_left(finished):
    assert [path for path in finished[0].rglob("*") if path.name.startswith(".")] == []


def test_every_file_says_that_it_is_the_miniature(finished):
    folder, results = finished
    assert results["note"] == schedule.BANNER
    assert schedule.BANNER in (folder / "log.txt").read_text()
    for stage in STAGES:
        assert (folder / stage / "surgery.txt").read_text().startswith(schedule.BANNER)
        lines = (folder / stage / "log.csv").read_text().splitlines()[1:]
        assert all(line.startswith(f"{stage} (miniature),") for line in lines)
        assert read_caffemodel(folder / f"{stage}.caffemodel").net.name == f"{stage} (miniature)"


def test_a_finished_run_is_only_told_again(finished, voc_set, classifier, capsys):
    folder, results = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.caffemodel")}
    assert reproduce(small_job(voc_set, classifier), folder) == results
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.caffemodel")} == before
    assert "iteration" not in capsys.readouterr().out


@pytest.mark.parametrize("change, says", [({"seed": 1}, "seed"), ({"mirror": True}, "mirror")])
def test_another_job_in_the_same_folder_is_refused(finished, voc_set, classifier, change, says):
    folder, _ = finished
    before = (folder / "results.json").read_bytes()
    with pytest.raises(CaffeError, match=f"holds another run: it differs in {says}"):
        reproduce(small_job(voc_set, classifier, **change), folder)
    assert (folder / "results.json").read_bytes() == before


def test_stopped_twice_it_gives_the_same_result(finished, voc_set, classifier, tmp_path):
    """Ctrl-C in the first stage, kill -9 after a snapshot of the second."""
    unbroken, results = finished
    folder = tmp_path / "stopped"
    for stage, row, end in (("voc-fcn32s", 10, signal.SIGINT), ("voc-fcn16s", 53, signal.SIGKILL)):
        process = subprocess.Popen([sys.executable, __file__, voc_set, classifier, folder],
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT)
        log = folder / stage / "log.csv"
        wait_for(lambda log=log, row=row: rows(log) > row, process)
        process.send_signal(end)
        process.communicate()
        assert process.returncode != 0
        assert not (folder / f"{stage}.caffemodel").exists()
    assert list(json.loads((folder / "results.json").read_text())["stages"]) == ["voc-fcn32s"]
    finished_stage = (folder / "voc-fcn32s.caffemodel").stat().st_mtime_ns

    assert timeless(reproduce(small_job(voc_set, classifier), folder)) == timeless(results)
    assert (folder / "voc-fcn32s.caffemodel").stat().st_mtime_ns == finished_stage
    for stage in STAGES:
        assert (folder / f"{stage}.caffemodel").read_bytes() == (unbroken / f"{stage}.caffemodel").read_bytes()


def test_the_command_says_miniature_first_and_last(tmp_path, monkeypatch):
    monkeypatch.setattr(schedule, "TRAIN", 3)
    monkeypatch.setattr(schedule, "VAL", 1)
    arguments = ["reproduce", "voc-fcn16s", "-o", tmp_path / "run", "--iterations", "2,1", "--seed", "4"]
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines.index(schedule.BANNER) < 3 and schedule.BANNER in lines[-3:]
    assert "voc-fcn32s (miniature): 2 iterations" in result.stdout and "(the paper's: 100000 at 1e-10)" in result.stdout
    assert "voc-fcn16s (miniature): 1 iterations" in result.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["scale"] == "miniature" and list(results["stages"]) == STAGES[:2]
    assert len(list((tmp_path / "run" / "data-seed4" / "JPEGImages").iterdir())) == 4
    assert list((tmp_path / "run" / "data-seed4").glob("THIS-IS-THE-MINIATURE*"))


# ---- the paper's job ----


@pytest.fixture
def paper_sets(tmp_path):
    """VOC 2011 and SBD in small: SBD's labels are MATLAB structs, and neither folder names its classes."""
    voc = write_voc(tmp_path / "VOC2011", {"train": 1, "seg11valid": 2}, 21)
    drawn = write_voc(tmp_path / "drawn", {"train": 4}, 21, seed=1)
    sbd = tmp_path / "benchmark_RELEASE" / "dataset"
    for folder in ("img", "cls"):
        (sbd / folder).mkdir(parents=True)
    names = (drawn / "ImageSets/Segmentation/train.txt").read_text().split()
    for name in names:
        (drawn / f"JPEGImages/{name}.jpg").rename(sbd / f"img/{name}.jpg")
        labels = load_labels(drawn / f"SegmentationClass/{name}.png")
        labels[labels == 255] = 0  # SBD has no void
        savemat(sbd / f"cls/{name}.mat", {"GTcls": {"Segmentation": labels}})
    (sbd / "train.txt").write_text("\n".join(names) + "\n")
    return voc, sbd


def test_the_papers_job_on_its_own_layout(paper_sets, classifier, tmp_path):
    job = real_job("voc-fcn8s", *paper_sets, classifier, iterations=dict.fromkeys(STAGES, 2))
    assert job.width == WIDTH and (job.about()["train_images"], job.about()["val_images"]) == (4, 2)
    results = reproduce(job, tmp_path / "run")
    assert results["scale"] == "own" and list(results["stages"]) == STAGES  # for the nets are narrow
    assert [results["stages"][stage]["base_lr"] for stage in STAGES] == [1e-10, 1e-12, 1e-14]
    assert list(results["stages"]["voc-fcn8s"]["class_iu"]) == voc_classes(tmp_path)
    assert results["stages"]["voc-fcn32s"]["loss"] == pytest.approx(np.log(21), rel=1e-3)
    assert (tmp_path / "run" / "figure.png").exists()
    said = [path.read_text() for path in (tmp_path / "run").rglob("*") if path.suffix in (".json", ".txt", ".csv")]
    assert said and not any("miniature" in text.lower() for text in said)


def test_ones_own_data_is_never_beside_the_papers_numbers(voc_set, classifier, tmp_path):
    run = tmp_path / "run"
    done = CliRunner().invoke(main, ["reproduce", "voc-fcn32s", "--run", str(run), "--data", str(voc_set), "--weights",
                                     str(classifier), "--iterations", "1"], catch_exceptions=False)
    assert done.exit_code == 0 and "voc-fcn32s: 1 iterations at rate 1e-10" in done.stdout
    assert "paper" not in (done.stdout + (run / "log.txt").read_text()) and "63.6" not in done.stdout
    report = (run / "report.html").read_text()
    assert "One&#39;s own data: these numbers cannot be compared" in report and "<td>63.6</td>" not in report


def test_what_is_not_as_published_is_not_called_the_papers(paper_sets, voc_set, classifier, tmp_path):
    wide = tmp_path / "wide.caffemodel"
    write_caffemodel(wide, reference.net("vgg16", "deploy"), {"conv1_1": [np.zeros((64, 3, 3, 3))]})
    assert real_job("voc-fcn32s", *paper_sets, wide).scale == "paper"
    for change in ({"limit": 1}, {"image_scale": 0.5}, {"force": True}):
        assert real_job("voc-fcn32s", *paper_sets, wide, **change).scale == "own"
    assert real_job("voc-fcn32s", *paper_sets, classifier).scale == "own"
    assert real_job("voc-fcn32s", voc_set, None, wide).scale == "own"


def test_scoring_what_is_trained_on_is_refused(paper_sets, classifier):
    voc, sbd = paper_sets
    (sbd / "img/train_0.jpg").rename(sbd / "img/seg11valid_0.jpg")
    (sbd / "cls/train_0.mat").rename(sbd / "cls/seg11valid_0.mat")
    (sbd / "train.txt").write_text("seg11valid_0\ntrain_1\n")
    with pytest.raises(CaffeError, match="1 of the 2 images are trained on .seg11valid_0"):
        real_job("voc-fcn32s", voc, sbd, classifier)
    assert len(real_job("voc-fcn32s", voc, sbd, classifier, force=True).sets["voc-fcn32s"].train) == 2


@pytest.mark.parametrize("given", [
    ("data",), ("sbd",), ("weights",), ("data", "sbd"), ("data", "weights"), ("sbd", "weights"),
])
def test_it_says_what_is_missing_and_where_it_comes_from(paper_sets, classifier, tmp_path, given):
    options = dict(zip(("data", "sbd", "weights"), (*paper_sets, classifier), strict=True))
    arguments = [part for name in given for part in (f"--{name}", str(options[name]))]
    result = CliRunner().invoke(main, ["reproduce", "--run", str(tmp_path / "run"), *arguments])
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1
    sources = {"data": ("DATA", "host.robots.ox.ac.uk"), "sbd": ("SBD", "berkeley.edu"),
               "weights": ("WEIGHTS", "VGG_ILSVRC_16_layers.caffemodel")}
    for name, (asked, source) in sources.items():
        assert (f"{asked} (--{name})" in result.stderr and source in result.stderr) == (name not in given)
    assert not (tmp_path / "run").exists()


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    reproduce(small_job(*sys.argv[1:3]), sys.argv[3])
