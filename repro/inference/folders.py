"""Label many photographs, one after another, and write the results of each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from converters.errors import CaffeFileError
from converters.files import atomic_write
from repro.data.images import frames, load_image, overlay, save_labels
from repro.data.prefetch import prefetch, write_behind
from repro.inference import segmentation
from repro.inference.legend import percent, with_legend


def label(net, paths, output, names, head=None, probabilities=False, areas=False, say=print):
    """Label photographs and write the results into the folder `output`.

    names: the names of the classes. say: called with one line for each photograph that is done. Returns a CaffeFileError for
    each photograph that cannot be read; the others are labelled all the same.
    """
    unread = []
    with write_behind() as later:
        for path, (image, note) in prefetch(_read, paths):
            if image is None:
                unread.append(note)
                continue
            labels, scores = _label(net, image, head, probabilities)
            later(_write, Path(output) / path.stem, image, labels, scores, names, areas)
            later(say, f"{path} -> {Path(output) / path.stem}.png{note}")
    return unread


def _read(path):
    """(RGB uint8 HxWx3, a note for its line), or (None, the error) if it cannot be read."""
    try:
        count = frames(path)
        return load_image(path), f"  (the first of {count} pictures)" if count > 1 else ""
    except CaffeFileError as error:
        return None, error


def _label(net, image, head, probabilities):
    """(label map, each class's probabilities or None) of an image."""
    photograph = Image.fromarray(image)
    if not probabilities:
        return segmentation.segment(net, photograph, head), None
    scores = segmentation.probabilities(net, photograph, head)
    return scores.argmax(0).astype(np.uint8), scores


def _write(stem, image, labels, scores, names, areas):
    """Write the results: each file's name is STEM and a suffix."""
    if scores is not None:
        with atomic_write(f"{stem}-probabilities.npz") as temporary:
            np.savez_compressed(temporary, probabilities=scores.astype(np.float16), classes=names)
    covered = segmentation.areas(labels, names)
    save_labels(f"{stem}.png", labels)
    legend = [(names.index(name), f"{name} {percent(area['fraction'])}") for name, area in covered.items()]
    with atomic_write(f"{stem}-overlay.png") as temporary:
        # Compressed lightly: stronger compression would take a tenth as long as the labelling.
        Image.fromarray(with_legend(overlay(image, labels), legend)).save(temporary, compress_level=1)
    if areas:
        height, width = labels.shape
        with atomic_write(f"{stem}-areas.json") as temporary:
            temporary.write_text(json.dumps({"width": width, "height": height, "areas": covered}, indent=2) + "\n")
