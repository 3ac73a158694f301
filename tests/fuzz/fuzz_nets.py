"""Random small nets, each computed in several ways that need to agree: `make fuzz-nets`, outside CI.

`PYTHONPATH=tests python -m fuzz.fuzz_nets [--seconds 60] [--seed 0] [--against source fast onnx opencv]` draws nets of the
registered layers, several layers deep, with skips and layers in place. CaffeNet is compared with its generated source
(forward and backward), with the fast path, with ONNX in onnxruntime and with OpenCV 4, where these are installed. The first
net that disagrees is made as small as it can be by dropping layers, and printed with its seed; the exit status is then 1.
"""

import argparse
import inspect
import random
import re
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

import numpy as np
import torch
from fuzz.drawn_layers import IN_PLACE, SETTINGS, TWO_BOTTOMS, choose
from google.protobuf import text_format

import repro
from converters import CaffeError, CaffeNet, write_caffemodel, write_prototxt
from converters.caffe_pb2 import LayerParameter, NetParameter
from converters.pytorch.module_source import make_module
from converters.pytorch.onnx import write_onnx

LARGEST = 1e3  # numbers beyond it are drawn again: they would drown the others
# Of a blob's largest magnitude: in float64, where settings differ by a float's rounding (0.3), and in float32.
EXACT, ROUNDED = 1e-6, 2e-4
SLOW = {"onnx": 0.05}  # the share of nets that go through it, since one export takes seconds
# In place, Caffe's gradient is not that of the function; nor is it where tops share the memory that is written.
WITHOUT_GRADIENT = {"Power", "Log", "BNLL", "Clip", "Swish"}
SHARING = {"Concat", "Flatten", "Reshape", "Slice", "Split"}

UNWRITTEN = {"Im2col", "MVN", "Reduction", "SPP", "Tile"}  # have no source; most nets are drawn without them

# What OpenCV computes otherwise, or not at all; nets with these are not shown to it.
OPENCV_TYPES = {"Input", "AbsVal", "BNLL", "BatchNorm", "Concat", "Convolution", "Crop", "Deconvolution", "Dropout", "ELU",
                "Eltwise", "Flatten", "InnerProduct", "LRN", "MVN", "PReLU", "Pooling", "Power", "ReLU", "Scale", "Sigmoid",
                "Slice", "Softmax", "Split", "TanH"}
OPENCV_DEPARTS = {
    "BatchNorm": (lambda layer: layer.batch_norm_param.HasField("use_global_stats"), "knows global statistics alone"),
    "Deconvolution": (lambda layer: layer.convolution_param.dilation[:] not in ([], [1]), "does not dilate its windows"),
    "Flatten": (lambda layer: layer.flatten_param.axis == 0, "makes a top of one axis two"),
    "InnerProduct": (lambda layer: layer.inner_product_param.transpose or layer.inner_product_param.axis == 0,
                     "takes transposed weights for others, and makes a top of one axis two"),
}


class Disagreement(Exception):
    """Two ways to compute a net differ, or one of them fails."""


class NotCompared(Exception):
    """A net that says nothing about a way."""


def draw(seed):
    """A net of 2 to 9 layers whose numbers are finite, and none large."""
    r = random.Random(seed)
    net = NetParameter(name=f"fuzz{seed}")
    for index in range(r.choice([1, 1, 1, 2])):
        same = net.layer[0].input_param.shape[0].dim if index and r.random() < 0.7 else None
        shape = list(same or (r.randint(1, 2), r.randint(1, 6), r.randint(4, 14), r.randint(4, 14)))
        net.layer.add(name=f"data{index}", type="Input", top=[f"data{index}"], input_param={"shape": [{"dim": shape}]})
    types = sorted(SETTINGS.keys() - (UNWRITTEN if r.random() < 0.7 else set()))
    wanted, blobs = len(net.layer) + r.randint(2, 9), every_blob(net)
    for _ in range(60):
        layer = _draw_layer(r, types, f"l{len(net.layer)}", {name: blob.shape for name, blob in blobs.items()})
        if layer is None or len(net.layer) == wanted:
            continue
        net.layer.append(layer)
        try:
            longer = every_blob(net)
        except CaffeError:
            longer = {}
        if longer and all(map(_is_tame, longer.values())):
            blobs = longer
        else:
            del net.layer[-1]
    return _used(net)


def _used(net):
    """The net without the inputs that no layer reads."""
    read, kept = {bottom for layer in net.layer for bottom in layer.bottom}, NetParameter(name=net.name)
    kept.layer.extend(layer for layer in net.layer if layer.type != "Input" or layer.top[0] in read)
    return kept


def _draw_layer(r, types, name, shapes):
    type = r.choice(types)
    bottom = choose(r, [blob for blob, shape in shapes.items() if len(shape)])
    shape = tuple(shapes[bottom])
    bottoms = [bottom]
    if type in TWO_BOTTOMS:
        fits = [other for other in shapes if TWO_BOTTOMS[type](shape, tuple(shapes[other])) and other != bottom]
        if not fits:
            return None
        bottoms.append(r.choice(fits))
    settings = SETTINGS[type](r, shape)
    if settings is None:
        return None
    tops = [bottom] if type in IN_PLACE and r.random() < 0.4 else [name]
    if type in ("Slice", "Split"):
        tops = [f"{name}a", f"{name}b"]
    layer = LayerParameter(name=name, type=type, bottom=bottoms, top=tops)
    text_format.Merge(settings, layer)
    return layer


def _is_tame(blob):
    return blob.numel() and blob.isfinite().all() and 1e-3 < blob.abs().max() < LARGEST


def built(net):
    """A CaffeNet in float64 whose weights and inputs depend on its layers' names alone: (net, {input: tensor})."""
    caffe = CaffeNet(net).double()
    for name, blobs in caffe.params.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        for blob, blob_name in zip(blobs, caffe.layers[name].blob_names, strict=True):
            with torch.no_grad():
                fan_in = blob[0].numel() if blob.ndim > 1 else 1
                blob.copy_(torch.randn(blob.shape, generator=generator) * (2 / fan_in) ** 0.5)
                if blob_name in ("running_var", "scale_factor"):
                    blob.abs_().add_(0.5)
    inputs = {}
    for name in caffe.inputs:
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        inputs[name] = torch.randn(caffe.input_shapes[name], generator=generator, dtype=torch.float64)
    return caffe, inputs


@torch.no_grad()
def every_blob(net):
    """{blob: tensor} of all blobs of a net, in float64."""
    caffe, inputs = built(net)
    names = list(dict.fromkeys(top for layer in net.layer for top in layer.top))
    return caffe.forward_blobs(inputs, names)


def agree(what, expected, found, tolerance):
    """Raise Disagreement where two {blob: tensor or array} differ by more than `tolerance` of a blob's largest magnitude."""
    for name, blob in expected.items():
        ours, other = np.asarray(blob), np.asarray(found[name])
        if ours.shape != other.shape:
            raise Disagreement(f"{what}: '{name}' has shape {other.shape}, CaffeNet's has {ours.shape}")
        both_nan = np.isnan(ours) & np.isnan(other)  # as of a logarithm, once the weights are changed
        ours, other = np.where(both_nan, 0, ours), np.where(both_nan, 0, other)
        difference, largest = np.abs(ours - other).max(initial=0), np.abs(ours).max(initial=0)
        if not difference <= tolerance * max(largest, 1e-3):  # also where one is not a number
            raise Disagreement(f"{what}: '{name}' differs by {difference:.3g} of {largest:.3g}")


def is_well_conditioned(net):
    """Whether float32 gives what float64 does; where it does not, nothing is learned from a comparison in it."""
    caffe, inputs = built(net)
    with torch.no_grad():
        exact = caffe(**inputs)
        rounded = caffe.float()(**{name: blob.float() for name, blob in inputs.items()})
    try:
        agree("float32", exact, rounded, ROUNDED / 10)
    except Disagreement:
        return False
    return True


# ---- the ways to compute a net; each raises Disagreement, and CaffeError for what it refuses in words ----


def against_source(net):
    """The generated source: outputs, and the gradients of inputs and weights."""
    caffe, inputs = built(net)
    module, learned = make_module(net, caffe.to_blobs()).double(), dict(caffe.named_parameters())
    for name, blob in module.named_parameters():
        blob.requires_grad_(name in learned)
    in_place = {layer.type for layer in net.layer if layer.top == layer.bottom}
    leaves = [{name: blob.clone().requires_grad_() for name, blob in inputs.items()} for _ in range(2)]
    taken = [name for name in inspect.signature(module.forward).parameters if name in inputs]  # those that an output needs
    ours, theirs = caffe(**leaves[0]), module(**{name: leaves[1][name] for name in taken})
    agree("source", _detached(ours), _detached(theirs), EXACT)
    if _writes_shared(net) or in_place & WITHOUT_GRADIENT:
        return
    for outputs in ours, theirs:
        total = sum((blob * (1 + torch.arange(blob.numel()).reshape(blob.shape) % 3)).sum() for blob in outputs.values())
        if total.requires_grad:
            total.backward()
    for kind, pairs in {
        "source, gradient of input": [(name, leaves[0][name].grad, leaves[1][name].grad) for name in inputs],
        "source, gradient of": [(name, blob.grad, dict(module.named_parameters())[name].grad)
                                for name, blob in learned.items()]}.items():
        for name, one, other in pairs:
            agree(kind, {name: _or_zeros(one, other)}, {name: _or_zeros(other, one)}, EXACT)


def _writes_shared(net):
    """Whether a layer in place may write what other tops share."""
    types = {layer.type for layer in net.layer}
    return bool(types & SHARING) and any(layer.top == layer.bottom for layer in net.layer)


def _or_zeros(gradient, other):
    return gradient if gradient is not None else torch.zeros(() if other is None else other.shape)


def _detached(blobs):
    return {name: blob.detach() for name, blob in blobs.items()}


def against_fast(net):
    """The fast path, twice: weights and inputs are changed in between."""
    caffe, inputs = built(net)
    caffe.eval()
    fast = repro.accelerate(caffe)
    with torch.no_grad():
        agree("fast path", caffe(**inputs), fast(**inputs), EXACT)
        for blobs in caffe.params.values():
            for blob in blobs:
                blob.data.mul_(1.25)
        inputs = {name: blob.flip(0, 3) * 0.9 for name, blob in inputs.items()}
        agree("fast path, weights changed", caffe(**inputs), fast(**inputs), EXACT)
        larger = {name: torch.cat([blob, blob[..., :3, :]], 2) for name, blob in inputs.items()}
        try:
            expected = caffe(**larger)
        except (CaffeError, RuntimeError):
            expected = None  # a layer for one size
        if expected is not None:
            agree("fast path, larger", expected, fast(**larger), EXACT)
    if is_well_conditioned(net):
        caffe, inputs = built(net)
        caffe, inputs = caffe.float().eval(), {name: blob.float() for name, blob in inputs.items()}
        with torch.no_grad():
            agree("fast path in float32", caffe(**inputs), repro.accelerate(caffe)(**inputs), ROUNDED)


def against_onnx(net):
    """ONNX in onnxruntime."""
    import onnxruntime

    if not is_well_conditioned(net):
        raise NotCompared
    caffe, inputs = built(net)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        write_onnx(path, net, caffe.float().to_blobs())
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    given = {input.name: inputs[input.name].float().numpy() for input in session.get_inputs()}
    with torch.no_grad():
        ours = caffe(**{name: blob.float() for name, blob in inputs.items()})
    agree("onnxruntime", ours, dict(zip(names, session.run(names, given), strict=True)), ROUNDED)


def against_opencv(net):
    """OpenCV 4's reader of Caffe's files, for nets that it is known to follow."""
    import cv2

    departs = any(layer.type not in OPENCV_TYPES or layer.type in OPENCV_DEPARTS and OPENCV_DEPARTS[layer.type][0](layer)
                  for layer in net.layer)
    if departs or _writes_shared(net) or not is_well_conditioned(net):  # OpenCV's tops share no memory
        raise NotCompared
    caffe, inputs = built(net)
    with torch.no_grad():
        ours = caffe.float()(**{name: blob.float() for name, blob in inputs.items()})
    makers = {top: (layer.name, place) for layer in net.layer for place, top in enumerate(layer.top)}
    with tempfile.TemporaryDirectory() as folder:
        prototxt, weights = Path(folder) / "net.prototxt", Path(folder) / "net.caffemodel"
        write_prototxt(prototxt, net)
        write_caffemodel(weights, net, caffe.to_blobs())
        try:
            opencv = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
            opencv.enableFusion(False)
            for name, blob in inputs.items():
                opencv.setInput(blob.float().numpy(), name)
            found = {name: opencv.forward(makers[name][0]) for name in ours if makers[name][1] == 0}
        except cv2.error:
            raise NotCompared from None
    agree("OpenCV", {name: ours[name] for name in found}, found, 5 * ROUNDED)


WAYS = {"source": against_source, "fast": against_fast, "onnx": against_onnx, "opencv": against_opencv}
NEEDS = {"onnx": ("onnx", "onnxruntime", "onnxscript"), "opencv": ("cv2",)}


def installed(way):
    """Whether what a way needs is there; OpenCV 5 has no reader of Caffe's files."""
    try:
        modules = [__import__(name) for name in NEEDS.get(way, ())]
    except ImportError:
        return False
    return way != "opencv" or hasattr(modules[0].dnn, "readNetFromCaffe")


def fault(net, way):
    """What is wrong with a net one way, in a line; None where all agrees, "" where the way refuses it in words."""
    try:
        WAYS[way](net)
    except CaffeError as error:
        # The fast path runs whatever CaffeNet runs.
        return f"{way}: refused: {error}" if way == "fast" else ""
    except NotCompared:
        return ""
    except Disagreement as error:
        return str(error)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{way}: {type(error).__name__} in {Path(place.filename).name}, line {place.lineno}: {str(error)[:200]}"
    return None


def smallest(net, way):
    """The net with every layer dropped that can be, the way still failing in the same manner."""
    kind, shrunk = _kind(fault(net, way)), True
    while shrunk:
        shrunk = False
        for index in reversed(range(len(net.layer))):
            for without in _without(net, index):
                try:
                    every_blob(without)
                except Exception:
                    continue
                if (found := fault(without, way)) and _kind(found) == kind:
                    net, shrunk = without, True
                    break
            if shrunk:
                break
    return net


def _kind(found):
    """A fault without names and numbers."""
    return re.sub(r"'[^']*'|\d\S*", "", found)


def _without(net, index):
    """Nets without one layer: its readers read its bottom; or they go, too."""
    gone, rewired, cut = net.layer[index], NetParameter(name=net.name), NetParameter(name=net.name)
    lost = set()
    for layer in net.layer:
        if layer.name == gone.name:
            lost |= {*gone.top} - {*gone.bottom}
            continue
        if gone.bottom:
            rewired.layer.add().CopyFrom(layer)
            rewired.layer[-1].bottom[:] = [gone.bottom[0] if name in {*gone.top} else name for name in layer.bottom]
        if lost.intersection(layer.bottom):
            lost |= {*layer.top}
        else:
            cut.layer.add().CopyFrom(layer)
    return [each for each in map(_used, (cut, rewired)) if each.layer]


def fuzz(seed, seconds, nets, ways, say=print):
    """Draw nets, from `seed` on, until one disagrees, which is said: (its seed, the fault, the way); else None."""
    end, counts = time.monotonic() + seconds, dict.fromkeys(ways, 0)
    for number in range(seed, seed + nets):
        if time.monotonic() > end:
            break
        try:
            net = draw(number)
        except Exception:
            say(f"seed {number}: CaffeNet fails on a net that is drawn\n{traceback.format_exc()}")
            return number, "CaffeNet", None
        for way in ways:
            if random.Random(number).random() >= SLOW.get(way, 1):
                continue
            found = fault(net, way)
            counts[way] += found is None
            if found:
                net = smallest(net, way)
                say(f"seed {number}: {fault(net, way)}\n{net}")
                return number, fault(net, way), way
    say(", ".join(f"{way}: {count} nets agree" for way, count in counts.items()))
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0, help="of the first net; each one after it has the next")
    parser.add_argument("--nets", type=int, default=10**9, help="draw no more than these")
    parser.add_argument("--against", nargs="+", choices=WAYS, default=[way for way in WAYS if installed(way)])
    given = parser.parse_args()
    torch.set_num_threads(1)  # the nets are small
    sys.exit(fuzz(given.seed, given.seconds, given.nets, given.against) is not None)


if __name__ == "__main__":
    main()
