"""Crop offsets and receptive fields, against what the layers really compute."""

import pytest
import torch
from google.protobuf import text_format

import reference
from converters import CaffeError, CaffeNet
from converters.caffe_pb2 import NetParameter, PoolingParameter
from surgery import crop_offset, interp, receptive_field, stride


def describe(layers):
    net = text_format.Parse('layer { name: "data" type: "Input" top: "data" }', NetParameter())
    return text_format.Parse(layers, net)


def crops(net):
    return {layer.name: list(layer.crop_param.offset) for layer in net.layer if layer.type == "Crop"}


@pytest.mark.parametrize(("name", "offsets"), [
    ("voc-fcn32s", {"score": [19]}),
    ("voc-fcn16s", {"score_pool4c": [5], "score": [27]}),
    ("voc-fcn8s", {"score_pool4c": [5], "score_pool3c": [9], "score": [31]}),
    ("voc-fcn8s-atonce", {"score_pool4c": [5], "score_pool3c": [9], "score": [31]}),
    ("voc-fcn-alexnet", {"score": [18]}),
    ("nyud-fcn32s-color-hha", {"score": [19]}),
    ("siftflow-fcn16s", {"score_pool4_semc": [5], "score_sem": [27], "score_pool4_geoc": [5], "score_geo": [27]}),
])
def test_crop_offsets_of_the_release(name, offsets):
    assert crops(reference.net(name)) == offsets


@pytest.mark.parametrize(("name", "blob", "field"), [
    ("voc-fcn-alexnet", "fc7", 355),
    ("voc-fcn32s", "fc7", 404),
    ("voc-fcn-googlenet", "inception_5b/output", 715),
    ("googlenet", "pool5/7x7_s1", 907),
    ("voc-fcn8s", "pool3", 44),
])
def test_receptive_fields(name, blob, field):
    assert receptive_field(reference.net(name, "deploy"), blob) == field


@pytest.mark.parametrize("name", ["voc-fcn-alexnet", "voc-fcn32s", "voc-fcn-googlenet"])
def test_stride_of_the_trunks_is_32(name):
    assert stride(reference.net(name), "score_fr") == 32


def test_upsampled_pixels_see_two_coarse_ones():
    net = reference.net("voc-fcn32s")
    assert receptive_field(net, "upscore") == receptive_field(net, "score_fr") + 32


def test_a_gradient_reaches_exactly_the_receptive_field():
    net = describe("""
        layer { name: "a" type: "Convolution" bottom: "data" top: "a"
          convolution_param { num_output: 1 kernel_h: 5 kernel_w: 2 pad: 40 stride: 2 weight_filler { value: 1 } } }
        layer { name: "b" type: "Pooling" bottom: "a" top: "b" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
        layer { name: "c" type: "Convolution" bottom: "b" top: "c"
          convolution_param { num_output: 1 kernel_size: 3 dilation: 2 weight_filler { value: 1 } } }
        layer { name: "up" type: "Deconvolution" bottom: "c" top: "up"
          convolution_param { num_output: 1 kernel_size: 4 stride: 2 bias_term: false weight_filler { value: 1 } } }
    """)
    module, image = CaffeNet(net), torch.ones(1, 1, 120, 120, requires_grad=True)
    for name in ("a", "b", "c", "up"):
        top = module.forward_blobs({"data": image}, [name])[name]
        seen = torch.zeros(2)
        for step in 0, 1:  # neighbours see unequally much below the deconvolution
            row, column = top.shape[2] // 2 + step, top.shape[3] // 2 + step
            (gradient,) = torch.autograd.grad(top[0, 0, row, column], image, retain_graph=True)
            pixels = gradient[0, 0].nonzero()
            seen = torch.maximum(seen, pixels.amax(0) - pixels.amin(0) + 1)
        assert tuple(seen.int().tolist()) == receptive_field(net, name)


@pytest.mark.parametrize(("name", "summed"), [
    ("voc-fcn32s", 1), ("voc-fcn8s", 3), ("voc-fcn-alexnet", 1), ("voc-fcn-googlenet", 1), ("voc-fcn-pool4", 1),
])
def test_scores_lie_over_the_image(name, summed):
    """A net of averages, bilinear at its end, gives a ramp back where it is: so every crop is at its place."""
    param = reference.net(name, "deploy", num_classes=1, width=1 / 64)
    for layer in param.layer:
        if layer.type == "Pooling":
            layer.pooling_param.pool = PoolingParameter.AVE
        if layer.type == "LRN":
            layer.lrn_param.alpha, layer.lrn_param.local_size = 0, 1
    net = CaffeNet(param)
    with torch.no_grad():
        for weight, *biases in net.params.values():
            weight.fill_(1 / weight[0].numel())
            for bias in biases:
                bias.zero_()
    interp(net)
    rows, columns = torch.meshgrid(torch.arange(800.0), torch.arange(700.0), indexing="ij")
    ramp = rows + 3 * columns
    with torch.no_grad():
        score = net(data=ramp.expand(1, 3, -1, -1))["score"][0, 0] / summed
    middle = slice(380, 420), slice(330, 370)  # far from the padding
    assert torch.allclose(score[middle], ramp[middle], rtol=1e-5)


def test_legacy_height_and_width_map_each_axis():
    net = describe("""
        layer { name: "a" type: "Convolution" bottom: "data" top: "a"
          convolution_param { num_output: 1 kernel_h: 3 kernel_w: 7 } }
    """)
    assert crop_offset(net, "data", "a") == (1, 3)


@pytest.mark.parametrize(("layers", "bottom", "top", "said"), [
    ('layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 1 kernel_size: 2 } }',
     "data", "a", "1/2, not whole"),
    ('layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 1 kernel_size: 3 } }',
     "a", "data", "-1, negative"),
    ('layer { name: "a" type: "Pooling" bottom: "data" top: "a" pooling_param { kernel_size: 2 stride: 2 } }',
     "data", "a", "upsample"),
    ('layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" inner_product_param { num_output: 1 } }',
     "a", "data", "layer 'a' .InnerProduct.*convolutionize the net first"),
    ('layer { name: "other" type: "Input" top: "other" }', "other", "data", "no chain of layers"),
    ("", "nowhere", "data", "nowhere"),
])
def test_what_cannot_be_aligned_is_said(layers, bottom, top, said):
    with pytest.raises(CaffeError, match=said):
        crop_offset(describe(layers), bottom, top)


# Layers that Caffe's coord_map.py has no map for (UndefinedMapException), or one over other axes (AxisMismatchException).
UNMAPPED = {
    "InnerProduct": "inner_product_param { num_output: 1 axis: 2 }",
    "Tile": "tile_param { axis: 2 tiles: 2 }",
    "SPP": "spp_param { pyramid_height: 2 pool: MAX }",
    "Reshape": "reshape_param { shape { dim: 0 dim: -1 dim: 2 dim: 2 } }",
    "Flatten": "",
    "Reduction": "reduction_param { axis: 1 }",
    "Wavelet": "",
    "Concat": "concat_param { axis: 2 }",
    "Slice": "slice_param { axis: -1 }",
    "Softmax": "softmax_param { axis: 3 }",
    "Crop": "crop_param { axis: 1 }",
    "Pooling": "pooling_param { global_pooling: true }",
}
CONV = 'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s" convolution_param { num_output: 1 kernel_size: 3 } }'


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("type", UNMAPPED)
def test_a_layer_without_a_map_is_not_passed(type, in_place):
    top, reference = "c" if in_place else "odd", 'bottom: "data"' if type == "Crop" else ""
    net = describe(f"""{CONV % ("c", "data", "c")}
        layer {{ name: "odd" type: "{type}" bottom: "c" {reference} top: "{top}" {UNMAPPED[type]} }}
        {CONV % ("d", top, "d")}""")
    said = f"layer 'odd' .{type}.: (?!.*convolutionize)"
    for question in (lambda: stride(net, "d"), lambda: stride(net, top), lambda: receptive_field(net, "d"),
                     lambda: crop_offset(net, "data", "d")):
        with pytest.raises(CaffeError, match=said):
            question()
    assert crop_offset(net, top, "d") == 1  # what lies beyond what both descend from does not matter


def test_another_way_round_a_layer_without_a_map_is_taken():
    net = describe(f"""{CONV % ("c", "data", "c")}
        layer {{ name: "all" type: "Pooling" bottom: "data" top: "all" pooling_param {{ global_pooling: true }} }}
        layer {{ name: "gate" type: "Scale" bottom: "c" bottom: "all" top: "gate" scale_param {{ axis: 0 }} }}""")
    assert crop_offset(net, "data", "gate") == 1 and stride(net, "gate") == 1
    with pytest.raises(CaffeError, match="'all' .Pooling."):
        receptive_field(net, "gate")


def test_windows_taken_in_place_count():
    net = describe('layer { name: "p" type: "Pooling" bottom: "data" top: "data" '
                   'pooling_param { kernel_size: 2 stride: 2 } }' + CONV % ("c", "data", "c"))
    assert stride(net, "c") == stride(net, "data") == 2 and receptive_field(net, "c") == 6


def test_im2col_is_mapped_as_a_convolution():
    net = describe('layer { name: "i" type: "Im2col" bottom: "data" top: "i" '
                   'convolution_param { kernel_size: 5 stride: 2 } }')
    assert stride(net, "i") == 2 and receptive_field(net, "i") == 5


def test_a_layer_that_looks_at_the_whole_image_keeps_its_place_but_has_no_receptive_field():
    net = describe(f"{CONV % ('c', 'data', 'c')} layer {{ name: 'n' type: 'MVN' bottom: 'c' top: 'n' }}")
    assert crop_offset(net, "data", "n") == 1 and stride(net, "n") == 1
    with pytest.raises(CaffeError, match="layer 'n' .MVN.: "):
        receptive_field(net, "n")


def test_the_window_of_lrn_within_channels_is_seen():
    net = describe("layer { name: 'n' type: 'LRN' bottom: 'data' top: 'n' lrn_param { local_size: 3 "
                   "norm_region: WITHIN_CHANNEL } }")
    assert crop_offset(net, "data", "n") == 0 and receptive_field(net, "n") == 3


@pytest.mark.parametrize("question", [receptive_field, stride])
def test_inner_products_see_no_windows(question):
    with pytest.raises(CaffeError, match="'fc8' .InnerProduct.*convolutionize the net first"):
        question(reference.net("vgg16"), "fc8")


def test_the_advice_to_convolutionize_is_given_only_where_it_helps():
    net = describe('layer { name: "flat" type: "Flatten" bottom: "data" top: "flat" } layer { name: "ip" '
                   'type: "InnerProduct" bottom: "flat" top: "ip" inner_product_param { num_output: 1 } }')
    with pytest.raises(CaffeError, match="layer 'ip' .InnerProduct.: (?!.*convolutionize)"):
        stride(net, "ip")
