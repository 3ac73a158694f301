"""CaffeNet: a net description as a PyTorch module (net.cpp)."""

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from converters.caffe_pb2 import LayerParameter, NetParameter, ParamSpec
from converters.errors import CaffeError, counted, did_you_mean, instead
from converters.files import FilePath
from converters.formats.blob import Blobs, dims_text, unique_names
from converters.layers import LEFT_OUT, REGISTRY, Layer
from converters.layers.base import too_large
from converters.layers.inputs import Input
from converters.net.parameters import multiplier, same_shape, weights_of
from converters.net.steps import Step, bottoms_text, find_written, let_relu_overwrite, needed_steps, overwritten, unread
from converters.phase import filter_net

__all__ = ["CaffeNet", "CopyReport", "Learnable", "same_shape"]

Tops = torch.Tensor | tuple[torch.Tensor, ...]  # what a layer's forward returns


class Learnable(NamedTuple):
    """A parameter blob as a solver sees it."""

    name: str  # "<layer>/<blob index>"
    blob: torch.Tensor
    lr_mult: float
    decay_mult: float


class CopyReport(NamedTuple):
    """What `CaffeNet.copy_from` did, by layer name."""

    copied: list[str]  # took their blobs from the source
    ignored: list[str]  # in the source, not in this net
    missing: list[str]  # in this net, with parameters, not in the source

    def __str__(self) -> str:
        return "\n".join(f"{field}: {', '.join(getattr(self, field)) or '-'}" for field in self._fields)


class CaffeNet(nn.Module):
    """A net that computes what Caffe computes.

    `net` is a NetParameter, or a prototxt as a path or text; `phase` ("train" or "test"), `level` and `stages` choose the
    layers by their include and exclude rules. Inputs are the tops of Input and data layers and every bottom that no layer
    makes. Parameters whose shape follows from declared input shapes are made at once, the others with `reshape` or the
    first forward pass. Raises CaffeError for a net that Caffe would refuse.

    Attributes: `param` the NetParameter of this phase, `layers` {name: Layer}, `inputs` and `outputs` lists of blob names,
    `steps` the forward pass layer by layer, without inputs. Of layers of one name the second is called "<name>_2", and so
    on. Outputs are the blobs that no layer reads, or those that only Silence layers read in a net that makes no others.
    """

    def __init__(self, net: NetParameter | FilePath, phase: str = "test", level: int | None = None,
                 stages: Sequence[str] = ()):
        super().__init__()
        is_file = not isinstance(net, NetParameter) and os.path.exists(net)
        source = str(net) if is_file else "the net"
        if not isinstance(net, NetParameter):
            from converters.formats.prototxt import read_prototxt
            net = read_prototxt(net)
        self.param = filter_net(net, phase, level, stages)
        self.phase = phase
        # These are only ever changed in place: a layer may bear any name, also that of one of these attributes.
        self.layers: dict[str, Layer] = {}
        names = unique_names(param.name for param in self.param.layer)
        self._param_of = dict(zip(names, self.param.layer, strict=True))
        self.inputs: list[str] = []
        self.input_shapes: dict[str, Any] = {}  # None where none is declared
        self.outputs: list[str] = []
        self.steps: list[Step] = []
        self._loss_weights: dict[str, float] = {}
        self._routes: dict[tuple[str, ...], tuple[list[str], list[Step]]] = {}
        self._shared: dict[str, torch.Tensor] = {}
        for name, param in self._param_of.items():
            self._add_layer(name, param, source)
        self._find_outputs()
        self.steps[:] = find_written(self.steps)
        let_relu_overwrite(self.steps)
        self.train(phase == "train")
        if all(self.input_shapes.values()):
            self.reshape()

    def _add_layer(self, name: str, param: LayerParameter, source: str) -> None:
        if param.type not in REGISTRY:
            own = "make one of your own with @converters.register"
            reason = LEFT_OUT.get(param.type, own + did_you_mean(param.type, REGISTRY))
            raise CaffeError(f"layer '{param.name}' in {source}: unknown layer type '{param.type}': {reason}")
        key = name.replace(".", "_")
        if not key:
            raise CaffeError(f"layer '{name}' ({param.type}): its name is empty; give it one")
        if key in self._modules:
            other = next(known for known in self.layers if known.replace(".", "_") == key)
            raise CaffeError(f"layer '{name}' ({param.type}): '{other}' has the same name in PyTorch; rename one of them")
        layer = REGISTRY[param.type](param)
        layer.layer_name = name
        layer.declare_blobs()
        self._check_bottoms(layer, param)
        for bottom in param.bottom:
            if not any(bottom in step.tops for step in self.steps):
                self._add_input(bottom, None)
        if isinstance(layer, Input):
            for top, shape in zip(param.top, layer.shapes, strict=True):
                self._add_input(top, shape)
        else:
            for top in param.top:
                if top not in param.bottom and (top in self.inputs or any(top in step.tops for step in self.steps)):
                    raise layer.error(f"top '{top}' is made by another layer already")
            # A loss that names no top has one all the same, which no layer can take (AutoTopBlobs).
            tops = tuple(param.top) or ((f"{name} (automatic)",) if layer.loss_weight else ())
            cut = frozenset(i for i, propagate in enumerate(param.propagate_down) if not propagate)
            self.steps.append(Step(layer, tuple(param.bottom), tops, cut, (), ()))
            if len(param.loss_weight) not in (0, len(tops)):
                raise layer.error(f"{counted(len(param.loss_weight), 'loss_weight')} for {counted(len(tops), 'top')}: "
                                  "give none, or one for each")
            weights = list(param.loss_weight) or [layer.loss_weight]
            self._loss_weights.update({top: weight for top, weight in zip(tops, weights, strict=False) if weight})
        self.layers[name] = layer
        self._modules[key] = layer  # not add_module: that refuses names like "loss"

    @staticmethod
    def _check_bottoms(layer: Layer, param: LayerParameter) -> None:
        takes = inspect.signature(layer.forward)
        try:
            takes.bind(*param.bottom)
        except TypeError:
            raise layer.error(f"takes {bottoms_text(takes)}, but {len(param.bottom)} "
                              f"{'is' if len(param.bottom) == 1 else 'are'} given") from None
        if len(param.propagate_down) not in (0, len(param.bottom)):
            raise layer.error(f"{counted(len(param.propagate_down), 'value')} of propagate_down for "
                              f"{counted(len(param.bottom), 'bottom')}: give none, or one for each")

    def _add_input(self, blob: str, shape: tuple[int, ...] | None) -> None:
        if blob not in self.inputs:
            self.inputs.append(blob)
            self.input_shapes[blob] = shape

    def _find_outputs(self) -> None:
        outputs, silenced = unread(self.inputs, self.steps)
        named = {top for param in self.param.layer for top in param.top}
        self.outputs.extend(name for name in outputs if name in named or name in self.inputs)
        if set(self.inputs).issuperset(outputs):  # what is left is what users of such a net read
            self.outputs.extend(name for name in silenced if name not in self.inputs)

    # ---- parameters ----

    def reshape(self, **shapes: Sequence[int]) -> dict[str, tuple[int, ...]]:
        """Make the parameter blobs for inputs of these shapes (default: the declared ones) and return {blob: shape}.

        Nothing is computed: shapes are followed through the net on PyTorch's meta device.
        """
        shapes = {**self.input_shapes, **{name: tuple(shape) for name, shape in shapes.items()}}
        unknown = [name for name, shape in shapes.items() if not shape]
        if unknown:
            raise CaffeError(f"net '{self.param.name}': no shape is declared for input {', '.join(unknown)}; give one")
        if wrong := [f"'{name}' has shape {dims_text(shape)}" for name, shape in shapes.items() if min(shape) < 0]:
            raise CaffeError(f"net '{self.param.name}': input {wrong[0]}; no axis is negative")
        if huge := [f"'{name}' of shape {dims_text(shape)} {too_large(shape)}" for name, shape in shapes.items()
                    if too_large(shape)]:
            raise CaffeError(f"net '{self.param.name}': input {huge[0]}")
        return self._follow(self.steps, shapes)

    def _follow(self, steps: Sequence[Step], shapes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
        """The shapes of the inputs and of what `steps` make of them; the steps' parameter blobs are made."""
        blobs = {name: torch.empty(tuple(shape), device="meta") for name, shape in shapes.items()}
        found = {name: tuple(blob.shape) for name, blob in blobs.items()}
        for step in steps:
            layer, bottoms = step.layer, [blobs[name] for name in step.bottoms]
            try:
                self._make_blobs(layer, bottoms)
                tops = self._shape_tops(layer, bottoms)
            except NotImplementedError:
                break  # a top whose shape depends on the data: the rest is made in the first forward pass
            except CaffeError:
                raise
            except (RuntimeError, TypeError, ValueError, IndexError, ArithmeticError) as error:
                # Shapes, or numbers in the description, that nothing can be computed with.
                shapes_text = " and ".join(dims_text(bottom.shape) for bottom in bottoms)
                raise layer.error(f"{f'bottom of {shapes_text}: ' if bottoms else ''}{str(error).splitlines()[0]}") from None
            blobs.update(self._named(step, tops))
            found.update({name: tuple(blobs[name].shape) for name in step.tops})
            for name in step.tops:
                layer.check_count(found[name])
        return found

    @staticmethod
    def _shape_tops(layer: Layer, bottoms: Sequence[torch.Tensor]) -> Tops:
        shape = layer.top_shape(*[tuple(bottom.shape) for bottom in bottoms])
        if shape is not None:
            return torch.empty(shape, device="meta")
        own = {**dict(layer.named_parameters()), **dict(layer.named_buffers()), **layer.blobs_by_name()}
        tops: Tops = torch.func.functional_call(layer, {key: blob.to("meta") for key, blob in own.items()}, tuple(bottoms))
        return tops

    def _make_blobs(self, layer: Layer, bottoms: Sequence[torch.Tensor]) -> None:
        if not layer.blob_names:
            return
        shapes = layer.blob_shapes(*[bottom.shape for bottom in bottoms])
        for index, (name, blob) in enumerate(zip(layer.blob_names, layer.blobs(), strict=True)):
            if blob is None:
                self._make_blob(layer, index, shapes[index], bottoms[0] if bottoms else None)
            elif tuple(blob.shape) != tuple(shapes[index]):
                raise layer.error(f"{name} has shape {dims_text(blob.shape)}, but these bottoms need "
                                  f"{dims_text(shapes[index])}")

    def _make_blob(self, layer: Layer, index: int, shape: Sequence[int], like: torch.Tensor | None = None) -> None:
        """Make one parameter blob, or take the one that another layer shares under the same `param.name`."""
        specs = self._param_of[layer.layer_name].param
        spec = specs[index] if index < len(specs) else ParamSpec()
        owner = self._shared.get(spec.name)
        if owner is None:
            layer.make_blob(index, shape, like)
            if spec.name:
                self._shared[spec.name] = layer.blobs()[index]
            return
        fits = tuple(owner.shape) == tuple(shape)
        if spec.share_mode == ParamSpec.PERMISSIVE:
            fits = owner.numel() == math.prod(shape)
        if not fits:
            raise layer.error(f"{layer.blob_names[index]} of shape {dims_text(shape)} cannot share '{spec.name}' of shape "
                              f"{dims_text(owner.shape)}")
        layer.share_blob(index, owner, shape)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for layer in self.layers.values():
            for index, name in enumerate(layer.blob_names):
                blob = state_dict.get(f"{prefix}{layer.layer_name.replace('.', '_')}.{name}")
                if blob is not None and getattr(layer, name) is None:
                    self._make_blob(layer, index, blob.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """As nn.Module's, which moves and casts the blobs; but a blob that layers share stays one, also as a buffer."""
        places = [(layer, name, getattr(layer, name)) for layer in self.layers.values() for name in layer.blob_names]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        made: dict[int, torch.Tensor] = {}
        for layer, name, before in places:
            setattr(layer, name, made.setdefault(id(before), getattr(layer, name)))
        self._shared.update({name: made.get(id(blob), blob) for name, blob in self._shared.items()})
        return self

    @property
    def params(self) -> dict[str, list[torch.Tensor]]:
        """{layer name: [blob tensors in Caffe's order]} of the layers that have parameters, as Caffe's net.params."""
        return {name: layer.blobs() for name, layer in self.layers.items() if layer.blob_names}

    def learnable(self) -> list[Learnable]:
        """The parameter blobs in the order of Caffe's solverstate, shared ones once: a list of Learnable."""
        found: dict[int, tuple[str, torch.Tensor, Layer, list[ParamSpec]]] = {}
        for name, layer in self.layers.items():
            specs = self._param_of[layer.layer_name].param
            for index, key in enumerate(layer.blob_names):
                blob = getattr(layer, key)
                if blob is None:
                    raise layer.error("its parameters have no shape yet: call reshape with the inputs' shapes first")
                sharers = found.setdefault(id(blob), (f"{name}/{index}", blob, layer, []))[-1]
                sharers.extend(specs[index:index + 1])
        return [Learnable(name, blob, *(0.0 if layer.buffers_only else multiplier(specs, field, layer)
                                        for field in ("lr_mult", "decay_mult")))
                for name, blob, layer, specs in found.values()]

    def copy_from(self, source: Blobs | FilePath, assign: bool = False) -> CopyReport:
        """Copy weights by layer name, as Caffe's CopyTrainedLayersFrom.

        `source`: {layer: [array, ...]}, as from `to_blobs`, or the path of a caffemodel of any kind. Where layers of a net
        have one name, a file goes as Caffe has it: all its layers of that name into the net's first one in turn (of an HDF5
        file, into the last), and the others are left as they are and `missing`. A legacy 4-D array fits where it has the
        same shape but for leading ones. `assign`: make the arrays themselves the blobs (but for shared ones), so that those
        of a mapped file take memory only as they are read; the net may have been made on the meta device. Returns a
        CopyReport. A layer with another number of blobs or another shape raises CaffeError, and nothing is copied; for such
        layers there is `surgery.transplant`.
        """
        found = weights_of(source, {name: param.name for name, param in self._param_of.items()})
        copies, copied = [], list(dict.fromkeys(target for _, target, _ in found if target is not None))
        for _, target, arrays in found:
            if target is None:
                continue
            layer = self.layers[target]
            if len(arrays) != len(layer.blob_names):
                raise layer.error(f"needs {counted(len(layer.blob_names), 'blob')}, but the source has {len(arrays)}")
            for index, (array, blob) in enumerate(zip(arrays, layer.blobs(), strict=True)):
                if blob is not None and not same_shape(array.shape, blob.shape):
                    raise layer.error(f"{layer.blob_names[index]} has shape {dims_text(blob.shape)}, but the source has "
                                      f"{dims_text(array.shape)}; surgery.transplant can reshape or leave it out")
                copies.append((layer, index, array))
        with torch.no_grad():
            for layer, index, array in copies:
                if layer.blobs()[index] is None:
                    self._make_blob(layer, index, array.shape)
                blob = layer.blobs()[index]
                values = torch.as_tensor(array).reshape(blob.shape)
                if assign and not any(blob is shared for shared in self._shared.values()):
                    layer.set_blob(index, values)
                else:
                    blob.copy_(values)
        owned = [name for name, layer in self.layers.items() if layer.blob_names]
        return CopyReport(copied, [name for name, target, _ in found if target is None],
                          [name for name in owned if name not in copied])

    def to_blobs(self) -> dict[str, list[np.ndarray]]:
        """{layer: [array, ...]}: copies of all parameter blobs, as `write_caffemodel` takes them."""
        return {name: [blob.detach().to("cpu", copy=True).contiguous().numpy() for blob in blobs]
                for name, blobs in self.params.items()}

    # ---- computing ----

    if TYPE_CHECKING:  # nn.Module's returns Any

        def __call__(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]: ...

    def forward(self, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        """{output blob: tensor} for a keyword for each input blob."""
        return self.forward_blobs(inputs, self.outputs)

    def forward_blobs(self, inputs: Mapping[str, torch.Tensor], names: Sequence[str]) -> dict[str, torch.Tensor]:
        """{name: tensor} for any blobs of the net; only the layers that they need are computed.

        Several layers may work in place on one blob: as in Caffe, its name stands for the last of them. What they write also
        shows in the blobs that share its memory, for Flatten, Reshape, Split, a Concat of one bottom and a Slice of one top
        copy nothing: layers that run later read it there.
        """
        needed, steps = self.route(names)
        for name in needed:
            if name not in inputs:
                raise CaffeError(f"net '{self.param.name}': missing input '{name}'; this net needs {', '.join(needed)}")
        try:
            return self._run(steps, {name: inputs[name] for name in needed}, names)
        except RuntimeError as error:
            if type(error) is RuntimeError and ours(error):
                # Followed without numbers, shapes that do not fit fail again, and the error names the layer.
                self._follow(steps, {name: inputs[name].shape for name in needed})
            raise

    def _run(self, steps: Sequence[Step], blobs: dict[str, torch.Tensor], names: Sequence[str]) -> dict[str, torch.Tensor]:
        for step in steps:
            layer = step.layer
            values = [blobs[name].detach() if i in step.cut else blobs[name] for i, name in enumerate(step.bottoms)]
            if any(getattr(layer, name) is None for name in layer.blob_names):
                self._make_blobs(layer, values)
            if layer.own_shapes:
                tops = torch.func.functional_call(layer, layer.blobs_by_name(), tuple(values))
            else:
                tops = layer(*values)
            blobs.update(self._named(step, tops))
            for name, top in step.written:
                blobs[name] = overwritten(blobs[name], blobs[top])
            for name in step.done:
                del blobs[name]
        return {name: blobs[name] for name in names}

    @staticmethod
    def _named(step: Step, tops: Tops) -> dict[str, torch.Tensor]:
        tops = tops if isinstance(tops, tuple) else (tops,)
        if len(tops) != len(step.tops):
            raise step.layer.error(f"makes {counted(len(tops), 'top')}, but {len(step.tops)} "
                                   f"{'is' if len(step.tops) == 1 else 'are'} named")
        return dict(zip(step.tops, tops, strict=True))

    def loss(self, **inputs: torch.Tensor) -> torch.Tensor:
        """The sum of all losses, each times its loss_weight: a scalar tensor."""
        if not self._loss_weights:
            raise CaffeError(f"net '{self.param.name}' has no loss layer in phase '{self.phase}'")
        blobs = self.forward_blobs(inputs, list(self._loss_weights))
        first, *others = [weight * blobs[name].sum() for name, weight in self._loss_weights.items()]
        return sum(others, first)

    def route(self, names: Sequence[str]) -> tuple[list[str], list[Step]]:
        """The inputs and the steps that the blobs `names` need, in order."""
        names = tuple(names)
        if names not in self._routes:
            known = set(self.inputs)
            for step in self.steps:  # written out for the torch.compile of older PyTorches
                known.update(step.tops)
            unknown = [name for name in names if name not in known]
            if unknown:
                raise CaffeError(f"net '{self.param.name}' has no blob '{unknown[0]}'{instead(unknown[0], sorted(known))}")
            needed, steps = needed_steps(self.steps, names)
            self._routes[names] = [name for name in self.inputs if name in needed], steps
        return self._routes[names]


def ours(error: BaseException) -> bool:
    """Does an error come from PyTorch or a layer of these packages, and not from a user's own layer or hook?"""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in ("converters", "torch")
