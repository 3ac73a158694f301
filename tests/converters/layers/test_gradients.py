"""Gradients where Caffe's are not what PyTorch would do, against NumPy readings of Caffe's Backward."""

import numpy as np
import pytest
import torch
from helpers.small_nets import gradients, one_layer, run

pytestmark = pytest.mark.usefixtures("one_thread")
rng = np.random.default_rng(21)


def check(layer, bottoms, expected, gtop=None):
    gtop = np.ones(bottoms[0].shape) if gtop is None else gtop
    ours = gradients(one_layer(layer, *[np.shape(bottom) for bottom in bottoms]), gtop, *bottoms)
    for gradient, reading in zip(ours, expected, strict=False):
        np.testing.assert_allclose(gradient, reading, rtol=1e-7, atol=1e-12)


def test_absolute_value_at_zero():
    check("type: 'AbsVal'", [np.array([-2.0, 0, 3])], [[-1, 0, 1]])
    check("type: 'Reduction' reduction_param { operation: ASUM }", [np.array([-2.0, 0, 3])], [[-1, 0, 1]], np.ones(()))


def test_both_ends_of_clip_pass_the_gradient():
    check("type: 'Clip' clip_param { min: -1 max: 2 }", [np.array([-2.0, -1, 0, 2, 3])], [[0, 1, 1, 1, 0]])


@pytest.mark.parametrize(("layer", "at_zero"), [
    ("type: 'ReLU'", 0), ("type: 'ReLU' relu_param { negative_slope: 0.5 }", 0.5), ("type: 'PReLU'", 0.25),
    ("type: 'ELU' elu_param { alpha: 0.5 }", 0.5)])
def test_rectifiers_at_zero_take_the_negative_side(layer, at_zero):
    check(layer, [np.array([[0.0, 1.0]])], [[[at_zero, 1]]])


def test_eltwise_max_gives_a_tie_to_one_bottom():
    a, b, c = np.array([1.0, 2, 3, 5]), np.array([1.0, 2, 4, 0]), np.array([0.0, 2, 4, 5])
    check("type: 'Eltwise' eltwise_param { operation: MAX }", [a, b, c], [[0, 0, 0, 1], [1, 1, 1, 0], [0, 0, 0, 0]])


def test_eltwise_product_with_zeros():
    a, b = np.array([0.0, 2, 0]), np.array([3.0, 0, 0])
    check("type: 'Eltwise' eltwise_param { operation: PROD }", [a, b], [b, a])


def test_max_pooling_gives_a_tie_to_the_first():
    x = np.zeros((1, 1, 2, 4))
    check("type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }", [x], [[[[[1, 0, 1, 0], [0, 0, 0, 0]]]]],
          np.ones((1, 1, 1, 2)))


@pytest.mark.parametrize("eps", [1e-9, 0.5])
def test_mvn(eps):
    x, gtop = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 3, 4, 5))
    x[0, 1] = 7  # a constant channel

    def mean(values):
        return values.mean((2, 3), keepdims=True)

    deviation = x.std((2, 3), keepdims=True) + float(np.float32(eps))
    top = (x - mean(x)) / deviation
    expected = (gtop - mean(gtop) - top * mean(gtop * top)) / deviation
    check(f"type: 'MVN' mvn_param {{ eps: {eps} }}", [x], [expected], gtop)


def test_propagate_down_stops_the_gradient():
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((2, 3))
    layer = "type: 'Eltwise' eltwise_param { operation: PROD }"
    check(f"{layer} propagate_down: true propagate_down: false", [a, b], [b, np.zeros((2, 3))])
    check(f"{layer} propagate_down: false propagate_down: true", [a, b], [np.zeros((2, 3)), a])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("window", [
    "kernel_size: 3 pad: 1 stride: 2", "kernel_h: 2 kernel_w: 3 dilation: 2", "kernel_size: 1"])
def test_convolution_of_few_positions_trains_as_one_product(layout, window):
    layer = f"type: 'Convolution' convolution_param {{ num_output: 40 {window} weight_filler {{ type: 'msra' }} }}"
    bottom = rng.normal(size=(2, 5, 6, 5))
    direct, product = one_layer(layer, bottom.shape), one_layer(layer, bottom.shape, phase="train").to(memory_format=layout)
    product.copy_from(direct.to_blobs())
    top, = run(direct, bottom)
    assert top[0, 0].size < 40
    gtop = rng.normal(size=top.shape)
    for ours, expected in zip(gradients(product, gtop, bottom), gradients(direct, gtop, bottom), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-12)
    for ours, expected in zip(product.parameters(), direct.parameters(), strict=True):
        np.testing.assert_allclose(ours.grad, expected.grad, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(run(product, bottom)[0], top, rtol=1e-7, atol=1e-12)
