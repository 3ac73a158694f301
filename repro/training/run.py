"""One net's training, put together: by `repro train` for a published net or a solver's directory, by `repro reproduce`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import reference
from converters import CaffeError, CaffeNet, read_caffemodel, write_caffemodel
from converters.caffe_pb2 import SolverParameter
from converters.files import FilePath
from reference.families import Classes
from reference.nets import sizes_of
from reference.netspec import Width
from repro import distributed
from repro.data import Dataset, Feed, open_voc
from repro.scoring.evaluation import score
from repro.training import schemes
from repro.training.caffe_solver import SEED, find, open_release, open_test
from repro.training.initial_weights import Weights, prepare
from repro.training.loop import newest_snapshot, say, train
from repro.training.solver import Solver
from surgery.transplant import TransplantReport


@dataclass
class Run:
    """One net's training, ready to start: `start`, `go`, `write`.

    val: what the net is scored on each `test_interval` iterations, or None. caffes_prefix: where Caffe's own snapshots go
    beside the run's, or None.
    """

    name: str
    param: SolverParameter
    net: CaffeNet
    feed: Feed
    val: Dataset | None = None
    test_interval: int = 0
    caffes_prefix: Path | None = None

    def score_each(self, interval: int) -> None:
        """Score the net every so many iterations, or with 0 not at all."""
        if interval and self.val is None:
            raise CaffeError(f"there is nothing to score {self.name} on every {interval} iterations: no list val (see "
                             "--test-split), or no data for the solver's test net")
        self.test_interval = interval

    def share_passes(self) -> int:
        """Share the passes of an iteration among the processes, at least one each; returns how many are done in all."""
        self.param.iter_size = math.ceil(self.param.iter_size / distributed.world_size())
        return self.param.iter_size * distributed.world_size()

    def start(self, weights: Sequence[Weights], folder: FilePath, snapshot: FilePath | None = None, resume: bool = False,
              **surgery: Any) -> TransplantReport | None:
        """Give the net the weights that it starts from, and return what became of each layer.

        Where the training goes on from a snapshot there is nothing to give: None.

        snapshot: a snapshot of ours or Caffe's; resume: go on from the newest one in `folder`, if there is one. Other
        options are those of `prepare`. CaffeError where a run in `folder` would be written over.
        """
        newest = distributed.broadcast_object(newest_snapshot(folder))
        if newest and not resume:
            raise CaffeError(f"{folder} holds a run ({newest.name}): go on with it by --resume, or choose another folder "
                             "by -o")
        if newest and snapshot:
            raise CaffeError(f"--resume goes on from {newest}: leave --snapshot out, or choose another folder by -o")
        if newest or snapshot:
            return None
        if not weights:
            raise CaffeError(f"{self.name} needs weights to start from (--weights), or a snapshot (--snapshot)")
        return prepare(self.net, weights, **surgery)

    def go(self, folder: FilePath, iterations: int, every: int, device: str = "cpu", amp: bool = False,
           snapshot: FilePath | None = None) -> float:
        """Train, and return the loss per pixel; arguments as of `train`."""
        self.net.to(device)
        with self.feed:
            solver = Solver(self.param, self.net, self.feed, amp)
            if snapshot:
                solver.restore(snapshot)
            return train(solver, folder, iterations, every, self._score, self.test_interval if self.val else 0,
                         self.caffes_prefix)

    def write(self, path: FilePath) -> None:
        """Write the net's weights; of several processes rank 0 does, and the others wait."""
        if distributed.rank() == 0:
            write_caffemodel(path, self.net.param, self.net.to_blobs())
        distributed.broadcast_object(None)

    def _score(self):
        return score(self.net, self.val, title=f"scoring {self.name}").scores()


def published(net: str, dataset: Dataset, folder: FilePath, num_classes: Classes | None = None, width: Width = 1,
              names: Sequence[str] = (), base_lr: float | None = None, seed: int = 0, mirror: bool = False,
              jitter: int = 0) -> Run:
    """The Run of a published net on a Dataset, by the schemes named; nothing is scored on the way.

    folder: the run's own. num_classes: default: the data set's. Images are drawn as the release draws them, from seed 1337
    on; of several processes each draws its share.
    """
    param, solver = schemes.net_and_solver(names, net, dataset, folder, num_classes or dataset.num_classes, width, base_lr)
    feed = Feed(dataset, seed=SEED + seed, mirror=mirror, jitter=jitter, sampling=schemes.sampling(names),
                shard=distributed.shard())
    return Run(net, solver, CaffeNet(param, "train"), feed)


def published_on_folder(net: str, data: FilePath, folder: FilePath, weights: Sequence[FilePath] = (),
                        width: Width | None = None, split: str = "train", test_split: str | None = None,
                        image_scale: float = 1, **options: Any) -> Run:
    """The Run of a published net on a folder in VOC layout; other options are those of `published`.

    Scored is the list `test_split`, default: val where there is one, after each round of the release's.
    """
    dataset = open_voc(data, split, scale=image_scale)
    width = width or (sizes_of(read_caffemodel(weights[0]).blobs)["width"] if weights else 1)
    run = published(net, dataset, folder, width=width, **options)
    if test_split or (Path(data) / "ImageSets" / "Segmentation" / "val.txt").exists():
        run.val = open_voc(data, test_split or "val", scale=image_scale)
        run.test_interval = reference.schedule(net).steps
    return run


def directory(path: FilePath, folder: Path, base_lr: float | None = None) -> tuple[Run, list[Any]]:
    """(Run, the weights that it names) of a solver prototxt of the release's.

    Scored is what its test net reads, as often as its test_interval says, or after each round where the solver leaves that
    to the release's solve.py. A relative snapshot_prefix is seen from `folder`.
    """
    param, net, feed = open_release(path)
    param.base_lr = base_lr or param.base_lr
    name = Path(path).absolute().parent.name
    interval, val = param.test_interval, None
    if 0 < interval <= param.max_iter:
        val = open_test(param, path)
    elif name in reference.names():
        interval = reference.schedule(name).steps
        try:
            val = open_test(param, path)
        except CaffeError as error:
            say(f"not scored on the way: {error}")
    prefix = Path(param.snapshot_prefix)
    # A solver without a prefix has been given its own path for one.
    prefix = folder / (prefix.name if prefix == Path(path).with_suffix("") else prefix)
    files = [find(each, Path(path).parent, str(path)) for line in param.weights for each in line.split(",")]
    # Of a layer that several files hold, Caffe keeps the last.
    weights = files if len(files) < 2 else [{k: v for file in files for k, v in read_caffemodel(file).blobs.items()}]
    return Run(name, param, net, feed, val, interval, prefix if param.snapshot else None), weights


def use(device: str, tf32: bool = False, deterministic: bool = True) -> str:
    """Settle how this process computes; CaffeError where it has no such device. Returns the device."""
    if device != "cpu" and not {"cuda": torch.cuda, "mps": torch.backends.mps}[device].is_available():
        raise CaffeError(f"--device {device}: there is none that PyTorch can use; leave it out to train on the CPU")
    if device == "cuda":
        torch.cuda.set_device(distributed.local_device(device))
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = not deterministic
        # What has no deterministic kernel is warned of, not refused.
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
    return distributed.local_device(device)
