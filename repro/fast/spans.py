"""Which pixels of one blob meet which of another, along one axis."""

from typing import NamedTuple

from converters.layers.pixels import Window


class Span(NamedTuple):
    """The rows (or columns) `start` to `stop - 1` of a blob; those below zero and beyond its size are padding."""

    start: int
    stop: int

    @property
    def length(self):
        return max(0, self.stop - self.start)

    def within(self, size):
        """The part that lies in a blob of `size` pixels, perhaps empty."""
        start = min(max(self.start, 0), size)
        return Span(start, max(start, min(self.stop, size)))

    def meet(self, other):
        return Span(max(self.start, other.start), min(self.stop, other.stop))

    def hull(self, other):
        """The smallest span that holds both."""
        if not self.length or not other.length:
            return self if self.length else other
        return Span(min(self.start, other.start), max(self.stop, other.stop))

    def padding(self, size):
        """How many of its pixels lie before and how many beyond a blob of `size` pixels."""
        kept = self.within(size)
        if not kept.length:
            return self.length, 0
        return kept.start - self.start, self.stop - kept.stop


class Axis(Window):
    """The windows of a layer along one axis, and the spans of its bottom and top that they join."""

    def need(self, top):
        """The bottom's pixels that a span of the top is computed from, padding counted in."""
        return self._meeting(top) if self.transposed else self._covered(top)

    def reach(self, bottom):
        """The top's pixels that depend on a span of the bottom."""
        return self._covered(bottom) if self.transposed else self._meeting(bottom)

    def inside(self, bottom):
        """The top's pixels that depend on nothing but a span of the bottom (not for transposed windows)."""
        return Span(-(-(bottom.start + self.pad) // self.stride), (bottom.stop + self.pad - self.kernel) // self.stride + 1)

    def _covered(self, windows):
        return Span(windows.start * self.stride - self.pad, (windows.stop - 1) * self.stride - self.pad + self.kernel)

    def _meeting(self, pixels):
        first, last = pixels.start + self.pad, pixels.stop - 1 + self.pad
        return Span((first - self.kernel) // self.stride + 1, last // self.stride + 1)
