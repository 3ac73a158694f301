"""The training loop around a Solver: progress, a log, snapshots, and resuming."""

import csv
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

import surgery
from converters import CaffeError
from converters.caffe_pb2 import LossParameter
from converters.files import written_whole
from converters.layers.loss import normalization_mode
from repro import surgeries
from repro.images import VOID
from surgery.interp import upsampling_layers

LOG_FIELDS = ("net", "iteration", "loss", "loss_per_pixel", "rate", "seconds")
REPORTS = 10  # lines a run prints where there is no terminal for a progress bar
KEPT_SNAPSHOTS = 2


def prepare(net, weights, fill_missing=None, interpolate=True, expand_scores=False):
    """The surgery before training: transplant `weights` (see `repro.surgeries`), then interpolate in the upsampling layers.

    A layer left with neither weights nor a filler would stay zero and learn nothing. Such layers are filled with the
    Caffe filler `fill_missing`; without one CaffeError names them. Returns the TransplantReport.
    """
    report = surgeries.transplant(net, weights, expand_scores)
    empty = surgery.unfilled(net)
    if interpolate:
        surgery.interp(net)
    else:
        empty += [name for name in upsampling_layers(net) if not net.params[name][0].any()]
    if empty and not fill_missing:
        given = ", ".join(map(str, weights)) if isinstance(weights, list | tuple) else weights
        raise CaffeError(f"layers {', '.join(empty)} have no weights in {given} and no filler: they would stay zero and "
                         "learn nothing; give weights that hold them, or fill them with --fill-missing msra")
    surgery.fill_missing(net, empty, fill_missing)
    return report


def train(solver, folder, iterations, every=0):
    """Run `solver` until it has done `iterations`, and return the mean loss per pixel of its last `average_loss` ones.

    `folder` gets log.csv, one line an iteration, and, each `every` iterations and on an interrupt, a snapshot; where it
    holds a snapshot already, the run goes on from the newest. What is logged and shown bears the net's name. Ctrl-C ends
    the run after the iteration; a second one at once, and then what came after the newest snapshot is done again.
    """
    title = solver.net.param.name
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for half in folder.glob(".iter_*"):
        half.unlink()  # a killed process was writing it
    newest = newest_snapshot(folder)
    if newest:
        solver.restore(newest)
        tqdm.write(f"{title}: going on from iteration {solver.iter}")
    log = _read_log(folder / "log.csv", solver.iter)
    began = time.monotonic() - (log[-1]["seconds"] if log else 0)
    with (_open_log(folder / "log.csv", log) as file, _interrupts_held() as interrupts,
          tqdm(total=iterations, initial=solver.iter, desc=title, unit="it", disable=None) as progress):
        writer = csv.DictWriter(file, LOG_FIELDS)
        while solver.iter < iterations:
            rate, loss = solver.rate(), solver.step()
            seconds = round(time.monotonic() - began, 3)
            log.append({"net": title, "iteration": solver.iter, "loss": loss, "loss_per_pixel": loss / pixels(solver),
                        "rate": rate, "seconds": seconds})
            writer.writerow(log[-1])
            recent = _mean([row["loss_per_pixel"] for row in log[-solver.losses.maxlen:]])
            status = f"loss {solver.smoothed_loss:.4g}, a pixel {recent:.3f}"
            progress.set_postfix_str(status, refresh=False)
            progress.update()
            if progress.disable and solver.iter % max(1, iterations // REPORTS) == 0:
                tqdm.write(f"{title}: iteration {solver.iter} of {iterations}, {status}")
            if interrupts or every and solver.iter % every == 0:
                save_snapshot(solver, folder)
            if interrupts:
                raise KeyboardInterrupt
    return _mean([row["loss_per_pixel"] for row in log[-solver.losses.maxlen:]])


def pixels(solver):
    """How many pixels the last pass summed its loss over: 1 where the loss layer has averaged already."""
    counted = 0
    for param in solver.net.param.layer:
        if param.type == "SoftmaxWithLoss" and normalization_mode(param.loss_param) in (
                LossParameter.NONE, LossParameter.BATCH_SIZE):
            labels = solver.last_inputs[param.bottom[1]]
            counted += int((labels != VOID).sum()) / len(labels)
    return max(1, counted)


def save_snapshot(solver, folder):
    """Write FOLDER/iter_N.safetensors and remove all but the newest few."""
    solver.snapshot(Path(folder) / f"iter_{solver.iter}.safetensors")
    for old in _snapshots(folder)[:-KEPT_SNAPSHOTS]:
        old.unlink()


def newest_snapshot(folder):
    """The path of the newest snapshot in a folder, or None."""
    return next(iter(_snapshots(folder)[::-1]), None)


def _snapshots(folder):
    return sorted(Path(folder).glob("iter_*.safetensors"), key=lambda path: int(path.stem.removeprefix("iter_")))


def _read_log(path, iteration):
    """The lines of an interrupted run up to its snapshot; what it did after that is done again."""
    if not iteration or not path.exists():
        return []
    with path.open(newline="") as file:
        # A killed process may have left half a line at the end.
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    numbers = [{name: value if name == "net" else float(value) for name, value in row.items()} for row in rows]
    return [row | {"iteration": int(row["iteration"])} for row in numbers if row["iteration"] <= iteration]


def _open_log(path, rows):
    with written_whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, LOG_FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    return path.open("a", newline="", buffering=1)


@contextmanager
def _interrupts_held():
    """Collect Ctrl-C in the list that is yielded, to be heeded between iterations: a snapshot of half of one is worthless.

    A second one is not held. Only the main thread has signals; in any other the list stays empty.
    """
    interrupts = []

    def hold(number, frame):
        if interrupts:
            raise KeyboardInterrupt
        interrupts.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    previous = signal.signal(signal.SIGINT, hold)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, previous)


def _mean(values):
    return sum(values) / len(values) if values else float("nan")
