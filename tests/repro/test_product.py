"""Matrix products: by oneDNN where it can, otherwise PyTorch's, the same numbers either way."""

import pytest
import torch
import torch.nn.functional as F

from repro.fast.product import linear


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bias", [True, False])
def test_as_pytorch_multiplies(dtype, bias):
    torch.manual_seed(0)
    rows, weight = torch.randn(37, 100, dtype=dtype), torch.randn(50, 100, dtype=dtype)
    bias = torch.randn(50, dtype=dtype) if bias else None
    wanted = F.linear(rows.double(), weight.double(), None if bias is None else bias.double())
    # As they lie, transposed, and with gaps between the rows.
    for like in (torch.Tensor.contiguous, lambda m: m.T.contiguous().T, lambda m: torch.cat([m, m], 1)[:, :100]):
        found = linear(like(rows), like(weight), bias)
        assert found.dtype == dtype and (found - wanted).abs().max() < 1e-5 * wanted.abs().max()
