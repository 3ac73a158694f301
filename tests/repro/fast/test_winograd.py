"""Winograd's convolution is the convolution."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from repro.fast import winograd


def compare(bottom, weight, bias=None):
    """The largest difference to the convolution in double precision, against the largest number."""
    expected = F.conv2d(bottom.double(), weight.double(), None if bias is None else bias.double())
    found = winograd.convolve(bottom, weight, bias)
    assert found.shape == expected.shape and found.dtype == bottom.dtype
    return float((found - expected).abs().max() / expected.abs().max())


def test_the_transforms_make_a_convolution():
    """Along one axis: six pixels and three weights make four pixels, by six multiplications."""
    top, kernel, bottom = winograd.transforms()
    pixels, weights = np.random.default_rng(0).standard_normal((2, 6))
    found = top @ ((kernel @ weights[:3]) * (bottom @ pixels))
    assert np.abs(found - np.correlate(pixels, weights[:3], "valid")).max() < 1e-13


@pytest.mark.parametrize(("scratch", "chunk"), [(winograd.SCRATCH, winograd.CHUNK), (4000, 2000), (20000, 9000)])
def test_every_remainder_of_the_tile_in_batches_and_pieces(scratch, chunk, monkeypatch):
    monkeypatch.setattr(winograd, "SCRATCH", scratch)
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 7, 3, 3, dtype=torch.double), torch.randn(5, dtype=torch.double)
    for height, width in [(3, 3), (6, 6), (7, 13), (8, 20), (9, 11), (30, 4)]:
        bottom = torch.randn(2, 7, height, width, dtype=torch.double)
        assert compare(bottom.contiguous(memory_format=torch.channels_last), weight, bias) < 1e-13
        assert compare(bottom, weight) < 1e-13


def test_its_error_in_single_precision_is_small():
    torch.manual_seed(0)
    bottom = torch.randn(1, 512, 30, 30).relu().contiguous(memory_format=torch.channels_last)
    assert compare(bottom, torch.randn(64, 512, 3, 3) / 68) < 4e-6
