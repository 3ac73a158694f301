"""Files of Caffe's forks: what Caffe 1.0 does not know is named, the rest is read.

Field numbers are those of the forks' own caffe.proto: SSD's, NVIDIA's, SegNet's and Yahoo's.
"""

import numpy as np
import pytest

from converters import CaffeError, CaffeFileError, CaffeNet, read_caffemodel, read_prototxt
from converters.caffe_pb2 import BlobProto, LayerParameter, NetParameter
from converters.formats.wire import header, varint

WEIGHTS = np.arange(4, dtype=np.float32)


def number(field, value):
    return varint(field << 3) + varint(value)


def message(field, data):
    return header(field, len(data)) + data


def write(path, *layers):
    """A caffemodel of layers: (LayerParameter, the bytes of the fork's own fields), each with a blob of four numbers."""
    net = NetParameter(name="fork").SerializeToString()
    for layer, fork in layers:
        layer.blobs.add(data=WEIGHTS, shape={"dim": [4]})
        net += message(100, layer.SerializeToString() + fork)
    path.write_bytes(net)
    return path


def unknown_in(path, layers=1):
    model = read_caffemodel(path)
    assert len(model.blobs) == layers and all(np.array_equal(arrays[0], WEIGHTS) for arrays in model.blobs.values())
    return model.unknown


def test_ssd(tmp_path):
    path = write(tmp_path / "ssd.caffemodel",
                 (LayerParameter(name="conv4_3_norm", type="Normalize"), message(206, number(1, 0))),
                 (LayerParameter(name="priors", type="PriorBox"), message(203, number(4, 1))))
    assert unknown_in(path, 2) == ["layer 'conv4_3_norm': field 206", "layer 'priors': field 203"]
    unknown = []
    net = read_prototxt("""
        layer { name: "conv4_3_norm" type: "Normalize" bottom: "conv4_3" top: "n"
                norm_param { across_spatial: false scale_filler { type: "constant" value: 20 } channel_shared: false } }
        layer { name: "perm" type: "Permute" bottom: "n" top: "p" permute_param { order: 0 order: 2 order: 3 order: 1 } }
        layer { name: "conv" type: "Convolution" bottom: "n" top: "c" convolution_param { num_output: 1 kernel_size: 1 } }
        """, unknown)
    assert [line.split(" (")[0] for line in unknown] == ["layer 'conv4_3_norm': norm_param", "layer 'perm': permute_param"]
    assert [layer.type for layer in net.layer] == ["Normalize", "Permute", "Convolution"]
    with pytest.raises(CaffeError, match=r"layer 'conv4_3_norm' in the net: unknown layer type 'Normalize'.*register"):
        CaffeNet(net)


def test_segnets_fields_have_numbers_of_caffes(tmp_path):
    """Its upsample_param is 137, which is Caffe's embed_param and reads as one without complaint; its bn_param is 45."""
    path = write(tmp_path / "segnet.caffemodel",
                 (LayerParameter(name="upsample5", type="Upsample"), message(137, number(1, 2))),
                 (LayerParameter(name="conv1_1_bn", type="BN"), message(45, number(3, 1))))
    assert unknown_in(path, 2) == [
        "layer 'upsample5': field 137, read as Caffe's embed_param, though its type is not Caffe's",
        "layer 'conv1_1_bn': field 45",
    ]
    unknown = []
    read_prototxt("""
        layer { name: "upsample5" type: "Upsample" bottom: "pool5" bottom: "mask5" top: "u" upsample_param { scale: 2 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "u" bottom: "label" top: "loss"
                loss_param { weight_by_label_freqs: true class_weighting: 0.2 ignore_label: 11 } }
        """, unknown)
    assert [line.split(" (")[0] for line in unknown] == [
        "layer 'upsample5': upsample_param", "layer 'loss': loss_param.weight_by_label_freqs",
        "layer 'loss': loss_param.class_weighting"]


def test_yahoos_source_class_has_the_number_of_bias_param(tmp_path):
    path = write(tmp_path / "yahoo.caffemodel",
                 (LayerParameter(name="data", type="MemoryData", top=["data"]), message(141, b"com.yahoo.ml.caffe.LMDB")))
    assert unknown_in(path) == ["layer 'data': field 141, which is not Caffe's bias_param"]
    unknown = []
    read_prototxt('layer { name: "data" type: "MemoryData" source_class: "com.yahoo.ml.caffe.LMDB" }', unknown)
    assert unknown == ["layer 'data': source_class (line 1)"]


def test_nvidias_own_blobs_are_refused_by_number(tmp_path):
    """Its later versions keep the numbers as bytes in field 12 of a blob, of a type in field 10."""
    blob = BlobProto(shape={"dim": [4]}).SerializeToString() + number(10, 1) + message(12, WEIGHTS.tobytes())
    layer = LayerParameter(name="conv", type="Convolution").SerializeToString() + message(7, blob)
    (tmp_path / "nvidia.caffemodel").write_bytes(message(100, layer))
    with pytest.raises(CaffeFileError, match="layer 'conv', blob 0: .*a fork's field 10, field 12 may hold them"):
        read_caffemodel(tmp_path / "nvidia.caffemodel")


def test_nvidias_prototxts_are_read(tmp_path):
    unknown = []
    net = read_prototxt("""
        default_forward_type: FLOAT16
        layer { name: "bn" type: "BatchNorm" bottom: "x" top: "y" forward_type: FLOAT16
                batch_norm_param { scale_bias: true } }
        """, unknown)
    assert [line.split(" (")[0] for line in unknown] == [
        "default_forward_type", "layer 'bn': forward_type", "layer 'bn': batch_norm_param.scale_bias"]
    assert CaffeNet(net).layers["bn"].type == "BatchNorm"
