"""A net as numbered values and the operations between them."""

from collections import Counter

from converters.layers import SAME, activation, arrangement, convolution, pooling
from repro.fast.operations import Concat, Convolution, Crop, Deconvolution, Operation, Pooling, Relu, Unsupported

# The layers with an Operation of their own. Any other whose pixels are SAME runs as it is, window by window.
OPERATIONS = {
    activation.ReLU: Relu,
    arrangement.Concat: Concat,
    arrangement.Crop: Crop,
    convolution.Convolution: Convolution,
    convolution.Deconvolution: Deconvolution,
    pooling.Pooling: Pooling,
}
UNCHANGED = (activation.Dropout, arrangement.Split)  # in the test phase their tops are their bottom


class Graph:
    """The part of a CaffeNet that makes the blobs `names`. A layer that works in place makes a value of its own, too.

    Attributes: `inputs` and `outputs` {blob: value}; `operations` in order;
    `held`, the values that a forward pass keeps, small maps or such as are read again: inputs, outputs, the tops of strided
    layers, the bottoms of deconvolutions;
    `strided`, those of them that the constant border is pasted around;
    `stages` {held value: the operations between it and the held values before it}.
    Raises Unsupported.
    """

    def __init__(self, net, names):
        inputs, steps = net.route(names)
        self.inputs = {name: value for value, name in enumerate(inputs)}
        self.operations, current, count = [], dict(self.inputs), len(inputs)
        for step in steps:
            bottoms = tuple(current[bottom] for bottom in step.bottoms)
            if isinstance(step.layer, UNCHANGED):
                current.update(dict.fromkeys(step.tops, bottoms[0]))
                continue
            if step.written:
                raise Unsupported(f"what layer '{step.layer.layer_name}' ({step.layer.type}) writes in place is read as "
                                  f"'{step.written[0][0]}', too")
            if len(step.tops) != 1:
                raise Unsupported(f"layer '{step.layer.layer_name}' ({step.layer.type}) has {len(step.tops)} tops")
            self.operations.append(operation(step.layer, bottoms, count))
            current[step.tops[0]], count = count, count + 1
        self.outputs = {name: current[name] for name in names}
        self._fuse_relu()
        self._divide()

    def _fuse_relu(self):
        """Let a convolution do the ReLU that alone reads its top."""
        readers = Counter(bottom for op in self.operations for bottom in op.bottoms)
        readers.update(self.outputs.values())
        made, kept = {}, []
        for op in self.operations:
            source = made.get(op.bottoms[0])
            if isinstance(op, Relu) and isinstance(source, Convolution) and readers[source.top] == 1 \
                    and not source.relu and not op.layer.negative_slope:
                source.relu, source.top = True, op.top
            else:
                kept.append(op)
                source = op
            made[source.top] = source
        self.operations = kept

    def _divide(self):
        before = set(self.inputs.values())  # not descended from a deconvolution
        self.strided = set()
        for op in self.operations:
            if before.issuperset(op.reads) and not any(axis.transposed for axis in op.axes):
                before.add(op.top)
                if any(axis.stride > 1 for axis in op.axes):
                    self.strided.add(op.top)
        below = {op.bottoms[0] for op in self.operations if isinstance(op, Deconvolution)}
        self.held = self.strided | below | {*self.inputs.values(), *self.outputs.values()}
        self.stages = {}
        for last, op in enumerate(self.operations):
            if op.top in self.held:
                wanted, stage = {op.top}, []
                for earlier in reversed(self.operations[: last + 1]):
                    if earlier.top in wanted and (earlier is op or earlier.top not in self.held):
                        wanted.update(earlier.reads)
                        stage.insert(0, earlier)
                self.stages[op.top] = stage

    def blobs(self):
        """The parameter blobs of all operations."""
        return [blob for op in self.operations for blob in op.layer.blobs()]


def operation(layer, bottoms, top):
    """The Operation of one layer. Raises Unsupported."""
    kind = OPERATIONS.get(type(layer))
    if kind in (Convolution, Deconvolution, Pooling) and len(bottoms) > 1:
        raise Unsupported(f"layer '{layer.layer_name}' ({layer.type}) has {len(bottoms)} bottoms")
    if kind is None and layer.pixels != SAME:
        raise Unsupported(f"layer '{layer.layer_name}' ({layer.type}) is not known to act on windows")
    return (kind or Operation)(layer, bottoms, top)


def is_fast(cls):
    """Does the fast path run layers of this class, with some settings at least?"""
    return cls in OPERATIONS or cls.pixels == SAME
