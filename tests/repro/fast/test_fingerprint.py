"""Whatever changes a tensor's values changes its fingerprint."""

import pytest
import torch

from repro.fast.fingerprint import BLOCK, fingerprint

SIZES = [(1,), (3,), (2 * BLOCK,), (64, 3, 3, 3), (2 * BLOCK + 5, 3)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_edit_shows(size, dtype):
    blob = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(dtype)
    before = fingerprint([blob])
    assert fingerprint([blob.clone()]) == before
    for place in {0, blob.numel() // 2, blob.numel() - 1}:
        kept = blob.view(-1)[place].item()
        blob.data.view(-1)[place] += 1
        assert fingerprint([blob]) != before
        blob.data.view(-1)[place] = kept
    assert fingerprint([blob]) == before


def test_an_edit_through_numpy_or_data_shows():
    blob = torch.nn.Parameter(torch.ones(4, 4))
    before, version = fingerprint([blob]), blob._version
    blob.detach().numpy()[0, 0] = 2
    edited = fingerprint([blob])
    blob.data[...] = 3
    assert len({before, edited, fingerprint([blob])}) == 3 and blob._version == version


@pytest.mark.parametrize("change", [
    lambda blob: blob.flip(0), lambda blob: blob.flip(3), lambda blob: blob.transpose(2, 3), lambda blob: -blob,
    lambda blob: blob.roll(2 * BLOCK), lambda blob: blob.roll(BLOCK), lambda blob: blob.roll(1),
], ids=["rows reversed", "mirrored", "transposed", "negated", "two blocks on", "a block on", "one on"])
def test_numbers_that_change_places_show(change):
    blob = torch.randn(128, 32, 3, 3, generator=torch.Generator().manual_seed(1))
    before = fingerprint([blob])
    blob.data[...] = change(blob.clone())
    assert fingerprint([blob]) != before


def test_channels_last_is_seen_without_a_copy_and_edits_in_it_show():
    blob = torch.randn(8, 4, 3, 3).contiguous(memory_format=torch.channels_last)
    before = fingerprint([blob])
    blob.data[7, 3, 2, 2] = 9
    assert fingerprint([blob]) != before
