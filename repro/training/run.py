"""What `repro train` trains: a published net on one's own data, or what a solver's directory says."""

from dataclasses import dataclass
from pathlib import Path

import torch

import reference
from converters import CaffeError, CaffeNet, read_caffemodel, write_caffemodel
from converters.caffe_pb2 import SolverParameter
from reference.sizes import sizes_of
from repro import distributed
from repro.data import Dataset, Feed, open_voc
from repro.data.published import excluded_classes
from repro.scoring.evaluation import evaluate
from repro.training import schemes
from repro.training.caffe_solver import find, open_release, open_test
from repro.training.initial_weights import prepare
from repro.training.loop import newest_snapshot, say, train
from repro.training.solver import Solver


@dataclass
class Run:
    """One net's training, ready to start.

    val: what the net is scored on each `test_interval` iterations, or None. caffes_prefix: where Caffe's own snapshots go
    beside the run's, or None.
    """

    name: str
    param: SolverParameter
    net: CaffeNet
    feed: Feed
    val: Dataset | None
    test_interval: int
    caffes_prefix: Path | None = None

    def score_each(self, interval):
        """Score the net every so many iterations, or with 0 not at all."""
        if interval and self.val is None:
            raise CaffeError(f"there is nothing to score {self.name} on every {interval} iterations: no list val (see "
                             "--test-split), or no data for the solver's test net")
        self.test_interval = interval

    def start(self, weights, folder, snapshot=None, resume=False, **surgery):
        """Give the net the weights that it starts from; not where the training goes on from a snapshot.

        snapshot: a snapshot of ours or Caffe's; resume: go on from the newest one in `folder`, if there is one. Other
        options are those of `prepare`. CaffeError where a run in `folder` would be written over.
        """
        newest = newest_snapshot(folder)
        if newest and not resume:
            raise CaffeError(f"{folder} holds a run ({newest.name}): go on with it by --resume, or choose another folder "
                             "by -o")
        if newest and snapshot:
            raise CaffeError(f"--resume goes on from {newest}: leave --snapshot out, or choose another folder by -o")
        if newest or snapshot:
            return
        if not weights:
            raise CaffeError(f"{self.name} wants weights to start from (--weights), or a snapshot (--snapshot)")
        say(str(prepare(self.net, weights, **surgery)))

    def go(self, folder, iterations, every, device="cpu", amp=False, snapshot=None):
        """Train, and return the loss a pixel; arguments as of `train`."""
        self.net.to(device)
        with self.feed:
            solver = Solver(self.param, self.net, self.feed, amp)
            if snapshot:
                solver.restore(snapshot)
            return train(solver, folder, iterations, every, self._score, self.test_interval if self.val else 0,
                         self.caffes_prefix)

    def write(self, path):
        """Write the net's weights; of several processes rank 0 does, and the others wait."""
        if distributed.rank() == 0:
            write_caffemodel(path, self.net.param, self.net.to_blobs())
        distributed.broadcast_object(None)

    def _score(self):
        absent = excluded_classes(self.name, self.val) if self.name in reference.names() else ()
        blob = "score" if any("score" in layer.top for layer in self.net.param.layer) else f"score_{self.val.labels_blob}"
        return evaluate(self.net, self.val, blob, f"scoring {self.name}").scores(absent)


def published(net, data, folder, weights=None, width=None, split="train", test_split=None, image_scale=1, seed=0,
              mirror=False, jitter=0, names=(), base_lr=None):
    """The Run of a published net on a folder in VOC layout, by the schemes named.

    Scored is the list `test_split`, unless told val where there is one, after each round of the release's.
    """
    dataset = open_voc(data, split, scale=image_scale)
    width = width or (sizes_of(read_caffemodel(weights[0]).blobs)["width"] if weights else 1)
    param, solver = schemes.net_and_solver(names, net, dataset, folder, dataset.num_classes, width, base_lr)
    feed = Feed(dataset, seed=1337 + seed, mirror=mirror, jitter=jitter, sampling=schemes.sampling(names),
                shard=distributed.shard())
    val = None
    if test_split or (Path(data) / "ImageSets" / "Segmentation" / "val.txt").exists():
        val = open_voc(data, test_split or "val", scale=image_scale)
    return Run(net, solver, CaffeNet(param, "train"), feed, val, reference.schedule(net).steps)


def directory(path, folder, base_lr=None):
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


def use(device, tf32=False, deterministic=True):
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
