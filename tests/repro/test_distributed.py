"""Several processes: training as one with as many passes, scores as of one, and what happens when one of them dies."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small import WIDTH
from safetensors.torch import load_file

import reference
from converters import CaffeNet
from repro import Solver, distributed
from repro.data import Feed, open_voc
from repro.scoring.evaluation import evaluate
from repro.training.initial_weights import prepare
from repro.training.loop import newest_snapshot, save_snapshot, train

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["repro.training.loop", "repro.scoring.evaluation", "torch.utils.tensorboard"])


@pytest.fixture
def together(tmp_path):
    """together(N, work, *arguments): what `work` returns in each of N processes that are one run."""

    def run(ranks, work, *arguments):
        port = free_port()
        processes = [SERVER.Process(target=_work, args=(rank, ranks, port, tmp_path / f"{ranks}-{rank}", work, arguments))
                     for rank in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        return [torch.load(tmp_path / f"{ranks}-{rank}", weights_only=False) for rank in range(ranks)]

    return run


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _work(rank, ranks, port, path, work, arguments):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.process_group():
        torch.save(work(*arguments), path)


def build(data, weights, iter_size, dropout=False, options=""):
    torch.manual_seed(0)
    param = reference.net("voc-fcn16s", "train", num_classes=3, width=WIDTH)
    for layer in [layer for layer in param.layer if layer.type == "Dropout" and not dropout]:
        param.layer.remove(layer)
    net = CaffeNet(param, "train")
    prepare(net, weights)
    feed = Feed(open_voc(data, "train"), mirror=True, shard=distributed.shard())
    return Solver(f'base_lr: 1e-6 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed" iter_size: {iter_size} {options}',
                  net, feed)


def three_iterations(*arguments):
    solver = build(*arguments)
    with solver.feed:
        solver.step()
        gradients = {item.name: item.blob.grad.clone() for item in solver.learnable if item.lr_mult}
        losses = [solver.losses[-1], solver.step(), solver.step(), solver.smoothed_loss, solver.loss_per_pixel]
    weights = {item.name: item.blob.detach().clone() for item in solver.learnable}
    return losses, gradients, weights, solver.history, solver.feed_state()


@pytest.mark.parametrize("options", ["average_loss: 3", "clip_gradients: 100"])
def test_two_ranks_train_as_one_with_twice_the_passes(voc_set, classifier, together, options):
    alone = three_iterations(voc_set, classifier, 4, False, options)
    first, second = together(2, three_iterations, voc_set, classifier, 2, False, options)
    for found in (first, second):
        assert found[0] == pytest.approx(alone[0], rel=1e-6)
        assert found[4] == alone[4]  # the same images are consumed
        for ours, other in zip(found[1:3], alone[1:3], strict=True):
            assert ours.keys() == other.keys()
            for name in ours:
                assert_close(ours[name], other[name], name)
        for ours, other in zip(found[3], alone[3], strict=True):
            assert_close(ours, other, "history")
    assert all(torch.equal(first[2][name], second[2][name]) for name in first[2])


def assert_close(ours, other, name):
    assert (ours - other).abs().max() <= 1e-6 * other.abs().max(), name


def stopped_and_resumed(data, weights, folder):
    """Four iterations, dropout on; then the last two again from a snapshot of the first two."""
    solver = build(data, weights, 1, True)
    with solver.feed:
        solver.step(2)
        save_snapshot(solver, folder)
        solver.step(2)
    resumed = build(data, weights, 1, True)
    torch.manual_seed(7)
    with resumed.feed:
        train(resumed, folder, 4)
    same = all(torch.equal(ours.blob, other.blob) for ours, other in zip(resumed.learnable, solver.learnable, strict=True))
    return same, torch.rand(1).item()


def test_every_rank_goes_on_with_its_own_random_numbers(voc_set, classifier, together, tmp_path):
    first, second = together(2, stopped_and_resumed, voc_set, classifier, tmp_path / "run")
    assert first[0] and second[0]
    assert first[1] != second[1]
    states = load_file(tmp_path / "run" / "iter_2.safetensors")["random_state"]
    assert len(states) == 2 and not torch.equal(*states)


class PressedOnce(Feed):
    """Ctrl-C on the last rank alone, while it takes its third image."""

    def __next__(self):
        blobs = super().__next__()
        if distributed.rank() and self.consumed == 3 * distributed.world_size():
            signal.raise_signal(signal.SIGINT)
        return blobs


def interrupted(data, weights, folder):
    built = build(data, weights, 1)
    with PressedOnce(open_voc(data, "train"), shard=distributed.shard()) as feed, pytest.raises(KeyboardInterrupt):
        train(solver := Solver(built.param, built.net, feed), folder, 100, every=50)
    return solver.iter


def test_ctrl_c_on_one_rank_stops_all_after_the_same_iteration(voc_set, classifier, together, tmp_path):
    assert together(2, interrupted, voc_set, classifier, tmp_path / "run") == [3, 3]
    assert newest_snapshot(tmp_path / "run").name == "iter_3.safetensors"


def matrix(data, weights):
    net = CaffeNet(reference.net("voc-fcn32s", "deploy", num_classes=3, width=WIDTH))
    net.copy_from(weights)
    return evaluate(net, open_voc(data, "train")).hist


def test_any_number_of_ranks_scores_alike(voc_set, fcn_weights, together):
    alone = matrix(voc_set, fcn_weights())
    assert np.count_nonzero(alone) > 3
    for ranks in (2, 3):
        for found in together(ranks, matrix, voc_set, fcn_weights()):
            assert np.array_equal(found, alone)


# ---- by torchrun ----


THREADS_LEFT = """
from pathlib import Path
from repro import distributed
with distributed.process_group():
    import torch.distributed.nn  # as parts of torch do when they are first used
print([name.read_text() for name in Path("/proc/self/task").glob("*/comm") if "gloo" in name.read_text()])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are looked up in /proc")
def test_no_thread_of_gloo_is_left():
    """One that was would now and then abort the process when Python ends, after all was written."""
    alone = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ended = subprocess.run([sys.executable, "-c", THREADS_LEFT], env=os.environ | alone, capture_output=True, text=True)
    assert ended.stdout == "[]\n", ended.stderr


def torchrun(*arguments):
    return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "repro",
            *map(str, arguments)]


def test_the_commands_by_torchrun(voc_set, classifier, tmp_path):
    """A rank dies: the run ends at once and says so; resumed, it comes to the end, and the net is scored by both."""
    out = tmp_path / "out"
    command = torchrun("train", "voc-fcn32s", "--data", voc_set, "--weights", classifier, "-o", out, "--width", WIDTH,
                       "--iterations", 60, "--base-lr", "1e-6", "--snapshot-every", 2, "--threads", 1, "--resume")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while not (out / "iter_4.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(worker(process.pid, rank=1), signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    assert process.returncode != 0 and not (out / "voc-fcn32s.caffemodel").exists()
    assert "rank 0 of 2: another process of this run has ended" in said and "--resume" in said

    command[command.index("--iterations") + 1] = "8"
    resumed = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from iteration" in resumed.stdout and resumed.stdout.count("wrote") == 1
    scored = subprocess.run(torchrun("evaluate", "--net", "voc-fcn32s", "--weights", out / "voc-fcn32s.caffemodel", "--data",
                                     voc_set, "--split", "val", "-o", tmp_path / "scores.json"),
                            capture_output=True, text=True, timeout=200)
    assert scored.returncode == 0, scored.stderr
    assert scored.stdout.count("f.w. IU") == 1 and json.loads((tmp_path / "scores.json").read_text())["images"] == 2


@pytest.mark.slow
def test_reproduce_by_torchrun(voc_set, classifier, tmp_path):
    """Two ranks share the passes of an iteration; no line comes twice, and a killed run goes on after its last stage."""
    both = tmp_path / "both"
    command = torchrun("reproduce", "voc-fcn16s", "--data", voc_set, "--weights", classifier, "--scheme", "accumulated",
                       "--base-lr", "1e-3", "--iterations", "2,8", "--threads", 1, "-o", both)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 200
    while not (both / "voc-fcn16s" / "log.csv").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(worker(process.pid, rank=1), signal.SIGKILL)
    assert "the same `repro reproduce`" in process.communicate(timeout=60)[0]

    resumed = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert resumed.returncode == 0, resumed.stderr
    lines = [line for line in resumed.stdout.splitlines() if line]
    assert len(lines) == len(set(lines)) and not any("voc-fcn32s: 2 iterations" in line for line in lines)
    results = json.loads((both / "results.json").read_text())
    assert results["job"]["processes"] == 2 and list(results["stages"]) == ["voc-fcn32s", "voc-fcn16s"]
    assert [stage["iter_size"] for stage in results["stages"].values()] == [20, 20]
    for stage in results["stages"]:
        kept = json.loads((both / stage / "evaluation.json").read_text())[""]
        assert len(kept["images"]) == len(list((both / stage / "labels").iterdir())) == 2
        assert sum(map(sum, kept["confusion"])) > 0
    assert len((both / "voc-fcn16s/log.csv").read_text().splitlines()) == 9 and (both / "report.html").exists()


def test_a_pass_that_cannot_be_shared_makes_two_and_is_said(voc_set, classifier, tmp_path):
    done = subprocess.run(torchrun("reproduce", "voc-fcn32s", "--data", voc_set, "--weights", classifier, "--iterations", 2,
                                   "--threads", 1, "-o", tmp_path / "run"), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 iterations at rate 1e-10, 2 images an iteration") == 1
    again = subprocess.run([sys.executable, "-m", "repro", "reproduce", "voc-fcn32s", "--data", voc_set, "--weights",
                            classifier, "--iterations", "2", "-o", tmp_path / "run"], capture_output=True, text=True)
    assert again.returncode == 2 and "differs in processes" in again.stderr


def worker(parent, rank):
    """The process id of one of torchrun's workers."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat, environment = (Path(f"/proc/{pid}/{name}").read_text() for name in ("stat", "environ"))
        except OSError:
            continue
        if int(stat.rpartition(")")[2].split()[1]) == parent and f"\0RANK={rank}\0" in environment:
            return int(pid)
    raise AssertionError("no such worker")
