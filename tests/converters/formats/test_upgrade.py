"""Older formats in today's, against what upgrade_proto.cpp makes of them."""

import pytest
import torch
from google.protobuf import text_format

from converters.caffe_pb2 import NetParameter, V1LayerParameter
from converters.errors import CaffeError, CaffeFileError
from converters.formats.caffemodel import read_caffemodel
from converters.formats.prototxt import format_prototxt, read_prototxt, read_solver
from converters.net import CaffeNet

# UpgradeV1LayerType.
V2_TYPES = """
    ABSVAL AbsVal ACCURACY Accuracy ARGMAX ArgMax BNLL BNLL CONCAT Concat CONTRASTIVE_LOSS ContrastiveLoss
    CONVOLUTION Convolution DECONVOLUTION Deconvolution DATA Data DROPOUT Dropout DUMMY_DATA DummyData
    EUCLIDEAN_LOSS EuclideanLoss ELTWISE Eltwise EXP Exp FLATTEN Flatten HDF5_DATA HDF5Data HDF5_OUTPUT HDF5Output
    HINGE_LOSS HingeLoss IM2COL Im2col IMAGE_DATA ImageData INFOGAIN_LOSS InfogainLoss INNER_PRODUCT InnerProduct LRN LRN
    MEMORY_DATA MemoryData MULTINOMIAL_LOGISTIC_LOSS MultinomialLogisticLoss MVN MVN POOLING Pooling POWER Power
    RELU ReLU SIGMOID Sigmoid SIGMOID_CROSS_ENTROPY_LOSS SigmoidCrossEntropyLoss SILENCE Silence SOFTMAX Softmax
    SOFTMAX_LOSS SoftmaxWithLoss SPLIT Split SLICE Slice TANH TanH WINDOW_DATA WindowData THRESHOLD Threshold
"""


def same(old, new):
    """Is the older text, upgraded, the net of today's text?"""
    assert format_prototxt(read_prototxt(old)) == format_prototxt(text_format.Parse(new, NetParameter()))


def test_v1_types():
    words = V2_TYPES.split()
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    assert set(pairs) | {"NONE"} == set(V1LayerParameter.LayerType.keys())
    for old, new in pairs.items():
        assert read_prototxt(f'layers {{ name: "x" type: {old} }}').layer[0].type == new


def test_v1_layers():
    same(
        """
        name: "net"
        layers {
          name: "conv" type: CONVOLUTION bottom: "data" top: "conv"
          blobs_lr: 1 blobs_lr: 2 weight_decay: 1 weight_decay: 0
          param: "shared_w" param: "" blob_share_mode: PERMISSIVE
          convolution_param { num_output: 3 kernel_size: 5 weight_filler { type: "xavier" } }
          include { phase: TRAIN stage: "a" } loss_weight: 0.5
        }
        """,
        """
        name: "net"
        layer {
          name: "conv" type: "Convolution" bottom: "data" top: "conv" loss_weight: 0.5
          param { name: "shared_w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 }
          param { name: "" lr_mult: 2 decay_mult: 0 }
          include { phase: TRAIN stage: "a" }
          convolution_param { num_output: 3 kernel_size: 5 weight_filler { type: "xavier" } }
        }
        """,
    )


@pytest.mark.parametrize(
    ("kind", "name", "param"),
    [("DATA", "Data", "data_param"), ("IMAGE_DATA", "ImageData", "image_data_param")],
)
def test_transformations_leave_the_data_layer(kind, name, param):
    fields = 'scale: 0.5 mean_file: "m" crop_size: 7 mirror: true'
    same(
        f'layers {{ name: "d" type: {kind} {param} {{ source: "s" batch_size: 2 {fields} }} }}',
        f'layer {{ name: "d" type: "{name}" transform_param {{ {fields} }} {param} {{ source: "s" batch_size: 2 }} }}',
    )


def test_v0_layers():
    same(
        """
        layers { layer { name: "d" type: "data" source: "s" batchsize: 4 scale: 0.25 meanfile: "m" cropsize: 9 mirror: true
                         rand_skip: 3 } top: "data" top: "label" }
        layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "pad" }
        layers { layer { name: "c" type: "conv" num_output: 8 kernelsize: 5 stride: 2 group: 2 biasterm: false
                         weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1 weight_decay: 3 } bottom: "pad" top: "c" }
        layers { layer { name: "p" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "c" top: "p" }
        layers { layer { name: "n" type: "lrn" local_size: 7 alpha: 0.1 beta: 0.5 k: 2 } bottom: "p" top: "n" }
        layers { layer { name: "i" type: "innerproduct" num_output: 9 bias_filler { value: 1 } } bottom: "n" top: "i" }
        layers { layer { name: "o" type: "dropout" dropout_ratio: 0.3 } bottom: "i" top: "i" }
        layers { layer { name: "k" type: "concat" concat_dim: 0 } bottom: "i" bottom: "i" top: "k" }
        layers { layer { name: "l" type: "softmax_loss" } bottom: "k" bottom: "label" }
        """,
        """
        layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "s" batch_size: 4 rand_skip: 3 }
                transform_param { scale: 0.25 mean_file: "m" crop_size: 9 mirror: true } }
        layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 decay_mult: 3 }
                convolution_param { num_output: 8 kernel_size: 5 stride: 2 group: 2 bias_term: false pad: 2
                                    weight_filler { type: "gaussian" std: 0.01 } } }
        layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
        layer { name: "n" type: "LRN" bottom: "p" top: "n" lrn_param { local_size: 7 alpha: 0.1 beta: 0.5 k: 2 } }
        layer { name: "i" type: "InnerProduct" bottom: "n" top: "i"
                inner_product_param { num_output: 9 bias_filler { value: 1 } } }
        layer { name: "o" type: "Dropout" bottom: "i" top: "i" dropout_param { dropout_ratio: 0.3 } }
        layer { name: "k" type: "Concat" bottom: "i" bottom: "i" top: "k" concat_param { concat_dim: 0 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "k" bottom: "label" }
        """,
    )


def test_a_v0_field_out_of_place_is_named():
    unknown = []
    read_prototxt('layers { layer { name: "r" type: "relu" kernelsize: 3 } }', unknown)
    assert unknown == ["layer 'r': kernelsize, which a V0 layer of type relu does not have"]


def test_padding_before_another_layer_is_refused():
    with pytest.raises(CaffeFileError, match="layer 'r': a padding layer"):
        read_prototxt(
            'layers { layer { name: "pad" type: "padding" pad: 2 } bottom: "data" top: "pad" }'
            'layers { layer { name: "r" type: "relu" } bottom: "pad" top: "r" }'
        )


@pytest.mark.parametrize(
    "shapes", ["input_shape { dim: 1 dim: 3 dim: 8 dim: 9 } input_shape { dim: 2 }", "input_dim: [1, 3, 8, 9, 2, 1, 1, 1]"]
)
def test_inputs_become_a_layer_at_the_front(shapes):
    second = "dim: 2" if "shape" in shapes else "dim: 2 dim: 1 dim: 1 dim: 1"
    same(
        f'input: "data" input: "label" {shapes} layer {{ name: "r" type: "ReLU" bottom: "data" top: "data" }}',
        f"""layer {{ name: "input" type: "Input" top: "data" top: "label"
                     input_param {{ shape {{ dim: 1 dim: 3 dim: 8 dim: 9 }} shape {{ {second} }} }} }}
            layer {{ name: "r" type: "ReLU" bottom: "data" top: "data" }}""",
    )


def test_inputs_without_enough_dimensions_are_refused():
    with pytest.raises(CaffeFileError, match="four input_dim each"):
        read_prototxt('input: "data" input_dim: 1 input_dim: 3 layer { name: "r" type: "ReLU" }')


def test_batch_norm_statistics_are_not_learned():
    frozen = "lr_mult: 0 decay_mult: 0"
    same(
        """layer { name: "b" type: "BatchNorm" param { lr_mult: 1 name: "mean" }
                   param { decay_mult: 1 share_mode: PERMISSIVE } param { } }""",
        f"""layer {{ name: "b" type: "BatchNorm" param {{ name: "mean" {frozen} }}
                     param {{ share_mode: PERMISSIVE {frozen} }} param {{ {frozen} }} }}""",
    )


def test_batch_norms_share_statistics_by_name():
    data = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 2 dim: 3 dim: 3 } } }'
    text = data + "".join(
        f"""layer {{ name: "bn{i}" type: "BatchNorm" bottom: "data" top: "bn{i}" param {{ name: "mean" }}
                     param {{ name: "variance" }} param {{ name: "factor" }} }}""" for i in (1, 2))
    net = CaffeNet(text, "train")
    assert [a is b for a, b in zip(net.params["bn1"], net.params["bn2"], strict=True)] == [True] * 3
    net(data=torch.randn(4, 2, 3, 3))
    assert net.params["bn2"][2].item() == pytest.approx(1 + 0.999)  # both have added to it
    names = [[spec.name for spec in layer.param] for layer in read_prototxt(format_prototxt(read_prototxt(text))).layer[1:]]
    assert names == [["mean", "variance", "factor"]] * 2


def test_todays_nets_stay_as_they_are(golden):
    text = (golden / "formats" / "tiny_v2.prototxt").read_text()
    assert read_prototxt(text) == text_format.Parse(text, NetParameter())


def test_all_generations_of_one_net_agree(golden):
    v0, v1, v2 = (read_prototxt(golden / "formats" / f"tiny_v{i}.prototxt") for i in range(3))
    v2.layer[0].name = "input"
    for old in (v0, v1):
        assert [(la.name, la.type, la.top, la.bottom) for la in old.layer] == [
            (la.name, la.type, la.top, la.bottom) for la in v2.layer
        ]
        for mine, todays in zip(old.layer, v2.layer, strict=True):
            for param in ("input_param", "convolution_param", "pooling_param", "inner_product_param"):
                ours, theirs = getattr(mine, param), getattr(todays, param)
                assert all(getattr(ours, field.name) == value for field, value in theirs.ListFields())


def test_layer_types_of_forks_are_kept_and_named(tmp_path):
    unknown = []
    net = read_prototxt(
        'layers { name: "crop" type: CROP bottom: "a" bottom: "b" top: "c" } layers { name: "u" type: UPSAMPLE }', unknown
    )
    assert [layer.type for layer in net.layer] == ["Crop", "Upsample"]
    assert unknown == [
        "layer 'crop': V1 type CROP, taken as Crop",
        "layer 'u': V1 type UPSAMPLE, taken as Upsample",
    ]
    path = tmp_path / "fork.caffemodel"
    path.write_bytes(b"\x12\x08\x22\x04crop\x28\x28\x12\x05\x22\x01u\x28\x63")
    model = read_caffemodel(path)
    assert model.net.layer[0].type == "Crop"
    assert model.unknown == [
        "layer 'crop': V1 type 40, taken as Crop",
        "layer 'u': V1 type 99, taken as V1Type99",
    ]


def test_mixed_generations_are_refused():
    with pytest.raises(CaffeError, match="both 'layer' and 'layers'"):
        read_prototxt('layer { name: "a" type: "ReLU" } layers { name: "b" type: RELU }')


@pytest.mark.parametrize(
    ("old", "new"),
    [("SGD", "SGD"), ("NESTEROV", "Nesterov"), ("ADAGRAD", "AdaGrad"), ("RMSPROP", "RMSProp"), ("ADADELTA", "AdaDelta"),
     ("ADAM", "Adam"), ("2", "AdaGrad")],
)
def test_solver_types(old, new):
    solver = read_solver(f"solver_type: {old}")
    assert solver.type == new
    assert not solver.HasField("solver_type")


def test_solver_type_and_type_exclude_each_other():
    with pytest.raises(CaffeFileError, match="solver_type"):
        read_solver('solver_type: ADAM type: "SGD"')


def test_nets_inside_a_solver_are_upgraded():
    solver = read_solver('net_param { layers { name: "r" type: RELU } }')
    assert solver.net_param.layer[0].type == "ReLU"
