"""Matrix products: by oneDNN where it can, otherwise PyTorch's, the same numbers either way."""

import pytest
import torch
import torch.nn.functional as F

from converters.layers import matmul
from converters.layers.matmul import linear


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


def test_its_gradients():
    torch.manual_seed(0)
    values = [torch.randn(shape, requires_grad=True) for shape in ((37, 100), (50, 100), (50,))]
    weights = torch.randn(37, 50)
    found, wanted = (torch.autograd.grad((function(*values) * weights).sum(), values) for function in (linear, F.linear))
    for ours, theirs in zip(found, wanted, strict=True):
        assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
    rows, weight, bias = values
    assert torch.autograd.grad(linear(rows.detach(), weight).sum(), weight)[0].shape == weight.shape


KNOWN = "f(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"


@pytest.mark.parametrize(("schema", "known"), [
    (KNOWN, True),
    (KNOWN.replace("Tensor? B, ", ""), False),
    (KNOWN.replace("str attr", "int attr"), False),
    (KNOWN.replace("Tensor X, Tensor W", "Tensor W, Tensor X"), False),
    (KNOWN.replace("str? algorithm", "str? algorithm, bool tuned"), False),
    (KNOWN.replace("Tensor Y", "(Tensor, Tensor)"), False),
])
def test_the_private_operator_is_known_by_its_arguments(schema, known):
    assert matmul.is_known(torch._C.parse_schema(schema)) is known


def test_an_operator_of_another_schema_is_not_called(monkeypatch):
    other = torch.library.Library("mkldnn_of_tomorrow", "DEF")
    other.define("_linear_pointwise(Tensor X, Tensor W, str attr) -> Tensor")
    monkeypatch.setattr(torch.ops, "mkldnn", torch.ops.mkldnn_of_tomorrow)
    matmul.onednn_operator.cache_clear()
    try:
        assert matmul.onednn_operator() is None
        rows, weight = torch.randn(7, 10), torch.randn(5, 10)
        assert torch.equal(linear(rows, weight), F.linear(rows, weight))
    finally:
        matmul.onednn_operator.cache_clear()


def test_this_pytorch_has_the_operator():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    assert matmul.onednn_operator() is not None
