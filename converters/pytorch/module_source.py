"""A net as the source of a PyTorch module that needs only torch: readable, with weights from the safetensors beside it."""

import builtins
import json
import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError
from converters.files import FilePath, atomic_write
from converters.layers.sources import HELPERS, LayerSource
from converters.pytorch.keys import state_dict
from converters.shapes import infer_shapes

Size = tuple[int, int]  # (height, width)
WIDTH = 100  # of the lines written
INDENT = " " * 8
RESERVED = {
    *keyword.kwlist, *dir(builtins), "self", "torch", "nn", "F", "json", "Path", "WEIGHTS", "NAMES", "load",
}

HEAD = '''"""{title}: a PyTorch module made from its Caffe description. It needs only torch.

`load()` makes it with the weights of the .safetensors beside this file, and calling it with
{inputs} gives {{blob: tensor}} of {outputs}.
"""

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WEIGHTS = Path(__file__).with_suffix(".safetensors")
'''
NAMES = '''
# What layers are called in the weights, where that is no name in Python.
NAMES = {{
{names}
}}
'''
LOAD = '''

def load(path=WEIGHTS):
    """The net with the weights of a .safetensors file, which a header in JSON describes."""
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    state = {{}}
    for key, tensor in json.loads(data[8:start]).items():
        if key != "__metadata__":
            layer, _, blob = key.rpartition(".")
            first, last = tensor["data_offsets"]
            floats = torch.frombuffer(data[start + first : start + last], dtype=torch.float32)
            state[f"{layer}.{{blob}}"] = floats.reshape(tensor["shape"])
    net = {cls}()
    net.load_state_dict(state)
    return net.eval()
'''


def write_module(path: FilePath, net: NetParameter, input_size: Size | None = None) -> None:
    """Write `module_source` to a .py file."""
    with atomic_write(path) as temporary:
        temporary.write_text(module_source(net, input_size), encoding="utf-8")


def module_source(net: NetParameter, input_size: Size | None = None, outputs: Iterable[str] | None = None) -> str:
    """The source of a module that computes what CaffeNet computes of `net`, a NetParameter, at test time.

    Its forward takes the net's inputs and returns {blob: tensor} of `outputs`, the net's own by default. Losses are left
    out. input_size: (height, width) where the description declares none, or another than it does. Raises CaffeError for
    layers that cannot be written.
    """
    caffe, shapes = infer_shapes(net, input_size)
    outputs = [name for name in outputs or caffe.outputs if name in shapes]
    inputs = [name for name in caffe.inputs if name in shapes]
    blob_names = identifiers(shapes)
    layer_names = identifiers([name for name, layer in caffe.layers.items() if layer.blob_names], dir(nn.Module()))
    params = dict(zip(caffe.layers, caffe.param.layer, strict=True))
    made: list[str] = []
    lines: list[tuple[str, str]] = []
    shared: dict[int, str] = {}
    used: list[str] = []
    written = {step.layer: step.written for step in caffe.route(outputs)[1]}
    for step in caffe.steps:
        param = params[step.layer.layer_name]
        own = f"self.{layer_names.get(step.layer.layer_name, '')}"
        source = LayerSource(step.layer, param, own, [blob_names[name] for name in step.bottoms],
                             [shapes[name] for name in step.bottoms], [shapes[name] for name in step.tops])
        expressions = step.layer.source(source)
        used += source.used
        expressions = [expressions] if isinstance(expressions, str) else expressions
        if source.made:
            made.append(f"{own} = {source.made}")
        for name, blob in zip(step.layer.blob_names, step.layer.blobs(), strict=True):
            if shared.setdefault(id(blob), f"{own}.{name}") != f"{own}.{name}":
                made.append(f"{own}.{name} = {shared[id(blob)]}")
        for top, expression in zip(step.tops, expressions, strict=True):
            _assign(lines, blob_names[top], expression, in_place=top in step.bottoms)
        for name, top in written.get(step.layer, ()):  # blobs in whose memory the layer has written
            lines.append((blob_names[name], f"{blob_names[top]}.view_as({blob_names[name]})"))
    body = [wrapped(line) for line in (*made, *(f"{top} = {expression}" for top, expression in lines))]
    cls = class_name(net.name)
    title = re.sub(r"[^\w .,()+-]", "_", net.name) or cls
    signature = ", ".join([blob_names[name] for name in inputs])
    returned = wrapped("return {" + ", ".join(f"{quoted(name)}: {blob_names[name]}" for name in outputs) + "}")
    renamed = {name.replace(".", "_"): new for name, new in layer_names.items() if name.replace(".", "_") != new}
    names = "\n".join(f"    {quoted(name)}: {quoted(new)}," for name, new in renamed.items())
    init = "\n".join([INDENT + "super().__init__()", *body[: len(made)]])
    forward = "\n".join([*body[len(made) :], returned])
    described = ", ".join(re.sub(r"[^\w .,/()+-]", "_", name) for name in outputs[:4]) + (", ..." if outputs[4:] else "")
    return "".join([
        HEAD.format(title=title, inputs=signature, outputs=described),
        NAMES.format(names=names) if names else "",
        *["\n" + HELPERS[name] for name in dict.fromkeys(sorted(used))],
        f"\n\nclass {cls}(nn.Module):\n    def __init__(self):\n{init}\n\n",
        f"    def forward(self, {signature}):\n{forward}\n",
        LOAD.format(cls=cls, layer="{NAMES.get(layer, layer)}" if names else "{layer}"),
    ])


def build_module(source: str) -> dict[str, Any]:
    """What the text of `module_source` defines: {name: value}, with the module's class under "Module"."""
    namespace: dict[str, Any] = {"__file__": "net.py", "__name__": "net"}
    # Every name in it is an identifier or a quoted string that module_source made, so nothing of the net's is executed.
    exec(compile(source, "net.py", "exec"), namespace)
    classes = [value for name, value in namespace.items() if isinstance(value, type) and value.__module__ == "net"]
    return {**namespace, "Module": classes[-1]}


def make_module(net: NetParameter, blobs: Mapping[str, Sequence[np.ndarray]], input_size: Size | None = None,
                outputs: Iterable[str] | None = None) -> nn.Module:
    """The module that `module_source` describes, for inference, with `blobs`, {layer: [array, ...]}, in it uncopied.

    Raises CaffeError for blobs of another shape and for layers that have none.
    """
    caffe, _ = infer_shapes(net, input_size)
    missing = caffe.copy_from(blobs).missing  # on the meta device this copies nothing, but checks
    if missing:
        raise CaffeError(f"net '{net.name}': there are no weights for layer {', '.join(missing)}")
    made = build_module(module_source(net, input_size, outputs))
    with torch.device("meta"):
        module: nn.Module = made["Module"]()
    state = {}
    for key, array in state_dict(caffe.param, {name: blobs[name] for name in caffe.params}).items():
        layer, _, blob = key.rpartition(".")
        state[f"{made.get('NAMES', {}).get(layer, layer)}.{blob}"] = torch.as_tensor(array)
    module.load_state_dict(state, assign=True)
    module.eval()
    return module


def _assign(lines: list[tuple[str, str]], top: str, expression: str, in_place: bool) -> None:
    """Add `top = expression`; what works in place on the line before is written around that line's expression."""
    if in_place and lines and lines[-1][0] == top and len(re.findall(rf"\b{top}\b", expression)) == 1:
        inner = lines[-1][1]
        nested = re.sub(rf"\b{top}\b", lambda _: inner, expression)
        if expression.startswith(f"F.{expression[2:].split('(')[0]}({top}") and len(nested) + len(top) < WIDTH - 12:
            lines[-1] = top, nested
            return
    if top != expression:
        lines.append((top, expression))


def wrapped(line: str) -> str:
    """An indented statement; of one that is too long, the inside of its brackets gets a line of its own, or more."""
    if len(INDENT + line) <= WIDTH:
        return INDENT + line
    bracket = re.search(r"[(\[{]", line)
    if bracket is None or line[-1] not in ")]}":
        return INDENT + line
    head, inside, tail = line[: bracket.end()], line[bracket.end() : -1], line[-1]
    if len(INDENT) + 4 + len(inside) <= WIDTH and tail != "}":
        return f"{INDENT}{head}\n{INDENT}    {inside}\n{INDENT}{tail}"
    parts = "".join(f"{INDENT}    {part},\n" for part in re.split(r", (?![^(\[]*[)\]])", inside))
    return f"{INDENT}{head}\n{parts}{INDENT}{tail}"


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def identifiers(names: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """{name: a Python identifier}, each one's own."""
    taken, found = {*RESERVED, *HELPERS, *reserved}, {}
    for name in names:
        identifier = re.sub(r"\W", "_", name, flags=re.ASCII)
        identifier = f"_{identifier}" if not identifier or identifier[0].isdigit() else identifier
        while identifier in taken:
            identifier += "_"
        taken.add(identifier)
        found[name] = identifier
    return found


def class_name(name: str) -> str:
    """VGG_ILSVRC_16_layers as VGGILSVRC16Layers."""
    parts = re.findall(r"[A-Za-z0-9]+", name)
    camel = "".join(part[0].upper() + part[1:] for part in parts)
    return camel if camel and not camel[0].isdigit() and camel not in {*RESERVED, *HELPERS} else f"Net{camel}"
