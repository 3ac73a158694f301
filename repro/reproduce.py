"""The paper's experiment, stage by stage: a classifier made fully convolutional, then 32s, 16s and 8s, each scored."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch

import reference
from converters import CaffeError, CaffeFileError, CaffeNet, write_caffemodel
from converters.files import written_whole
from repro.data import Feed, open_sbd, open_voc
from repro.evaluation import evaluate
from repro.figure import draw_figure
from repro.miniature import schedule
from repro.miniature.classifier import WEIGHTS, WIDTH
from repro.miniature.dataset import write_dataset
from repro.solver import Solver
from repro.training import prepare, train

FIGURE_IMAGES = 4


@dataclass
class Job:
    """What is reproduced: data, the classifier to start from, and how it differs from the paper's solvers.

    scale: "miniature", "paper" (VOC 2011 and SBD) or "own" (anybody's data in VOC layout).
    iterations and base_lr: {stage: number}; a stage that is not in them trains as published.
    """

    scale: str
    train: object
    val: object
    weights: Path
    stages: list
    width: float = 1
    seed: int = 0
    iterations: dict = field(default_factory=dict)
    base_lr: dict = field(default_factory=dict)
    fill_missing: str | None = None
    mirror: bool = False

    def title(self, stage):
        return f"{stage} (miniature)" if self.scale == "miniature" else stage

    def about(self):
        """What results.json and the log say of the job, and what must be the same for a run to go on."""
        return {"scale": self.scale, "classes": self.train.num_classes, "width": self.width, "seed": self.seed,
                "train_images": len(self.train), "val_images": len(self.val), "weights": Path(self.weights).name,
                "mirror": self.mirror, "fill_missing": self.fill_missing,
                "iterations": self.iterations, "base_lr": self.base_lr}


def stages_of(net):
    """The nets that are trained one from the other to make `net`, the coarsest first."""
    start = reference.schedule(net).starts_from[0]
    return [*(stages_of(start) if "fcn" in start else []), net]


def miniature_job(net, folder, seed, iterations=None, base_lr=None):
    """The embedded default: drawn scenes, nets of an eighth of the width, the classifier that the project keeps."""
    data = write_dataset(Path(folder) / f"data-seed{seed}", seed, schedule.TRAIN, schedule.VAL)
    stages = stages_of(net)
    unknown = [stage for stage in stages if stage not in schedule.STAGES]
    if unknown:
        raise CaffeError(f"the miniature has no {unknown[0]}: it has {', '.join(schedule.STAGES)}; for other nets give "
                         "--data, --weights and, for the paper's job, --sbd")
    return Job("miniature", open_voc(data, "train"), open_voc(data, "val"), WEIGHTS, stages, WIDTH, seed,
               {stage: schedule.STAGES[stage].iterations for stage in stages} | (iterations or {}),
               {stage: schedule.STAGES[stage].base_lr for stage in stages} | (base_lr or {}))


def real_job(net, data, sbd, weights, image_scale=1, limit=None, **options):
    """The paper's job where `data` is VOC 2011, which wants SBD too; else the same with one's own data in VOC layout."""
    own = data is not None and (Path(data) / "classes.txt").exists()
    wanted = {"voc2011": data, "vgg16": weights} | ({} if own else {"sbd": sbd})
    missing = [name for name, given in wanted.items() if given is None]
    if missing:
        asked = {"voc2011": "DATA (--data)", "sbd": "SBD (--sbd)", "vgg16": "WEIGHTS (--weights)"}
        lines = [f"{asked[name]}: {reference.download(name).what}, {reference.download(name).url}" for name in missing]
        raise CaffeError("the paper's job also wants " + "; ".join(lines))
    if own:
        train_set = open_voc(data, "train", scale=image_scale)
        val = open_voc(data, "val", scale=image_scale, limit=limit)
    else:
        train_set = open_sbd(sbd, scale=image_scale)
        val = open_voc(data, "seg11valid", scale=image_scale, limit=limit)
    if not Path(weights).exists():
        raise CaffeError(f"{weights}: no such file")
    published = not own and image_scale == 1 and limit is None
    return Job("paper" if published else "own", train_set, val, Path(weights), stages_of(net), **options)


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

    if job.scale == "miniature":
        announce(schedule.BANNER)
    weights = job.weights
    for stage in job.stages:
        done = folder / f"{stage}.caffemodel"
        if stage not in results["stages"] or not done.exists():
            torch.manual_seed(job.seed)
            results["stages"][stage] = _run_stage(job, stage, weights, folder, announce)
            _write_results(folder, results)
        weights = done
        announce(_score_line(job, stage, results["stages"][stage]))
    if job.scale == "miniature":
        announce(schedule.BANNER)
    draw_figure(folder / "figure.png", job, {stage: folder / f"{stage}.caffemodel" for stage in job.stages}, FIGURE_IMAGES)
    return results


def _run_stage(job, stage, weights, folder, announce):
    net = CaffeNet(reference.net(stage, "train", num_classes=job.train.num_classes, width=job.width), "train")
    net.param.name = job.title(stage)
    report = prepare(net, weights, job.fill_missing)
    with written_whole(folder / stage / "surgery.txt") as temporary:
        temporary.write_text(f"{_banner(job)}{weights} to {stage}\n{report}\n")
    param = reference.solver(stage)
    iterations = job.iterations.get(stage, param.max_iter)
    paper = f"{param.max_iter} at {param.base_lr:g}"
    param.base_lr = job.base_lr.get(stage, param.base_lr)
    announce(f"{job.title(stage)}: {iterations} iterations at rate {param.base_lr:g} (the paper's: {paper})")
    began = time.monotonic()
    with Feed(job.train, seed=1337 + job.seed, mirror=job.mirror) as feed:
        solver = Solver(param, net, feed)
        loss = train(solver, folder / stage, iterations, every=max(50, min(param.snapshot or 4000, iterations // 4)))
    write_caffemodel(folder / f"{stage}.caffemodel", net.param, net.to_blobs())
    trained = time.monotonic()
    scores = evaluate(net, job.val, title=f"scoring {job.title(stage)}").scores()
    return {**scores.means(), "iterations": iterations, "loss": loss, "base_lr": float(f"{param.base_lr:g}"),
            "class_iu": scores.by_class(job.val.classes),
            "train_seconds": round(trained - began, 1), "evaluate_seconds": round(time.monotonic() - trained, 1)}


def _open_results(job, folder):
    """The results of the run in `folder` so far; a new run's are written at once, so that no other run goes on with it."""
    path = folder / "results.json"
    if not path.exists():
        results = {"scale": job.scale, "note": _banner(job).strip(), "job": job.about(), "stages": {}}
        _write_results(folder, results)
        return results
    try:
        results = json.loads(path.read_text())
        theirs, _ = results["job"], results["stages"]
    except (ValueError, KeyError, TypeError) as error:
        raise CaffeFileError(path, f"not a run's results, or damaged ({error}); remove it to start anew") from None
    different = [key for key, value in job.about().items() if theirs.get(key) != value]
    if different:
        raise CaffeError(f"{folder} holds another run: it differs in {', '.join(different)}; choose another folder (--run) "
                         "or remove it")
    return results


def _write_results(folder, results):
    with written_whole(folder / "results.json") as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n")


def _score_line(job, stage, result):
    line = "  ".join(f"{label} {100 * result[key]:.1f}" for key, label in (
        ("pixel_acc", "pixel acc."), ("mean_acc", "mean acc."), ("mean_iu", "mean IU"), ("fw_iu", "f.w. IU")))
    published = reference.paper.scores(stage).get("mean_iu")
    paper = f"   (the paper's, on VOC: mean IU {published})" if published else ""
    return f"{job.title(stage)}: {line}{paper}"


def _banner(job):
    return schedule.BANNER + "\n" if job.scale == "miniature" else ""
