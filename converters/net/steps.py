"""The steps of a forward pass: which come first, which blobs they need, and what is left at the end."""

import inspect
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from converters.layers import Layer
from converters.layers.arrangement import Silence


class Step(NamedTuple):
    """One layer of a forward pass."""

    layer: Layer
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    cut: frozenset[int]  # the places of the bottoms that get no gradient (propagate_down: false)
    done: tuple[str, ...]  # the blobs that nobody needs after it


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
        if needed.intersection(step.tops):
            # Going backwards, a blob that no later step has asked for can be forgotten after this one.
            done = tuple(name for name in {*step.bottoms, *step.tops} if name not in needed)
            needed.update(step.bottoms)
            # Written out, not with _replace, for the torch.compile of older PyTorches.
            kept.append(Step(step.layer, step.bottoms, step.tops, step.cut, done))
    return needed, kept[::-1]


def bottoms_text(takes: inspect.Signature) -> str:
    """The bottoms that a layer's forward takes: "1 bottom (bottom)", "2 to 3 bottoms (scores, labels, infogain)"."""
    named = [one for one in takes.parameters.values() if one.kind is not one.VAR_POSITIONAL]
    least, most = sum(one.default is one.empty for one in named), len(named)
    count = f"at least {least}" if most < len(takes.parameters) else f"{least} to {most}" if least < most else f"{most}"
    names = f" ({', '.join(one.name for one in named)})" if named else ""
    return f"{count} bottom{'' if count == '1' else 's'}{names}"
