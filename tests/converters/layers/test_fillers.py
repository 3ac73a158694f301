"""Fillers: the distributions of filler.hpp, and bilinear kernels number by number."""

import math

import numpy as np
import pytest
import torch

import converters
from converters.caffe_pb2 import FillerParameter
from converters.layers.fillers import fill

SHAPE = (40, 30, 5, 4)  # fan in 600, fan out 800


def filled(shape=SHAPE, **settings):
    return fill(torch.empty(shape), FillerParameter(**settings), torch.Generator().manual_seed(0)).double()


def test_constant():
    assert (filled(type="constant", value=0.25) == 0.25).all()
    assert (filled() == 0).all()  # Caffe's default


def test_uniform():
    blob = filled(type="uniform", min=-1, max=3)
    assert -1 <= blob.min() < -0.99 and 2.99 < blob.max() <= 3
    assert abs(blob.mean() - 1) < 0.05


def test_gaussian():
    blob = filled(type="gaussian", mean=2, std=0.5)
    assert abs(blob.mean() - 2) < 0.02 and abs(blob.std() - 0.5) < 0.02


def test_sparse_gaussian():
    blob = filled((50, 2000), type="gaussian", std=1, sparse=10)
    assert abs((blob != 0).double().mean() - 10 / 50) < 0.01


@pytest.mark.parametrize(("norm", "fan"), [("FAN_IN", 600), ("FAN_OUT", 800), ("AVERAGE", 700)])
def test_xavier_and_msra(norm, fan):
    xavier = filled(type="xavier", variance_norm=norm)
    bound = math.sqrt(3 / fan)
    assert 0.99 * bound < xavier.abs().max() <= bound * (1 + 1e-6)
    assert abs(filled(type="msra", variance_norm=norm).std() / math.sqrt(2 / fan) - 1) < 0.02


def test_positive_unitball():
    for shape in (SHAPE, (7,)):
        blob = filled(shape, type="positive_unitball")
        assert (blob >= 0).all()
        np.testing.assert_allclose(blob.reshape(shape[0], -1).sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 63, 64])
def test_bilinear(size):
    factor = math.ceil(size / 2)
    centre = (2 * factor - 1 - factor % 2) / (2 * factor)
    line = [1 - abs(i / factor - centre) for i in range(size)]
    blob = filled((3, 2, size, size), type="bilinear")
    np.testing.assert_allclose(blob, np.broadcast_to(np.outer(line, line), (3, 2, size, size)), atol=1e-6)


@pytest.mark.parametrize(("shape", "type", "match"), [
    ((2, 2), "noise", "unknown filler type 'noise': known are bilinear, constant"),
    ((2, 2, 3), "bilinear", "needs a 4-D blob"), ((2, 2, 3, 4), "bilinear", "square kernels")])
def test_bad_fillers(shape, type, match):
    with pytest.raises(converters.CaffeError, match=match):
        filled(shape, type=type)
