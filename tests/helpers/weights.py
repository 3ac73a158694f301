"""Caffemodels of narrow published nets."""

import numpy as np

import reference
from converters import CaffeNet, write_caffemodel
from helpers.small import WIDTH


def write_narrow(path, name, num_classes=None):
    """Write random weights for a published net at a small width, and return the path."""
    random = np.random.RandomState(5)
    net = CaffeNet(reference.net(name, "deploy", num_classes=num_classes, width=WIDTH))
    blobs = {layer: [random.standard_normal(array.shape).astype(np.float32) * np.sqrt(2 / max(1, np.prod(array.shape[1:])))
                     for array in arrays] for layer, arrays in net.to_blobs().items()}
    write_caffemodel(path, net.param, blobs)
    return path
