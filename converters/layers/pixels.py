"""How the pixels of a layer's top lie over those of its bottoms, along height and width.

A layer declares it once, as its `pixels`. Coordinate maps, crop offsets, receptive fields and the fast path all follow.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """The windows of a layer along one axis: window i covers `kernel` pixels from `stride * i - pad` on.

    A convolution's windows lie on its bottom, a deconvolution's (`transposed`) on its top. A dilated kernel counts with its
    gaps. A layer that works pixel by pixel has windows of one pixel; a crop at an offset has a negative pad.
    """

    kernel: int = 1
    stride: int = 1
    pad: int = 0
    transposed: bool = False

    def seen(self, first: int, last: int) -> tuple[int, int]:
        """The first and last pixel of the bottom that the top's pixels `first` to `last` see, padding included."""
        if self.transposed:
            return (first + self.pad - self.kernel) // self.stride + 1, (last + self.pad) // self.stride
        return first * self.stride - self.pad, last * self.stride - self.pad + self.kernel - 1


class Pixels(NamedTuple):
    """The windows along height and width, the axis that height is, and whether a pixel is computed from them alone."""

    height: Window = Window()
    width: Window = Window()
    axis: int = 2
    local: bool = True


# In the test phase each pixel of the top is computed from the same pixel of the bottoms, all pixels and items alike.
SAME = Pixels()
# The pixels lie as in SAME, but more counts than what is below: the whole image (MVN), other items, a weight for each place.
ALIGNED = Pixels(local=False)

# The axes of (N, C, H, W) along which a layer may work and leave the pixels where they are.
ITEMS, CHANNELS = (0, -4), (1, -3)


def windows(kernel: Sequence[int], stride: Sequence[int], pad: Sequence[int], dilation: Sequence[int] = (1, 1),
            transposed: bool = False, axis: int = 2) -> Pixels:
    """The Pixels of a layer with these settings, each (height, width)."""
    height, width = (Window((k - 1) * d + 1, s, p, transposed)
                     for k, s, p, d in zip(kernel, stride, pad, dilation, strict=True))
    return Pixels(height, width, axis)


def along_axis(axis: int) -> Pixels | None:
    """The Pixels of a layer that works along one axis of its bottoms; none where that is height or width."""
    return SAME if axis in CHANNELS else ALIGNED if axis in ITEMS else None
