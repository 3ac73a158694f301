"""Scoring a net, or label maps that were saved, on a data set."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from converters import CaffeNet
from converters.errors import CaffeError, CaffeFileError
from converters.files import FilePath
from repro import distributed
from repro.data.dataset import Dataset
from repro.data.images import load_labels, save_labels, size_of
from repro.data.prefetch import prefetch
from repro.data.published import excluded_classes
from repro.fast import accelerate
from repro.scoring.metrics import Confusion, Scores, scores
from repro.scoring.trimap import Trimap

Triple = tuple[str, Any, np.ndarray]  # an image's id, its true labels (or None) and the predicted ones, uint8 HxW
KEPT = ("mean_iu", "pixel_acc")  # of each image


@dataclass
class Evaluation:
    """What was counted over a data set, by all processes."""

    confusion: Confusion
    trimap: Trimap | None
    images: dict[str, dict[str, float] | None]  # {id: {"mean_iu", "pixel_acc"}}, None where nothing counts
    excluded_classes: list[int]  # count in no mean

    def scores(self) -> Scores:
        """The `Scores` over all images."""
        return self.confusion.scores(self.excluded_classes)

    def trimap_scores(self) -> dict[int, Scores]:
        """{width of the band around boundaries, in pixels: the `Scores` of its pixels}."""
        return self.trimap.scores(self.excluded_classes) if self.trimap else {}


def score(net: CaffeNet, dataset: Dataset, head: str | None = None, title: str = "scoring", trimap: bool = False,
          save_to: FilePath | None = None) -> Evaluation:
    """Score a net's label maps on a data set, void and the classes that its family's test set lacks left out.

    head: of a net with several, default: the one whose labels the data set has. trimap: count the pixels near boundaries
    too. save_to: a folder for the label maps, ID.png. Of several processes each takes its share of the images, and all get
    the whole. CaffeError where the net has other classes than the data set.
    """
    triples = predictions(net, dataset, score_blob(net, dataset, head), title)
    return count(save_predictions(triples, save_to) if save_to else triples, dataset, trimap)


def count(triples: Iterable[Triple], dataset: Dataset, trimap: bool = False) -> Evaluation:
    """The Evaluation of (id, truth, prediction) of each image of a data set, or of this process's share of them.

    Raises CaffeError, which names the image, where a truth and its prediction cannot be compared.
    """
    found = Evaluation(Confusion(dataset.num_classes), Trimap(dataset.num_classes) if trimap else None, {},
                       excluded_classes(dataset))
    place = {id: index for index, id in enumerate(dataset.ids)}
    by_image = np.zeros((len(dataset), len(KEPT)))
    for id, truth, prediction in triples:
        image = Confusion(dataset.num_classes)
        try:
            image.add(truth, prediction)
            if found.trimap:
                found.trimap.add(truth, prediction)
        except CaffeError as error:
            raise CaffeError(f"{id}: {error}") from None
        found.confusion.hist += image.hist
        by_image[place[id]] = _image_scores(image.hist, found.excluded_classes)
    distributed.all_reduce([torch.from_numpy(array) for array in (found.confusion.hist, by_image)])
    if found.trimap:
        distributed.all_reduce([torch.from_numpy(found.trimap.hist)])
    found.images = {id: None if np.isnan(row).any() else dict(zip(KEPT, map(float, row), strict=True))
                    for id, row in zip(dataset.ids, by_image, strict=True)}
    return found


def score_blob(net: CaffeNet, dataset: Dataset, head: str | None = None) -> str:
    """The blob of a net's scores: `score`, or `score_HEAD` of a net with several heads."""
    has_one = any("score" in layer.top for layer in net.param.layer)
    return "score" if has_one else f"score_{head or dataset.labels_blob}"


def evaluate(net: CaffeNet, dataset: Dataset, blob: str = "score", title: str = "scoring") -> Confusion:
    """The confusion matrix (a `Confusion`) of a net's label maps over a whole data set, void left out.

    Of several processes each scores its share of the images, and all get the whole matrix.
    """
    return count(predictions(net, dataset, blob, title), dataset).confusion


def _shared(dataset, title):
    """The indices of the images that this process takes, with rank 0's progress shown."""
    first, step = distributed.shard()
    return tqdm(range(first, len(dataset), step), desc=title, unit="image", disable=True if distributed.rank() else None)


@torch.no_grad()
def predictions(net: CaffeNet, dataset: Dataset, blob: str = "score", title: str = "scoring") -> Iterator[Triple]:
    """Yield (id, truth, prediction) of each image, label maps uint8 HxW; the truth is None where the set has none.

    Of several processes each yields the images of its share. The net computes in its test phase, dropout off, whatever phase
    it was built for. Scores are not kept: an image's are forgotten once its label map is made.
    """
    was_training = net.training
    net.eval()
    try:
        for index, blobs in prefetch(dataset.blobs, _shared(dataset, title)):
            truth = blobs.pop(dataset.labels_blob)[0, 0].byte().numpy() if dataset.labels_blob else None
            scores = _scores(net, blobs, blob)
            if len(scores) != dataset.num_classes:
                raise CaffeError(f"the net has {len(scores)} classes, {dataset.root} has {dataset.num_classes}")
            yield dataset.ids[index], truth, _highest(scores)
    finally:
        net.train(was_training)


def saved_predictions(folder: FilePath, dataset: Dataset) -> Iterator[Triple]:
    """Yield (id, truth, prediction) of each image of a data set, or of this process's share, the predictions being
    FOLDER/ID.png.

    Raises CaffeFileError, before anything is read, where a prediction is missing.
    """
    paths = [Path(folder) / f"{id}.png" for id in dataset.ids]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        others = f" (nor {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CaffeFileError(missing[0], f"no such label map{others}; there must be one for each image")
    for index in _shared(dataset, "scoring"):
        path = paths[index]
        truth, prediction = dataset.labels(index), load_labels(path)
        if truth.shape != prediction.shape:
            raise CaffeFileError(path, f"is {size_of(prediction)}, but {dataset.labels_path(index)} is {size_of(truth)}")
        yield dataset.ids[index], truth, prediction


def save_predictions(triples: Iterable[Triple], folder: FilePath) -> Iterator[Triple]:
    """Pass (id, truth, prediction) on, having written each prediction as FOLDER/ID.png with VOC's palette."""
    for id, truth, prediction in triples:
        save_labels(Path(folder) / f"{id}.png", prediction)
        yield id, truth, prediction


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


def _image_scores(hist, excluded):
    """The scores KEPT over the classes that an image or its labels have; nan where nothing counts."""
    means = scores(hist, excluded).means() if hist.any() else {}
    return [means.get(name, np.nan) for name in KEPT]


def _scores(net, inputs, blob):
    device = next(net.parameters()).device
    return accelerate(net, [blob])(**{name: tensor.to(device) for name, tensor in inputs.items()})[blob][0]


def _highest(scores):
    return scores.argmax(0).to(torch.uint8).cpu().numpy()
