"""`repro train`: going on, scoring on the way, what a solver's file says, and nets that cannot learn."""

import csv
import shutil

import pytest
import torch
from click.testing import CliRunner
from helpers.release_data import write_sbd
from helpers.small import WIDTH, write_voc
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import reference
from converters import CaffeError, CaffeNet, read_caffemodel, read_solver, read_solverstate, write_caffemodel, write_prototxt
from reference.export import export
from repro import Solver
from repro.cli import main
from repro.data import Feed, open_voc
from repro.scoring.evaluation import evaluate
from repro.training.initial_weights import prepare
from repro.training.loop import train


def call(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def done(*arguments):
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments):
    result = call(*arguments)
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.output
    return result.stderr


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def arguments(voc_set, classifier):
    return ["train", "voc-fcn32s", "--data", voc_set, "--weights", classifier, "--base-lr", 1e-6]


# ---- going on ----


def test_a_run_is_written_over_by_none_and_gone_on_with_when_asked(arguments, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done(*arguments, "-o", whole, "--iterations", 5)
    done(*arguments, "-o", parts, "--iterations", 3, "--resume")  # there is nothing to go on with yet
    kept = (parts / "log.csv").read_bytes()
    assert "iter_3.safetensors" in refused(*arguments, "-o", parts, "--iterations", 5)
    assert (parts / "log.csv").read_bytes() == kept
    assert "going on from iteration 3" in done(*arguments, "-o", parts, "--iterations", 5, "--resume")
    weights = [(folder / "voc-fcn32s.caffemodel").read_bytes() for folder in (whole, parts)]
    assert weights[0] == weights[1]


def test_any_snapshot_can_be_gone_on_from_without_weights(arguments, voc_set, tmp_path):
    done(*arguments, "-o", tmp_path / "first", "--iterations", 2)
    ours = tmp_path / "first" / "iter_2.safetensors"
    again = ["train", "voc-fcn32s", "--data", voc_set, "--width", WIDTH, "--base-lr", 1e-6, "--iterations", 3]
    done(*again, "--snapshot", ours, "-o", tmp_path / "second")
    assert [row["iteration"] for row in rows(tmp_path / "second" / "log.csv")] == ["3"]
    assert "leave --snapshot out" in refused(*again, "--snapshot", ours, "--resume", "-o", tmp_path / "second")
    assert "--weights" in refused(*again, "-o", tmp_path / "third")


# ---- what a solver's file says ----


@pytest.fixture
def directory(tmp_path, classifier):
    """The release's directory of FCN-32s, with its data and a solver that says all that it can."""
    write_sbd(tmp_path / "data" / "sbdd" / "dataset")
    voc = write_voc(tmp_path / "data" / "pascal" / "VOC2011", {"seg11valid": 2}, 21)
    export("voc-fcn32s", tmp_path / "net", width=WIDTH)
    shutil.copy(classifier, tmp_path / "net" / "start.caffemodel")
    path = tmp_path / "net" / "solver.prototxt"
    solver = read_solver(path)
    solver.base_lr, solver.max_iter, solver.snapshot, solver.snapshot_prefix = 1e-7, 4, 2, "kept/train"
    solver.test_interval, solver.test_initialization, solver.snapshot_format = 2, True, 0
    solver.weights.append("start.caffemodel")
    write_prototxt(path, solver)
    return path, voc


def test_a_solver_file_is_honoured(directory, tmp_path):
    path, voc = directory
    out = tmp_path / "out"
    done("train", path, "-o", out)
    assert {file.name for file in (out / "kept").iterdir()} == {
        f"train_iter_{n}.{kind}.h5" for n in (2, 4) for kind in ("solverstate", "caffemodel")}
    state = read_solverstate(out / "kept" / "train_iter_2.solverstate.h5")
    assert state.iter == 2 and [row["iteration"] for row in rows(out / "log.csv")] == ["1", "2", "3", "4"]
    scored = rows(out / "scores.csv")
    assert [row["iteration"] for row in scored] == ["0", "2", "4"]

    net = CaffeNet(reference.net("voc-fcn32s", "deploy", width=WIDTH))
    net.copy_from(out / "net.caffemodel")
    means = evaluate(net, open_voc(voc, "seg11valid")).scores().means()
    assert {name: float(scored[-1][name]) for name in means} == pytest.approx(means)

    resumed = tmp_path / "resumed"  # as `caffe train --snapshot`
    done("train", path, "-o", resumed, "--snapshot", out / "kept" / "train_iter_2.solverstate.h5", "--test-interval", 0)
    assert [row["iteration"] for row in rows(resumed / "log.csv")] == ["3", "4"] and not (resumed / "scores.csv").exists()


def test_data_to_score_on_must_be_there_only_if_the_solver_asks(directory, tmp_path):
    path, voc = directory
    shutil.rmtree(voc)
    assert "VOC2011 is neither in the working directory" in refused("train", path, "-o", tmp_path / "out")
    solver = read_solver(path)
    solver.test_interval = 999999999  # as the release has it
    write_prototxt(path, solver)
    shutil.move(path.parent, tmp_path / "voc-fcn32s")
    assert "not scored on the way" in done("train", tmp_path / "voc-fcn32s" / path.name, "-o", tmp_path / "out")
    assert "nothing to score" in refused("train", tmp_path / "voc-fcn32s" / path.name, "-o", tmp_path / "2",
                                         "--test-interval", 2)


def test_the_last_of_several_weights_wins(directory, tmp_path):
    path, _ = directory
    solver = read_solver(path)
    net = CaffeNet(reference.net("voc-fcn32s", "deploy", width=WIDTH))
    later = {"conv1_1": [torch.full_like(blob, 0.25).numpy() for blob in net.params["conv1_1"]]}
    write_caffemodel(path.parent / "later.caffemodel", net.param, later)
    solver.weights[:] = ["start.caffemodel,later.caffemodel"]
    solver.base_lr, solver.test_interval, solver.weight_decay = 1e-30, 0, 0
    write_prototxt(path, solver)
    done("train", path, "-o", tmp_path / "out")
    blobs = read_caffemodel(tmp_path / "out" / "net.caffemodel").blobs
    assert (blobs["conv1_1"][0] == 0.25).all() and (blobs["conv1_2"][0] != 0.25).any()


# ---- what is left to be read ----


def test_scores_and_losses_are_also_tensorboards(arguments, tmp_path):
    done(*arguments, "-o", tmp_path, "--iterations", 4, "--test-interval", 2)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("train/loss_per_pixel")]
    log = rows(tmp_path / "log.csv")
    assert losses == [(k, pytest.approx(float(row["loss_per_pixel"]))) for k, row in enumerate(log, start=1)]
    scored = [(event.step, event.value) for event in events.Scalars("scores/mean_iu")]
    assert scored == [(int(row["iteration"]), pytest.approx(float(row["mean_iu"]))) for row in rows(tmp_path / "scores.csv")]
    assert [step for step, _ in scored] == [2, 4]
    assert 0 < float(log[-1]["waiting"]) < float(log[-1]["seconds"])


def test_scores_that_an_end_came_before_are_made_up_for(voc_set, classifier, tmp_path):
    """Ended after the snapshot and before the scores."""
    def run(iterations, interval):
        torch.manual_seed(0)
        net = CaffeNet(reference.net("voc-fcn32s", "train", num_classes=3, width=WIDTH), "train")
        prepare(net, classifier)
        with Feed(open_voc(voc_set, "train")) as feed:
            solver = Solver('base_lr: 1e-6 lr_policy: "fixed" test_initialization: false', net, feed)
            train(solver, tmp_path, iterations, 2, lambda: evaluate(net, open_voc(voc_set, "val")).scores(), interval)

    run(2, 0)
    run(4, 2)
    run(4, 2)
    assert [row["iteration"] for row in rows(tmp_path / "scores.csv")] == ["2", "4"]


# ---- what cannot learn, and how it is computed ----


def solver_on(voc_set, classifier, flatten=(), net="voc-fcn16s", **options):
    torch.manual_seed(0)
    net = CaffeNet(reference.net(net, "train", num_classes=3, width=WIDTH), "train")
    prepare(net, classifier)
    with torch.no_grad():
        for name in flatten:
            net.params[name][0].zero_()
    feed = Feed(open_voc(voc_set, "train"))
    return Solver('base_lr: 1e-6 momentum: 0.9 lr_policy: "fixed"', net, feed, **options), feed


@pytest.mark.parametrize(("flat", "dead"), [(["upscore16"], "score_fr, score_pool4"), (["upscore2"], "score_fr")])
def test_a_net_that_cannot_learn_stops_at_once(voc_set, classifier, flat, dead):
    solver, feed = solver_on(voc_set, classifier, flat)
    before = solver.net.to_blobs()
    with feed, pytest.raises(CaffeError) as raised:
        solver.step()
    assert f"gradient of layers {dead} is zero; layers {flat[0]} are all zero: interpolate" in str(raised.value)
    assert all((before[name][0] == blobs[0]).all() for name, blobs in solver.net.to_blobs().items())


def test_what_is_not_learned_costs_no_gradient(voc_set, classifier):
    solver, feed = solver_on(voc_set, classifier, net="voc-fcn32s-fixed")
    with feed:
        solver.step()
    assert {item.name.split("/")[0] for item in solver.learnable if item.blob.grad is not None} == {"score_fr"}
    assert not any(item.blob.requires_grad for item in solver.learnable if not item.lr_mult)


def test_half_precision_spares_the_loss(voc_set, classifier):
    (plain, one), (half, other) = solver_on(voc_set, classifier), solver_on(voc_set, classifier, amp=True)
    with one, other:
        first = plain.step(), half.step()
        assert first[0] == pytest.approx(first[1], rel=1e-6)  # of scores that are zero
        second = plain.step(), half.step()
    assert second[0] != second[1] and second[0] == pytest.approx(second[1], rel=1e-2)
    assert all(item.blob.dtype == torch.float32 for item in half.learnable)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_said(arguments, tmp_path):
    assert "--device cuda: there is none" in refused(*arguments, "-o", tmp_path, "--device", "cuda")
