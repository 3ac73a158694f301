"""Scores as a table to read, and as JSON and CSV to keep."""

import csv
import json
from pathlib import Path

from converters.errors import CaffeError
from converters.files import atomic_write

TITLES = {"pixel_acc": "pixel acc.", "mean_acc": "mean acc.", "mean_iu": "mean IU", "fw_iu": "f.w. IU"}
WIDTHS_SHOWN = (1, 2, 3, 5, 10, 20, 40)  # of the trimap, in the table


def report(scores, trimap, dataset, **about):
    """Everything `repro evaluate` says, as JSON takes it: scores are fractions, null where a class never occurs.

    trimap: {width: Scores}, as of `Trimap.scores`; about: what was scored.
    """
    return {**about, "images": len(dataset), **scores.means(), "class_iu": scores.by_class(dataset.classes),
            "trimap": {str(width): band.means() for width, band in trimap.items()}}


def table(report):
    """A report as text, in percent."""
    lines = [f"{title:16} {100 * report[name]:6.2f}" for name, title in TITLES.items()]
    lines += [f"IU {name:13} {'never occurs' if iu is None else f'{100 * iu:6.2f}'}"
              for name, iu in report["class_iu"].items()]
    shown = [str(width) for width in WIDTHS_SHOWN if str(width) in report["trimap"]]
    if shown:
        lines.append(f"{'near boundaries':16} " + " ".join(f"{width + ' px':>6}" for width in shown))
        for name in ("pixel_acc", "mean_iu"):
            lines.append(f"{TITLES[name]:16} " + " ".join(f"{100 * report['trimap'][width][name]:6.2f}" for width in shown))
    return "\n".join(lines)


def write_report(path, report):
    """Write a report as its suffix says: .json, .csv (lines of kind, name, score, value), or the table as .txt."""
    check_suffix(path)
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        WRITERS[Path(path).suffix](report, file)


def check_suffix(path):
    """CaffeError where `write_report` cannot tell the format by the path's suffix."""
    if Path(path).suffix not in WRITERS:
        raise CaffeError(f"{path}: scores are written as {', '.join(WRITERS)}")


def _write_json(report, file):
    file.write(json.dumps(report, indent=2) + "\n")


def _write_csv(report, file):
    rows = [("all", "", name, report[name]) for name in TITLES]
    rows += [("class", name, "iu", iu) for name, iu in report["class_iu"].items()]
    rows += [("trimap", width, name, value) for width, band in report["trimap"].items() for name, value in band.items()]
    csv.writer(file).writerows([("kind", "name", "score", "value"), *rows])


def _write_table(report, file):
    file.write(table(report) + "\n")


WRITERS = {".json": _write_json, ".csv": _write_csv, ".txt": _write_table}
