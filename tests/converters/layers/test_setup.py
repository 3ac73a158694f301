"""What Caffe's LayerSetUp and Reshape take and refuse, and the shapes that they give, where one might expect others."""

import numpy as np
import pytest
import torch
from helpers.small_nets import gradients, one_layer, run

import repro
from converters import CaffeError, CaffeNet
from converters.layers.base import too_large
from converters.pytorch.module_source import make_module, module_source

pytestmark = pytest.mark.usefixtures("one_thread")
rng = np.random.default_rng(23)


@pytest.mark.parametrize(("layer", "expected"), [
    ("HingeLoss", (3 + 0 + 0 + 4) / 2),  # max(0, 1 - score) of the label, max(0, 1 + score) of the other
    ("MultinomialLogisticLoss", None)])
def test_losses_that_know_no_ignore_label(layer, expected):
    """hinge_loss_layer.cpp and multinomial_logistic_loss_layer.cpp do not read loss_param."""
    scores = np.array([[-2.0, -1], [-3, -3]])
    if layer == "MultinomialLogisticLoss":
        scores, expected = np.array([[0.5, 0.5], [0.75, 0.25]]), (np.log(2) + np.log(4)) / 2
    net = one_layer(f"type: '{layer}' loss_param {{ ignore_label: 0 }}", (2, 2), (2,))
    np.testing.assert_allclose(run(net, scores, [0, 1])[0], expected)
    net = one_layer(f"type: '{layer}' loss_param {{ ignore_label: 255 }}", (2, 2), (2,))
    with pytest.raises(CaffeError, match="label 255 is outside 0 to 1"):
        run(net, scores, [0, 255])


@pytest.mark.parametrize("layer", ["SoftmaxWithLoss", "InfogainLoss", "HingeLoss", "MultinomialLogisticLoss"])
def test_scores_and_labels_of_another_number_of_items(layer):
    """LossLayer::Reshape, also where the numbers of labels and predictions agree."""
    shapes = [(2, 3), (1, 2), *([(3, 3)] if layer == "InfogainLoss" else [])]
    with pytest.raises(CaffeError, match="needs as many items of labels as of scores"):
        one_layer(f"type: '{layer}'", *shapes)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (2, 3, 5), (2, 3, 5, 4)])
def test_mvn_gives_four_axes(shape):
    x = rng.standard_normal(shape)
    net = one_layer("type: 'MVN' mvn_param { normalize_variance: false }", shape)
    full = x.reshape(*shape, *[1] * (4 - len(shape)))
    top, = run(net, x)
    assert top.shape == full.shape == net.reshape()["t0"]
    np.testing.assert_allclose(top, full - full.mean((2, 3), keepdims=True), atol=1e-12)
    assert gradients(net, np.ones(full.shape), x)[0].shape == shape


def test_eltwise_takes_coefficients_for_sums_and_heeds_none_for_maxima():
    a, b = np.array([[1.0, 4]]), np.array([[3.0, 2]])
    net = one_layer("type: 'Eltwise' eltwise_param { operation: MAX coeff: 5 coeff: -1 }", a.shape, b.shape)
    np.testing.assert_array_equal(run(net, a, b)[0], [[3, 4]])
    with pytest.raises(CaffeError, match="coeff goes with SUM, not with PROD"):
        one_layer("type: 'Eltwise' eltwise_param { operation: PROD coeff: 1 coeff: 1 }", a.shape, b.shape)
    for operation in ("SUM", "MAX"):
        with pytest.raises(CaffeError, match="needs one coeff for each bottom, not 1 for 2 bottoms"):
            one_layer(f"type: 'Eltwise' eltwise_param {{ operation: {operation} coeff: 1 }}", a.shape, b.shape)


def test_dropout_at_its_ends():
    x = rng.standard_normal((3, 4))
    nothing = one_layer("type: 'Dropout' dropout_param { dropout_ratio: 0 }", x.shape, phase="train")
    np.testing.assert_array_equal(run(nothing, x)[0], x)
    everything = one_layer("type: 'Dropout' dropout_param { dropout_ratio: 1 }", x.shape)
    np.testing.assert_array_equal(run(everything, x)[0], x)
    everything.train()
    with pytest.raises(CaffeError, match="dropout_ratio 1 leaves nothing to train with"):
        run(everything, x)
    with pytest.raises(CaffeError, match="dropout_ratio 1.5 must be from 0 to 1"):
        one_layer("type: 'Dropout' dropout_param { dropout_ratio: 1.5 }", x.shape)


@pytest.mark.parametrize(("layer", "shapes", "match"), [
    ("type: 'Concat' concat_param { axis: 1 concat_dim: 1 }", [(2, 3), (2, 3)], "give axis or concat_dim, not both"),
    ("type: 'LRN'", [(2, 3, 4)], r"needs a bottom of 4 axes \(N, C, H, W\), got shape 2x3x4"),
    ("type: 'LRN' lrn_param { norm_region: WITHIN_CHANNEL }", [(2, 3, 4)], "needs a bottom of 4 axes"),
    ("type: 'MVN'", [(1, 2, 3, 4, 5)], "needs a bottom of at most 4 axes, got shape 1x2x3x4x5"),
    ("type: 'BatchNorm'", [(5,)], "needs a bottom of at least 2 axes"),
    ("type: 'Filter'", [(4, 2), (2, 2)], "a selector of shape 2x2"),
    ("type: 'Filter'", [(4, 2), (1, 4)], "a selector of shape 1x4"),
    ("type: 'Crop'", [(1, 2, 8, 8), (1, 2)], "needs a second bottom with as many axes as the first: 1x2x8x8 and 1x2"),
    ("type: 'Convolution' convolution_param { num_output: 1 kernel_size: 1 }", [(1, 2, 5, 5), (1, 2, 5, 4)],
     "bottoms differ in shape: 1x2x5x5, 1x2x5x4"),
    ("type: 'Scale' scale_param { num_axes: -2 }", [(1, 2, 5, 5)], "num_axes -2 must be -1, for all, or more"),
    ("type: 'Bias' bias_param { num_axes: -2 }", [(1, 2, 5, 5)], "num_axes -2 must be -1, for all, or more"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }", [(1, 1, 4, 4)],
     "give kernel_size, or kernel_h and kernel_w, not both"),
    ("type: 'Pooling' pooling_param { kernel_h: 2 }", [(1, 1, 4, 4)], "give both kernel_h and kernel_w"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1 }", [(1, 1, 4, 4)],
     "give pad, or pad_h and pad_w, not both"),
    ("type: 'Pooling' pooling_param { kernel_size: 2 stride_w: 1 }", [(1, 1, 4, 4)], "give both stride_h and stride_w"),
])
def test_refused_as_in_caffe(layer, shapes, match):
    tops = len(shapes) if "Convolution" in layer else 1
    with pytest.raises(CaffeError, match=rf"layer 'l' .*{match}"):
        run(one_layer(layer, *shapes, tops=tops), *[np.zeros(shape) for shape in shapes])


def test_power_of_nothing_does_not_read_its_bottom():
    """power_layer.cpp: where power * scale is 0, the top is 1 or shift ^ power, whatever the bottom is."""
    for power, shift, expected in [(2, 3, 9), (0, 5, 1), (-1, 0, np.inf), (0.5, -1, np.nan)]:
        net = one_layer(f"type: 'Power' power_param {{ power: {power} scale: 0 shift: {shift} }}", (3,))
        np.testing.assert_array_equal(run(net, [np.inf, np.nan, 1])[0], [expected] * 3)


def test_clip_of_ends_that_are_the_wrong_way_round():
    """clip_layer.cpp: max(min, min(x, max)), and a gradient where min <= x <= max: nowhere."""
    net = one_layer("type: 'Clip' clip_param { min: 2 max: 1 }", (4,))
    np.testing.assert_array_equal(run(net, [0, 1.5, 2, 3])[0], [2, 2, 2, 2])
    np.testing.assert_array_equal(gradients(net, np.ones(4), [0, 1.5, 2, 3])[0], [0, 0, 0, 0])


def test_a_bottom_of_one_axis_is_items_of_one_number():
    np.testing.assert_array_equal(run(one_layer("type: 'ArgMax'", (3,)), [5, 6, 7])[0], np.zeros((3, 1, 1)))
    np.testing.assert_allclose(run(one_layer("type: 'HingeLoss'", (2,), (2,)), [3, -2], [0, 0])[0], 3 / 2)


def test_a_last_slice_may_be_empty():
    """slice_layer.cpp asks that slice points rise, not that the last leaves anything."""
    x = rng.standard_normal((1, 3))
    net = one_layer("type: 'Slice' slice_param { slice_point: 1 slice_point: 3 }", x.shape, tops=3)
    assert [top.shape for top in run(net, x)] == [(1, 1), (1, 2), (1, 0)]
    with pytest.raises(CaffeError, match="slice_points"):
        one_layer("type: 'Slice' slice_param { slice_point: 2 slice_point: 2 }", x.shape, tops=3)


@pytest.mark.parametrize("type", ["AbsVal", "Flatten", "Reshape", "Split"])
def test_layers_that_cannot_be_in_place(type):
    with pytest.raises(CaffeError, match=rf"layer 'l' \({type}\): cannot be in place; give its top another name"):
        one_layer(f"type: '{type}' top: 'b0'", (2, 3), tops=0)


@pytest.mark.parametrize(("settings", "shape"), [
    ("kernel_size: 3 stride: 2", (1, 2, 2, 5)), ("kernel_size: 3 stride: 3 pad: 0 dilation: 2", (2, 2, 4, 3))])
@pytest.mark.parametrize("type", ["Convolution", "Im2col"])
def test_a_kernel_a_little_larger_than_the_image(type, settings, shape):
    """C's division rounds towards zero: (2 - 3) / 2 + 1 is one window, which hangs over the end."""
    x = rng.standard_normal(shape)
    text = f"convolution_param {{ num_output: 2 {settings} weight_filler {{ type: 'gaussian' }} }}"
    over = one_layer(f"type: '{type}' {text}", shape)
    large = one_layer(f"type: '{type}' {text}", (*shape[:2], *(max(size, 3 if "dil" not in settings else 5)
                                                                for size in shape[2:])))
    large.copy_from(over.to_blobs())
    padded = np.zeros(large.input_shapes["b0"])
    padded[:, :, :shape[2], :shape[3]] = x
    top, = run(over, x)
    assert top.shape == over.reshape()["t0"]
    np.testing.assert_allclose(top, run(large, padded)[0])
    fast = repro.accelerate(over)(b0=torch.as_tensor(x))["t0"]
    np.testing.assert_allclose(fast.numpy(), top)
    with pytest.raises(CaffeError, match="cannot be written as PyTorch source"):
        module_source(over.param)


@pytest.mark.parametrize("settings", ["power: 2 scale: 0 shift: 3", "power: 0", "power: -1 scale: 0"])
def test_source_of_a_power_of_nothing(settings):
    x = rng.standard_normal((2, 3))
    net = one_layer(f"type: 'Power' power_param {{ {settings} }}", x.shape)
    top = make_module(net.param, {})(b0=torch.as_tensor(x))["t0"]
    np.testing.assert_array_equal(top.numpy(), run(net, x)[0])


HUGE = {
    "Tile": ("type: 'Tile' tile_param { tiles: 2000000000 }", (2, 3), "its top of shape 2x6000000000"),
    "weights": ("type: 'InnerProduct' inner_product_param { num_output: 100000000 }", (1, 3, 3, 3),
                "its weight of shape 100000000x27"),
    "convolution": ("type: 'Convolution' convolution_param { num_output: 100000000 kernel_size: 3 }", (1, 3, 9, 9),
                    "its weight of shape 100000000x3x3x3"),
    "deconvolution": ("type: 'Deconvolution' convolution_param { num_output: 1 kernel_size: 1 stride: 100000 }",
                      (1, 1, 3, 3),
                      "its top of shape 1x1x200001x200001"),
    "Embed": ("type: 'Embed' embed_param { num_output: 50000 input_dim: 50000 }", (1,), "its weight of shape 50000x50000"),
    "DummyData": ("type: 'DummyData' dummy_data_param { shape { dim: 50000 dim: 50000 } }", None,
                  "its top of shape 50000x50000"),
    "Parameter": ("type: 'Parameter' parameter_param { shape { dim: 50000 dim: 50000 } }", None,
                  "its weight of shape 50000x50000"),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_blob_that_is_too_large_is_refused_before_it_is_made(case):
    """Blob::Reshape: no blob holds more than INT_MAX numbers."""
    layer, shape, what = HUGE[case]
    with pytest.raises(CaffeError, match=rf"layer 'l' .*{what}.* holds more than 2147483647 numbers"):
        one_layer(layer, *([shape] if shape else []))


@pytest.mark.parametrize("case", ["Tile", "weights", "convolution", "Embed"])
def test_the_same_where_the_net_declares_no_shape(case):
    layer, shape, what = HUGE[case]
    net = CaffeNet(f"layer {{ name: 'l' bottom: 'x' top: 'y' {layer} }}")
    with pytest.raises(CaffeError, match=rf"layer 'l' .*{what}.* holds more than 2147483647 numbers"):
        net(x=torch.zeros(shape))


@pytest.mark.parametrize("pool", ["AVE", "MAX"])
def test_padding_that_is_too_large(pool):
    window = "kernel_size: 2000000000 pad: 1900000000 stride: 2000000000"
    net = one_layer(f"type: 'Pooling' pooling_param {{ pool: {pool} {window} }}", (1, 1, 3, 3))
    with pytest.raises(CaffeError, match="layer 'l' .*its padded bottom of shape 1x1x.* holds more than 2147483647 numbers"):
        run(net, np.zeros((1, 1, 3, 3)))


def test_an_input_that_is_too_large():
    for dims in ("dim: 50000 dim: 50000", "dim: 4000000000 dim: 4000000000 dim: 4000000000"):
        with pytest.raises(CaffeError, match="input 'x' of shape .* holds more than 2147483647 numbers"):
            CaffeNet(f"layer {{ name: 'x' type: 'Input' top: 'x' input_param {{ shape {{ {dims} }} }} }}")


def test_the_largest_blob_is_not_too_large():
    assert not too_large((2**31 - 1,))
    assert too_large((2, 2**30))
