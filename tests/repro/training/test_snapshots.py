"""Snapshots: a restored solver goes on as if never stopped, bit by bit."""

import itertools

import numpy as np
import pytest
import torch
from helpers.small import WIDTH
from safetensors.torch import load_file, save_file

import reference
from converters import CaffeError, CaffeFileError, CaffeNet
from repro import Solver
from repro.data import Feed, open_voc
from repro.training.initial_weights import prepare

SOLVER = 'base_lr: 1e-6 momentum: 0.9 weight_decay: 0.0005 lr_policy: "multistep" gamma: 0.5 stepvalue: 2 stepvalue: 7 {}'


@pytest.fixture
def build(voc_set, classifier):
    """Build solvers on a narrow FCN with dropout, fed mirrored pictures in random order."""
    feeds = []

    def build(options="average_loss: 4", net="voc-fcn32s", seed=0, feed=()):
        torch.manual_seed(seed)
        net = CaffeNet(reference.net(net, "train", num_classes=3, width=WIDTH), "train")
        prepare(net, classifier)
        feeds.append(Feed(open_voc(voc_set, "train"), **{"mirror": True, **dict(feed)}))
        return Solver(SOLVER.format(options), net, feeds[-1])

    yield build
    for feed in feeds:
        feed.close()


def tensors(solver):
    return {**{item.name: item.blob.detach().clone() for item in solver.learnable},
            **{f"history {k}": blob.clone() for k, blob in enumerate(solver.history)}}


def assert_same(ours, other):
    ours, other = tensors(ours), tensors(other)
    assert ours.keys() == other.keys()
    assert [name for name in ours if not torch.equal(ours[name], other[name])] == []


@pytest.mark.parametrize("options", ["average_loss: 4", "iter_size: 2", 'type: "Adam" momentum2: 0.99'])
def test_a_restored_run_is_the_unbroken_one(build, tmp_path, options):
    unbroken = build(options)
    unbroken.step(4)
    unbroken.snapshot(tmp_path / "iter_4.safetensors")
    smoothed = unbroken.smoothed_loss
    losses, random_after = [unbroken.step() for _ in range(6)], torch.get_rng_state()

    restored = build(options, seed=99)  # the random state comes from the snapshot
    restored.step(2)
    restored.restore(tmp_path / "iter_4.safetensors")
    assert restored.iter == 4 and restored.smoothed_loss == smoothed
    assert [restored.step() for _ in range(6)] == losses
    assert_same(restored, unbroken)
    assert restored.smoothed_loss == unbroken.smoothed_loss
    assert restored.current_step == unbroken.current_step == 2
    assert torch.equal(torch.get_rng_state(), random_after)
    assert restored.feed.state_dict() == unbroken.feed.state_dict()
    # It would not hold without dropout's random state: the test can fail.
    restored.restore(tmp_path / "iter_4.safetensors")
    torch.manual_seed(5)
    assert [restored.step() for _ in range(6)] != losses


@pytest.mark.parametrize("suffix", [".solverstate", ".solverstate.h5"])
@pytest.mark.parametrize("options", ["", 'type: "Adam" momentum2: 0.99'])
def test_caffes_own_pair_holds_weights_history_and_counters(build, tmp_path, suffix, options):
    solver = build(options)
    solver.step(4)
    solver.snapshot(tmp_path / "run" / f"iter_4{suffix}")
    weights = f"iter_4.caffemodel{'.h5' if suffix.endswith('h5') else ''}"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {f"iter_4{suffix}", weights}

    (tmp_path / "run").rename(tmp_path / "moved")
    restored = build(options, seed=99)
    restored.restore(tmp_path / "moved" / f"iter_4{suffix}")
    assert (restored.iter, restored.current_step) == (4, 1)
    assert_same(restored, solver)


def test_a_feed_without_a_state_is_left_alone(build, tmp_path):
    solver = build()
    batch = next(solver.feed)
    plain = Solver(SOLVER.format(""), solver.net, itertools.repeat(batch))
    plain.step()
    plain.snapshot(tmp_path / "iter_1.safetensors")
    plain.restore(tmp_path / "iter_1.safetensors")
    assert plain.iter == 1 and plain.step() > 0


@pytest.mark.parametrize("suffix", [".safetensors", ".solverstate", ".solverstate.h5"])
@pytest.mark.parametrize("other", [{"net": "voc-fcn16s"}, {"options": 'type: "Adam" momentum2: 0.99'}])
def test_a_snapshot_of_another_net_or_solver_is_refused(build, tmp_path, suffix, other):
    path = tmp_path / f"iter_0{suffix}"
    build(**other).snapshot(path)
    solver = build()
    before = tensors(solver)
    with pytest.raises(CaffeFileError, match="a snapshot of another net") as raised:
        solver.restore(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    assert all(torch.equal(blob, before[name]) for name, blob in tensors(solver).items())


def test_a_snapshot_of_a_wider_net_is_refused_by_its_shape(tmp_path):
    def build(channels):
        net = CaffeNet("layer { name: 'ip' type: 'InnerProduct' bottom: 'data' top: 'ip' inner_product_param { num_output: "
                       f"{channels} }} }} layer {{ name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' "
                       "top: 'loss' }", "train")
        net.reshape(data=(1, 4), label=(1,))
        return Solver('base_lr: 0.1 lr_policy: "fixed"', net, iter([]))

    build(3).snapshot(tmp_path / "iter_0.safetensors")
    solver = build(5)
    before = tensors(solver)
    with pytest.raises(CaffeFileError, match="of another net: its shape is 3x4, the net's 5x4"):
        solver.restore(tmp_path / "iter_0.safetensors")
    assert all(torch.equal(blob, before[name]) for name, blob in tensors(solver).items())


@pytest.mark.parametrize("other, says", [({"seed": 1}, "seed is 1337, but was 1"), ({"mirror": False}, "mirror is True")])
def test_a_snapshot_of_another_order_is_refused_before_anything_is_touched(build, tmp_path, other, says):
    donor = build(feed=other)
    donor.step(2)
    donor.snapshot(tmp_path / "iter_2.safetensors")
    solver = build()
    before = tensors(solver)
    with pytest.raises(CaffeError, match=says):
        solver.restore(tmp_path / "iter_2.safetensors")
    assert solver.iter == 0
    assert all(torch.equal(blob, before[name]) for name, blob in tensors(solver).items())


def cut(path):
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path):
    path.write_bytes(b"")


def garble(path):
    path.write_bytes(b"\xff" * 500)


def strip(path):
    """Nothing but the tensors: no metadata, as other programs write."""
    save_file(load_file(path), path)


@pytest.mark.parametrize("damage", [cut, empty, garble, strip])
def test_damaged_snapshots_are_refused(build, tmp_path, damage):
    path = tmp_path / "iter_0.safetensors"
    solver = build()
    solver.snapshot(path)
    damage(path)
    with pytest.raises(CaffeFileError, match="snapshot") as raised:
        solver.restore(path)
    assert "\n" not in str(raised.value)


def test_missing_snapshots_and_weights_are_named(build, tmp_path):
    solver = build()
    with pytest.raises(CaffeFileError, match="iter_9.safetensors: no such snapshot"):
        solver.restore(tmp_path / "iter_9.safetensors")
    solver.snapshot(tmp_path / "iter_0.solverstate")
    (tmp_path / "iter_0.caffemodel").unlink()
    with pytest.raises(CaffeFileError, match=r"iter_0\.caffemodel' are neither there nor beside it"):
        solver.restore(tmp_path / "iter_0.solverstate")


def test_a_snapshot_that_cannot_be_written_leaves_the_old_one(build, tmp_path):
    path = tmp_path / "iter_0.safetensors"
    solver = build()
    solver.snapshot(path)
    kept = path.read_bytes()
    solver.step()
    solver.feed.seed = np.int64(3)  # which JSON does not know: writing fails
    with pytest.raises(TypeError):
        solver.snapshot(path)
    assert path.read_bytes() == kept
    assert list(tmp_path.iterdir()) == [path]
