"""The picture at a run's end: photograph, truth, and what each stage made of it."""

import numpy as np

from converters.files import atomic_write
from repro.data.images import VOID, voc_palette
from repro.inference.segmentation import load
from repro.scoring.evaluation import label_map, score_blob


def draw_figure(path, job, weights, images):
    """Write a PNG with a row for each of the first validation images: photograph, truth, and each stage's labels.

    weights: {stage: caffemodel}. Of several heads the main one is shown. Needs matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sets = {stage: next(iter(job.sets[stage].val.values())) for stage in weights}
    last = list(sets.values())[-1]
    samples = [last[index] for index in range(min(images, len(last)))]
    columns = {"photograph": [sample.image for sample in samples], "truth": [colour(sample.labels) for sample in samples]}
    for stage, file in weights.items():
        net, dataset = load(stage, file), sets[stage]
        blob = score_blob(net, dataset)
        columns[stage.removeprefix("voc-")] = [colour(label_map(net, dataset.blobs(index), blob))
                                               for index in range(len(samples))]
    figure, axes = plt.subplots(len(samples), len(columns), squeeze=False, layout="constrained",
                                figsize=(2.4 * len(columns), 2.1 * len(samples) + 0.8))
    for column, (title, pictures) in enumerate(columns.items()):
        for row, picture in enumerate(pictures):
            axes[row, column].imshow(picture)
            axes[row, column].axis("off")
        axes[0, column].set_title(title)
    if job.scale == "miniature":
        figure.suptitle("the miniature: drawn pictures, narrow nets; not the paper's results")
    shown = sorted({int(label) for sample in samples for label in np.unique(sample.labels)} - {VOID})
    handles = [plt.Rectangle((0, 0), 1, 1, color=voc_palette()[label] / 255) for label in shown]
    figure.legend(handles, [last.classes[label] for label in shown], loc="outside lower center", ncols=2 * len(columns),
                  fontsize="small")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110)
    plt.close(figure)


def colour(labels):
    """A label map in VOC's colours, uint8 HxWx3."""
    return voc_palette()[labels].astype(np.uint8)
