"""Fillers: the distributions of filler.hpp, and bilinear kernels number by number."""

import math

import numpy as np
import pytest
import torch

import converters
import surgery
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


# Worked out by hand from BilinearFiller::Fill: f = ceil(size / 2.), c = (size - 1) / (2. * f), 1 - |x / f - c|.
LINES = {
    1: [1],
    2: [0.5, 0.5],
    3: [0.5, 1, 0.5],
    4: [0.25, 0.75, 0.75, 0.25],
    5: [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3],
    6: [1 / 6, 3 / 6, 5 / 6, 5 / 6, 3 / 6, 1 / 6],
    7: [0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25],
    8: [0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125],
    10: [0.1, 0.3, 0.5, 0.7, 0.9, 0.9, 0.7, 0.5, 0.3, 0.1],
}


@pytest.mark.parametrize("size", LINES)
def test_bilinear(size):
    blob = filled((3, 2, size, size), type="bilinear")
    np.testing.assert_allclose(blob, np.broadcast_to(np.outer(LINES[size], LINES[size]), (3, 2, size, size)), atol=1e-6)


@pytest.mark.parametrize("size", [*LINES, 16, 63, 64])
def test_bilinear_is_the_releases_kernel(size):
    np.testing.assert_allclose(filled((1, 1, size, size), type="bilinear")[0, 0], surgery.bilinear_kernel(size), atol=1e-6)


@pytest.mark.parametrize(("shape", "type", "match"), [
    ((2, 2), "noise", "unknown filler type 'noise': known are bilinear, constant"),
    ((2, 2, 3), "bilinear", "needs a 4-D blob"), ((2, 2, 3, 4), "bilinear", "square kernels"),
    ((), "xavier", "needs a blob of at least one axis"), ((), "positive_unitball", "needs a blob of at least one axis"),
    ((2, 0), "constant", "an empty blob")])
def test_bad_fillers(shape, type, match):
    with pytest.raises(converters.CaffeError, match=match):
        filled(shape, type=type)


@pytest.mark.parametrize(("settings", "match"), [
    ({"type": "xavier", "sparse": 1}, "filler 'xavier' takes no sparse"),
    ({"type": "gaussian", "sparse": -2}, "sparse -2 must be from 0 to the 40 outputs"),
    ({"type": "gaussian", "sparse": 41}, "sparse 41 must be from 0 to the 40 outputs"),
    ({"type": "gaussian", "std": 0}, "std 0.0 must be positive"),
    ({"type": "uniform", "min": 1, "max": 0.5}, "min 1.0 must not be above max 0.5")])
def test_settings_that_caffe_refuses(settings, match):
    with pytest.raises(converters.CaffeError, match=match):
        filled(**settings)


def test_fans_of_blobs_of_one_axis_and_of_three():
    # One axis of 500: fan in is 500 / 500, fan out all 500. (4, 50, 30): fan in 1500, fan out 120.
    assert 1.6 < filled((500,), type="xavier").abs().max() <= math.sqrt(3)
    for shape, norm, fan in [((500,), "FAN_OUT", 500), ((4, 50, 30), "FAN_IN", 1500), ((4, 50, 30), "FAN_OUT", 120)]:
        bound = math.sqrt(3 / fan)
        assert 0.98 * bound < filled(shape, type="xavier", variance_norm=norm).abs().max() <= bound * (1 + 1e-6)
