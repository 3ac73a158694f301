"""Walking a whole data set: what is in it, and everything that is wrong with it."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from converters.errors import CaffeError
from reference.families import family_of
from repro.data.images import VOID
from repro.data.published import open_data

LISTS = ("train", "val", "trainval", "test")


@dataclass
class Findings:
    """What a walk over one list found; `pixels` counts the labels of every value, void among them."""

    split: str
    ids: list = field(default_factory=list)
    classes: list = field(default_factory=list)
    sizes: Counter = field(default_factory=Counter)  # {(height, width): images}
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(VOID + 1, np.int64))
    images_with: np.ndarray = field(default_factory=lambda: np.zeros(VOID + 1, np.int64))
    problems: list = field(default_factory=list)  # a line each


def check(net, data, split, **options):
    """The `Findings` of one list of a data set; options as in `open_data`. Nothing that is wrong ends the walk."""
    findings = Findings(split)
    try:
        dataset = open_data(net, data, split, **options)
    except CaffeError as error:
        findings.problems.append(str(error))
        return findings
    findings.ids, findings.classes = dataset.ids, dataset.classes
    for index in tqdm(range(len(dataset)), desc=f"checking {split}", unit="image", disable=None):
        try:
            if hasattr(dataset, "list_file"):
                dataset.blobs(index)  # what else the nets are fed, such as depth
            labels = dataset.labels(index)
        except CaffeError as error:
            findings.problems.append(str(error))
            continue
        counts = np.bincount(labels.ravel(), minlength=VOID + 1)
        findings.sizes[labels.shape] += 1
        findings.pixels += counts
        findings.images_with += counts > 0
    return findings


def lists_of(net, data):
    """The names of the lists that a set holds, else that of the published one; trainval only where it is not the others."""
    data, family = Path(data), family_of(net)
    folder = next((folder for folder in (data / family.lists, data) if folder.is_dir()), data)
    found = [name for name in LISTS if (folder / f"{name}.txt").is_file()]
    if {"train", "val"} <= set(found):
        found = [name for name in found if name != "trainval"]
    return found or [family.splits[1]]


def overlaps(lists):
    """[(name, other name, ids in both)] of every two lists, {name: ids}, that share any."""
    names = list(lists)
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1:]]
    found = [(one, other, sorted(set(lists[one]) & set(lists[other]))) for one, other in pairs]
    return [pair for pair in found if pair[2]]


def as_dict(findings):
    """The findings, ready for JSON; classes by name, void as "(void)", with their pixels and images."""
    named = [*enumerate(findings.classes), (VOID, "(void)")]
    return {
        "list": findings.split, "images": len(findings.ids), "read": sum(findings.sizes.values()),
        "sizes": [{"height": height, "width": width, "images": count} for (height, width), count in findings.sizes.items()],
        "classes": [{"label": label, "name": name, "pixels": int(findings.pixels[label]),
                     "images": int(findings.images_with[label])} for label, name in named],
        "problems": findings.problems,
    }


def describe(findings):
    """The findings as lines of text."""
    read = sum(findings.sizes.values())
    lines = [f"{findings.split}: {len(findings.ids)} images, {read} read, {len(findings.problems)} problems"]
    if read:
        heights, widths = zip(*findings.sizes, strict=True)
        lines.append(f"  {len(findings.sizes)} sizes, widths {min(widths)} to {max(widths)}, "
                     f"heights {min(heights)} to {max(heights)}")
        for label, name in [*enumerate(findings.classes), (VOID, "(void)")]:
            share = 100 * findings.pixels[label] / findings.pixels.sum()
            lines.append(f"  {label:3} {name:20} {share:7.3f}% of the pixels, in {findings.images_with[label]} images")
    return lines + [f"  {problem}" for problem in findings.problems]
