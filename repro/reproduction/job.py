"""What is reproduced: which stages, on which sets, from which classifier, and how it differs from the paper."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import reference
from converters import CaffeError, read_caffemodel
from reference.families import family_of
from reference.nets import sizes_of
from reference.netspec import Width
from reference.solvers import stages_of
from repro import distributed
from repro.data import Dataset, open_voc
from repro.data.published import is_published_set, open_data, open_train
from repro.miniature import schedule
from repro.miniature.classifier import WEIGHTS, WIDTH
from repro.miniature.dataset import write_dataset
from repro.scoring.evaluation import refuse_trained


class Sets(NamedTuple):
    """What a stage is trained on, and what it is scored on: {head: Dataset}, None where there is but one."""

    train: Dataset
    val: dict

    @property
    def num_classes(self):
        """As `reference.net` takes it: a number, or {head: number}."""
        classes = {head: dataset.num_classes for head, dataset in self.val.items()}
        return classes.get(None, classes)


@dataclass
class Job:
    """A run of `repro.reproduction.stages`.

    scale: "miniature", "paper" (the published sets in full) or "own" (anything else).
    sets: {stage: Sets}, in the order of training. weights: the classifier's, that the first stages start from.
    iterations and base_lr: {stage: number}; a stage that is not in them trains as published. schemes: names of
    `repro.training.schemes`, by which every stage is trained.
    """

    scale: str
    sets: dict
    weights: Path
    width: Width = 1
    seed: int = 0
    iterations: dict = field(default_factory=dict)
    base_lr: dict = field(default_factory=dict)
    fill_missing: str | None = None
    mirror: bool = False
    schemes: tuple = ()

    @property
    def stages(self):
        return list(self.sets)

    @property
    def published_set(self):
        """Whether all that is scored is what the paper's numbers are of."""
        return all(is_published_set(stage, dataset, head)
                   for stage, sets in self.sets.items() for head, dataset in sets.val.items())

    @property
    def beside_the_paper(self):
        """Whether the paper's numbers may stand beside the scores: on the paper's set, or the miniature's, which says so."""
        return self.scale == "miniature" or self.published_set

    def title(self, stage):
        return f"{stage} (miniature)" if self.scale == "miniature" else stage

    def about(self):
        """What results.json and the log say of the job, and what must be the same for a run to go on."""
        sets = list(self.sets.values())[-1]
        return {"scale": self.scale, "classes": sets.num_classes, "width": self.width, "seed": self.seed,
                "train_images": len(sets.train), "val_images": len(next(iter(sets.val.values()))),
                "weights": Path(self.weights).name, "mirror": self.mirror, "fill_missing": self.fill_missing,
                "iterations": self.iterations, "base_lr": self.base_lr, "schemes": list(self.schemes) or None,
                "processes": processes if (processes := distributed.world_size()) > 1 else None}


def miniature_job(net, folder, seed, iterations=None, base_lr=None):
    """The embedded default: drawn scenes, nets of an eighth of the width, the classifier that the project keeps."""
    stages = stages_of(net)
    unknown = [stage for stage in stages if stage not in schedule.STAGES]
    if unknown:
        raise CaffeError(f"the miniature has no {unknown[0]}: it has {', '.join(schedule.STAGES)}; for other nets give "
                         "--data, --weights and what else the paper's job needs")
    data = distributed.first_rank(write_dataset, Path(folder) / f"data-seed{seed}", seed, schedule.TRAIN, schedule.VAL)
    sets = Sets(open_voc(data, "train"), {None: open_voc(data, "val")})
    return Job("miniature", dict.fromkeys(stages, sets), WEIGHTS, WIDTH, seed,
               {stage: schedule.STAGES[stage].iterations for stage in stages} | (iterations or {}),
               {stage: schedule.STAGES[stage].base_lr for stage in stages} | (base_lr or {}))


ASKED = {name: f"{name.upper()} (--{name})" for name in ("data", "sbd", "context", "weights")}


def real_job(net, data=None, sbd=None, weights=None, context=None, image_scale=1, limit=None, force=False, width=None,
             **options):
    """The paper's job on the net's published set; for VOC's nets, where `data` has a classes.txt, one's own in VOC layout.

    data: the set, VOC 2011 or, with Context's labels in `context`, VOC 2010. sbd: what VOC's nets are trained on. weights:
    the classifier's; width: default: the weights'. force: score images that are trained on too. Other options:
    Job's.
    """
    stages, family = stages_of(net), family_of(net)
    own = family.any_set and data is not None and (Path(data) / "classes.txt").exists()
    given = {"data": data, "sbd": sbd, "context": context, "weights": weights}
    needed = {name: source.what or _download(source.name) for name, source in family.sources.items()}
    needed["weights"] = _download(reference.schedule(stages[0]).starts_from[0])
    if own:
        needed.pop("sbd", None)
    if missing := [f"{ASKED[name]}: {what}" for name, what in needed.items() if given[name] is None]:
        raise CaffeError("the paper's job also needs " + "; ".join(missing))
    if strange := [ASKED[name] for name in given if name not in needed and given[name] is not None]:
        raise CaffeError(f"{', '.join(strange)} plays no part in training {net} on this set: leave it out")
    if not Path(weights).exists():
        raise CaffeError(f"{weights}: no such file")
    sets = {}
    for stage in stages:
        if own:
            train = open_voc(data, "train", scale=image_scale)
            val = {None: open_voc(data, "val", scale=image_scale, limit=limit)}
        else:
            train = open_train(stage, sbd or data, context, scale=image_scale)
            val = {head: open_data(stage, data, head=head, context=context, scale=image_scale, limit=limit)
                   for head in family.head_names}
        if not force:
            for dataset in val.values():
                refuse_trained(dataset, set(train.ids))
        sets[stage] = Sets(train, val)
    width = width or sizes_of(read_caffemodel(weights).blobs)["width"]
    other_batches = any(reference.solver(stage).iter_size % distributed.world_size() for stage in stages)
    changed = (own or width != 1 or image_scale != 1 or limit is not None or force or options.get("schemes")
               or other_batches)
    return Job("own" if changed else "paper", sets, Path(weights), width, **options)


def _download(name):
    """Where a set or weights come from, in words."""
    download = reference.download(name)
    return f"{download.what}, {download.url}"
