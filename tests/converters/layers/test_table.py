"""Every layer against what real Caffe computed, forward and backward."""


import numpy as np
import pytest
import torch
from helpers import GOLDEN

import converters

CASES = sorted((GOLDEN / "layers").glob("*.npz"))
TOLERANCE = 1e-5  # of each array's largest magnitude


def parameters(golden):
    """{layer: [array, ...]} from the keys param_<layer>_<i>."""
    blobs = {}
    for key in sorted(key for key in golden.files if key.startswith("param_")):
        blobs.setdefault(key[len("param_"):].rsplit("_", 1)[0], []).append(golden[key])
    return blobs


def assert_close(name, caffe, ours):
    ours = ours.detach().numpy()
    assert ours.shape == caffe.shape, f"{name}: shape {ours.shape}, Caffe's {caffe.shape}"
    error = np.abs(ours - caffe).max() / max(np.abs(caffe).max(), 1e-30)
    assert error <= TOLERANCE, f"{name}: {error:.2e} of the largest magnitude"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_layer_as_caffe(path):
    golden = np.load(path)
    net = converters.CaffeNet(str(golden["prototxt"]))
    net.copy_from(parameters(golden))
    inputs = {key[3:]: torch.tensor(golden[key], requires_grad=True) for key in golden.files if key.startswith("in_")}

    outputs = net(**inputs)
    tops = [key[4:] for key in golden.files if key.startswith("out_")]
    for top in tops:
        assert_close(f"out_{top}", golden[f"out_{top}"], outputs[top])

    fed = [top for top in tops if f"gtop_{top}" in golden.files]
    total = sum((outputs[top] * torch.tensor(golden[f"gtop_{top}"])).sum() for top in fed) if fed else net.loss(**inputs)
    if total.requires_grad:
        total.backward()
    for key in golden.files:
        if key.startswith("gin_"):
            assert_close(key, golden[key], inputs[key[4:]].grad)
        if key.startswith("gparam_"):
            layer, index = key[len("gparam_"):].rsplit("_", 1)
            assert_close(key, golden[key], net.params[layer][int(index)].grad)


def test_there_are_golden_layers():
    assert len(CASES) >= 35
