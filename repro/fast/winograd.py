"""3x3 convolutions with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3).

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (arXiv 1509.09308). 4x4 pixels of the top are computed
from a tile of 6x6 pixels of the bottom: tiles and kernels are transformed, multiplied number by number, which over all
channels makes 36 matrix products, and transformed back. The transforms are products with small matrices, too.
"""

import math
import threading

import numpy as np
import torch
import torch.nn.functional as F

from converters.layers.matmul import linear

OUT, KERNEL = 4, 3
TILE = OUT + KERNEL - 1
# Where the polynomials are evaluated, besides infinity. With these the error is a quarter of that with 0, 1, -1, 2, -2.
POINTS = 0, 2 / 3, -2 / 3, 3 / 2, -3 / 2
# Below these the transforms cost more than the multiplications that they save: kernels, and the top's pixels.
LEAST_KERNELS, LEAST_POSITIONS = 256 * 512, 2000
SCRATCH = 3 * 2**20  # numbers that are multiplied at once
CHUNK = 2**20  # numbers that are transformed at once


def transforms(points=POINTS):
    """The matrices of one axis: of the top (OUT x TILE), of the kernel (TILE x KERNEL), of the bottom (TILE x TILE)."""
    others = [[q for q in points if q != p] for p in points]
    scales = [np.prod(np.subtract(p, rest)) for p, rest in zip(points, others, strict=True)]
    top = np.array([[p**i for p in points] + [float(i == OUT - 1)] for i in range(OUT)])
    kernel = np.array([[p**i / scale for i in range(KERNEL)] for p, scale in zip(points, scales, strict=True)] + [[0, 0, 1]])
    bottom = np.array([[*np.poly(rest)[::-1], 0] for rest in others] + [np.poly(points)[::-1]])
    return top, kernel, bottom


# Of both axes.
FROM_TILE, OF_KERNEL, TO_TILE = (torch.from_numpy(np.kron(matrix, matrix)) for matrix in transforms())


def suits(weight, bottom, positions):
    """Whether this is the faster way to convolve a bottom with weights, at a stride of one and so many positions."""
    outputs, channels, *kernel = weight.shape
    return (kernel == [KERNEL, KERNEL] and outputs * channels >= LEAST_KERNELS and positions >= LEAST_POSITIONS
            and bottom.device.type == "cpu")


def convolve(bottom, weight, bias=None):
    """The valid convolution of a bottom N x C x H x W with weights K x C x 3 x 3: N x K x (H - 2) x (W - 2)."""
    from_tile, of_kernel, to_tile = (matrix.to(bottom) for matrix in (FROM_TILE, OF_KERNEL, TO_TILE))
    count, channels, height, width = bottom.shape
    outputs = len(weight)
    rows, columns = -(-(height - 2) // OUT), -(-(width - 2) // OUT)
    pixels = F.pad(bottom, (0, OUT * columns + 2 - width, 0, OUT * rows + 2 - height)).permute(0, 2, 3, 1).contiguous()
    top = bottom.new_empty(count, rows, OUT, columns, OUT, outputs)
    row = count * columns  # tiles in a row of them
    group = at_once(outputs, TILE**2 * channels, SCRATCH)  # outputs whose kernels are transformed at once
    step = at_once(rows, TILE**2 * row * max(channels, group), SCRATCH)  # rows of tiles that are multiplied at once,
    few = at_once(step, TILE**2 * row * max(channels, group), CHUNK)  # and that are transformed at once
    for start in range(0, rows, step):
        taken = min(step, rows - start)
        chunks = [(first, min(few, taken - first)) for first in range(0, taken, few)]
        tiles = _memory(0, bottom, TILE**2, taken * row, channels)
        for first, size in chunks:
            chunk = linear(to_tile, _tiles(pixels, start + first, size, columns).T)
            tiles[:, first * row : (first + size) * row] = chunk.view(TILE**2, -1, channels)
        for output in range(0, outputs, group):
            kernels = weight[output : output + group]
            kernels = linear(of_kernel, kernels.reshape(-1, KERNEL**2)).view(TILE**2, -1, channels)
            part = _memory(1, bottom, TILE**2, taken * row, kernels.shape[1])
            for into, tile, kernel in zip(part, tiles, kernels, strict=True):
                into.copy_(linear(tile, kernel))
            for first, size in chunks:
                chunk = linear(from_tile, part[:, first * row : (first + size) * row].reshape(TILE**2, -1).T)
                chunk = chunk.view(OUT, OUT, count, size, columns, -1).permute(2, 3, 0, 4, 1, 5)
                top[:, start + first : start + first + size, :, :, :, output : output + group] = chunk
    top = top.view(count, OUT * rows, OUT * columns, outputs)
    if bias is not None:
        top += bias
    return top[:, : height - 2, : width - 2].permute(0, 3, 1, 2)


def at_once(count, numbers, most):
    """How many of `count` things of so many numbers to take at once, of `most` numbers at most: all turns much the same."""
    turns = -(-count // max(1, most // numbers))
    return -(-count // turns)


def _tiles(pixels, start, rows, columns):
    """Tiles of N x H x W x C, so many rows and columns of them from row `start` on: TILE**2 x (N rows columns C)."""
    pixels = pixels[:, OUT * start :]
    image, row, column, channel = pixels.stride()
    shape = TILE, TILE, len(pixels), rows, columns, pixels.shape[3]
    tiles = pixels.as_strided(shape, (row, column, image, OUT * row, OUT * column, channel), pixels.storage_offset())
    return tiles.reshape(TILE**2, -1)


_kept = threading.local()


def _memory(place, like, *shape):
    """A tensor of this shape, its numbers arbitrary, in the memory that this thread keeps for `place`.

    What is allocated anew the system fills with zeros, page by page, which takes as long as a transform.
    """
    memory = vars(_kept).get((place, like.dtype))
    if memory is None or memory.numel() < math.prod(shape):
        memory = vars(_kept)[place, like.dtype] = like.new_empty(max(SCRATCH, math.prod(shape)))
    return memory[: math.prod(shape)].view(shape)
