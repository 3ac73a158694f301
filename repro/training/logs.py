"""What a run of training leaves to be read: log.csv, scores.csv and the same as TensorBoard events."""

import csv
import time
from functools import cache

from tqdm import tqdm

from converters.files import atomic_write
from repro.extras import how_to_install, missing

FIELDS = ("net", "iteration", "loss", "loss_per_pixel", "rate", "seconds", "waiting")
SCORES = ("net", "iteration", "pixel_acc", "mean_acc", "mean_iu", "fw_iu")


class Log:
    """The log of a run in `folder`, up to `iteration` what an interrupted one has left there; None keeps no files.

    FOLDER/log.csv has a line for each iteration: `loss` as Caffe sums it, `loss_per_pixel`, the learning rate, and the
    seconds since the start, in all and those of waiting for data. FOLDER/scores.csv has one for each time the net was
    scored. `rows` and `scores` hold the same.
    """

    def __init__(self, folder, iteration):
        self.folder, self.rows, self.scores, self._events = folder, [], [], None
        if folder:
            # What an interrupted run did after its snapshot is done again.
            self.rows, self.scores = (_read(folder / name, iteration) for name in ("log.csv", "scores.csv"))
            _write(folder / "log.csv", FIELDS, self.rows)
            self._file = (folder / "log.csv").open("a", newline="", buffering=1)
            self._events = _events(folder / "tensorboard", iteration + 1)
        self._began = time.monotonic() - (self.rows[-1]["seconds"] if self.rows else 0)
        self._waited_before = self.rows[-1]["waiting"] if self.rows else 0

    def add(self, solver, rate):
        """Note the iteration that a solver has done at this rate."""
        self.rows.append({
            "net": solver.net.param.name, "iteration": solver.iter, "loss": solver.losses[-1],
            "loss_per_pixel": solver.loss_per_pixel, "rate": rate, "seconds": round(time.monotonic() - self._began, 3),
            "waiting": round(self._waited_before + solver.waited, 3)})
        if self.folder:
            csv.DictWriter(self._file, FIELDS).writerow(self.rows[-1])
        if self._events:
            for name in ("loss", "loss_per_pixel", "rate"):
                self._events.add_scalar(f"train/{name}", self.rows[-1][name], solver.iter)

    def add_scores(self, solver, scores):
        """Note the `Scores` of a solver's net."""
        self.scores.append({"net": solver.net.param.name, "iteration": solver.iter, **scores.means()})
        if self.folder:
            _write(self.folder / "scores.csv", SCORES, self.scores)
        if self._events:
            for name, value in scores.means().items():
                self._events.add_scalar(f"scores/{name}", value, solver.iter)

    def waiting(self):
        """The share of the time, from 0 to 1, that was spent waiting for data."""
        return self.rows[-1]["waiting"] / max(self.rows[-1]["seconds"], 1e-9) if self.rows else 0.0

    def mean_loss(self, count):
        """The mean loss per pixel of the last `count` iterations."""
        recent = [row["loss_per_pixel"] for row in self.rows[-count:]]
        return sum(recent) / len(recent) if recent else float("nan")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.folder:
            self._file.close()
        if self._events:
            self._events.close()


def _events(folder, first):
    """A writer of TensorBoard's events from iteration `first` on; None, which is said once, without TensorBoard."""
    if missing("tensorboard"):
        _say_once(f"TensorBoard is not installed, so no events are written, only log.csv: {how_to_install('tensorboard')}")
        return None
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(folder, purge_step=first)


@cache
def _say_once(line):
    tqdm.write(line)


def _read(path, iteration):
    """The lines up to `iteration`."""
    if not iteration or not path.exists():
        return []
    with path.open(newline="") as file:
        # A killed process may have left half a line at the end.
        rows = [row for row in csv.DictReader(file) if all(row.values())]
    numbers = [{name: value if name == "net" else float(value) for name, value in row.items()} for row in rows]
    return [row | {"iteration": int(row["iteration"])} for row in numbers if row["iteration"] <= iteration]


def _write(path, fields, rows):
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, fields, restval=0)
        writer.writeheader()
        writer.writerows(rows)
