"""The paper's experiment, stage by stage: a classifier made fully convolutional, then 32s, 16s and 8s, each scored.

Of several processes rank 0 writes the files and says what is to be said; training and scoring are shared out.
"""

import json
import time
from pathlib import Path

import click
import torch

import reference
from converters import CaffeError
from converters.files import atomic_write
from repro import distributed
from repro.doctor import environment
from repro.extras import how_to_install, missing
from repro.miniature import schedule as miniature
from repro.report import artifacts
from repro.report.page import write_report
from repro.reproduction.figure import draw_figure
from repro.scoring.tables import TITLES
from repro.training.run import published

FIGURE_IMAGES = 4


def reproduce(job, folder):
    """Train and score every stage of `job` in `folder`; returns the results, which are also in FOLDER/results.json.

    Called again, it goes on from the last finished stage or snapshot.
    """
    folder = Path(folder)
    results = distributed.first_rank(_open_results, job, folder)

    def announce(line):
        if distributed.rank() == 0:
            click.echo(line)
            with (folder / "log.txt").open("a") as log:
                log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    if undrawn := missing("report"):
        announce(f"without {' and '.join(undrawn)} this run gets no figure and no report: {how_to_install('report')}; "
                 "called again after that it makes them and trains nothing twice")
    if job.scale == "miniature":
        announce(miniature.BANNER)
    for stage in job.stages:
        if not distributed.broadcast_object(stage in results["stages"] and _weights_of(stage, folder).exists()):
            torch.manual_seed(job.seed)
            results["stages"][stage] = _run_stage(job, stage, folder, announce)
            distributed.first_rank(_write_results, folder, results)
        for line in _score_lines(job, stage, results["stages"][stage]):
            announce(line)
    if job.scale == "miniature":
        announce(miniature.BANNER)
    distributed.first_rank(_show, job, folder)
    return results


def _run_stage(job, stage, folder, announce):
    """Train and score one stage; returns its entry in the results."""
    sets, schedule = job.sets[stage], reference.schedule(stage)
    run = published(stage, sets.train, folder / stage, sets.num_classes, job.width, job.schemes, job.base_lr.get(stage),
                    job.seed, job.mirror)
    run.net.param.name = job.title(stage)
    weights = [_weights_of(start, folder) for start in schedule.starts_from if start in job.sets] or [job.weights]
    report = run.start(weights, folder / stage, resume=True, fill_missing=job.fill_missing)
    if report:
        distributed.first_rank(_write_text, folder / stage / "surgery.txt",
                               f"{_banner(job)}{' and '.join(map(str, weights))} to {stage}\n{report}\n")
    iterations, rate = job.iterations.get(stage, schedule.rounds * schedule.steps), run.param.base_lr
    passes = run.share_passes()
    announce(f"{job.title(stage)}: {iterations} iterations at rate {rate:g}{_beside(job, stage, passes)}")
    began = time.monotonic()
    loss = run.go(folder / stage, iterations, every=max(50, min(run.param.snapshot or 4000, iterations // 4)))
    run.write(_weights_of(stage, folder))
    trained = time.monotonic()
    scores = artifacts.score_stage(run.net, sets.val, folder / stage, f"scoring {job.title(stage)}")

    def entry():
        lists = [dataset.list_file for dataset in (sets.train, *sets.val.values())]
        return {**scores, "iterations": iterations, "loss": loss, "base_lr": float(f"{rate:g}"), "iter_size": passes,
                "train_seconds": round(trained - began, 1), "evaluate_seconds": round(time.monotonic() - trained, 1),
                "environment": environment(),
                "files": artifacts.hashes([*weights, *lists, _weights_of(stage, folder)], folder)}

    return distributed.first_rank(entry)


def _beside(job, stage, passes):
    """What is said of a stage's training besides its rate: other batches than the solver's, and what the paper did."""
    schedule, solver = reference.schedule(stage), reference.solver(stage)
    batches = f", {passes} images an iteration" if passes != solver.iter_size else ""
    paper = f" (the paper's: {schedule.rounds * schedule.steps} at {solver.base_lr:g})" if job.beside_the_paper else ""
    return batches + paper


def _show(job, folder):
    """Keep the pictures, draw the figure and write the report of a finished run."""
    last = job.stages[-1]
    head, dataset = next(iter(job.sets[last].val.items()))
    images = artifacts.read_evaluation(folder / last)[head or ""]["images"]
    artifacts.keep_pictures(dataset, images, folder / artifacts.PICTURES)
    if not missing("report"):
        draw_figure(folder / "figure.png", job, {stage: _weights_of(stage, folder) for stage in job.stages}, FIGURE_IMAGES)
        write_report(folder)


def _weights_of(stage, folder):
    return folder / f"{stage}.caffemodel"


def _open_results(job, folder):
    """The results of the run in `folder` so far; a new run's are written at once, so that no other run goes on with it."""
    path = folder / "results.json"
    if not path.exists():
        results = {"scale": job.scale, "published_set": job.published_set, "note": _banner(job).strip(), "job": job.about(),
                   "stages": {}}
        _write_results(folder, results)
        return results
    results = artifacts.read_results(path)
    ours = json.loads(json.dumps(job.about()))  # as it comes back from a file
    different = [key for key, value in ours.items() if results["job"].get(key) != value]
    if different:
        raise CaffeError(f"{folder} holds another run: it differs in {', '.join(different)}; choose another folder (-o) or "
                         "remove it")
    return results


def _write_results(folder, results):
    _write_text(folder / "results.json", json.dumps(results, indent=2) + "\n")


def _write_text(path, text):
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def _score_lines(job, stage, result):
    for head in job.sets[stage].val:
        title = job.title(stage) + (f", {head}" if head else "")
        line = "  ".join(f"{label} {100 * result.get(head, result)[key]:.1f}" for key, label in TITLES.items())
        row = reference.paper.published(stage, head) if job.beside_the_paper else None
        paper = "  ".join(f"{TITLES[key]} {value}" for key, value in row.scores.items()) if row else ""
        yield f"{title}: {line}" + (f"   (the paper's, on {row.table}: {paper})" if row else "")


def _banner(job):
    return miniature.BANNER + "\n" if job.scale == "miniature" else ""
