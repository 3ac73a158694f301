"""The directories that are written for real Caffe."""

import ast

import numpy as np
import pytest
import torch

import reference
import surgery
from converters import CaffeNet, read_prototxt, read_solver, write_caffemodel
from reference.export import export

FCNS = [name for name in reference.names() if "-fcn" in name]


@pytest.mark.parametrize("name", FCNS)
def test_a_directory_has_what_its_solver_names(name, tmp_path):
    files = {path.name for path in export(name, tmp_path, width=1 / 8)}
    solver = read_solver(tmp_path / "solver.prototxt")
    assert solver == reference.solver(name) or not solver.HasField("snapshot")  # whose prefix then follows the file
    assert files == {"solver.prototxt", "deploy.prototxt", solver.train_net, solver.test_net[0]}
    assert read_prototxt(tmp_path / "deploy.prototxt") == reference.net(name, "deploy", width=1 / 8)
    if solver.HasField("snapshot"):
        assert (tmp_path / "snapshot").is_dir()
    for file in (solver.train_net, solver.test_net[0]):
        net, described = read_prototxt(tmp_path / file), reference.net(name, "train", width=1 / 8)
        data = net.layer[0]
        assert (data.type, data.top, data.name) == ("Python", described.layer[0].top, described.layer[0].top[0])
        assert list(net.layer[1:]) == list(described.layer[1:])
        with torch.device("meta"):
            CaffeNet(net, "train")


@pytest.mark.parametrize(("name", "file", "layer", "params"), [
    ("voc-fcn16s", "train", "voc_layers.SBDDSegDataLayer",
     {"sbdd_dir": "../data/sbdd/dataset", "split": "train", "mean": (104.00699, 116.66877, 122.67892), "seed": 1337}),
    ("voc-fcn16s", "val", "voc_layers.VOCSegDataLayer",
     {"voc_dir": "../data/pascal/VOC2011", "split": "seg11valid", "mean": (104.00699, 116.66877, 122.67892), "seed": 1337}),
    ("nyud-fcn32s-hha", "test", "nyud_layers.NYUDSegDataLayer",
     {"nyud_dir": "../data/nyud", "split": "test", "tops": ["hha", "label"], "seed": 1337}),
    ("nyud-fcn32s-color-d", "trainval", "nyud_layers.NYUDSegDataLayer",
     {"nyud_dir": "../data/nyud", "split": "trainval", "tops": ["color", "depth", "label"], "seed": 1337}),
    ("siftflow-fcn8s", "trainval", "siftflow_layers.SIFTFlowSegDataLayer",
     {"siftflow_dir": "../data/sift-flow", "split": "trainval", "seed": 1337}),
    ("pascalcontext-fcn8s", "val", "pascalcontext_layers.PASCALContextSegDataLayer",
     {"voc_dir": "../data/pascal", "context_dir": "../data/pascal-context", "split": "val", "seed": 1337}),
])
def test_data_layers_are_the_releases(name, file, layer, params, tmp_path):
    export(name, tmp_path, width=1 / 8)
    python = read_prototxt(tmp_path / f"{file}.prototxt").layer[0].python_param
    assert f"{python.module}.{python.layer}" == layer
    assert ast.literal_eval(python.param_str) == params


def test_a_classifier_has_no_solver(tmp_path):
    assert [path.name for path in export("vgg16", tmp_path)] == ["deploy.prototxt"]


@pytest.mark.parametrize("name", ["voc-fcn8s-atonce", "voc-fcn-alexnet", "voc-fcn-googlenet", "siftflow-fcn16s"])
def test_opencv_loads_the_deploy_net_and_computes_the_same(name, tmp_path):
    export(name, tmp_path, width=1 / 16)
    torch.manual_seed(0)
    net = CaffeNet(tmp_path / "deploy.prototxt")
    with torch.no_grad():
        for blobs in net.params.values():
            blobs[0].normal_(0, (2 / blobs[0][0].numel()) ** 0.5)
    surgery.interp(net)
    write_caffemodel(tmp_path / "net.caffemodel", net.param, net.to_blobs())
    cv2 = pytest.importorskip("cv2")
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "deploy.prototxt"), str(tmp_path / "net.caffemodel"))
    image = np.random.default_rng(0).normal(0, 50, (1, 3, 90, 70)).astype(np.float32)
    theirs.setInput(image, "data")
    with torch.no_grad():
        outputs = net(data=torch.from_numpy(image))
    for score, ours in outputs.items():
        expected = theirs.forward(score)
        assert np.abs(ours.numpy() - expected).max() <= 1e-4 * np.abs(expected).max() > 0
