"""Scoring a net, or label maps that were saved, on a data set."""

from pathlib import Path

import torch
from tqdm import tqdm

from converters import CaffeNet
from converters.errors import CaffeError, CaffeFileError
from repro import distributed
from repro.data.dataset import Dataset
from repro.data.images import load_labels, size_of
from repro.data.prefetch import prefetch
from repro.fast import accelerate
from repro.scoring.metrics import Confusion


def evaluate(net: CaffeNet, dataset: Dataset, blob: str = "score", title: str = "evaluating") -> Confusion:
    """The confusion matrix (a `Confusion`) of a net's label maps over a whole data set, void left out.

    Of several processes each scores its share of the images, and all get the whole matrix.
    """
    confusion = Confusion(dataset.num_classes)
    for _, truth, prediction in predictions(net, dataset, blob, title):
        confusion.add(truth, prediction)
    all_reduce_counters(confusion)
    return confusion


def all_reduce_counters(*counters):
    """Add up what several processes have counted, each in a `hist` of its own: afterwards all have all of it."""
    distributed.all_reduce([torch.from_numpy(counter.hist) for counter in counters])


def shared(dataset, title):
    """The indices of the images that this process takes, with rank 0's progress shown."""
    first, step = distributed.shard()
    return tqdm(range(first, len(dataset), step), desc=title, unit="image", disable=True if distributed.rank() else None)


@torch.no_grad()
def predictions(net, dataset, blob="score", title="evaluating"):
    """Yield (id, truth, prediction) of each image, label maps uint8 HxW; the truth is None where the set has none.

    Of several processes each yields the images of its share. The net computes in its test phase, dropout off, whatever phase
    it was built for. Scores are not kept: an image's are forgotten once its label map is made.
    """
    was_training = net.training
    net.eval()
    try:
        for index, blobs in prefetch(dataset.blobs, shared(dataset, title)):
            truth = blobs.pop(dataset.labels_blob)[0, 0].byte().numpy() if dataset.labels_blob else None
            scores = _scores(net, blobs, blob)
            if len(scores) != dataset.num_classes:
                raise CaffeError(f"the net has {len(scores)} classes, {dataset.root} has {dataset.num_classes}")
            yield dataset.ids[index], truth, _highest(scores)
    finally:
        net.train(was_training)


def saved_predictions(folder, dataset):
    """Yield (id, truth, prediction) of each image of a data set, or of this process's share, the predictions being
    FOLDER/ID.png.

    Raises CaffeFileError, before anything is read, where a prediction is missing.
    """
    paths = [Path(folder) / f"{id}.png" for id in dataset.ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f" (nor {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CaffeFileError(missing[0], f"no such label map{others}; there must be one for each image")
    for index in shared(dataset, "scoring"):
        path = paths[index]
        truth, prediction = dataset.labels(index), load_labels(path)
        if truth.shape != prediction.shape:
            raise CaffeFileError(path, f"is {size_of(prediction)}, but {dataset.labels_path(index)} is {size_of(truth)}")
        yield dataset.ids[index], truth, prediction


def tally(triples, *counters):
    """Add every (id, truth, prediction) to each of `counters`, a `Confusion` first; CaffeError names the image."""
    for id, truth, prediction in triples:
        try:
            for counter in counters:
                counter.add(truth, prediction)
        except CaffeError as error:
            raise CaffeError(f"{id}: {error}") from None


def refuse_trained(dataset, trained):
    """Raise CaffeError where images of `dataset` are among the ids that were trained on."""
    seen = [id for id in dataset.ids if id in trained]
    if seen:
        raise CaffeError(f"{len(seen)} of the {len(dataset)} images are trained on ({seen[0]}, ...), so the scores would "
                         "flatter; choose another split, as seg11valid for VOC, or --force")


@torch.no_grad()
def label_map(net, inputs, blob="score"):
    """The class of the highest score at every pixel: uint8 HxW, from what the net is fed, {blob: 1xCxHxW}."""
    return _highest(_scores(net, inputs, blob))


def _scores(net, inputs, blob):
    device = next(net.parameters()).device
    return accelerate(net, [blob])(**{name: tensor.to(device) for name, tensor in inputs.items()})[blob][0]


def _highest(scores):
    return scores.argmax(0).to(torch.uint8).cpu().numpy()
