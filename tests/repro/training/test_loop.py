"""The training loop: what it starts from, what it leaves, and how it goes on after Ctrl-C and after kill -9."""

import csv
import math
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.small import WIDTH, wait_for
from safetensors import safe_open

import reference
from converters import CaffeError, CaffeNet, read_caffemodel, write_caffemodel
from repro import Solver
from repro.data import Feed, open_voc
from repro.training.initial_weights import prepare
from repro.training.loop import newest_snapshot, save_snapshot, train


def fcn(name="voc-fcn32s", **options):
    return CaffeNet(reference.net(name, "train", num_classes=3, width=WIDTH, **options), "train")


# ---- what training starts from ----


def test_the_classifier_becomes_a_convolution_and_the_upsampling_bilinear(classifier):
    net, source = fcn(), read_caffemodel(classifier).blobs
    report = prepare(net, classifier)
    fc6 = net.params["fc6"][0].detach().numpy()
    np.testing.assert_array_equal(fc6.ravel(), source["fc6"][0].ravel())
    assert [name for name, _ in report.dropped] == ["fc8"]
    assert not net.params["score_fr"][0].any()  # it may start at zero
    upscore = net.params["upscore"][0].detach().numpy()
    assert upscore[0, 0].sum() == pytest.approx(32**2) and not upscore[0, 1].any()


@pytest.fixture
def trunk(classifier, tmp_path):
    """The convolutions alone, as weights without the classifier are published."""
    model = read_caffemodel(classifier)
    blobs = {name: arrays for name, arrays in model.blobs.items() if name.startswith("conv")}
    write_caffemodel(tmp_path / "trunk.caffemodel", model.net, blobs)
    return tmp_path / "trunk.caffemodel"


def test_layers_that_would_learn_nothing_stop_it_before_it_starts(trunk):
    with pytest.raises(CaffeError) as raised:
        prepare(fcn(), trunk)
    said = str(raised.value)
    assert "fc6, fc7" in said and "--fill-missing msra" in said and str(trunk) in said
    assert "conv" not in said and "score" not in said and "\n" not in said


def test_filled_layers_learn(trunk, voc_set):
    net = fcn()
    torch.manual_seed(0)
    prepare(net, trunk, "msra")
    fc6 = net.params["fc6"][0]
    assert fc6.std().item() == pytest.approx(math.sqrt(2 / fc6[0].numel()), rel=0.05)
    before = net.to_blobs()
    with Feed(open_voc(voc_set, "train")) as feed:
        Solver('base_lr: 1e-6 momentum: 0.9 lr_policy: "fixed"', net, feed).step(3)
    after = net.to_blobs()
    assert [name for name in before if np.array_equal(before[name][0], after[name][0])] == ["upscore"]


def test_an_unknown_filler_is_refused(trunk):
    with pytest.raises(CaffeError, match="orthogonal"):
        prepare(fcn(), trunk, "orthogonal")


# ---- what it leaves ----


@pytest.fixture
def build(voc_set, classifier):
    feeds = []

    def build(name="voc-fcn32s", options="base_lr: 1e-6 average_loss: 3"):
        torch.manual_seed(0)
        net = fcn(name)
        prepare(net, classifier)
        feeds.append(Interrupted(open_voc(voc_set, "train")))
        return Solver(f'momentum: 0.9 lr_policy: "fixed" {options}', net, feeds[-1])

    yield build
    for feed in feeds:
        feed.close()


def read_log(folder):
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(rows):
    return [{name: value for name, value in row.items() if name not in ("seconds", "waiting")} for row in rows]


def test_log_snapshots_and_the_loss_of_a_pixel(build, tmp_path, voc_set):
    solver = build()
    loss = train(solver, tmp_path / "run", 7, every=2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "iter_6.safetensors", "iter_7.safetensors", "log.csv", "tensorboard"]
    rows = read_log(tmp_path / "run")
    assert [int(row["iteration"]) for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert {row["net"] for row in rows} == {"voc-fcn32s"}
    assert [float(row["rate"]) for row in rows] == pytest.approx([1e-6] * 7)

    # The scores start at zero: every pixel that is not void costs ln 3, and void ones nothing.
    data = open_voc(voc_set, "train")
    first = int(random.Random(1337).random() * len(data))
    counted = (data.labels(first) != 255).sum()
    assert float(rows[0]["loss"]) == pytest.approx(counted * math.log(3), rel=1e-5)
    assert float(rows[0]["loss_per_pixel"]) == pytest.approx(math.log(3), rel=1e-5)
    assert loss == pytest.approx(np.mean([float(row["loss_per_pixel"]) for row in rows[-3:]]))
    assert float(rows[-1]["loss_per_pixel"]) < math.log(3)


def test_a_finished_run_is_not_run_again(build, tmp_path):
    loss = train(build(), tmp_path, 4, every=2)
    log = (tmp_path / "log.csv").read_text()
    again = build()
    assert train(again, tmp_path, 4, every=2) == loss
    assert again.iter == 4 and (tmp_path / "log.csv").read_text() == log


def test_the_newest_snapshot_is_the_one_of_most_iterations(build, tmp_path):
    assert newest_snapshot(tmp_path) is None
    solver = build()
    for solver.iter in (9, 10, 100):
        save_snapshot(solver, tmp_path)
    assert newest_snapshot(tmp_path).name == "iter_100.safetensors"
    assert not (tmp_path / "iter_9.safetensors").exists()


def test_what_a_process_was_writing_when_killed_is_removed(build, tmp_path):
    half = tmp_path / ".iter_200.safetensors.x1y2.safetensors"
    half.touch()
    train(build(), tmp_path, 1)
    assert not half.exists()


def test_half_a_line_in_the_log_is_dropped(build, tmp_path):
    train(build(), tmp_path, 5, every=4)
    whole = read_log(tmp_path)
    log = tmp_path / "log.csv"
    log.write_text(log.read_text() + "voc-fcn32s,6,12")
    train(build(), tmp_path, 5, every=4)
    assert untimed(read_log(tmp_path)) == untimed(whole)


def test_another_net_in_the_folder_is_refused(build, tmp_path):
    train(build(), tmp_path, 1, every=1)
    with pytest.raises(CaffeError, match="iter_1.safetensors: a snapshot of another net"):
        train(build("voc-fcn16s"), tmp_path, 2)


def test_an_averaged_loss_is_a_pixels_already(voc_set, classifier, tmp_path):
    param = reference.net("voc-fcn32s", "train", num_classes=3, width=WIDTH)
    param.layer[-1].loss_param.normalize = True
    net = CaffeNet(param, "train")
    prepare(net, classifier)
    with Feed(open_voc(voc_set, "train")) as feed:
        solver = Solver('base_lr: 0 lr_policy: "fixed"', net, feed)
        assert train(solver, tmp_path, 1) == pytest.approx(math.log(3), rel=1e-5)


# ---- stopped and called again ----


class Interrupted(Feed):
    """A feed that presses Ctrl-C `times` at image `number`: in the middle of an iteration, when the image is taken."""

    number, times = -1, 0

    def __next__(self):
        blobs = super().__next__()
        if self.consumed == self.number:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        return blobs


def test_ctrl_c_ends_after_a_whole_iteration_and_the_run_goes_on_as_if_unbroken(build, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    unbroken = build()
    loss = train(unbroken, tmp_path / "unbroken", 12, every=5)

    for number in (3, 5, 8):
        stopped = build()
        stopped.feed.number, stopped.feed.times = number, 1
        with pytest.raises(KeyboardInterrupt):
            train(stopped, tmp_path / "stopped", 12, every=5)
        assert stopped.iter == number
        assert newest_snapshot(tmp_path / "stopped").name == f"iter_{number}.safetensors"
    assert signal.getsignal(signal.SIGINT) is handler

    resumed = build()
    assert train(resumed, tmp_path / "stopped", 12, every=5) == loss
    for ours, other in zip(resumed.learnable, unbroken.learnable, strict=True):
        assert torch.equal(ours.blob, other.blob), ours.name
    assert untimed(read_log(tmp_path / "stopped")) == untimed(read_log(tmp_path / "unbroken"))


def test_a_second_ctrl_c_does_not_wait_and_keeps_no_half_of_an_iteration(build, tmp_path):
    solver = build()
    solver.feed.number, solver.feed.times = 4, 2
    with pytest.raises(KeyboardInterrupt):
        train(solver, tmp_path, 12, every=2)
    assert solver.iter == 3 and solver.feed.consumed == 4
    assert newest_snapshot(tmp_path).name == "iter_2.safetensors"


ITERATIONS = 40


def command(voc_set, classifier, output):
    return [sys.executable, "-m", "repro", "train", "voc-fcn32s", "--data", voc_set, "--weights", classifier, "-o", output,
            "--width", str(WIDTH), "--iterations", str(ITERATIONS), "--base-lr", "1e-6", "--snapshot-every", "3",
            "--resume", "--mirror", "--threads", "1"]


def test_a_killed_run_goes_on_to_the_weights_of_an_unbroken_one(voc_set, classifier, tmp_path):
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    reached = 0
    for rows in (5, 22):
        process = subprocess.Popen(command(voc_set, classifier, killed), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        def enough(rows=rows):
            log = killed / "log.csv"
            return log.exists() and len(log.read_bytes().splitlines()) > rows

        wait_for(enough, process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not (killed / "voc-fcn32s.caffemodel").exists()
        snapshot = newest_snapshot(killed)
        with safe_open(snapshot, "pt") as file:  # whole, whenever the end came
            assert file.keys()
        assert int(snapshot.stem.removeprefix("iter_")) > reached
        reached = int(snapshot.stem.removeprefix("iter_"))

    for folder in (killed, unbroken):
        subprocess.run(command(voc_set, classifier, folder), check=True, capture_output=True, timeout=120)
    weights = [(folder / "voc-fcn32s.caffemodel").read_bytes() for folder in (killed, unbroken)]
    assert weights[0] == weights[1]
    assert untimed(read_log(killed)) == untimed(read_log(unbroken))
    assert len(read_log(killed)) == ITERATIONS
