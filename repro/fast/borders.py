"""The values around the image, which depend on the weights and on the size alone.

Where the inputs do not reach, a value is what it is for inputs of zeros. There the values differ from one another only near
the blob's edges; further in each row is like the next. So a few zeros will do, if their size leaves the same remainder by
the net's stride: with their middle row and column repeated, their values are those of the large input of zeros.
"""

from collections import OrderedDict
from functools import lru_cache
from math import lcm

import torch

from repro.fast.fingerprint import fingerprint
from repro.fast.forward import forward
from repro.fast.operations import Unsupported
from repro.fast.plan import Plan
from repro.fast.spans import Span

KEPT = 8  # small inputs of zeros; the values of one take about 10 MB in VGG16


class Borders:
    """What surrounds the image in a graph's strided values, computed once for each remainder of the size.

    The least recently used are forgotten, and all of them when a weight changes.
    """

    def __init__(self, graph):
        self.graph, self.stride = graph, strides(graph)
        self.small = lru_cache(maxsize=32)(self.small)
        self._values, self._fingerprint = OrderedDict(), None
        # What the kept values are computed from; the layers beyond, which have most of the weights, need not be looked at.
        made = set(graph.strided)
        for op in reversed(graph.operations):
            made.update(op.reads if op.top in made else ())
        self._sources = [op.layer for op in graph.operations if op.top in made]

    def refresh(self):
        """Forget all values if a weight is another than it was: to be called before each pass."""
        current = fingerprint(blob for layer in self._sources for blob in layer.blobs())
        if current != self._fingerprint:
            self._values.clear()
            self._fingerprint = current

    def small(self, plan):
        """A Plan for inputs as small as may be, yet even in the middle of every strided value."""
        size = plan.sizes[0]
        small = [n % step or step for n, step in zip(size, self.stride, strict=True)]
        while True:
            small = [min(pair) for pair in zip(small, size, strict=True)]
            try:
                found = Plan(self.graph, {value: (shape[0], *small) for value, shape in plan.shapes.items()})
                uneven = [any(not found.even[value][i].length for value in self.graph.strided) for i in (0, 1)]
            except Unsupported:  # too small for some layer
                uneven = [True, True]
            grow = [uneven[i] and small[i] < size[i] for i in (0, 1)]
            if not any(grow):
                return found
            small = [n + step * more for n, step, more in zip(small, self.stride, grow, strict=True)]

    def values(self, small, like):
        """{strided value: its pixels} for zeros of a Plan's shapes, of the type and in the place of the tensor `like`."""
        key = tuple(small.shapes.items()), like.dtype, like.device
        if key not in self._values:
            zeros = {value: like.new_zeros(1, *shape) for value, shape in small.shapes.items()}
            self._values[key] = forward(self.graph, small, zeros, self.graph.strided)
        self._values.move_to_end(key)
        while len(self._values) > KEPT:
            self._values.popitem(last=False)
        return self._values[key]


class Border:
    """The surroundings of inputs of a Plan's shapes."""

    def __init__(self, plan, borders):
        self.plan, self.borders = plan, borders

    def around(self, pixels, value, inner, window):
        """The pixels of a value's window `window`, of which those of `inner` are given."""
        rows, columns = window
        shape = *pixels.shape[:2], rows.length, columns.length
        whole = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=torch.channels_last)
        for part in (
            (Span(rows.start, inner[0].start), columns),
            (Span(inner[0].stop, rows.stop), columns),
            (inner[0], Span(columns.start, inner[1].start)),
            (inner[0], Span(inner[1].stop, columns.stop)),
        ):
            if part[0].length and part[1].length:
                _place(whole, window, part).copy_(self._surroundings(value, part, pixels))
        _place(whole, window, inner).copy_(pixels)
        return whole

    def _surroundings(self, value, window, like):
        small = self.borders.small(self.plan)
        values = self.borders.values(small, like)[value].permute(0, 2, 3, 1)  # as they lie in memory
        for i in (0, 1):
            # The small value's even middle stands for all that the large one has more.
            surplus = self.plan.sizes[value][i] - small.sizes[value][i]
            even = small.even[value][i].start if surplus else 0
            index = [n if n < even else max(even, n - surplus) for n in range(*window[i])]
            values = values.index_select(1 + i, torch.tensor(index, device=values.device))
        return values.permute(0, 3, 1, 2)


def _place(whole, window, part):
    for axis, (outer, span) in enumerate(zip(window, part, strict=True), start=2):
        whole = whole.narrow(axis, span.start - outer.start, span.length)
    return whole


def strides(graph):
    """How many input pixels along height and width all strided values repeat after."""
    strides, common = dict.fromkeys(graph.inputs.values(), (1, 1)), (1, 1)
    for op in graph.operations:
        if op.reads[0] in strides and not any(axis.transposed for axis in op.axes):
            strides[op.top] = tuple(n * axis.stride for n, axis in zip(strides[op.reads[0]], op.axes, strict=True))
            if op.top in graph.strided:
                common = tuple(lcm(*pair) for pair in zip(common, strides[op.top], strict=True))
    return common
