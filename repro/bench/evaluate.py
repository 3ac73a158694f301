"""How fast a folder of photographs is labelled and scored, beside labelling alone: what reading and scoring cost.

All have the same photographs, label images and random weights, and take turns, the whole folder each.
"""

import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from PIL import Image

import reference
from reference.families import VOC
from repro.bench import peers
from repro.bench.contestants import take_turns
from repro.data.images import load_image, load_labels, preprocess, save_labels
from repro.scoring.metrics import Confusion

NET, SPLIT = "voc-fcn8s", "val"
ALONE = "labelling alone"


def bench(size=(375, 500), images=8, runs=3, threads=2, width=1, others=True):
    """[Measurement, ...] of FCN-8s on a folder of photographs of one size (height, width), labelling alone first."""
    from repro.bench.infer import write_image, write_net

    with tempfile.TemporaryDirectory() as folder:
        write_image(folder, write_net(folder, NET, width), size)
        write_set(Path(folder), size, images)
        found = peers.programs(NET, width, folder, threads, others)
        ours = {ALONE: (alone, folder, *found.pop(peers.FAST)), "repro evaluate": (evaluate, folder, threads),
                "repro segment": (segment, folder, threads)}
        return take_turns(ours | {name: (scored, folder, *program) for name, program in found.items()}, runs)


def write_set(root, size, images):
    """Write smooth photographs and blocks of labels, in VOC's layout."""
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    random, classes = np.random.default_rng(0), len(reference.classes("voc"))
    names = [f"{number:03d}" for number in range(images)]
    for name in names:
        colours = Image.fromarray(random.integers(0, 256, (12, 16, 3), np.uint8))
        colours.resize(size[::-1], Image.Resampling.BICUBIC).save(root / f"JPEGImages/{name}.jpg", quality=90)
        labels = Image.fromarray(random.integers(0, classes, (6, 8), np.uint8))
        save_labels(root / f"SegmentationClass/{name}.png", np.array(labels.resize(size[::-1], Image.Resampling.NEAREST)))
    (root / f"ImageSets/Segmentation/{SPLIT}.txt").write_text("".join(f"{name}\n" for name in names))


def read(root):
    """Yield (float32 1x3xHxW as Caffe is fed, labels) of the images."""
    for path in sorted(Path(root).glob("JPEGImages/*.jpg")):
        image = preprocess(load_image(path), VOC.mean).numpy()
        yield image, load_labels(Path(root) / f"SegmentationClass/{path.stem}.png")


def alone(folder, load, *arguments):
    """Label what is in memory already."""
    label, images = load(*arguments), [image for image, _ in read(folder)]

    def run():
        for image in images:
            label(image)

    return run


def scored(folder, load, *arguments):
    """Read, label and count one image after the other, as a loop around a program would."""
    label, classes = load(*arguments), len(reference.classes("voc"))

    def run():
        confusion = Confusion(classes)
        for image, truth in read(folder):
            confusion.add(truth, label(image))
        return confusion.hist

    return run


def evaluate(folder, threads):
    """What `repro evaluate` does once its net is loaded."""
    import torch

    import repro
    from repro.data.voc import open_voc
    from repro.scoring import score

    torch.set_num_threads(threads)
    dataset, net = open_voc(folder, SPLIT), repro.load(NET, Path(folder) / "net.caffemodel")

    def run():
        return score(net, dataset, trimap=True).confusion.hist

    return run


def segment(folder, threads):
    """What `repro segment` does once its net is loaded."""
    import torch

    import repro
    from repro.inference.folders import label

    torch.set_num_threads(threads)
    paths, net = sorted(Path(folder).glob("JPEGImages/*.jpg")), repro.load(NET, Path(folder) / "net.caffemodel")
    names = reference.classes("voc")

    def run():
        with redirect_stdout(None):
            label(net, paths, Path(folder) / "segmented", names)

    return run


def lines(measured, images):
    """A table: seconds an image, the median of the turns with its spread, and the share of the rate of labelling alone."""
    yield f"{'seconds an image':26}  median    least     most    rate"
    for one in measured:
        values = [seconds / images for seconds in (one.seconds, min(one.turns), max(one.turns))]
        yield f"{one.name:24} {values[0]:9.3f} {values[1]:8.3f} {values[2]:8.3f} {measured[0].seconds / one.seconds:7.0%}"
