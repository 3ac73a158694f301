"""A run's folder, read for its report."""

import csv
from dataclasses import dataclass
from pathlib import Path

from converters.errors import CaffeError, CaffeFileError
from repro.data.dataset import read_text
from repro.report.artifacts import read_evaluation, read_results


@dataclass
class StageRecord:
    """One finished stage: its entry in results.json, what was kept of its scoring, its log and its surgery's report."""

    net: str
    folder: Path
    result: dict
    evaluation: dict  # {head, "" where there is one: {"classes", "confusion", "images"}}
    log: list  # [(iteration, loss per pixel), ...]
    surgery: str

    @property
    def name(self):
        """Short, as in figures: 32s, 16s, 8s."""
        return self.net.partition("-fcn")[2].lstrip("-") or self.net

    def scores(self, head):
        """{"pixel_acc", ..., "class_iu"} of a head."""
        return self.result[head] if head and head in self.result else self.result


@dataclass
class RunRecord:
    """results.json as it stands, and the stages that are finished, the coarsest first."""

    folder: Path
    results: dict
    stages: list

    @property
    def is_miniature(self):
        return self.results["scale"] == "miniature"

    @property
    def beside_the_paper(self):
        """Whether the paper's numbers may stand beside these: its own set was scored, or the miniature, which says so."""
        # Runs of earlier versions do not say which set they scored.
        return self.is_miniature or self.results.get("published_set", self.results["scale"] == "paper")

    @property
    def heads(self):
        """The heads that the last stage is scored on; [""] where there is but one."""
        return list(self.stages[-1].evaluation)


def read_run(folder):
    """The RunRecord in a folder; CaffeError where there is none, or none of its stages is finished."""
    folder = Path(folder)
    path = folder / "results.json"
    if not path.exists():
        raise CaffeFileError(path, "no such file; a report is made of a folder that `repro reproduce` has written")
    results = read_results(path)
    try:
        stages = [_read_stage(folder / net, net, result) for net, result in results["stages"].items()]
    except CaffeError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CaffeFileError(path, f"not a run's results, or damaged ({error})") from None
    if not stages:
        raise CaffeError(f"{folder}: no stage is finished yet; there will be a report when one is")
    return RunRecord(folder, results, stages)


def _read_stage(folder, net, result):
    with (folder / "log.csv").open(newline="") as file:
        log = [(int(row["iteration"]), float(row["loss_per_pixel"])) for row in csv.DictReader(file)]
    return StageRecord(net, folder, result, read_evaluation(folder), log, read_text(folder / "surgery.txt"))
