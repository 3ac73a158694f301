"""Matrix products at the processor's full speed.

PyTorch gives products of 32-bit floats to MKL, which uses half the vector width of AMD's processors; oneDNN, which it gives
convolutions to, uses all of it, and PyTorch has it for products, too, as the operator that its compiler calls.
"""

import torch
import torch.nn.functional as F


def linear(rows, weight, bias=None):
    """rows N x C times weight K x C transposed, and the bias K added: N x K. What F.linear does."""
    if _by_onednn(rows) and all(matrix.is_contiguous() or matrix.t().is_contiguous() for matrix in (rows, weight)):
        return torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    return F.linear(rows, weight, bias)


def _by_onednn(rows):
    return (rows.dtype == torch.float32 and rows.device.type == "cpu" and torch.backends.mkldnn.is_available()
            and torch.backends.mkldnn.enabled and hasattr(torch.ops.mkldnn, "_linear_pointwise"))
