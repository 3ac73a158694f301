"""`repro.accelerate`: a net's answers sooner."""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from converters.errors import CaffeError
from converters.net import CaffeNet
from repro.fast.borders import Border, Borders
from repro.fast.forward import forward
from repro.fast.graph import Graph
from repro.fast.operations import Unsupported
from repro.fast.plan import Plan


def accelerate(net: CaffeNet, blobs: Sequence[str] | None = None) -> "Accelerated":
    """An `Accelerated` that computes the blobs named of a CaffeNet (default: its outputs).

    The same net gives the same object, so that what it has computed for one image serves the next.
    """
    names = tuple(net.outputs if blobs is None else blobs)
    known = vars(net).setdefault("_accelerated", {})
    if names not in known:
        known[names] = Accelerated(net, names)
    return known[names]


class Accelerated:
    """A CaffeNet's blobs, equal to the net's own up to float rounding, for inputs of any size and number, without gradients.

    Computed are only the pixels that the image reaches and the scores that survive the crop; what surrounds the image is
    computed once for a size's remainder by the net's stride, until a weight changes, in whatever way it is written. A net or
    an input that this does not understand runs the plain way.
    """

    def __init__(self, net: CaffeNet, names: tuple[str, ...]):
        net.route(names)  # refuses a name that is no blob's
        self.net, self.names = net, names

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made of. The rest follows from its own net; ours speaks of where our weights lie in memory."""
        return {"net": self.net, "names": self.names}

    @cached_property
    def graph(self) -> Graph:
        """The net as values and operations. Raises Unsupported."""
        return Graph(self.net, self.names)

    @cached_property
    def borders(self) -> Borders:
        """What surrounds the image. Raises Unsupported."""
        return Borders(self.graph)

    @cached_property
    def plainly(self) -> str | None:
        """The reason why the net runs the plain way, or None."""
        try:
            self.borders  # noqa: B018 (what it needs is looked at when it is made)
        except Unsupported as reason:
            return str(reason)
        return None

    @cached_property
    def _plan(self) -> Callable[[tuple], Plan]:
        return lru_cache(maxsize=32)(lambda shapes: Plan(self.graph, dict(enumerate(shapes))))

    def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """{blob: tensor N x channels x height x width} for a keyword for each input blob, N x channels x height x width."""
        return self._run(inputs, self.names, torch.Tensor.contiguous)

    def labels(self, *inputs: torch.Tensor, blob: str | None = None) -> np.ndarray:
        """The channel of the highest number at every pixel of `blob` (default: the first one computed).

        inputs: tensors in the order of the net's inputs. Returns a uint8 array, height x width for one image and
        N x height x width for several. The scores are never there as a whole.
        """
        blob = self.names[0] if blob is None else blob
        wanted = self.net.route(self.names)[0]
        if len(inputs) != len(wanted):
            raise CaffeError(f"net '{self.net.param.name}' needs {len(wanted)} inputs ({', '.join(wanted)}), but "
                             f"{len(inputs)} are given")
        labels = self._run(dict(zip(wanted, inputs, strict=True)), [blob], highest)[blob][:, 0].cpu().numpy()
        return labels[0] if len(labels) == 1 else labels

    @torch.no_grad()
    def _run(self, inputs, names, finish):
        if self.net.training:
            raise CaffeError(f"net '{self.net.param.name}' is in its training mode; call its eval() before running it fast")
        try:
            return self._fast(inputs, names, finish)
        except Unsupported:
            return {name: finish(blob) for name, blob in self.net.forward_blobs(inputs, names).items()}

    def _fast(self, inputs, names, finish):
        if self.plainly:
            raise Unsupported(self.plainly)
        graph = self.graph
        if any(name not in inputs or inputs[name].ndim != 4 for name in graph.inputs):
            raise Unsupported("an input is missing or no image")
        if any(blob is None for blob in graph.blobs()):
            raise Unsupported("the weights have no shape yet")
        if any(op.layer.own_shapes for op in graph.operations):
            raise Unsupported("a layer shares a blob of another shape")
        values = {value: inputs[name] for name, value in graph.inputs.items()}
        if len({len(pixels) for pixels in values.values()}) > 1:
            raise Unsupported("the inputs differ in number")
        plan = self._plan(tuple(tuple(values[value].shape[1:]) for value in range(len(values))))
        self.borders.refresh()
        for op in graph.operations:
            op.refresh()
        border = Border(plan, self.borders)
        targets = {graph.outputs[name] for name in names}
        made = forward(graph, plan, values, targets, border, finish)
        return {name: made[graph.outputs[name]] for name in names}


def highest(scores):
    """The channel of the highest number: uint8, N x 1 x height x width. The first of equal ones."""
    if scores.shape[1] > 256:
        raise CaffeError(f"a label map holds up to 256 classes, the scores have {scores.shape[1]}; take the argmax")
    return scores.argmax(1, keepdim=True).to(torch.uint8)
