"""What a run keeps for its report: label maps, confusion matrices, each image's IU, some pictures, environment, hashes."""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from converters.errors import CaffeFileError
from converters.files import atomic_write
from repro.data.dataset import read_text
from repro.data.images import save_labels
from repro.data.published import excluded_classes, score_blob
from repro.scoring.evaluation import predictions, tally
from repro.scoring.metrics import Confusion, scores
from repro.scoring.voc_submission import save_predictions

WORST, SPREAD = 24, 24  # pictures that are kept: those of the worst IU, and as many spread over all the others
PICTURES = "pictures"  # their folder in the run's
PICTURE_SIDE = 640  # longest side, in pixels, of a photograph that is kept


def score_stage(net, stage, val, folder, title):
    """Score a stage's net on {labeling: Dataset}: {"pixel_acc", ..., "class_iu"}, further labelings under their names.

    FOLDER keeps evaluation.json, as `read_evaluation` reads it, and the label maps, labels/ID.png.
    """
    kept_scores, results = {}, []
    for head, dataset in val.items():
        absent, total, images = excluded_classes(stage, dataset), Confusion(dataset.num_classes), {}
        triples = predictions(net, dataset, score_blob(stage, head), title)
        for triple in save_predictions(triples, label_folder(folder, head)):
            image = Confusion(dataset.num_classes)
            tally([triple], image)
            total.hist += image.hist
            images[triple[0]] = _image_scores(image.hist, absent)
        scored = total.scores(absent)
        results.append((head, {**scored.means(), "class_iu": scored.by_class(dataset.classes)}))
        kept_scores[head or ""] = {"classes": dataset.classes, "confusion": total.hist.tolist(), "images": images}
    with atomic_write(folder / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(kept_scores) + "\n")
    (_, first), *others = results
    return first | dict(others)


def read_results(path):
    """What a run's results.json says: {"scale", "job", "stages", ...}; CaffeFileError where it says nothing of the kind."""
    try:
        results = json.loads(path.read_text())
        lacking = sorted({"scale", "job", "stages"}.difference(results))
        reason = f"it lacks {', '.join(lacking)}" if lacking else None
    except (ValueError, TypeError) as error:
        reason = error
    if reason:
        raise CaffeFileError(path, f"not a run's results, or damaged ({reason}); remove it to start anew")
    return results


def read_evaluation(folder):
    """What `score_stage` kept in a stage's folder: {labeling, "" where there is one: {"classes", "confusion", "images"}}.

    The confusion matrix has a row for each true class; images are {id: {"mean_iu", "pixel_acc"}}, None where all is void.
    """
    path = folder / "evaluation.json"
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise CaffeFileError(path, f"damaged ({error}); reproduce the run again in another folder") from None


def label_folder(folder, head=None):
    """Where a stage's label maps of a labeling are, in the stage's folder."""
    return folder / (f"labels-{head}" if head else "labels")


def worst_first(images):
    """The ids of {id: {"mean_iu", ...} or None} from the worst mean IU to the best; those all void are left out."""
    return sorted((id for id, scored in images.items() if scored), key=lambda id: images[id]["mean_iu"])


def keep_pictures(dataset, images, folder):
    """Write the photographs and truths of some images into FOLDER, ID.jpg and ID.png: the worst ones, and a spread.

    images: {id: scores}, as kept of the last stage.
    """
    ranked = worst_first(images)
    rest = ranked[WORST:]
    spread = {rest[int(place)] for place in np.linspace(0, len(rest) - 1, min(SPREAD, len(rest)))}
    for id in [*ranked[:WORST], *(id for id in rest if id in spread)]:
        sample = dataset[dataset.ids.index(id)]
        photograph = Image.fromarray(sample.image)
        photograph.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
        with atomic_write(folder / f"{id}.jpg") as temporary:
            photograph.save(temporary, quality=85)
        save_labels(folder / f"{id}.png", sample.labels)


def hashes(paths, folder):
    """{name: {"bytes", "sha256"}} of files, by their path in `folder`, or else by their folder's name and their own."""
    found = {}
    for path in map(Path, paths):
        name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.absolute().parent.name, path.name)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        found[name.as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256}
    return found


def _image_scores(hist, absent):
    """The mean IU over the classes that an image or its labels have, and its pixel accuracy; None where all is void."""
    if not hist.any():
        return None
    scored = scores(hist, absent).means()
    return {name: scored[name] for name in ("mean_iu", "pixel_acc")} if np.isfinite(scored["mean_iu"]) else None
