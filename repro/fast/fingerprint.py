"""Numbers that tell whether weights are still what they were, however they were edited.

PyTorch counts the writes to a tensor, but not those through `.data`, `.numpy()` or a mapped file, as pycaffe's users make
them. So the values themselves are looked at: 60 MB, VGG16's convolutions, take 6 ms.
"""

from collections.abc import Iterable

import numpy as np
import torch

BLOCK = 4096  # words that are multiplied by numbers of their own
_MULTIPLIERS = np.random.default_rng(0).integers(1 << 62, size=BLOCK, dtype=np.uint64) * 2 + 1  # odd: each can be inverted


def fingerprint(blobs: Iterable[torch.Tensor]) -> tuple:
    """For each tensor its type, place and layout, and a sum of its 64-bit words, each times a number of its own.

    All is modulo 2^64 and the numbers are odd, so an edit of one word always shows, and any other but for one in 2^64.
    """
    return tuple((blob.dtype, blob.device, blob.shape, blob.stride(), _checksum(blob.detach())) for blob in blobs)


def _checksum(blob):
    order = sorted(range(blob.ndim), key=lambda axis: -blob.stride(axis))
    values = blob.permute(order).contiguous().reshape(-1).cpu()  # as they lie in memory: no copy but from a GPU
    data = values.view(torch.uint8).numpy()
    words = data[:len(data) // 8 * 8].view(np.uint64)
    rest = int.from_bytes(data[len(words) * 8:].tobytes(), "little")
    whole = len(words) // BLOCK * BLOCK
    rows = np.einsum("ij,j->i", words[:whole].reshape(-1, BLOCK), _MULTIPLIERS)
    last = np.einsum("i,i", words[whole:], _MULTIPLIERS[:len(words) - whole])
    total = int(last) * 3 + rest * 5
    for start in range(0, len(rows), BLOCK):
        part = rows[start:start + BLOCK]
        total = total * 7 + int(np.einsum("i,i", part, _MULTIPLIERS[:len(part)]))
    return total % 2**64
