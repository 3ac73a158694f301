"""ONNX files give onnxruntime and OpenCV 5 what CaffeNet gives, at every size that the net allows.

OpenCV 5 lives in an environment of its own, since the one that reads Caffe's files is a 4; `make opencv5` makes it. The
nets are narrow; WIDTH=1 has them as published (some minutes, and several GB of memory):
`WIDTH=1 make opencv5 test TESTS=tests/converters/pytorch/test_onnx.py`
"""

import os
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers import ROOT

import converters
import reference
from converters.pytorch.preprocessing import Preprocessing
from repro.cli import main

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow

WIDTH = float(Fraction(os.environ.get("WIDTH", "1/16")))
OPENCV5 = Path(os.environ.get("OPENCV5", ROOT / ".venv-opencv5/bin/python"))
RUN_OPENCV = """
import sys, cv2, numpy
assert cv2.__version__ >= "5", cv2.__version__
net = cv2.dnn.readNetFromONNX(sys.argv[1])
for path in sys.argv[2:]:
    net.setInput(numpy.load(path))
    numpy.save(path, net.forward())
"""
NETS = {"vgg16": None, "caffenet": None, "googlenet": None, "voc-fcn8s": (40, 64)}


@pytest.fixture(scope="module", params=NETS)
def exported(request, tmp_path_factory):
    """(CaffeNet at small width, an onnxruntime session of it, the inputs of any size)."""
    from converters.pytorch.onnx import write_onnx

    torch.manual_seed(0)
    size = NETS[request.param]
    net = reference.net(request.param, "deploy", width=WIDTH)
    caffe = converters.CaffeNet(net)
    with torch.no_grad():
        for blobs in caffe.params.values():
            for blob in blobs:
                blob.normal_(0, min(0.1, (2 / blob[0].numel()) ** 0.5))
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    any_size = write_onnx(path, net, caffe.to_blobs(), size)
    return caffe, onnxruntime.InferenceSession(path), any_size


@pytest.fixture(scope="module")
def images(exported):
    """Inputs of every kind of size that the net allows, and CaffeNet's outputs for each."""
    caffe, _, any_size = exported
    declared = caffe.input_shapes["data"]
    shapes = [(1, 3, 40, 64), (2, 3, 33, 90)] if any_size else [declared, (2, *declared[1:])]
    with torch.no_grad():
        return [(image, caffe(data=image)) for image in map(torch.randn, shapes)]


def test_onnxruntime_gives_the_same(exported, images):
    caffe, session, any_size = exported
    assert [put.name for put in session.get_inputs()] == ["data"]
    assert [put.name for put in session.get_outputs()] == caffe.outputs
    assert any_size == (["data"] if "score" in caffe.outputs else [])
    for image, expected in images:
        for name, output in zip(caffe.outputs, session.run(caffe.outputs, {"data": image.numpy()}), strict=True):
            assert output.shape == expected[name].shape
            assert np.abs(output - expected[name].numpy()).max() <= 1e-5 * expected[name].abs().max()


@pytest.mark.skipif(not OPENCV5.exists(), reason=f"no OpenCV 5 in {OPENCV5.parent.parent}: make opencv5")
def test_opencv_5_gives_the_same(exported, images, tmp_path):
    (name,) = exported[0].outputs
    paths = [tmp_path / f"{number}.npy" for number in range(len(images))]
    for path, (image, _) in zip(paths, images, strict=True):
        np.save(path, image.numpy())
    subprocess.run([OPENCV5, "-c", RUN_OPENCV, exported[1]._model_path, *paths], check=True)
    for path, (_, expected) in zip(paths, images, strict=True):
        output, expected = np.load(path), expected[name].numpy()
        assert output.shape == expected.shape
        assert np.abs(output - expected).max() <= 1e-5 * np.abs(expected).max()


def test_values_keep_the_blobs_names(exported, tmp_path):
    caffe, session, _ = exported
    import onnx

    graph = onnx.load(session._model_path, load_external_data=False).graph
    values = {output for node in graph.node for output in node.output}
    assert {top for layer in caffe.param.layer if layer.type in ("Convolution", "Pooling") for top in layer.top} <= values


def test_preprocessing_goes_into_the_graph(golden, tmp_path):
    formats = golden / "formats"
    arguments = ["convert", "caffemodel", formats / "tiny_v2.caffemodel", "-o", tmp_path / "tiny.safetensors",
                 "--mean", "104,117,123", "--bgr", "--scale", "0.02"]
    onnx = ["convert", "onnx", tmp_path / "tiny.safetensors", "--prototxt", formats / "tiny_v2.prototxt", "-o",
            tmp_path / "tiny.onnx", "--preprocess", "--verify"]
    for command in arguments, onnx:
        result = CliRunner().invoke(main, list(map(str, command)))
        assert result.exit_code == 0, result.output
    caffe = converters.CaffeNet(formats / "tiny_v2.prototxt")
    caffe.copy_from(formats / "tiny_v2.caffemodel")
    image = np.random.default_rng(0).integers(0, 256, caffe.input_shapes["data"]).astype(np.float32)
    mean = np.float32([104, 117, 123])[:, None, None]
    expected = caffe(data=torch.from_numpy(((image[:, ::-1] - mean) * np.float32(0.02)).copy()))["prob"]
    output = onnxruntime.InferenceSession(tmp_path / "tiny.onnx").run(["prob"], {"data": image})[0]
    np.testing.assert_allclose(output, expected.detach(), atol=1e-6)


@pytest.mark.parametrize(("preprocessing", "reason"), [
    (Preprocessing(), "nothing is known"), (Preprocessing(mean=(1, 2)), "2 means"),
])
def test_preprocessing_that_does_not_fit_is_refused(golden, tmp_path, preprocessing, reason):
    from converters.pytorch.onnx import write_onnx

    net = converters.read_prototxt(golden / "formats" / "tiny_v2.prototxt")
    blobs = converters.read_caffemodel(golden / "formats" / "tiny_v2.caffemodel").blobs
    with pytest.raises(converters.CaffeError, match=reason):
        write_onnx(tmp_path / "tiny.onnx", net, blobs, preprocessing=preprocessing)
    with pytest.raises(converters.CaffeError, match="no weights for layer fc8"):
        write_onnx(tmp_path / "tiny.onnx", net, {name: arrays for name, arrays in blobs.items() if name != "fc8"})
    assert list(tmp_path.iterdir()) == []
