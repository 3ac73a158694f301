"""The training loop around a Solver: progress, a log, snapshots, scores, and resuming."""

import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from converters.caffe_pb2 import SolverParameter
from converters.files import FilePath
from repro import distributed
from repro.scoring.metrics import Scores
from repro.scoring.tables import TITLES
from repro.training import malloc
from repro.training.logs import Log
from repro.training.solver import Solver

REPORTS = 10  # lines a run prints where there is no terminal for a progress bar
KEPT_SNAPSHOTS = 2


def train(solver: Solver, folder: FilePath, iterations: int, every: int = 0, score: Callable[[], Scores] | None = None,
          score_every: int = 0, caffes_prefix: FilePath | None = None) -> float:
    """Run `solver` until it has done `iterations`, and return the mean loss per pixel of its last `average_loss` ones.

    `folder` gets a log (see `logs`) and, each `every` iterations, at the end and on an interrupt, a snapshot; where it holds
    a snapshot already, the run goes on from the newest. What is logged and shown bears the net's name. Ctrl-C ends
    the run after the iteration; a second one at once, and then what came after the newest snapshot is done again.

    score: called each `score_every` iterations for the net's `Scores`, which are logged. caffes_prefix: with each snapshot
    also write Caffe's, PREFIX_iter_N.solverstate and .caffemodel, or those with .h5 as the solver's snapshot_format says.
    """
    malloc.keep_freed()
    title, folder, first = solver.net.param.name, Path(folder), distributed.rank() == 0
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_halves(folder, caffes_prefix)
    newest = distributed.broadcast_object(newest_snapshot(folder))
    if newest:
        solver.restore(newest)
        say(f"{title}: going on from iteration {solver.iter}")

    def score_when_due():
        due = score_every and solver.iter % score_every == 0 and (solver.iter or solver.param.test_initialization)
        if due and distributed.broadcast_object(solver.iter not in [row["iteration"] for row in log.scores]):
            scores = score()
            log.add_scores(solver, scores)
            means = "  ".join(f"{TITLES[name]} {100 * value:.1f}" for name, value in scores.means().items())
            say(f"{title}: iteration {solver.iter}: {means}")

    with (Log(folder if first else None, solver.iter) as log, _interrupts_held() as interrupts,
          tqdm(total=iterations, initial=solver.iter, desc=title, unit="it", disable=None if first else True) as progress):
        score_when_due()
        while solver.iter < iterations:
            rate = solver.rate()
            solver.step()
            log.add(solver, rate)
            status = (f"loss {solver.smoothed_loss:.4g}, per pixel {log.mean_loss(solver.losses.maxlen):.3f}, "
                      f"waiting for data {log.waiting():.1%}")
            progress.set_postfix_str(status, refresh=False)
            progress.update()
            if progress.disable and solver.iter % max(1, iterations // REPORTS) == 0:
                say(f"{title}: iteration {solver.iter} of {iterations}, {status}")
            (interrupted,) = distributed.sums(len(interrupts))
            if interrupted or every and (solver.iter % every == 0 or solver.iter == iterations):
                save_snapshot(solver, folder, caffes_prefix)
            if interrupted:
                say(f"{title}: stopped after iteration {solver.iter}, whose snapshot is in {folder}")
                raise KeyboardInterrupt
            score_when_due()
    return log.mean_loss(solver.losses.maxlen)


def say(line):
    """Print a line, once for all processes of a run and beside a progress bar."""
    if distributed.rank() == 0:
        tqdm.write(line)


def save_snapshot(solver, folder, caffes_prefix=None):
    """Write FOLDER/iter_N.safetensors, after Caffe's own where a prefix is given, and remove all but the newest few."""
    if caffes_prefix:
        suffix = ".solverstate.h5" if solver.param.snapshot_format == SolverParameter.HDF5 else ".solverstate"
        solver.snapshot(Path(f"{caffes_prefix}_iter_{solver.iter}{suffix}"))
    solver.snapshot(Path(folder) / f"iter_{solver.iter}.safetensors")
    if distributed.rank() == 0:
        for old in _snapshots(folder)[:-KEPT_SNAPSHOTS]:
            old.unlink()


def newest_snapshot(folder):
    """The path of the newest snapshot in a folder, or None."""
    return next(iter(_snapshots(folder)[::-1]), None)


def _snapshots(folder):
    return sorted(Path(folder).glob("iter_*.safetensors"), key=lambda path: int(path.stem.removeprefix("iter_")))


def _remove_halves(folder, caffes_prefix):
    """Remove what a killed process was writing."""
    prefix = Path(caffes_prefix or folder / "iter")
    for half in [*folder.glob(".iter_*"), *prefix.parent.glob(f".{prefix.name}_iter_*")]:
        half.unlink()


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
