"""A forward pass over a graph, window by window."""

from typing import NamedTuple

import torch

from repro.fast.operations import Unsupported, along
from repro.fast.spans import Span

# Numbers that the blobs between two held values may take at once; a larger window is computed in strips of rows.
SCRATCH = 3 * 2**20
# Each strip reads all weights again; where those are many, it may take this part of their memory.
WEIGHTS_TO_SCRATCH = 16


class Part(NamedTuple):
    """A window of a value, and its pixels N x channels x rows x columns."""

    pixels: torch.Tensor
    window: tuple

    def take(self, window):
        pixels = self.pixels
        for axis, (have, want) in enumerate(zip(self.window, window, strict=True), start=2):
            if have != want:
                pixels = pixels.narrow(axis, want.start - have.start, want.length)
        return pixels


def forward(graph, plan, inputs, targets, border=None, finish=None):
    """{target: its pixels} for the values `targets`, from `inputs` {value: tensor}.

    border: a Border, to compute only what the inputs reach and take the rest from there. finish: a function of the
    targets' pixels, applied to each strip of rows as it is made.
    """
    elided = graph.strided if border else ()
    needed = plan.demand(graph.operations, {value: plan.whole(value) for value in targets}, elided)
    if any(not span.length for window in needed.values() for span in window):
        raise Unsupported("a layer reads nothing but padding")
    parts = {value: Part(_channels_last(pixels), plan.whole(value)) for value, pixels in inputs.items()}
    made = {value: finish(pixels) if finish else pixels for value, pixels in inputs.items() if value in targets}
    stages = {value: stage for value, stage in graph.stages.items() if value in needed}
    last = {value: reader for reader, stage in stages.items() for op in stage for value in op.reads}
    for value, stage in stages.items():
        window = needed[value]
        inner = plan.inner(value, window) if value in elided else window
        whole = _in_strips(plan, stage, parts, value, inner, finish if value in targets else None)
        if inner != window:
            whole = border.around(whole, value, inner, window)
        if value in targets:
            made[value] = whole
        parts[value] = Part(whole, window)
        for read in [read for read in parts if last.get(read, value) == value]:
            del parts[read]
    return {value: made[value] for value in targets}


def _in_strips(plan, stage, parts, value, window, finish):
    rows, columns = window
    batch = len(next(iter(parts.values())).pixels)
    scratch = max(SCRATCH, sum(blob.numel() for op in stage for blob in op.layer.blobs()) // WEIGHTS_TO_SCRATCH)
    height = max(1, rows.length * scratch // max(scratch, batch * _numbers(plan, stage, value, window)))
    whole = None
    for start in range(rows.start, rows.stop, height):
        strip = Span(start, min(start + height, rows.stop))
        pixels = _compute(plan, stage, parts, value, (strip, columns))
        if finish:
            pixels = finish(pixels)
        if strip == rows:
            return pixels
        if whole is None:
            layout = torch.contiguous_format if finish else torch.channels_last
            shape = *pixels.shape[:2], rows.length, columns.length
            whole = torch.empty(shape, dtype=pixels.dtype, device=pixels.device, memory_format=layout)
        whole[:, :, start - rows.start : strip.stop - rows.start] = pixels
    return whole


def _compute(plan, stage, parts, value, window):
    """A window of a held value, from the held values before it."""
    needed = plan.demand(stage, {value: window})
    last = {bottom: op for op in stage for bottom in op.reads}
    between = {}
    for op in stage:
        need = op.need(needed[op.top])
        kept, padding = [], ()
        for bottom in op.reads:
            size = plan.sizes[bottom]
            kept.append((between.get(bottom) or parts[bottom]).take(along(Span.within, need, size)))
            padding = along(Span.padding, need, size)
        between[op.top] = Part(op(kept, padding, needed[op.top]), needed[op.top])
        for bottom in [bottom for bottom in between if last.get(bottom) is op]:
            del between[bottom]
    return between[value].pixels


def _numbers(plan, stage, value, window):
    """The most numbers that a step of a stage makes at once, for one image."""
    needed = plan.demand(stage, {value: window})
    most = 0
    for op in stage:
        positions = needed[op.top][0].length * needed[op.top][1].length
        channels = plan.channels[op.reads[0]]
        most = max(most, plan.channels[op.top] * positions, op.scratch(channels, positions))
    return most


def _channels_last(pixels):
    return pixels.contiguous(memory_format=torch.channels_last)
