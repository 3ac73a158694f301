"""The steps of a forward pass: which come first, which blobs they need, and what is left at the end."""

import inspect
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from converters.layers import Layer
from converters.layers.arrangement import Silence


class Step(NamedTuple):
    """One layer of a forward pass."""

    layer: Layer
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    cut: frozenset[int]  # the places of the bottoms that get no gradient (propagate_down: false)
    done: tuple[str, ...]  # the blobs that nobody needs after it
    written: tuple[tuple[str, str], ...] = ()  # (blob, top): other blobs in the memory that it writes that top to, in place


class Overwritten(torch.autograd.Function):
    """A blob whose memory another one has overwritten: the other's numbers, in its own shape.

    Every blob has a diff of its own, also where the data are shared (SplitLayer::Backward adds those of its tops): the
    gradient passes to the blob's own maker as it is, and none to what was written. (The gradient of a layer that read the
    blob before follows what it read, while Caffe's takes the numbers that are there by then.)
    """

    @staticmethod
    def forward(blob: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.detach().reshape(blob.shape).clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient, None


def overwritten(blob: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """`blob` after a layer in place has written `numbers` to its memory."""
    if torch.is_grad_enabled() and blob.requires_grad:
        return Overwritten.apply(blob, numbers)  # type: ignore[no-any-return, no-untyped-call]
    return numbers.detach().reshape(blob.shape)


def find_written(steps: Sequence[Step]) -> list[Step]:
    """The steps, each with the other blobs in which what it writes in place shows.

    Caffe puts a Split of its own behind a blob of several readers (insert_splits.cpp). It shares memory too, so that only
    the order of the layers counts. Where a blob has another reader before a layer works on it in place, Caffe refuses the
    net; here that reader sees the earlier numbers.
    """
    memory: dict[str, tuple[str, ...]] = {}  # of each blob: all blobs in it so far
    found = []
    for step in steps:
        written = tuple((name, top) for top in step.tops if top in step.bottoms
                        for name in memory.get(top, ()) if name not in step.tops)
        found.append(Step(step.layer, step.bottoms, step.tops, step.cut, step.done, written))
        if step.layer.shares:
            names = (*memory.get(step.bottoms[0], step.bottoms), *step.tops)
            memory.update(dict.fromkeys(names, names))
    return found


def unread(inputs: Iterable[str], steps: Iterable[Step]) -> tuple[list[str], list[str]]:
    """The blobs that no layer reads, a net's outputs (Net::Init), and those that only Silence reads; in the steps' order."""
    found, silenced = dict.fromkeys(inputs), dict[str, None]()
    for step in steps:
        for bottom in step.bottoms:
            if isinstance(step.layer, Silence) and bottom in found:
                silenced[bottom] = None
            elif not isinstance(step.layer, Silence):
                silenced.pop(bottom, None)
            found.pop(bottom, None)
        for top in step.tops:
            found[top] = None
    return list(found), list(silenced)


def let_relu_overwrite(steps: Iterable[Step]) -> None:
    """An in-place ReLU may reuse its bottom's memory where the bottom is fresh and nobody else reads it."""
    fresh: dict[str, bool] = {}
    for step in steps:
        if step.layer.in_place and step.bottoms == step.tops and fresh.get(step.tops[0]):
            step.layer.overwrite = True
        for bottom in step.bottoms:
            fresh[bottom] = False
        fresh.update(dict.fromkeys(step.tops, step.layer.spares_top))


def needed_steps(steps: Sequence[Step], names: Iterable[str]) -> tuple[set[str], list[Step]]:
    """The blobs that must be there for `names`, inputs among them, and the steps that make the others, in order."""
    needed, kept = set(names), []
    for step in reversed(steps):
        # Written out, not with filters and _replace, for the torch.compile of older PyTorches.
        written = tuple((name, top) for name, top in step.written if name in needed)
        if written or needed.intersection(step.tops):
            # Going backwards, a blob that no later step has asked for can be forgotten after this one.
            done = tuple(name for name in {*step.bottoms, *step.tops} if name not in needed)
            needed.update(step.bottoms)
            kept.append(Step(step.layer, step.bottoms, step.tops, step.cut, done, written))
    return needed, kept[::-1]


def bottoms_text(takes: inspect.Signature) -> str:
    """The bottoms that a layer's forward takes: "1 bottom (bottom)", "2 to 3 bottoms (scores, labels, infogain)"."""
    named = [one for one in takes.parameters.values() if one.kind is not one.VAR_POSITIONAL]
    least, most = sum(one.default is one.empty for one in named), len(named)
    count = f"at least {least}" if most < len(takes.parameters) else f"{least} to {most}" if least < most else f"{most}"
    names = f" ({', '.join(one.name for one in named)})" if named else ""
    return f"{count} bottom{'' if count == '1' else 's'}{names}"
