"""kill -9 at twenty random moments, and the run ends where an unbroken one does, byte for byte."""

import itertools
import multiprocessing
import random
import signal
import time

import torch
from helpers.small import WIDTH

import reference
from converters import CaffeNet, write_caffemodel
from repro import Solver
from repro.data import Feed, open_voc
from repro.training.initial_weights import prepare
from repro.training.loop import train

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["repro.training.loop", "torch.utils.tensorboard"])
KILLS, ITERATIONS, EVERY = 20, 90, 2


def run(data, weights, folder, iterations):
    """A run in a process of its own: dropout, momentum, mirrored images in random order."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = CaffeNet(reference.net("voc-fcn32s", "train", num_classes=3, width=WIDTH), "train")
    prepare(net, weights)
    with Feed(open_voc(data, "train"), mirror=True) as feed:
        solver = Solver('base_lr: 1e-6 momentum: 0.9 weight_decay: 0.0005 lr_policy: "fixed" average_loss: 5', net, feed)
        train(solver, folder, iterations, every=EVERY)
    write_caffemodel(folder / "net.caffemodel", net.param, net.to_blobs())


def test_killed_twenty_times_it_ends_where_an_unbroken_run_does(voc_set, classifier, tmp_path):
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    draw, halves = random.Random(0), 0
    log = killed / "log.csv"
    for kill in range(KILLS):
        process = SERVER.Process(target=run, args=(voc_set, classifier, killed, ITERATIONS))
        before = lines(log)
        process.start()
        if kill % 2:  # while a snapshot is being written
            wait_for(lambda: half_written(killed), process)
        else:  # in, or shortly before or after, one of the next iterations
            target = max(before + draw.randint(-3, 3), 1)
            wait_for(lambda target=target: lines(log) > target, process)
            time.sleep(draw.uniform(0, 0.03))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (killed / "net.caffemodel").exists()
        halves += half_written(killed)
    assert halves  # some were killed in the middle of a snapshot

    for folder in (killed, unbroken):
        process = SERVER.Process(target=run, args=(voc_set, classifier, folder, ITERATIONS))
        process.start()
        process.join(120)
        assert process.exitcode == 0
    assert (killed / "net.caffemodel").read_bytes() == (unbroken / "net.caffemodel").read_bytes()
    assert not half_written(killed) and lines(log) == lines(unbroken / "log.csv") == ITERATIONS + 1


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def half_written(folder):
    return any(folder.glob(".iter_*"))


def wait_for(happened, process):
    for _ in itertools.takewhile(lambda _: not happened(), itertools.count()):
        assert process.is_alive()
        time.sleep(0.0005)
