"""For inputs of one shape: how large every value of a graph is, and what is known of its pixels beforehand."""

from functools import reduce

from repro.fast.operations import Concat, Convolution, Unsupported, along
from repro.fast.spans import Axis, Span

EVERYWHERE = (Span(-(10**9), 10**9),) * 2


class Plan:
    """Sizes and windows of a Graph's values for inputs of `shapes` {value: (channels, height, width)}, one size for all.

    Attributes, each {value: ...}, and but for the first one thing for height and one for width:
    `channels`;
    `sizes`, in pixels;
    `reached`, the Spans that depend on the inputs;
    `even`, the Spans where, the inputs being zero, every row is like the next, and every column: they do not feel the
    blob's edges. Followed as far as the first deconvolution.
    """

    def __init__(self, graph, shapes):
        if len({shape[1:] for shape in shapes.values()}) > 1:
            raise Unsupported("the inputs differ in size")
        self.shapes = shapes
        self.channels = {value: shape[0] for value, shape in shapes.items()}
        self.sizes = {value: shape[1:] for value, shape in shapes.items()}
        self.reached = {value: self.whole(value) for value in shapes}
        self.even = dict.fromkeys(shapes, EVERYWHERE)  # zeros go on in the zeros of the padding
        for op in graph.operations:
            self._add(op)

    def _add(self, op):
        self.channels[op.top] = op.channels(*[self.channels[bottom] for bottom in op.reads])
        size = self.sizes[op.top] = op.size(*[self.sizes[bottom] for bottom in op.bottoms])
        if min(size) < 1:
            raise Unsupported(f"layer '{op.layer.layer_name}' has no pixels")
        reached = [along(Axis.reach, op.axes, self.reached[bottom]) for bottom in op.reads]
        reached = along(Span.within, reduce(_hull, reached), size)
        # More than is reached does no harm, and nowhere is a window empty.
        self.reached[op.top] = tuple(span if span.length else Span(0, 1) for span in reached)
        if all(bottom in self.even for bottom in op.reads) and not any(axis.transposed for axis in op.axes):
            self._add_even(op, size)

    def _add_even(self, op, size):
        even = [self.even[bottom] for bottom in op.reads]
        if not isinstance(op, (Convolution, Concat)):  # these two alone leave zeros beyond an input what they are
            even = [along(Span.within, spans, self.sizes[bottom]) for spans, bottom in zip(even, op.reads, strict=True)]
        even = along(Axis.inside, op.axes, reduce(_meet, even))
        self.even[op.top] = even if isinstance(op, Concat) else along(Span.within, even, size)

    def whole(self, value):
        """The window of a whole value."""
        return tuple(Span(0, n) for n in self.sizes[value])

    def inner(self, value, window):
        """The part of a window that the inputs reach, at least a pixel."""
        inner = _meet(self.reached[value], window)
        return tuple(a if a.length else Span(b.start, b.start + 1) for a, b in zip(inner, window, strict=True))

    def demand(self, operations, windows, elided=()):
        """{value: its window that `windows` {value: window} are computed from}, followed down through `operations`.

        Of the values in `elided` only what the inputs reach is computed.
        """
        windows = dict(windows)
        for op in reversed(operations):
            if op.top in windows:
                window = self.inner(op.top, windows[op.top]) if op.top in elided else windows[op.top]
                for bottom in op.reads:
                    needed = along(Span.within, op.need(window), self.sizes[bottom])
                    windows[bottom] = _hull(windows.get(bottom, needed), needed)
        return windows


def _hull(a, b):
    return along(Span.hull, a, b)


def _meet(a, b):
    return along(Span.meet, a, b)
