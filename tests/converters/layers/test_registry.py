"""Every layer type that is registered: a row with its answer, and what its class says of it held to what it computes.

To add a layer is to write its class and a row here.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from helpers.small_nets import one_layer, run

import repro
from converters import CaffeError
from converters.layers import REGISTRY, SAME
from converters.layers.inputs import Input
from converters.pytorch.keys import KNOWN, WITHOUT, blob_names, has_blobs
from converters.pytorch.module_source import make_module, module_source
from repro.fast.graph import is_fast
from surgery import crop_offset, receptive_field
from surgery.coordinates import coordinate_map

pytestmark = pytest.mark.usefixtures("one_thread")
rng = np.random.default_rng(8)
X, Y = rng.uniform(0.2, 2, (2, 1, 4, 7, 6))
SCORES = np.stack([np.arange(4.0), [5, 1, 2, 9]])
LABELS = np.array([3.0, 0])
WORDS = np.array([[0, 2, 1], [1, 1, 0.0]])


class Row(NamedTuple):
    """A layer, its bottoms, and what its tops are: a function of the bottoms and of the parameter blobs.

    mapped, written: whether it has a map and a source with these settings; False is a stated refusal.
    """

    layer: str
    bottoms: list[np.ndarray]
    answer: Callable[..., list]
    mapped: bool = True
    written: bool = True


def log_softmax(x):
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def windows(x, size):
    """(N, C, H, W, size, size): the windows of `size` pixels around every pixel, with zeros beyond the edges."""
    side = size // 2
    padded = np.pad(x, [(0, 0), (0, 0), (side, side), (side, side)])
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), (2, 3))


def upsampled(x, weight):
    """A deconvolution of kernel 3 and stride 2, of one channel to one."""
    top = np.zeros((1, 1, 2 * x.shape[2] + 1, 2 * x.shape[3] + 1))
    for i, j in np.ndindex(x.shape[2:]):
        top[0, 0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += x[0, 0, i, j] * weight[0, 0]
    return top


GAUSS = "weight_filler { type: 'gaussian' }"
ROWS = {
    "AbsVal": Row("", [-X], lambda x: [abs(x)]),
    "Accuracy": Row("", [SCORES, LABELS], lambda x, t: [0.5], mapped=False, written=False),
    "ArgMax": Row("argmax_param { axis: 1 }", [X], lambda x: [x.argmax(1)[:, None]], mapped=False, written=False),
    "BNLL": Row("", [X], lambda x: [np.log1p(np.exp(x))]),
    "BatchNorm": Row("batch_norm_param { eps: 0.25 }", [X], lambda x, mean, variance, factor: [
        (x - (mean / factor)[:, None, None]) / np.sqrt((variance / factor)[:, None, None] + 0.25)]),
    "BatchReindex": Row("", [SCORES, np.array([1.0, 1, 0])], lambda x, order: [x[[1, 1, 0]]], mapped=False, written=False),
    "Bias": Row("bias_param { filler { type: 'gaussian' } }", [X], lambda x, b: [x + b[:, None, None]]),
    "Clip": Row("clip_param { min: 0.5 max: 1.5 }", [X], lambda x: [x.clip(0.5, 1.5)]),
    "Concat": Row("", [X, Y], lambda x, y: [np.concatenate([x, y], 1)]),
    "ContrastiveLoss": Row("", [SCORES, SCORES + 1, np.ones(2)], lambda *_: [2.0], mapped=False, written=False),
    "Convolution": Row("convolution_param { num_output: 3 kernel_size: 3 pad: 1 bias_term: false " + GAUSS + " }", [X],
                       lambda x, w: [np.einsum("nchwij,kcij->nkhw", windows(x, 3), w)]),
    "Crop": Row("crop_param { offset: 2 offset: 1 }", [X, Y[:, :, :4, :5]], lambda x, y: [x[:, :, 2:6, 1:6]]),
    "Deconvolution": Row("convolution_param { num_output: 1 kernel_size: 3 stride: 2 bias_term: false " + GAUSS + " }",
                         [X[:, :1]], lambda x, w: [upsampled(x, w)]),
    "Dropout": Row("", [X], lambda x: [x]),
    "DummyData": Row("dummy_data_param { shape { dim: 2 dim: 3 } data_filler { value: 5 } }", [],
                     lambda: [np.full((2, 3), 5)], mapped=False, written=False),
    "ELU": Row("elu_param { alpha: 0.5 }", [X - 1], lambda x: [np.where(x > 0, x, 0.5 * np.expm1(x))]),
    "Eltwise": Row("eltwise_param { operation: PROD }", [X, Y], lambda x, y: [x * y]),
    "Embed": Row("embed_param { num_output: 3 input_dim: 4 bias_term: false " + GAUSS + " }", [WORDS],
                 lambda x, w: [w[x.astype(int)]], mapped=False, written=False),
    "EuclideanLoss": Row("", [X, Y], lambda x, y: [((x - y) ** 2).sum() / 2], mapped=False, written=False),
    "Exp": Row("exp_param { base: 2 scale: 0.5 shift: -1 }", [X], lambda x: [2 ** (0.5 * x - 1)]),
    "Filter": Row("", [SCORES, np.array([0, 1.0])], lambda x, chosen: [x[1:]], mapped=False, written=False),
    "Flatten": Row("", [X], lambda x: [x.reshape(1, -1)], mapped=False),
    "HingeLoss": Row("", [SCORES, LABELS], lambda x, t: [(0 + 1 + 2 + 3 + 0 + 2 + 3 + 10) / 2], mapped=False, written=False),
    "Im2col": Row("convolution_param { kernel_size: 3 pad: 1 }", [X], lambda x: [
        windows(x, 3).transpose(0, 1, 4, 5, 2, 3).reshape(1, 36, 7, 6)], written=False),
    "InfogainLoss": Row("", [SCORES, LABELS, np.eye(4)], lambda x, t, h: [-log_softmax(x)[[0, 1], [3, 0]].mean()],
                        mapped=False, written=False),
    "InnerProduct": Row("inner_product_param { num_output: 3 bias_term: false " + GAUSS + " }", [X],
                        lambda x, w: [x.reshape(1, -1) @ w.T], mapped=False),
    "LRN": Row("lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 norm_region: WITHIN_CHANNEL }", [X], lambda x: [
        x * (1 + 0.5 / 9 * (windows(x, 3) ** 2).sum((4, 5))) ** -0.75]),
    "Log": Row("log_param { base: 10 scale: 2 shift: 1 }", [X], lambda x: [np.log10(2 * x + 1)]),
    "MVN": Row("mvn_param { normalize_variance: false }", [X], lambda x: [x - x.mean((2, 3), keepdims=True)],
               written=False),
    "MultinomialLogisticLoss": Row("", [np.array([[0.5, 0.25, 0.25, 0], [0.1, 0.2, 0.3, 0.4]]), LABELS - [2, 0]],
                                   lambda x, t: [-(np.log(0.25) + np.log(0.1)) / 2], mapped=False, written=False),
    "PReLU": Row("", [X - 1], lambda x, w: [np.where(x > 0, x, x * w[:, None, None])]),
    "Parameter": Row("parameter_param { shape { dim: 2 dim: 3 } }", [], lambda w: [w], mapped=False),
    "Pooling": Row("pooling_param { kernel_size: 3 stride: 2 }", [X[:, :, :, :5]], lambda x: [
        np.lib.stride_tricks.sliding_window_view(x, (3, 3), (2, 3))[:, :, ::2, ::2].max((4, 5))]),
    "Power": Row("power_param { power: 2 scale: 0.5 shift: 1 }", [X], lambda x: [(0.5 * x + 1) ** 2]),
    "ReLU": Row("relu_param { negative_slope: 0.25 }", [X - 1], lambda x: [np.where(x > 0, x, x / 4)]),
    "Reduction": Row("reduction_param { axis: 1 }", [X], lambda x: [x.sum((1, 2, 3))], mapped=False, written=False),
    "Reshape": Row("reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", [X], lambda x: [x.reshape(1, -1, 3)], mapped=False),
    "SPP": Row("spp_param { pyramid_height: 1 }", [X], lambda x: [x.max((2, 3), keepdims=True)], mapped=False,
               written=False),
    "Scale": Row("scale_param { bias_term: true filler { type: 'gaussian' } }", [X],
                 lambda x, w, b: [x * w[:, None, None] + b[:, None, None]]),
    "Sigmoid": Row("", [X], lambda x: [1 / (1 + np.exp(-x))]),
    "SigmoidCrossEntropyLoss": Row("", [SCORES, SCORES * 0 + 1], lambda x, t: [np.log1p(np.exp(-x)).sum() / 2],
                                   mapped=False, written=False),
    "Silence": Row("", [X], lambda x: [], mapped=False, written=False),
    "Slice": Row("slice_param { slice_point: 1 }", [X], lambda x: [x[:, :1], x[:, 1:]]),
    "Softmax": Row("", [X], lambda x: [np.exp(log_softmax(x))]),
    "SoftmaxWithLoss": Row("", [SCORES, LABELS], lambda x, t: [-log_softmax(x)[[0, 1], [3, 0]].mean()], mapped=False,
                           written=False),
    "Split": Row("", [X], lambda x: [x, x]),
    "Swish": Row("swish_param { beta: 2 }", [X], lambda x: [x / (1 + np.exp(-2 * x))]),
    "TanH": Row("", [X], lambda x: [np.tanh(x)]),
    "Threshold": Row("threshold_param { threshold: 1 }", [X], lambda x: [x > 1]),
    "Tile": Row("tile_param { tiles: 2 }", [X], lambda x: [np.concatenate([x, x], 1)], mapped=False, written=False),
}
ROWS = {type: row._replace(layer=f"type: '{type}' {row.layer}") for type, row in ROWS.items()}
# Other settings under which a layer is another one to crops and to the fast path.
ROWS.update({
    "BatchNorm of the batch": Row("type: 'BatchNorm' batch_norm_param { use_global_stats: false eps: 0 }", [X],
                                  lambda x, *_: [(x - x.mean((2, 3), keepdims=True)) / x.std((2, 3), keepdims=True)],
                                  written=False),
    "Bias of a bottom": Row("type: 'Bias' bias_param { axis: 0 }", [X, Y], lambda x, y: [x + y]),
    "Concat of items": Row("type: 'Concat' concat_param { axis: 0 }", [X, Y], lambda x, y: [np.concatenate([x, y])]),
    "Concat of rows": Row("type: 'Concat' concat_param { axis: 2 }", [X, Y], lambda x, y: [np.concatenate([x, y], 2)],
                          mapped=False),
    "Crop of channels": Row("type: 'Crop' crop_param { axis: 1 offset: 1 }", [X, Y[:, :2, :4, :5]],
                            lambda x, y: [x[:, 1:3, 1:5, 1:6]], mapped=False),
    "Flatten of no axis": Row("type: 'Flatten' flatten_param { axis: 2 end_axis: -3 }", [X],
                              lambda x: [x[:, :, None]], mapped=False),
    "LRN across": Row("type: 'LRN' lrn_param { local_size: 1 alpha: 0.5 beta: 0.75 }", [X],
                      lambda x: [x * (1 + 0.5 * x * x) ** -0.75]),
    "Pooling of all": Row("type: 'Pooling' pooling_param { pool: AVE global_pooling: true }", [X],
                          lambda x: [x.mean((2, 3), keepdims=True)], mapped=False),
    "ReLU without a slope": Row("type: 'ReLU'", [X - 1], lambda x: [x.clip(0)]),
    "Scale by place": Row("type: 'Scale' scale_param { num_axes: 3 filler { type: 'gaussian' } }", [X],
                          lambda x, w: [x * w]),
    "Scale by a bottom": Row("type: 'Scale' scale_param { axis: 0 }", [X, Y], lambda x, y: [x * y]),
    "Scale by channels of a bottom": Row("type: 'Scale' scale_param { axis: 0 }", [X, Y[:, :, 0, 0]],
                                         lambda x, y: [x * y[:, :, None, None]]),
    "Softmax of rows": Row("type: 'Softmax' softmax_param { axis: 2 }", [X], lambda x: [
        np.exp(x) / np.exp(x).sum(2, keepdims=True)], mapped=False),
})
# Axes counted from the end.
ROWS.update({
    "ArgMax from the end": Row("type: 'ArgMax' argmax_param { axis: -3 }", [X], lambda x: [x.argmax(1)[:, None]],
                               mapped=False, written=False),
    "Accuracy from the end": Row("type: 'Accuracy' accuracy_param { axis: -1 }", [SCORES, LABELS], lambda x, t: [0.5],
                                 mapped=False, written=False),
    "Bias from the end": Row("type: 'Bias' bias_param { axis: -3 filler { type: 'gaussian' } }", [X],
                             lambda x, b: [x + b[:, None, None]]),
    "Concat from the end": Row("type: 'Concat' concat_param { axis: -3 }", [X, Y], lambda x, y: [np.concatenate([x, y], 1)]),
    "Convolution from the end": Row("type: 'Convolution' convolution_param { axis: -3 num_output: 3 kernel_size: 3 pad: 1 "
                                    "bias_term: false " + GAUSS + " }", [X],
                                    lambda x, w: [np.einsum("nchwij,kcij->nkhw", windows(x, 3), w)]),
    "Crop from the end": Row("type: 'Crop' crop_param { axis: -2 offset: 2 offset: 1 }", [X, Y[:, :, :4, :5]],
                             lambda x, y: [x[:, :, 2:6, 1:6]]),
    "Flatten from the end": Row("type: 'Flatten' flatten_param { axis: -3 end_axis: -2 }", [X],
                                lambda x: [x.reshape(1, 28, 6)], mapped=False),
    "Flatten of no axis from the end": Row("type: 'Flatten' flatten_param { axis: -1 end_axis: -2 }", [X],
                                           lambda x: [x[:, :, :, None]], mapped=False),
    "InfogainLoss from the end": Row("type: 'InfogainLoss' infogain_loss_param { axis: -1 }", [SCORES, LABELS, np.eye(4)],
                                     lambda x, t, h: [-log_softmax(x)[[0, 1], [3, 0]].mean()], mapped=False, written=False),
    "InnerProduct from the end": Row("type: 'InnerProduct' inner_product_param { axis: -1 num_output: 3 bias_term: false "
                                     + GAUSS + " }", [X], lambda x, w: [x @ w.T], mapped=False),
    "Reduction from the end": Row("type: 'Reduction' reduction_param { axis: -2 }", [X], lambda x: [x.sum((2, 3))],
                                  mapped=False, written=False),
    "Reshape from the end": Row("type: 'Reshape' reshape_param { shape { dim: 3 dim: -1 } axis: -2 num_axes: 1 }", [X],
                                lambda x: [x.reshape(1, 4, 7, 3, 2)], mapped=False),
    "Scale from the end": Row("type: 'Scale' scale_param { axis: -3 bias_term: true filler { type: 'gaussian' } }", [X],
                              lambda x, w, b: [x * w[:, None, None] + b[:, None, None]]),
    "Slice from the end": Row("type: 'Slice' slice_param { axis: -3 slice_point: 1 }", [X], lambda x: [x[:, :1], x[:, 1:]]),
    "Softmax from the end": Row("type: 'Softmax' softmax_param { axis: -3 }", [X], lambda x: [np.exp(log_softmax(x))]),
    "SoftmaxWithLoss from the end": Row("type: 'SoftmaxWithLoss' softmax_param { axis: -1 }", [SCORES, LABELS],
                                        lambda x, t: [-log_softmax(x)[[0, 1], [3, 0]].mean()], mapped=False, written=False),
    "Tile from the end": Row("type: 'Tile' tile_param { axis: -3 tiles: 2 }", [X], lambda x: [np.concatenate([x, x], 1)],
                             mapped=False, written=False),
})


def row_net(name):
    """(the row, a CaffeNet of its layer with random blobs, the answer)"""
    row = ROWS[name]
    torch.manual_seed(0)
    tops = {"Slice": 2, "Split": 2, "Silence": 0}.get(name.split()[0], 1)
    net = one_layer(row.layer, *[bottom.shape for bottom in row.bottoms], tops=tops)
    with torch.no_grad():
        for blob in net.layers["l"].blobs():
            blob.uniform_(0.5, 1.5)
    return row, net, row.answer(*row.bottoms, *[blob.detach().numpy() for blob in net.layers["l"].blobs()])


def test_every_layer_has_a_row():
    fed = {type for type, layer in REGISTRY.items() if issubclass(layer, Input)}
    assert {name for name in ROWS if " " not in name} == set(REGISTRY) - fed


@pytest.mark.parametrize("name", ROWS)
def test_it_computes_the_answer(name):
    row, net, answer = row_net(name)
    tops = run(net, *row.bottoms) if answer else []
    assert len(tops) == len(answer)
    for top, expected in zip(tops, answer, strict=True):
        assert top.shape == np.shape(expected)
        np.testing.assert_allclose(top, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_its_source_computes_the_same_or_is_refused(name):
    row, net, answer = row_net(name)
    layer = net.layers["l"]
    if not row.written:
        if layer.scores or layer.loss_weight:
            return  # left out of what is written
        with pytest.raises(CaffeError, match="layer 'l' .*cannot be written as PyTorch source"):
            module_source(net.param)
        return
    module = make_module(net.param, net.to_blobs()).double()
    with torch.no_grad():
        tops = module(**{f"b{i}": torch.as_tensor(bottom) for i, bottom in enumerate(row.bottoms)})
    assert len(tops) == len(answer)
    for top, expected in zip(tops.values(), answer, strict=True):
        np.testing.assert_allclose(top.detach().numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_its_pixels_lie_where_it_says_or_crops_refuse(name):
    """A pixel of the first bottom is changed: the pixels of the top that move are those that see it."""
    row, net, answer = row_net(name)
    pixels, param = net.layers["l"].pixels, net.param.layer[-1]
    if not row.mapped:
        assert coordinate_map(param) is None
        for question in (lambda: crop_offset(net.param, "b0", "t0"), lambda: receptive_field(net.param, "t0")):
            if row.bottoms and answer:
                with pytest.raises(CaffeError, match="layer 'l' "):
                    question()
        return
    assert coordinate_map(param) is not None
    first, *others = row.bottoms
    before = run(net, first, *others)
    tried = 0
    for row_, column in np.ndindex(first.shape[2:]):
        if first[0, :, row_, column].min() > 0.9:
            continue  # a threshold might not feel it
        changed, tried = first.copy(), tried + 1
        changed[0, :, row_, column] += 9 + 3 * np.arange(first.shape[1])
        moved = np.zeros(before[0].shape[2:], bool)
        for old, new in zip(before, run(net, changed, *others), strict=True):
            moved |= (abs(new - old) > 1e-12).any((0, 1))
        seen = np.zeros_like(moved)
        for top in np.ndindex(moved.shape):
            spans = [window.seen(place, place) for window, place in zip(pixels[:2], top, strict=True)]
            seen[top] = all(low <= place <= high for (low, high), place in zip(spans, (row_, column), strict=True))
        assert moved[seen].all() and (seen[moved].all() or not pixels.local)
    assert tried > 5


@pytest.mark.parametrize("name", ROWS)
def test_the_fast_path_runs_it_or_leaves_it(name):
    row, net, answer = row_net(name)
    if not (row.bottoms and answer):
        return
    layer, fast = net.layers["l"], repro.accelerate(net)
    if layer.pixels == SAME and len(answer) == 1:
        assert is_fast(type(layer)) and fast.plainly is None
    if layer.pixels is None or not layer.pixels.local:
        assert "'l'" in fast.plainly
    tops = fast(**{f"b{i}": torch.as_tensor(bottom) for i, bottom in enumerate(row.bottoms)})
    for top, expected in zip(tops.values(), answer, strict=True):
        np.testing.assert_allclose(top.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", ROWS)
def test_its_blobs_are_named_alike_without_torch(name):
    _, net, _ = row_net(name)
    layer, param = net.layers["l"], net.param.layer[-1]
    assert blob_names(param, len(layer.blob_names)) == layer.blob_names
    assert has_blobs(param) == bool(layer.blob_names)
    if layer.type in KNOWN:
        assert KNOWN[layer.type].axes == layer.blob_axes
    assert layer.type not in WITHOUT or not layer.blob_names
