"""The paper's experiment, stage by stage: a classifier made fully convolutional, then 32s, 16s and 8s, each scored."""

import json
import time
from pathlib import Path

import click
import torch

import reference
from converters import CaffeError, CaffeNet, write_caffemodel
from converters.files import atomic_write
from repro.data import Feed
from repro.doctor import environment
from repro.extras import how_to_install, missing
from repro.miniature import schedule as miniature
from repro.report import artifacts
from repro.report.page import write_report
from repro.reproduction.figure import draw_figure
from repro.scoring.tables import TITLES
from repro.training import schemes
from repro.training.initial_weights import prepare
from repro.training.loop import train
from repro.training.solver import Solver

FIGURE_IMAGES = 4


def reproduce(job, folder):
    """Train and score every stage of `job` in `folder`; returns the results, which are also in FOLDER/results.json.

    Called again, it goes on from the last finished stage or snapshot.
    """
    folder = Path(folder)
    results = _open_results(job, folder)
    folder.mkdir(parents=True, exist_ok=True)

    def announce(line):
        click.echo(line)
        with (folder / "log.txt").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    if undrawn := missing("report"):
        announce(f"without {' and '.join(undrawn)} this run gets no figure and no report: {how_to_install('report')}; "
                 "called again after that it makes them and trains nothing twice")
    if job.scale == "miniature":
        announce(miniature.BANNER)
    for stage in job.stages:
        if stage not in results["stages"] or not _weights_of(stage, folder).exists():
            torch.manual_seed(job.seed)
            results["stages"][stage] = _run_stage(job, stage, folder, announce)
            _write_results(folder, results)
        for line in _score_lines(job, stage, results["stages"][stage]):
            announce(line)
    if job.scale == "miniature":
        announce(miniature.BANNER)
    last = job.stages[-1]
    head, dataset = next(iter(job.sets[last].val.items()))
    images = artifacts.read_evaluation(folder / last)[head or ""]["images"]
    artifacts.keep_pictures(dataset, images, folder / artifacts.PICTURES)
    if not undrawn:
        draw_figure(folder / "figure.png", job, {stage: _weights_of(stage, folder) for stage in job.stages}, FIGURE_IMAGES)
        write_report(folder)
    return results


def _run_stage(job, stage, folder, announce):
    sets, schedule = job.sets[stage], reference.schedule(stage)
    description, param = schemes.net_and_solver(job.schemes, stage, sets.train, folder / stage, sets.num_classes, job.width,
                                           job.base_lr.get(stage))
    net = CaffeNet(description, "train")
    net.param.name = job.title(stage)
    weights = [_weights_of(start, folder) for start in schedule.starts_from if start in job.sets] or [job.weights]
    report = prepare(net, weights, job.fill_missing)
    with atomic_write(folder / stage / "surgery.txt") as temporary:
        temporary.write_text(f"{_banner(job)}{' and '.join(map(str, weights))} to {stage}\n{report}\n")
    published = schedule.rounds * schedule.steps
    iterations = job.iterations.get(stage, published)
    paper = f"{published} at {reference.solver(stage).base_lr:g}"
    announce(f"{job.title(stage)}: {iterations} iterations at rate {param.base_lr:g} (the paper's: {paper})")
    began = time.monotonic()
    with Feed(sets.train, seed=1337 + job.seed, mirror=job.mirror, sampling=schemes.sampling(job.schemes)) as feed:
        solver = Solver(param, net, feed)
        loss = train(solver, folder / stage, iterations, every=max(50, min(param.snapshot or 4000, iterations // 4)))
    write_caffemodel(_weights_of(stage, folder), net.param, net.to_blobs())
    trained = time.monotonic()
    scores = artifacts.score_stage(net, stage, sets.val, folder / stage, f"scoring {job.title(stage)}")
    lists = [dataset.list_file for dataset in (sets.train, *sets.val.values())]
    return {**scores, "iterations": iterations, "loss": loss, "base_lr": float(f"{param.base_lr:g}"),
            "train_seconds": round(trained - began, 1), "evaluate_seconds": round(time.monotonic() - trained, 1),
            "environment": environment(), "files": artifacts.hashes([*weights, *lists, _weights_of(stage, folder)], folder)}


def _weights_of(stage, folder):
    return folder / f"{stage}.caffemodel"


def _open_results(job, folder):
    """The results of the run in `folder` so far; a new run's are written at once, so that no other run goes on with it."""
    path = folder / "results.json"
    if not path.exists():
        results = {"scale": job.scale, "note": _banner(job).strip(), "job": job.about(), "stages": {}}
        _write_results(folder, results)
        return results
    results = artifacts.read_results(path)
    ours = json.loads(json.dumps(job.about()))  # as it comes back from a file
    different = [key for key, value in ours.items() if results["job"].get(key) != value]
    if different:
        raise CaffeError(f"{folder} holds another run: it differs in {', '.join(different)}; choose another folder (--run) "
                         "or remove it")
    return results


def _write_results(folder, results):
    with atomic_write(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")


def _score_lines(job, stage, result):
    for head in job.sets[stage].val:
        title = job.title(stage) + (f", {head}" if head else "")
        line = "  ".join(f"{label} {100 * result.get(head, result)[key]:.1f}" for key, label in TITLES.items())
        row = reference.paper.published(stage, head)
        paper = "  ".join(f"{TITLES[key]} {value}" for key, value in row.scores.items()) if row else ""
        yield f"{title}: {line}" + (f"   (the paper's, on {row.table}: {paper})" if row else "")


def _banner(job):
    return miniature.BANNER + "\n" if job.scale == "miniature" else ""
