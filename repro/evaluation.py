"""Scoring a net on a data set."""

import torch
from tqdm import tqdm

from repro.images import preprocess
from repro.scores import Confusion


@torch.no_grad()
def evaluate(net, dataset, blob="score", title="evaluating"):
    """The confusion matrix (a `Confusion`) of a net's label maps over a whole data set, void left out.

    The net computes in its test phase, dropout off, whatever phase it was built for. Scores are not kept: each image's
    label map is counted and forgotten.
    """
    confusion, was_training = Confusion(dataset.num_classes), net.training
    net.eval()
    try:
        for index in tqdm(range(len(dataset)), desc=title, unit="image", disable=None):
            sample = dataset[index]
            confusion.add(sample.labels, label_map(net, preprocess(sample.image, dataset.mean), blob))
    finally:
        net.train(was_training)
    return confusion


@torch.no_grad()
def label_map(net, data, blob="score"):
    """The class of the highest score at every pixel: uint8 HxW, from data 1x3xHxW."""
    data = data.contiguous(memory_format=torch.channels_last)
    scores = net.forward_blobs({"data": data}, [blob])[blob]
    return scores[0].argmax(0).to(torch.uint8).numpy()
