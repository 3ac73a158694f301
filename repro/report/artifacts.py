"""What a run keeps for its report: label maps, confusion matrices, each image's IU, some pictures, environment, hashes."""

import hashlib
import json
from pathlib import Path

import numpy as np
from PIL import Image

from converters.errors import CaffeFileError
from converters.files import atomic_write
from repro import distributed
from repro.data.dataset import read_text
from repro.data.images import save_labels
from repro.scoring.evaluation import score

WORST, SPREAD = 24, 24  # pictures that are kept: those of the worst IU, and as many spread over all the others
PICTURES = "pictures"  # their folder in the run's
PICTURE_SIDE = 640  # longest side, in pixels, of a photograph that is kept


def score_stage(net, val, folder, title):
    """Score a stage's net on {head: Dataset}: {"pixel_acc", ..., "class_iu"}, further heads under their names.

    FOLDER keeps evaluation.json, as `read_evaluation` reads it, and the label maps, labels/ID.png; of several processes
    each writes the label maps of its share.
    """
    kept_scores, results = {}, []
    for head, dataset in val.items():
        found = score(net, dataset, head, title, save_to=label_folder(folder, head))
        scores = found.scores()
        results.append((head, {**scores.means(), "class_iu": scores.by_class(dataset.classes)}))
        kept_scores[head or ""] = {"classes": dataset.classes, "confusion": found.confusion.hist.tolist(),
                                   "images": found.images}
    if distributed.rank() == 0:
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
    """What `score_stage` kept in a stage's folder: {head, "" where there is one: {"classes", "confusion", "images"}}.

    The confusion matrix has a row for each true class; images are {id: {"mean_iu", "pixel_acc"}}, None where all is void.
    """
    path = folder / "evaluation.json"
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise CaffeFileError(path, f"damaged ({error}); reproduce the run again in another folder") from None


def label_folder(folder, head=None):
    """Where a stage's label maps of a head are, in the stage's folder."""
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
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        name = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.absolute().parent.name, path.name)
        found[name.as_posix()] = {"bytes": path.stat().st_size, "sha256": sha256}
    return found
