"""The fast path gives the plain net's answers, for any size of image."""

import random

import numpy as np
import pytest
import torch

import reference
import repro
from converters import CaffeError, CaffeNet
from repro.fast import forward
from surgery import interp

VGG = [
    "voc-fcn32s", "voc-fcn16s", "voc-fcn8s", "voc-fcn8s-atonce", "voc-fcn-pool5", "voc-fcn-pool4", "voc-fcn-pool3",
    "pascalcontext-fcn8s", "siftflow-fcn32s", "siftflow-fcn16s", "siftflow-fcn8s", "nyud-fcn32s-color-d",
    "nyud-fcn32s-color-hha",
]
OTHERS = ["voc-fcn-alexnet", "voc-fcn-googlenet"]


def random_net(net, phase="test"):
    """A CaffeNet whose scores are neither all alike nor very large."""
    torch.manual_seed(0)
    net = CaffeNet(net, phase)
    with torch.no_grad():
        for layer in net.layers.values():
            for blob in layer.blobs() if layer.type != "Scale" else ():
                bound = (6 / blob[0].numel()) ** 0.5 if blob.ndim > 1 else 0.3
                blob.uniform_(-bound, bound)
    interp(net)
    return net


def published(name, width=1 / 32):
    return random_net(reference.net(name, "deploy", width=width))


def images(net, height, width, count=1):
    return {name: 60 * torch.randn(count, shape[1], height, width) for name, shape in net.input_shapes.items()}


def assert_same(net, inputs, tolerance=1e-5):
    """The scores agree, and so do the labels but where the two best scores are all but equal."""
    with torch.no_grad():
        plain = net(**inputs)
    fast = repro.accelerate(net)
    assert fast.plainly is None
    for name, found in fast(**inputs).items():
        expected, size = plain[name], tuple(inputs.values())[0].shape
        near = tolerance * expected.abs().max()
        assert found.shape == expected.shape and (found - expected).abs().max() <= near, size
        labels = np.atleast_3d(fast.labels(*inputs.values(), blob=name)).reshape(expected[:, 0].shape)
        best = expected.topk(2, 1).values
        clear = (best[:, 0] - best[:, 1] > 2 * near).numpy()
        assert labels.dtype == np.uint8 and (labels == expected.argmax(1).numpy())[clear].all(), size


@pytest.mark.parametrize("name", VGG)
def test_scores_and_labels_are_the_plain_nets_at_sixty_sizes(name):
    net, rng = published(name), random.Random(name)
    sizes = [(1, 1), (700, 3), (2, 611)] + [tuple(int(700 ** rng.random()) for _ in "hw") for _ in range(57)]
    for size in sizes:
        assert_same(net, images(net, *size))


@pytest.mark.parametrize("name", OTHERS)
def test_other_trunks_are_understood(name):
    net, rng = published(name, 1 / 8), random.Random(name)
    for size in [(1, 1), *[(rng.randint(1, 300), rng.randint(1, 300)) for _ in range(8)]]:
        assert_same(net, images(net, *size))


@pytest.mark.slow
def test_full_width():
    net = published("voc-fcn8s", width=1)
    for size in (1, 1), (63, 121), (150, 97):
        assert_same(net, images(net, *size), 1e-4)


def test_every_remainder_of_the_stride():
    net = published("voc-fcn32s")
    for n in range(90, 122):
        assert_same(net, images(net, n, 211 - n))


def test_strips_of_rows_make_the_same_image(monkeypatch):
    net = published("siftflow-fcn8s")
    monkeypatch.setattr(forward, "SCRATCH", 2000)  # a few rows each
    for size in (37, 150), (181, 66):
        assert_same(net, images(net, *size))


def test_a_batch_of_images():
    net = published("voc-fcn8s")
    inputs = images(net, 70, 45, count=3)
    assert_same(net, inputs)
    assert repro.accelerate(net).labels(*inputs.values()).shape == (3, 70, 45)
    assert repro.accelerate(net).labels(inputs["data"][:1]).shape == (70, 45)


def test_less_is_computed_where_the_image_does_not_reach():
    from torch.utils.flop_counter import FlopCounterMode

    net = published("voc-fcn8s", 1 / 8)
    inputs, fast = images(net, 375, 500), repro.accelerate(net)
    fast(**inputs)  # fills the border
    with FlopCounterMode(display=False) as counted:
        fast.labels(*inputs.values())
    with FlopCounterMode(display=False) as plainly, torch.no_grad():
        net(**inputs)
    assert counted.get_total_flops() < 0.7 * plainly.get_total_flops()


def test_the_border_follows_the_weights():
    net = published("voc-fcn8s")
    assert_same(net, images(net, 40, 60))
    with torch.no_grad():
        net.layers["conv1_1"].bias.add_(1)
    assert_same(net, images(net, 40, 60))
    net.double()
    assert_same(net, {name: pixels.double() for name, pixels in images(net, 40, 60).items()}, 1e-12)


def edit_data(blob, values):
    blob.data[...] = values


def edit_numpy(blob, values):
    blob.detach().numpy()[...] = values


@pytest.mark.parametrize("edit", [edit_data, edit_numpy])
@pytest.mark.parametrize("layer, index", [("conv1_1", 1), ("conv3_2", 0), ("upscore2", 0), ("upscore8", 0)])
def test_weights_edited_as_in_pycaffe_are_heeded(edit, layer, index):
    """Such writes leave no trace at the tensor: neither its place nor its version changes."""
    net = published("voc-fcn8s")
    inputs = images(net, 40, 60)
    assert_same(net, inputs)
    blob = net.params[layer][index]
    place, version = blob.data_ptr(), blob._version
    edit(blob, 0.7 * blob.detach() + 0.01)
    assert (blob.data_ptr(), blob._version) == (place, version)
    assert_same(net, inputs)


def random_layers(draw, depth):
    """A chain of layers, most of them strided or padded in odd ways."""
    yield 'layer { name: "data" type: "Input" top: "b0" input_param { shape { dim: 1 dim: 2 dim: 9 dim: 9 } } }'
    for i in range(depth):
        kernel, stride, pad = draw.randint(1, 5), draw.randint(1, 3), draw.randint(0, 3)
        wide, window = max(kernel, stride), f"stride: {stride} pad: {pad}"
        fill = 'weight_filler { type: "xavier" } bias_filler { type: "uniform" }'
        body = draw.choice([
            f'type: "Convolution" convolution_param {{ num_output: 3 kernel_size: {kernel} {window} {fill} }}',
            f'type: "Convolution" convolution_param {{ num_output: 2 kernel_size: {kernel} {window} dilation: 2 {fill} }}',
            f'type: "Deconvolution" convolution_param {{ num_output: 2 kernel_size: {wide} {window} {fill} }}',
            f'type: "Pooling" pooling_param {{ kernel_size: {kernel} stride: {stride} pad: {min(pad, kernel - 1)} }}',
            'type: "ReLU"', 'type: "LRN"', 'type: "AbsVal"',
        ])
        yield f'layer {{ name: "l{i}" bottom: "b{i}" top: "b{i + 1}" {body} }}'


@pytest.mark.parametrize("seed", range(6))
def test_random_nets_give_the_plain_nets_answers(seed):
    draw, compared = random.Random(seed), 0
    torch.manual_seed(seed)
    while compared < 40:
        depth = draw.randint(1, 7)
        pixels = torch.randn(1, 2, draw.randint(3, 40), draw.randint(3, 40))
        text = "\n".join(random_layers(draw, depth))
        try:
            net = CaffeNet(text)
            with torch.no_grad():
                plain = net(b0=pixels)[f"b{depth}"]
        except (CaffeError, RuntimeError):  # too small for a kernel
            continue
        found = repro.accelerate(net)(b0=pixels)[f"b{depth}"]
        assert found.shape == plain.shape, text
        assert (found - plain).abs().max() <= 1e-4 * plain.abs().max(), text
        compared += 1


def test_a_learned_deconvolution_is_computed_as_it_is():
    net = published("voc-fcn8s")
    for layer in net.layers.values():
        if layer.type == "Deconvolution":
            with torch.no_grad():
                layer.weight.add_(0.01 * torch.randn_like(layer.weight))
    assert_same(net, images(net, 57, 83))


NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 pad_h: 30 pad_w: 9 kernel_h: 5 kernel_w: 3 stride_h: 3 stride_w: 1 } }
layer { name: "slope" type: "PReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "half" type: "Power" bottom: "pool1" top: "pool1" power_param { scale: 0.5 shift: 1 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
        convolution_param { num_output: 6 kernel_size: 3 pad: 2 dilation: 2 group: 2 } }
layer { name: "negative" type: "ReLU" bottom: "conv2" top: "rectified" relu_param { negative_slope: 0.1 } }
layer { name: "both" type: "Concat" bottom: "conv2" bottom: "rectified" top: "both" }
layer { name: "norm" type: "LRN" bottom: "both" top: "norm" lrn_param { local_size: 3 alpha: 0.1 } }
layer { name: "finer" type: "Deconvolution" bottom: "norm" top: "finer"
        convolution_param { num_output: 5 kernel_size: 6 stride: 4 pad: 1 } }
"""


def test_a_net_of_ones_own():
    net, rng = random_net(NET), random.Random(0)
    for _ in range(20):
        assert_same(net, images(net, rng.randint(1, 60), rng.randint(1, 60)))


@pytest.mark.parametrize("settings", [
    'type: "BatchNorm"', 'type: "Bias" bias_param { filler { value: 2 } }', 'type: "Clip" clip_param { min: -20 max: 30 }',
    'type: "Scale" scale_param { bias_term: true filler { type: "uniform" } bias_filler { value: 1 } }', 'type: "Softmax"',
    'type: "Swish" swish_param { beta: 0.1 }', 'type: "Threshold"', 'type: "Scale" bottom: "pool1" scale_param { axis: 0 }',
])
def test_a_layer_that_works_pixel_by_pixel_is_fast(settings):
    """Also where its bottom is zero around the image, and the top is not."""
    layer = f'layer {{ name: "each" bottom: "pool1" top: "each" {settings} }}'
    net, rng = random_net(NET.replace('bottom: "pool1" top: "conv2"', 'bottom: "each" top: "conv2"').replace(
        'layer { name: "conv2"', layer + '\nlayer { name: "conv2"')).double(), random.Random(0)
    with torch.no_grad():
        for blob in net.layers["each"].blobs():
            blob.abs_()  # a variance is not negative
    for _ in range(8):
        inputs = images(net, rng.randint(1, 60), rng.randint(1, 60))
        assert_same(net, {name: pixels.double() for name, pixels in inputs.items()}, 1e-9)


@pytest.mark.parametrize("layer, reason", [
    ('layer { name: "last" type: "MVN" bottom: "finer" top: "last" }', "MVN"),
    ('layer { name: "last" type: "Pooling" bottom: "finer" top: "last" pooling_param { pool: AVE kernel_size: 2 } }', "MAX"),
    ('layer { name: "last" type: "InnerProduct" bottom: "finer" top: "last" inner_product_param { num_output: 2 } }',
     "InnerProduct"),
])
def test_what_is_not_understood_runs_the_plain_way(layer, reason):
    net = random_net(NET + layer)
    inputs, fast = images(net, 8, 8), repro.accelerate(net)
    assert reason in fast.plainly
    with torch.no_grad():
        assert torch.equal(fast(**inputs)["last"], net(**inputs)["last"])


def test_a_net_built_for_training_gives_its_scores_in_its_test_phase():
    net = random_net(reference.net("voc-fcn16s", "train", width=1 / 32), phase="train")
    data = 60 * torch.randn(1, 3, 48, 31)
    fast = repro.accelerate(net, ["score"])
    with pytest.raises(CaffeError, match=r"eval\(\)"):
        fast(data=data)
    net.eval()
    with torch.no_grad():
        expected = net.forward_blobs({"data": data}, ["score"])["score"]
    assert (fast(data=data)["score"] - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert not fast(data=data)["score"].requires_grad


def test_missing_and_wrong_inputs_are_refused():
    fast = repro.accelerate(published("nyud-fcn32s-color-d"))
    with pytest.raises(CaffeError, match="depth"):
        fast(color=torch.zeros(1, 3, 5, 5))
    with pytest.raises(CaffeError, match="color, depth"):
        fast.labels(torch.zeros(1, 3, 5, 5))
    with pytest.raises(CaffeError):
        fast(color=torch.zeros(1, 2, 5, 5), depth=torch.zeros(1, 1, 5, 5))


def test_more_classes_than_a_label_map_holds_are_refused():
    net = random_net(reference.net("voc-fcn32s", "deploy", num_classes=300, width=1 / 64))
    with pytest.raises(CaffeError, match="256"):
        repro.accelerate(net).labels(torch.zeros(1, 3, 4, 4))
