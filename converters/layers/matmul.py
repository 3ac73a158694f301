"""Matrix products at the processor's full speed.

PyTorch gives products of 32-bit floats to MKL, which uses half the vector width of AMD's processors; oneDNN, which it gives
convolutions to, uses all of it, and PyTorch has it for products, too, as the operator that its compiler calls.
"""

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable


def linear(rows, weight, bias=None):
    """rows N x C times weight K x C transposed, and the bias K added: N x K. What F.linear does, with its gradients."""
    if torch.is_autocast_enabled(rows.device.type) or not _by_onednn(rows):
        return F.linear(rows, weight, bias)
    return _Linear.apply(rows, weight, bias) if torch.is_grad_enabled() else _linear(rows, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows, weight, bias):
        ctx.save_for_backward(rows, weight)
        return _linear(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        return (_linear(gradient, weight.t()) if of_rows else None,
                _linear(gradient.t(), rows.t()) if of_weight else None,
                gradient.sum(0) if of_bias else None)


def _linear(rows, weight, bias=None):
    if all(matrix.is_contiguous() or matrix.t().is_contiguous() for matrix in (rows, weight)):
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return F.linear(rows, weight, bias)  # oneDNN is many times slower where rows have gaps between them


def _by_onednn(rows):
    return (rows.dtype == torch.float32 and rows.device.type == "cpu" and torch.backends.mkldnn.is_available()
            and torch.backends.mkldnn.enabled and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
