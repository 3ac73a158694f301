"""Layers without a golden file: forward against a NumPy reading of Caffe's definition, backward by finite differences."""

import math
from itertools import product

import numpy as np
import pytest
from helpers.small_nets import check_gradients, one_layer, run

pytestmark = pytest.mark.usefixtures("one_thread")
rng = np.random.default_rng(20)
X = rng.standard_normal((2, 6, 2, 4))
Y = rng.standard_normal((2, 6, 2, 4))
POSITIVE = rng.uniform(0.2, 2, (2, 3, 4))


def close(ours, reading):
    assert len(ours) == len(reading)
    for top, expected in zip(ours, reading, strict=True):
        assert top.shape == np.shape(expected)
        np.testing.assert_allclose(top, expected, rtol=1e-7, atol=1e-9)  # settings are float32 in Caffe's files


F32 = lambda value: float(np.float32(value))  # noqa: E731

# (the layer, its bottoms, what each top should be); all of these are differentiable
SMOOTH = {
    "absval": ("type: 'AbsVal'", [X], lambda x: [abs(x)]),
    "bnll": ("type: 'BNLL'", [20 * X], lambda x: [np.logaddexp(0, x)]),
    "clip": ("type: 'Clip' clip_param { min: -0.5 max: 0.7 }", [X], lambda x: [x.clip(-0.5, F32(0.7))]),
    "elu": ("type: 'ELU' elu_param { alpha: 0.5 }", [X], lambda x: [np.where(x > 0, x, 0.5 * np.expm1(x))]),
    "exp": ("type: 'Exp'", [X], lambda x: [np.exp(x)]),
    "exp_base": ("type: 'Exp' exp_param { base: 3 scale: 0.5 shift: -2 }", [X], lambda x: [3 ** (0.5 * x - 2)]),
    "log": ("type: 'Log'", [POSITIVE], lambda x: [np.log(x)]),
    "log_base": ("type: 'Log' log_param { base: 10 scale: 2 shift: 1 }", [POSITIVE], lambda x: [np.log10(2 * x + 1)]),
    "power_root": ("type: 'Power' power_param { power: 0.5 scale: 2 shift: 1 }", [POSITIVE], lambda x: [(2 * x + 1) ** 0.5]),
    "power_negative": ("type: 'Power' power_param { power: -2 shift: 4 }", [POSITIVE], lambda x: [1 / (x + 4) ** 2]),
    "power_linear": ("type: 'Power' power_param { scale: -2 shift: 4 }", [X], lambda x: [4 - 2 * x]),
    "sigmoid": ("type: 'Sigmoid'", [X], lambda x: [1 / (1 + np.exp(-x))]),
    "swish": ("type: 'Swish' swish_param { beta: 1.5 }", [X], lambda x: [x / (1 + np.exp(-1.5 * x))]),
    "tanh": ("type: 'TanH'", [X], lambda x: [np.tanh(x)]),
    "bias_two": ("type: 'Bias' bias_param { axis: 1 }", [X, X[0, :, :, 0]], lambda x, b: [x + b[None, :, :, None]]),
    "bias_last": ("type: 'Bias' bias_param { axis: -1 }", [X, X[0, 0, 0]], lambda x, b: [x + b]),
    "scale_two": ("type: 'Scale' scale_param { axis: 0 }", [X, X[:, :, 0, 0]], lambda x, s: [x * s[:, :, None, None]]),
    "slice_equal": ("type: 'Slice'", [X], lambda x: np.split(x, 3, 1)),
    "slice_points": ("type: 'Slice' slice_param { slice_point: 1 slice_point: 4 }", [X], lambda x: np.split(x, [1, 4], 1)),
    "slice_dim": ("type: 'Slice' slice_param { slice_dim: 3 slice_point: 2 slice_point: 3 }", [X],
                  lambda x: np.split(x, [2, 3], 3)),
    "slice_axis": ("type: 'Slice' slice_param { axis: -2 slice_point: 1 }", [X], lambda x: np.split(x, [1], 2)),
    "flatten_inner": ("type: 'Flatten' flatten_param { axis: 1 end_axis: 2 }", [X], lambda x: [x.reshape(2, 12, 4)]),
    "flatten_all": ("type: 'Flatten' flatten_param { axis: 0 }", [X], lambda x: [x.reshape(-1)]),
    "reshape_copy": ("type: 'Reshape' reshape_param { shape { dim: 0 dim: -1 dim: 2 } }", [X],
                     lambda x: [x.reshape(2, -1, 2)]),
    "reshape_part": ("type: 'Reshape' reshape_param { shape { dim: 3 dim: -1 } axis: 1 num_axes: 1 }", [X],
                     lambda x: [x.reshape(2, 3, 2, 2, 4)]),
    "reshape_insert": ("type: 'Reshape' reshape_param { shape { dim: 1 dim: 1 } axis: -2 num_axes: 0 }", [X],
                       lambda x: [x.reshape(2, 6, 2, 1, 1, 4)]),
    "reshape_append": ("type: 'Reshape' reshape_param { shape { dim: 1 } axis: -1 }", [X], lambda x: [x[..., None]]),
    "tile": ("type: 'Tile' tile_param { axis: 2 tiles: 3 }", [X], lambda x: [np.tile(x, (1, 1, 3, 1))]),
    "reduction_sum": ("type: 'Reduction' reduction_param { coeff: 3 }", [X], lambda x: [3 * x.sum()]),
    "reduction_asum": ("type: 'Reduction' reduction_param { operation: ASUM axis: 2 }", [X],
                       lambda x: [abs(x).sum((2, 3))]),
    "reduction_sumsq": ("type: 'Reduction' reduction_param { operation: SUMSQ axis: -1 coeff: 0.5 }", [X],
                        lambda x: [0.5 * (x * x).sum(3)]),
    "reduction_mean": ("type: 'Reduction' reduction_param { operation: MEAN axis: 1 }", [X],
                       lambda x: [x.mean((1, 2, 3))]),
    "eltwise_max_three": ("type: 'Eltwise' eltwise_param { operation: MAX }", [X, Y, X + Y],
                          lambda *xs: [np.maximum.reduce(xs)]),
    "mvn_mean": ("type: 'MVN' mvn_param { normalize_variance: false }", [X], lambda x: [x - x.mean((2, 3), keepdims=True)]),
    "mvn_mean_across": ("type: 'MVN' mvn_param { normalize_variance: false across_channels: true }", [X],
                        lambda x: [x - x.mean((1, 2, 3), keepdims=True)]),
    "euclidean": ("type: 'EuclideanLoss'", [X, Y], lambda x, y: [((x - y) ** 2).sum() / 2 / len(x)]),
}


@pytest.mark.parametrize("case", SMOOTH)
def test_as_caffe_defines_it(case):
    layer, bottoms, reading = SMOOTH[case]
    expected = reading(*bottoms)
    net = one_layer(layer, *[bottom.shape for bottom in bottoms], tops=len(expected))
    close(run(net, *bottoms), expected)
    check_gradients(net, [bottom.reshape(bottom.shape) for bottom in bottoms])


def test_power_zero_is_one_everywhere():
    net = one_layer("type: 'Power' power_param { power: 0 scale: 0 }", (3,))
    close(run(net, [0, -1, np.inf]), [[1, 1, 1]])


def test_threshold_is_strict():
    net = one_layer("type: 'Threshold' threshold_param { threshold: 0.5 }", (3,))
    close(run(net, [0.25, 0.5, 0.75]), [[0, 0, 1]])


@pytest.mark.parametrize("across", [False, True])
def test_mvn_divides_by_deviation_plus_eps(across):
    net = one_layer(f"type: 'MVN' mvn_param {{ across_channels: {str(across).lower()} eps: 0.25 }}", X.shape)
    axes = (1, 2, 3) if across else (2, 3)
    close(run(net, X), [(X - X.mean(axes, keepdims=True)) / (X.std(axes, keepdims=True) + 0.25)])


def test_lrn_within_channel():
    x = rng.standard_normal((1, 2, 5, 4))
    expected = np.empty_like(x)
    for c, i, j in product(range(2), range(5), range(4)):
        window = x[0, c, max(i - 1, 0):i + 2, max(j - 1, 0):j + 2]
        expected[0, c, i, j] = x[0, c, i, j] / (1 + 0.5 * (window**2).sum() / 9) ** 0.75
    net = one_layer("type: 'LRN' lrn_param { local_size: 3 alpha: 0.5 k: 7 norm_region: WITHIN_CHANNEL }", x.shape)
    close(run(net, x), [expected])
    check_gradients(net, [x])


def pooled(x, method, kernel, stride, pad, floor):
    """pooling_layer.cpp, window by window, of one channel; None where there is no window."""
    rounded = math.floor if floor else math.ceil
    size = [rounded((x.shape[a] + 2 * pad[a] - kernel[a]) / stride[a]) + 1 for a in (0, 1)]
    if any(pad):
        size = [n - 1 if (n - 1) * stride[a] >= x.shape[a] + pad[a] else n for a, n in enumerate(size)]
    if min(size) < 1:
        return None
    top = np.full(size, -float(np.finfo(np.float32).max))
    for place in np.ndindex(*size):
        start = [place[a] * stride[a] - pad[a] for a in (0, 1)]
        end = [min(start[a] + kernel[a], x.shape[a] + pad[a]) for a in (0, 1)]
        area = (end[0] - start[0]) * (end[1] - start[1])
        window = x[max(start[0], 0):max(end[0], 0), max(start[1], 0):max(end[1], 0)]
        if method == "AVE":
            top[place] = window.sum() / area if area else np.nan
        elif window.size:
            top[place] = window.max()
    return top


def test_pooling_of_every_shape():
    compared = 0
    for method, size, kernel, stride, pad, floor in product(
            ("MAX", "AVE"), ((5, 7), (6, 4)), ((2, 3), (3, 3), (1, 2)), ((1, 2), (3, 2), (4, 4)), ((0, 0), (1, 0), (1, 2)),
            (False, True)):
        if any(0 < k <= p for p, k in zip(pad, kernel, strict=True)):
            continue
        x = rng.standard_normal(size)
        expected = pooled(x, method, kernel, stride, pad, floor)
        if expected is None or not np.isfinite(expected).all():
            continue
        net = one_layer(
            f"type: 'Pooling' pooling_param {{ pool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]} "
            f"stride_h: {stride[0]} stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} "
            f"round_mode: {'FLOOR' if floor else 'CEIL'} }}", (1, 1, *size))
        close(run(net, x[None, None]), [expected[None, None]])
        compared += 1
    assert compared > 150


def test_pooling_tells_where_the_maxima_are():
    x = rng.standard_normal((2, 3, 5, 6))
    net = one_layer("type: 'Pooling' pooling_param { kernel_size: 3 stride: 2 pad: 1 }", x.shape, tops=2)
    top, places = run(net, x)
    np.testing.assert_array_equal(np.take_along_axis(x.reshape(2, 3, -1), places.reshape(2, 3, -1).astype(int), 2),
                                  top.reshape(2, 3, -1))


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_spp(method):
    x = rng.standard_normal((2, 3, 7, 5))
    levels = []
    for bins in (1, 2):
        kernel = [math.ceil(size / bins) for size in (7, 5)]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, (7, 5), strict=True)]
        levels.append(np.array([[pooled(channel, method, kernel, kernel, pad, False) for channel in item] for item in x]))
    net = one_layer(f"type: 'SPP' spp_param {{ pyramid_height: 2 pool: {method} }}", x.shape)
    close(run(net, x), [np.concatenate([level.reshape(2, -1) for level in levels], 1)])
    check_gradients(net, [x])
    net = one_layer(f"type: 'SPP' spp_param {{ pyramid_height: 1 pool: {method} }}", x.shape)
    close(run(net, x), [levels[0]])


def convolved(x, weight, bias, stride, pad, dilation, group):
    """Convolution of (C, ...) over any number of axes, number by number."""
    axes = x.ndim - 1
    x = np.pad(x, [(0, 0), *[(p, p) for p in pad]])
    size = [(x.shape[1 + a] - dilation[a] * (weight.shape[2 + a] - 1) - 1) // stride[a] + 1 for a in range(axes)]
    top = np.empty((len(weight), *size))
    inputs = x.shape[0] // group
    for out in range(len(weight)):
        first = out // (len(weight) // group) * inputs
        for place in np.ndindex(*size):
            window = tuple(slice(place[a] * stride[a], place[a] * stride[a] + dilation[a] * (weight.shape[2 + a] - 1) + 1,
                                 dilation[a]) for a in range(axes))
            top[(out, *place)] = (x[(slice(first, first + inputs), *window)] * weight[out]).sum() + bias[out]
    return top


@pytest.mark.parametrize(("shape", "settings", "axis"), [
    ((2, 4, 9), "kernel_size: 3 stride: 2 pad: 1 dilation: 2 group: 2", 1),
    ((2, 4, 5, 6), "kernel_size: 3 kernel_size: 2 stride: 2 pad: 1 pad: 0", 1),
    ((1, 2, 4, 5, 6), "kernel_size: 2 stride: 1 stride: 2 stride: 3 pad: 1", 1),
    ((3, 2, 4, 7), "kernel_size: 3 stride: 2", 2),
])
def test_convolution_over_any_axes(shape, settings, axis):
    x = rng.standard_normal(shape)
    net = one_layer(f"type: 'Convolution' convolution_param {{ num_output: 2 axis: {axis} {settings} "
                    "weight_filler { type: 'gaussian' } bias_filler { type: 'uniform' } }", shape)
    layer = net.layers["l"]
    weight, bias = (blob.detach().numpy() for blob in layer.blobs())
    _, stride, pad, dilation = layer.along(len(shape) - axis - 1)
    batch = x.reshape(-1, *shape[axis:])
    expected = np.stack([convolved(item, weight, bias, stride, pad, dilation, layer.group) for item in batch])
    close(run(net, x), [expected.reshape(*shape[:axis], *expected.shape[1:])])


@pytest.mark.parametrize("shape", [(2, 3, 7), (1, 3, 5, 7, 5)])
def test_deconvolution_is_the_adjoint_of_convolution(shape):
    settings = "kernel_size: 3 stride: 2 pad: 1 bias_term: false weight_filler { type: 'gaussian' }"
    forth = one_layer(f"type: 'Convolution' convolution_param {{ num_output: 4 {settings} }}", shape)
    x = rng.standard_normal(shape)
    (top,) = run(forth, x)
    back = one_layer(f"type: 'Deconvolution' convolution_param {{ num_output: 3 {settings} }}", top.shape)
    back.copy_from(forth.to_blobs())
    y = rng.standard_normal(top.shape)
    (bottom,) = run(back, y)
    assert np.isclose((top * y).sum(), (x * bottom).sum())


def test_im2col():
    x = rng.standard_normal((2, 3, 5, 6))
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1), (0, 0)])
    expected = np.empty((2, 3, 3, 2, 3, 4))  # N, C, kernel_h, kernel_w, H, W
    for ki, kj, i, j in product(range(3), range(2), range(3), range(4)):
        expected[:, :, ki, kj, i, j] = padded[:, :, 2 * i + ki, j + 2 * kj]
    net = one_layer("type: 'Im2col' convolution_param { kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0 "
                    "dilation: 1 dilation: 2 }", x.shape)
    close(run(net, x), [expected.reshape(2, 18, 3, 4)])
    check_gradients(net, [x])


def test_argmax_of_equal_numbers_is_the_last():
    x = rng.integers(0, 3, (2, 5, 3, 4)).astype(float)
    order = np.lexsort((np.arange(5)[None, :, None, None] + 0 * x, x), axis=1)[:, ::-1]
    for top_k in (1, 3):
        net = one_layer(f"type: 'ArgMax' argmax_param {{ axis: 1 top_k: {top_k} }}", x.shape)
        close(run(net, x), [order[:, :top_k]])
        net = one_layer(f"type: 'ArgMax' argmax_param {{ axis: -3 top_k: {top_k} out_max_val: true }}", x.shape)
        close(run(net, x), [np.take_along_axis(x, order[:, :top_k], 1)])


@pytest.mark.parametrize("shape", [(3, 7), (3, 7, 1, 1), (2, 2, 3, 2)])
def test_argmax_of_items(shape):
    x = rng.permutation(math.prod(shape)).reshape(shape).astype(float)
    rows = x.reshape(shape[0], -1)
    places = np.argsort(-rows, 1)[:, :2]
    tail = (1,) * (len(shape) - 3)
    net = one_layer("type: 'ArgMax' argmax_param { top_k: 2 }", shape)
    close(run(net, x), [places.reshape(shape[0], 1, 2, *tail)])
    net = one_layer("type: 'ArgMax' argmax_param { top_k: 2 out_max_val: true }", shape)
    close(run(net, x), [np.stack([places, np.take_along_axis(rows, places, 1)], 1).reshape(shape[0], 2, 2, *tail)])


def test_embed():
    net = one_layer("type: 'Embed' embed_param { num_output: 3 input_dim: 5 weight_filler { type: 'gaussian' } "
                    "bias_filler { type: 'gaussian' } }", (2, 4))
    weight, bias = (blob.detach().numpy() for blob in net.params["l"])
    words = rng.integers(0, 5, (2, 4))
    close(run(net, words), [weight[words] + bias])
    check_gradients(net, [words], [])


def test_batch_reindex():
    order = np.array([1, 1, 0, 2, 1])
    x = rng.standard_normal((3, 2, 2))
    net = one_layer("type: 'BatchReindex'", x.shape, order.shape)
    close(run(net, x, order), [x[order]])
    check_gradients(net, [x, order], [0])


def test_filter():
    x, y, selector = rng.standard_normal((4, 2)), rng.standard_normal((4, 3, 2)), np.array([0, 1, 0, -2.0])
    net = one_layer("type: 'Filter'", x.shape, y.shape, (4, 1, 1), tops=2)
    assert net.reshape()["t1"] == (4, 3, 2)
    close(run(net, x, y, selector.reshape(4, 1, 1)), [x[[1, 3]], y[[1, 3]]])
    check_gradients(net, [x, y, selector.reshape(4, 1, 1)], [0, 1])
    assert run(net, x, y, np.zeros((4, 1, 1)))[0].shape == (0, 2)


@pytest.mark.parametrize("fraction", [0.9, 0.5])
def test_batch_norm_in_training(fraction):
    net = one_layer(f"type: 'BatchNorm' batch_norm_param {{ moving_average_fraction: {fraction} eps: 0.01 }}", X.shape,
                    phase="train")
    mean, variance, factor = np.zeros(6), np.zeros(6), 0.0
    count = X[:, 0].size
    for x in (X, Y, X + 3 * Y):
        of_batch, spread = x.mean((0, 2, 3)), x.var((0, 2, 3))
        close(run(net, x), [(x - of_batch[:, None, None]) / np.sqrt(spread + F32(0.01))[:, None, None]])
        mean, factor = F32(fraction) * mean + of_batch, F32(fraction) * factor + 1
        variance = F32(fraction) * variance + spread * count / (count - 1)
    close([blob.numpy() for blob in net.params["l"]], [mean, variance, np.array([factor])])

    net.eval()
    expected = (X - (mean / factor)[:, None, None]) / np.sqrt(variance / factor + F32(0.01))[:, None, None]
    close(run(net, X), [expected])
    check_gradients(net, [X])
    check_gradients(net.train(), [X])


def test_batch_norm_told_what_to_use():
    frozen = one_layer("type: 'BatchNorm' batch_norm_param { use_global_stats: true eps: 1 }", (2, 3), phase="train")
    close(run(frozen, X[:, :3, 0, 0]), [X[:, :3, 0, 0]])  # no statistics yet: mean and variance zero
    assert not any(blob.any() for blob in frozen.params["l"])
    own = one_layer("type: 'BatchNorm' batch_norm_param { use_global_stats: false }", X.shape)
    assert abs(run(own, X)[0].mean((0, 2, 3))).max() < 1e-12


def test_dummy_data():
    net = one_layer("type: 'DummyData' dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 4 } "
                    "data_filler { type: 'constant' value: 5 } data_filler { type: 'uniform' min: 1 max: 2 } }", tops=2)
    constant, random = run(net)
    close([constant], [np.full((2, 3), 5.0)])
    assert random.shape == (4,) and (random >= 1).all() and (random <= 2).all()
    assert (run(net)[1] != random).any()
    legacy = one_layer("type: 'DummyData' dummy_data_param { num: 2 channels: 3 height: 1 width: 4 }", tops=2)
    assert [top.shape for top in run(legacy)] == [(2, 3, 1, 4)] * 2
    assert net.state_dict() == {}


def test_parameter_is_a_learned_top():
    net = one_layer("type: 'Parameter' parameter_param { shape { dim: 2 dim: 3 } }")
    assert net.reshape()["t0"] == (2, 3)
    net.copy_from({"l": [np.arange(6.0).reshape(2, 3)]})
    close(run(net), [np.arange(6.0).reshape(2, 3)])
    net()["t0"].sum().backward()
    assert net.params["l"][0].grad.sum() == 6
