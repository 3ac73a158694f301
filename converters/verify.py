"""What was written, compared with its source layer by layer, by Caffe's other readers too where they are installed."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError
from converters.files import FilePath
from converters.formats.blob import Blobs, Size, as_floats, unique_names
from converters.formats.caffemodel import Caffemodel, read_caffemodel, write_caffemodel
from converters.formats.prototxt import write_prototxt
from converters.net import CaffeNet
from converters.pytorch.keys import state_dict
from converters.pytorch.module_source import build_module, make_module
from converters.pytorch.preprocessing import Preprocessing
from converters.pytorch.weights import read_checkpoint
from converters.shapes import infer_shapes

TOLERANCE = 1e-4  # of each blob's largest magnitude


class Report:
    """The largest difference of each blob between two sides, and what was not compared and why."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, bool]] = []  # sides, name, difference, does it differ
        self.uncompared: list[tuple[str, str, str]] = []  # sides, name, reason

    def compare(self, sides: str, name: str, source: ArrayLike, written: ArrayLike, tolerance: float = TOLERANCE) -> None:
        """Note the largest difference of two arrays; another shape counts as infinite."""
        source, written = np.asarray(source), np.asarray(written)
        same_shape = source.shape == written.shape
        difference = float(np.abs(source - written).max(initial=0)) if same_shape else np.inf
        largest = float(np.abs(source).max(initial=0))
        # `not <=` also catches a difference that is not a number.
        self.rows.append((sides, name, f"{difference:.3g} of {largest:.3g}", not difference <= tolerance * largest))

    def skip(self, sides: str, name: str, reason: str) -> None:
        self.uncompared.append((sides, name, reason))

    def lines(self) -> list[str]:
        """A line for each comparison, and one for each that could not be made."""
        compared = [f"{sides:24} {name:30} {difference}{'  DIFFERS' if bad else ''}"
                    for sides, name, difference, bad in self.rows]
        return compared + [f"{sides:24} {name:30} not compared: {reason}" for sides, name, reason in self.uncompared]

    def check(self) -> None:
        """Raise CaffeError if anything differs."""
        if bad := [f"{name} ({sides})" for sides, name, _, is_bad in self.rows if is_bad]:
            raise CaffeError(f"verification failed: {len(bad)} of {len(self.rows)} comparisons differ, first {bad[0]}")


def verify_weights(model: Caffemodel, path: FilePath, input_size: Size | None = None) -> Report:
    """Compare the weights file `path` with the `Caffemodel` that it was written from; a Report.

    Every blob must be the same, bit for bit. Where the net is described in full, its layers as OpenCV computes them from
    that description and these weights are compared with CaffeNet's.
    """
    report, path = Report(), Path(path)
    written: Mapping[str, ArrayLike]
    if path.suffix in (".caffemodel", ".h5"):
        source, written = _by_index(model.blobs), _by_index(read_caffemodel(path).blobs)
    else:
        source = state_dict(model.net, model.blobs)
        written = dict(np.load(path)) if path.suffix == ".npz" else read_checkpoint(path)
    for name in written.keys() - source.keys():
        report.compare("weights: source, file", name, np.empty(0), written[name])
    for name, array in source.items():
        report.compare("weights: source, file", name, array, written.get(name, np.empty(0)), tolerance=0)
    _with_opencv(report, model.net, model.blobs, input_size)
    return report


def _by_index(blobs: Blobs) -> dict[str, np.ndarray]:
    """{"<layer>/<index>": array}"""
    return {f"{name}/{i}": array for name, arrays in blobs.items() for i, array in enumerate(arrays)}


def verify_module(net: NetParameter, path: FilePath, input_size: Size | None = None) -> Report:
    """Compare the module in the source file `path` with the CaffeNet of `net`, on random weights; a Report."""
    report = Report()
    caffe, shapes = infer_shapes(net, input_size)
    blobs, inputs = random_blobs(caffe), random_inputs(caffe, shapes)
    expected = caffe_blobs(caffe.param, blobs, inputs)
    _note_left_out(report, "CaffeNet, module", net, caffe)
    tops = [name for name in shapes if name not in inputs]
    with torch.no_grad():
        every = make_module(net, blobs, input_size, tops)
        outputs = every(*inputs.values())
        for name in tops:
            report.compare("CaffeNet, module", name, expected[name], outputs[name])
        written = build_module(Path(path).read_text(encoding="utf-8"))["Module"]()
        written.load_state_dict(every.state_dict(), assign=True)
        for name, output in written.eval()(*inputs.values()).items():
            report.compare(f"CaffeNet, {Path(path).name}", name, expected[name], output)
    return report


def verify_onnx(net: NetParameter, blobs: Blobs, path: FilePath, input_size: Size | None = None,
                preprocessing: Preprocessing | None = None) -> Report:
    """Compare the ONNX file `path` in onnxruntime, and OpenCV on the weights, with CaffeNet, layer by layer; a Report."""
    report, sides = Report(), "CaffeNet, onnxruntime"
    caffe, shapes = infer_shapes(net, input_size)
    inputs = random_inputs(caffe, shapes)
    given = {name: image.numpy() for name, image in inputs.items()}
    if preprocessing is not None:  # the graph makes the net's input of an image: undo that for what is given to it
        ((name, image),) = given.items()
        mean = np.asarray(preprocessing.mean or (0,), np.float32)[:, None, None]
        image = image / np.float32(1 if preprocessing.scale is None else preprocessing.scale) + mean
        given = {name: np.ascontiguousarray(image[:, ::-1] if preprocessing.channels == "bgr" else image)}
    _note_left_out(report, sides, net, caffe)
    if not find_spec("onnxruntime"):
        report.skip(sides, "all", "onnxruntime is not installed")
    else:
        expected = caffe_blobs(caffe.param, blobs, inputs)
        made = _run_onnx(path, given, [name for name in shapes if name not in inputs])
        for name in shapes:
            if name in made:
                report.compare(sides, name, expected[name], made[name])
            elif name not in inputs:
                report.skip(sides, name, "the exporter merged it with another value")
    _with_opencv(report, net, blobs, input_size)
    return report


def caffe_blobs(net: NetParameter, blobs: Blobs, inputs: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """{name: array} of all blobs that a CaffeNet of the NetParameter `net` computes."""
    caffe = CaffeNet(net)
    caffe.copy_from(blobs)
    names = list(dict.fromkeys(top for param in caffe.param.layer for top in param.top if top not in caffe.inputs))
    with torch.no_grad():
        return {name: blob.numpy() for name, blob in caffe.forward_blobs(inputs, names).items()}


def random_inputs(caffe: CaffeNet, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, torch.Tensor]:
    """{input: tensor} of standard normal numbers, in the inputs' order."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shapes[name], generator=generator) for name in caffe.inputs if name in shapes}


def random_blobs(caffe: CaffeNet, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """{layer: [array, ...]} for a CaffeNet on the meta device: weights that keep what passes through in its range."""
    generator = np.random.default_rng(seed)
    found: dict[str, list[np.ndarray]] = {}
    for name, tensors in caffe.params.items():
        found[name] = []
        for blob_name, tensor in zip(caffe.layers[name].blob_names, tensors, strict=True):
            fan_in = max(1, int(np.prod(tensor.shape[1:])))
            array = generator.standard_normal(tuple(tensor.shape)) * (2 / fan_in) ** 0.5
            found[name].append(as_floats(np.abs(array) + 1 if blob_name in ("running_var", "scale_factor") else array))
    return found


def _note_left_out(report: Report, sides: str, net: NetParameter, caffe: CaffeNet) -> None:
    kept = {layer.name for layer in caffe.param.layer}
    for layer in net.layer:
        if layer.name not in kept:
            report.skip(sides, layer.name, f"{layer.type} is not part of the net that is run on an image")


def _run_onnx(path: FilePath, inputs: Mapping[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
    """{name: array} of those values of an ONNX graph that bear a name of `names`."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    made = {value for node in model.graph.node for value in node.output}
    outputs = {output.name for output in model.graph.output}
    inner = [name for name in names if name in made and name not in outputs]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    names = [name for name in names if name in made]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, inputs), strict=True))


def _with_opencv(report: Report, net: NetParameter, blobs: Blobs, input_size: Size | None) -> None:
    """Compare OpenCV's Caffe importer with CaffeNet on the same description and weights."""
    sides = "CaffeNet, OpenCV"
    cv2 = __import__("cv2") if find_spec("cv2") else None
    if cv2 is None or not hasattr(cv2.dnn, "readNetFromCaffe"):
        report.skip(sides, "all", "an OpenCV with a Caffe importer is not installed (opencv-python-headless<5)")
        return
    try:
        caffe, shapes = infer_shapes(net, input_size)
        missing = caffe.copy_from(blobs).missing
        if missing:
            raise CaffeError(f"there are no weights for layer {', '.join(missing)}")
    except CaffeError as error:
        report.skip(sides, "all", str(error))
        return
    if written := [step.layer.layer_name for step in caffe.steps if step.written]:
        report.skip(sides, "all", f"layer '{written[0]}' writes in place to memory that blobs share, which OpenCV's do not")
        return
    inputs = random_inputs(caffe, shapes)
    expected = caffe_blobs(caffe.param, blobs, inputs)
    _note_left_out(report, sides, net, caffe)
    try:
        with tempfile.TemporaryDirectory() as folder:
            prototxt, weights = Path(folder) / "net.prototxt", Path(folder) / "net.caffemodel"
            described, makers = _each_top_first(caffe.param)
            write_prototxt(prototxt, described)
            write_caffemodel(weights, described, {name: blobs[name] for name in caffe.params})
            opencv = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
        opencv.enableFusion(False)
        for name, image in inputs.items():
            opencv.setInput(image.numpy(), name)
        known = [name for name in expected if makers[name] in opencv.getLayerNames()]
        made = dict(zip(known, opencv.forward([makers[name] for name in known]), strict=True))
    except cv2.error as error:
        reason = re.sub(r"\s+", " ", str(error)).strip()[:200]
        report.skip(sides, "all", f"OpenCV cannot run this net: {reason}")
        return
    for name in expected:
        if name in made:
            report.compare(sides, name, expected[name], made[name])
        else:
            report.skip(sides, name, "OpenCV has no layer for it")


def _each_top_first(net: NetParameter) -> tuple[NetParameter, dict[str, str]]:
    """(`net` in which every blob is the first top of some layer, {blob: that layer, the last one if there are several}).

    OpenCV's forward gives the first top of a layer only, and its Slice counts only the tops that are read. So each top of a
    layer that has several passes through a Power layer, which changes nothing. Nor may two layers have one name there.
    """
    described = NetParameter()
    described.CopyFrom(net)
    for layer, name in zip(described.layer, unique_names(layer.name for layer in net.layer), strict=True):
        layer.name = name
    makers = {top: layer for layer in list(described.layer) for top in layer.top}
    names = {}
    for top, layer in makers.items():
        names[top] = layer.name
        if len(layer.top) > 1:
            names[top] = f"{layer.name}, top {top}"
            described.layer.add(name=names[top], type="Power", bottom=[top], top=[names[top]])
    return described, names
