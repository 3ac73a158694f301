"""Matrix products at the processor's full speed.

PyTorch gives products of 32-bit floats to MKL, which uses half the vector width of AMD's processors; oneDNN, which it gives
convolutions to, uses all of it, and PyTorch has it for products, too, as the operator that its compiler calls.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# The operator is private: another release of PyTorch may give it other arguments, or take it away.
ARGUMENTS = [("X", "Tensor"), ("W", "Tensor"), ("B", "Optional[Tensor]"), ("attr", "str"),
             ("scalars", "List[Optional[number]]"), ("algorithm", "Optional[str]")]


def linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """rows N x C times weight K x C transposed, and the bias K added: N x K. What F.linear does, with its gradients."""
    if torch.is_autocast_enabled(rows.device.type) or not _by_onednn(rows):
        return F.linear(rows, weight, bias)
    apply: Callable[..., Tensor] = _Linear.apply
    return apply(rows, weight, bias) if torch.is_grad_enabled() else _linear(rows, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _linear(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        return (_linear(gradient, weight.t()) if of_rows else None,
                _linear(gradient.t(), rows.t()) if of_weight else None,
                gradient.sum(0) if of_bias else None)


def _linear(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if all(matrix.is_contiguous() or matrix.t().is_contiguous() for matrix in (rows, weight)):
        operator = onednn_operator()
        assert operator is not None  # as `_by_onednn` has seen
        return operator(rows, weight, bias, "none", [], "")
    return F.linear(rows, weight, bias)  # oneDNN is many times slower where rows have gaps between them


def _by_onednn(rows: Tensor) -> bool:
    backend: Any = torch.backends.mkldnn
    on_cpu = rows.dtype == torch.float32 and rows.device.type == "cpu"
    return bool(on_cpu and backend.is_available() and backend.enabled and onednn_operator() is not None)


@cache
def onednn_operator() -> Callable[..., Tensor] | None:
    """PyTorch's operator for products by oneDNN; None where there is none, or one that takes other arguments."""
    operator: Any = getattr(getattr(torch.ops.mkldnn, "_linear_pointwise", None), "default", None)
    return operator if operator is not None and is_known(operator._schema) else None


def is_known(schema: Any) -> bool:
    """Whether an operator of this schema takes `ARGUMENTS` and returns one tensor."""
    return ([(argument.name, str(argument.type)) for argument in schema.arguments] == ARGUMENTS
            and [str(value.type) for value in schema.returns] == ["Tensor"])
