"""CaffeNet: a net description as a PyTorch module (net.cpp)."""

from typing import NamedTuple

import torch
from torch import nn

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError
from converters.layers import REGISTRY
from converters.layers.inputs import Input
from converters.phase import filter_net


class Learnable(NamedTuple):
    """A parameter blob as a solver sees it."""

    name: str  # "<layer>/<blob index>"
    blob: torch.Tensor
    lr_mult: float
    decay_mult: float


class Step(NamedTuple):
    """One layer of a forward pass, and the blobs that nobody needs after it."""

    layer: nn.Module
    bottoms: tuple
    tops: tuple
    done: tuple


class CopyReport(NamedTuple):
    """What `CaffeNet.copy_from` did, by layer name."""

    copied: list  # took their blobs from the source
    ignored: list  # in the source, not in this net
    missing: list  # in this net, with parameters, not in the source

    def __str__(self):
        return "\n".join(f"{field}: {', '.join(getattr(self, field)) or '-'}" for field in self._fields)


class CaffeNet(nn.Module):
    """A net that computes what Caffe computes.

    `net` is a NetParameter, or a prototxt as a path or text; `phase` ("train" or "test"), `level` and `stages` choose the
    layers by their include and exclude rules. Inputs are the tops of Input and data layers and every bottom that no layer
    makes. Parameters whose shape follows from declared input shapes are made at once, the others with `reshape` or the
    first forward pass. Raises CaffeError for a net that Caffe would refuse.

    Attributes: `param` the NetParameter of this phase, `layers` {name: Layer}, `inputs` and `outputs` lists of blob names.
    """

    def __init__(self, net, phase="test", level=0, stages=()):
        super().__init__()
        if not isinstance(net, NetParameter):
            from converters.prototxt import read_prototxt
            net = read_prototxt(net)
        self.param = filter_net(net, phase, level, stages)
        self.phase = phase
        # These are only ever changed in place: a layer may bear any name, also that of one of these attributes.
        self.layers, self._param_of = {}, {param.name: param for param in self.param.layer}
        self.inputs, self.input_shapes, self.outputs = [], {}, []
        self._steps, self._loss_weights, self._plans, self._shared = [], {}, {}, {}
        for param in self.param.layer:
            self._add_layer(param)
        self._find_outputs()
        self._let_relu_overwrite()
        self.train(phase == "train")
        if self.inputs and all(self.input_shapes.values()):
            self.reshape()

    def _add_layer(self, param):
        if param.type not in REGISTRY:
            raise CaffeError(
                f"layer '{param.name}': unknown layer type '{param.type}' in net '{self.param.name}': known types are in "
                "converters.layers.REGISTRY; make one of your own with @converters.register")
        key = param.name.replace(".", "_")
        if key in self._modules or not key:
            raise CaffeError(f"layer '{param.name}' ({param.type}): its name is "
                             f"{'empty' if not key else 'taken by another layer'}; rename it")
        layer = REGISTRY[param.type](param)
        layer.declare_blobs()
        for bottom in param.bottom:
            if not any(bottom in step.tops for step in self._steps):
                self._add_input(bottom, None)
        if isinstance(layer, Input):
            for top, shape in zip(param.top, layer.shapes, strict=True):
                self._add_input(top, shape)
        else:
            for top in param.top:
                if top not in param.bottom and (top in self.inputs or any(top in step.tops for step in self._steps)):
                    raise layer.error(f"top '{top}' is made by another layer already")
            self._steps.append(Step(layer, tuple(param.bottom), tuple(param.top), ()))
            weights = list(param.loss_weight) or [layer.loss_weight]
            self._loss_weights.update({top: weight for top, weight in zip(param.top, weights, strict=False) if weight})
        self.layers[param.name] = layer
        self._modules[key] = layer  # not add_module: that refuses names like "loss"

    def _add_input(self, blob, shape):
        if blob not in self.inputs:
            self.inputs.append(blob)
            self.input_shapes[blob] = shape

    def _find_outputs(self):
        unused = dict.fromkeys(self.inputs)
        for step in self._steps:
            for bottom in step.bottoms:
                unused.pop(bottom, None)
            unused.update(dict.fromkeys(step.tops))
        self.outputs.extend(unused)

    def _let_relu_overwrite(self):
        """An in-place ReLU may reuse its bottom's memory where the bottom is fresh and nobody else reads it."""
        fresh = {}
        for step in self._steps:
            if step.layer.in_place and step.bottoms == step.tops and fresh.get(step.tops[0]):
                step.layer.overwrite = True
            for bottom in step.bottoms:
                fresh[bottom] = False
            # These layers do not need their own top to compute their gradient.
            own = step.layer.type in ("Convolution", "Deconvolution", "InnerProduct")
            fresh.update(dict.fromkeys(step.tops, own))

    # ---- parameters ----

    def reshape(self, **shapes):
        """Make the parameter blobs for inputs of these shapes (declared ones unless told) and return {blob: shape}.

        Nothing is computed: shapes are followed through the net on PyTorch's meta device.
        """
        shapes = {**self.input_shapes, **{name: tuple(shape) for name, shape in shapes.items()}}
        unknown = [name for name, shape in shapes.items() if not shape]
        if unknown:
            raise CaffeError(f"net '{self.param.name}': no shape is declared for input {', '.join(unknown)}; give one")
        blobs = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
        found = {name: tuple(blob.shape) for name, blob in blobs.items()}
        for step in self._steps:
            bottoms = [blobs[name] for name in step.bottoms]
            self._make_blobs(step.layer, bottoms)
            meta = {key: blob.to("meta") for key, blob in step.layer.named_parameters()}
            meta.update({key: blob.to("meta") for key, blob in step.layer.named_buffers()})
            try:
                tops = torch.func.functional_call(step.layer, meta, tuple(bottoms))
            except NotImplementedError:
                break  # a top whose shape depends on the data: the rest is made in the first forward pass
            except RuntimeError as error:
                raise step.layer.error(str(error).splitlines()[0]) from None
            blobs.update(zip(step.tops, tops if isinstance(tops, tuple) else (tops,), strict=False))
            found.update({name: tuple(blobs[name].shape) for name in step.tops})
        return found

    def _make_blobs(self, layer, bottoms):
        if not layer.blob_names:
            return
        shapes = layer.blob_shapes(*[bottom.shape for bottom in bottoms])
        for index, (name, blob) in enumerate(zip(layer.blob_names, layer.blobs(), strict=True)):
            if blob is None:
                self._make_blob(layer, index, shapes[index])
            elif tuple(blob.shape) != tuple(shapes[index]):
                raise layer.error(f"{name} has shape {tuple(blob.shape)}, but these bottoms want {tuple(shapes[index])}")

    def _make_blob(self, layer, index, shape):
        """Make one parameter blob, or take the one that another layer shares under the same `param.name`."""
        specs = self._param_of[layer.layer_name].param
        share = specs[index].name if index < len(specs) else ""
        owner = self._shared.get(share)
        if owner is None:
            layer.make_blob(index, shape)
            if share:
                self._shared[share] = layer.blobs()[index]
            return
        if tuple(owner.shape) != tuple(shape):
            raise layer.error(f"{layer.blob_names[index]} of shape {tuple(shape)} cannot share '{share}' of shape "
                              f"{tuple(owner.shape)}")
        setattr(layer, layer.blob_names[index], owner)

    @staticmethod
    def _multipliers(specs, index):
        return (specs[index].lr_mult, specs[index].decay_mult) if index < len(specs) else (1.0, 1.0)

    @property
    def params(self):
        """{layer name: [blob tensors in Caffe's order]} of the layers that have parameters, as Caffe's net.params."""
        return {name: layer.blobs() for name, layer in self.layers.items() if layer.blob_names}

    def learnable(self):
        """The parameter blobs in the order of Caffe's solverstate, shared ones once: a list of Learnable."""
        found, seen = [], set()
        for name, layer in self.layers.items():
            specs = self._param_of[layer.layer_name].param
            for index, blob in enumerate(layer.blobs()):
                if blob is None:
                    raise layer.error("its parameters have no shape yet: call reshape with the inputs' shapes first")
                if id(blob) in seen:
                    continue
                seen.add(id(blob))
                multipliers = (0.0, 0.0) if layer.buffers_only else self._multipliers(specs, index)
                found.append(Learnable(f"{name}/{index}", blob, *multipliers))
        return found

    def copy_from(self, source):
        """Copy weights by layer name, as Caffe's CopyTrainedLayersFrom.

        `source`: {layer: [array, ...]}, or the path of a caffemodel of any kind. A legacy 4-D array fits where it has the
        same shape but for leading ones. Returns a CopyReport. A layer with another number of blobs or another shape raises
        CaffeError, and nothing is copied; for such layers there is `surgery.transplant`.
        """
        if not isinstance(source, dict):
            from converters.caffemodel import read_caffemodel
            source = read_caffemodel(source).blobs
        source = {name: arrays for name, arrays in source.items() if len(arrays)}
        copies = []
        for name in (name for name in source if name in self.layers):
            layer, arrays = self.layers[name], source[name]
            if len(arrays) != len(layer.blob_names):
                raise layer.error(f"wants {len(layer.blob_names)} blobs, the source has {len(arrays)}")
            for index, (array, blob) in enumerate(zip(arrays, layer.blobs(), strict=True)):
                if blob is not None and not same_shape(array.shape, blob.shape):
                    raise layer.error(f"{layer.blob_names[index]} has shape {tuple(blob.shape)}, the source "
                                      f"{tuple(array.shape)}; surgery.transplant can reshape or leave it out")
                copies.append((layer, index, array))
        with torch.no_grad():
            for layer, index, array in copies:
                if layer.blobs()[index] is None:
                    self._make_blob(layer, index, array.shape)
                blob = layer.blobs()[index]
                blob.copy_(torch.as_tensor(array).reshape(blob.shape))
        owned = [name for name, layer in self.layers.items() if layer.blob_names]
        return CopyReport([name for name in source if name in self.layers],
                          [name for name in source if name not in self.layers],
                          [name for name in owned if name not in source])

    def to_blobs(self):
        """{layer: [array, ...]}: copies of all parameter blobs, as `write_caffemodel` takes them."""
        return {name: [blob.detach().to("cpu", copy=True).contiguous().numpy() for blob in blobs]
                for name, blobs in self.params.items()}

    # ---- computing ----

    def forward(self, **inputs):
        """{output blob: tensor} for a keyword for each input blob."""
        return self.forward_blobs(inputs, self.outputs)

    def forward_blobs(self, inputs, names):
        """{name: tensor} for any blobs of the net; only the layers that they need are computed.

        Several layers may work in place on one blob: as in Caffe, its name stands for the last of them.
        """
        blobs = {}
        plan = self._plan(tuple(names))
        for name in plan[0]:
            if name not in inputs:
                raise CaffeError(f"net '{self.param.name}': input '{name}' is missing; it wants {', '.join(plan[0])}")
            blobs[name] = inputs[name]
        for layer, bottoms, tops, done in plan[1]:
            values = [blobs[name] for name in bottoms]
            if any(blob is None for blob in layer.blobs()):
                self._make_blobs(layer, values)
            result = layer(*values)
            blobs.update(zip(tops, result if isinstance(result, tuple) else (result,), strict=False))
            for name in done:
                del blobs[name]
        return {name: blobs[name] for name in names}

    def loss(self, **inputs):
        """The sum of all losses, each times its loss_weight: a scalar tensor."""
        if not self._loss_weights:
            raise CaffeError(f"net '{self.param.name}' has no loss layer in phase '{self.phase}'")
        blobs = self.forward_blobs(inputs, list(self._loss_weights))
        return sum(weight * blobs[name].sum() for name, weight in self._loss_weights.items())

    def _plan(self, names):
        """The inputs and the steps that the blobs `names` need."""
        if names not in self._plans:
            known = set(self.inputs).union(*[step.tops for step in self._steps])
            unknown = [name for name in names if name not in known]
            if unknown:
                raise CaffeError(f"net '{self.param.name}' has no blob '{unknown[0]}': it has "
                                 f"{', '.join(sorted(known))}")
            needed, kept = set(names), []
            for step in reversed(self._steps):
                if needed.intersection(step.tops):
                    # Going backwards, a blob that no later step has asked for can be forgotten after this one.
                    done = tuple(name for name in {*step.bottoms, *step.tops} if name not in needed)
                    needed.update(step.bottoms)
                    kept.append(step._replace(done=done))
            self._plans[names] = [name for name in self.inputs if name in needed], kept[::-1]
        return self._plans[names]


def same_shape(source, target):
    """Caffe's ShapeEquals: equal, or equal to the target with ones in front, as legacy 4-D blobs are stored."""
    source, target = tuple(source), tuple(target)
    return source == target or (len(source) == 4 and source == (1,) * (4 - len(target)) + target)


