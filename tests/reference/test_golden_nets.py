"""The published nets at full size compute what real Caffe computed."""

import zlib

import numpy as np
import pytest
import torch
from helpers import GOLDEN

import reference
from converters import CaffeNet
from surgery import interp

CASES = sorted((GOLDEN / "nets").glob("*.npz"))
MEAN = np.array((104.00698793, 116.66876762, 122.67891434), np.float32)  # BGR


def fill(net):
    """The weights that the golden nets had: a recipe by layer name and blob index."""
    interp(net)
    with torch.no_grad():
        for layer, blobs in net.params.items():
            for i, blob in enumerate(blobs if "up" not in layer and "scale" not in layer else ()):
                shape = tuple(blob.shape)
                std = np.sqrt(2 / np.prod(shape[1:])) if i == 0 else 0.1
                numbers = np.random.RandomState(zlib.crc32(f"{layer}/{i}".encode())).standard_normal(shape)
                blob.copy_(torch.from_numpy(numbers * std))


def image(golden, index, channels):
    size = (int(golden["height"]), int(golden["width"]), channels)
    pixels = np.random.RandomState(int(golden["seed"]) + index).randint(0, 256, size).astype(np.uint8).astype(np.float32)
    pixels = pixels[:, :, ::-1] - MEAN if channels == 3 else pixels / 64 - 2
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None]))


@pytest.mark.slow
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_full_size_net_agrees_with_caffe(path):
    golden = np.load(path)
    net = CaffeNet(reference.net(path.stem, "deploy"))
    fill(net)
    inputs = {str(name): image(golden, j, 1 if name == "depth" else 3) for j, name in enumerate(golden["inputs"])}
    with torch.no_grad():
        outputs = net(**inputs)
    for name in (key.removesuffix("_argmax") for key in golden.files if key.endswith("_argmax")):
        score, expected = outputs[name][0].numpy(), golden[name]
        assert np.abs(score[:, ::5, ::5] - expected).max() <= 1e-4 * np.abs(expected).max()
        assert (score.argmax(0) == golden[f"{name}_argmax"]).mean() >= 0.9999
