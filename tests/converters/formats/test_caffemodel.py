"""Weights in every container, against the arrays that real Caffe wrote them from."""

import subprocess
import sys

import h5py
import numpy as np
import pytest
from helpers import ROOT

from converters.caffe_pb2 import BlobProto, LayerParameter, NetParameter
from converters.errors import CaffeError, CaffeFileError
from converters.formats.blob import read_blob, write_blob
from converters.formats.caffemodel import read_caffemodel, write_caffemodel
from converters.formats.prototxt import read_prototxt

CONTAINERS = {
    "tiny_v2.caffemodel": "V2",
    "tiny_v2.caffemodel.h5": "HDF5",
    "tiny_v2_unpacked.caffemodel": "V2",
    "tiny_v1.caffemodel": "V1",
    "tiny_v1_double.caffemodel": "V1",
    "tiny_v0.caffemodel": "V0",
}


@pytest.fixture(scope="session")
def tiny(golden):
    with np.load(golden / "formats" / "tiny.npz") as arrays:
        return {name: arrays[name] for name in arrays if "/" in name}


@pytest.fixture
def model(golden):
    return read_caffemodel(golden / "formats" / "tiny_v2.caffemodel")


def legacy(shape):
    return (1,) * (4 - len(shape)) + shape


@pytest.mark.parametrize(("name", "generation"), CONTAINERS.items())
@pytest.mark.parametrize("aligned", [True, False])
def test_every_container_gives_caffes_arrays(golden, tiny, name, generation, aligned):
    model = read_caffemodel(golden / "formats" / name, aligned)
    assert model.generation == generation
    assert model.unknown == []
    assert {f"{layer}/{i}" for layer, arrays in model.blobs.items() for i in range(len(arrays))} == set(tiny)
    for key, expected in tiny.items():
        layer, i = key.split("/")
        array = model.blobs[layer][int(i)]
        assert array.dtype == np.float32
        assert array.shape == (legacy(expected.shape) if generation in ("V0", "V1") else expected.shape)
        np.testing.assert_array_equal(array.reshape(expected.shape), expected)
        assert not aligned or array.flags.aligned
    assert model.doubles == (["conv1", "fc6", "fc8"] if "double" in name else [])


@pytest.mark.parametrize("name", [name for name, generation in CONTAINERS.items() if generation != "HDF5"])
def test_every_generation_describes_the_same_layers(golden, name):
    net = read_caffemodel(golden / "formats" / name).net
    layers = [(layer.name, layer.type, list(layer.bottom), list(layer.top)) for layer in net.layer]
    if "unpacked" in name:  # holds names, types and blobs only
        reference = read_caffemodel(golden / "formats" / "tiny_v2.caffemodel").net
        assert [layer[:2] for layer in layers] == [(layer.name, layer.type) for layer in reference.layer]
        return
    assert layers[1:] == [
        ("conv1", "Convolution", ["data"], ["conv1"]),
        ("relu1", "ReLU", ["conv1"], ["conv1"]),
        ("pool1", "Pooling", ["conv1"], ["pool1"]),
        ("fc6", "InnerProduct", ["pool1"], ["fc6"]),
        ("relu6", "ReLU", ["fc6"], ["fc6"]),
        ("fc8", "InnerProduct", ["fc6"], ["fc8"]),
        ("prob", "Softmax", ["fc8"], ["prob"]),
    ]
    assert (layers[0][1], layers[0][3]) == ("Input", ["data"])
    assert list(net.layer[1].convolution_param.pad) == [1]
    assert not any(layer.blobs for layer in net.layer)


def test_writing_to_an_array_leaves_the_file_alone(golden, tmp_path):
    path = tmp_path / "tiny.caffemodel"
    path.write_bytes((golden / "formats" / "tiny_v1.caffemodel").read_bytes())
    before = path.read_bytes()
    for arrays in read_caffemodel(path).blobs.values():
        for array in arrays:
            array += 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("source", CONTAINERS)
@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_round_trip_keeps_every_byte(golden, tmp_path, source, suffix):
    model = read_caffemodel(golden / "formats" / source)
    path = tmp_path / f"copy{suffix}"
    write_caffemodel(path, model.net, model.blobs)
    copy = read_caffemodel(path)
    assert {name: [a.shape for a in arrays] for name, arrays in copy.blobs.items()} == {
        name: [a.shape for a in arrays] for name, arrays in model.blobs.items()
    }
    for name, arrays in model.blobs.items():
        assert [a.tobytes() for a in copy.blobs[name]] == [a.tobytes() for a in arrays]
    if suffix == ".caffemodel":
        assert copy.net == model.net


def test_what_is_written_is_what_protobuf_reads(tmp_path, model, tiny):
    path = tmp_path / "net.caffemodel"
    write_caffemodel(path, model.net, model.blobs)
    net = NetParameter.FromString(path.read_bytes())
    for layer in net.layer:
        for i, blob in enumerate(layer.blobs):
            expected = tiny[f"{layer.name}/{i}"]
            assert tuple(blob.shape.dim) == expected.shape
            assert not blob.HasField("num")
            np.testing.assert_array_equal(np.float32(blob.data), expected.ravel())


def test_hdf5_is_laid_out_as_caffe_does(golden, tmp_path, model):
    path = tmp_path / "net.caffemodel.h5"
    write_caffemodel(path, model.net, model.blobs)

    def contents(file):
        found = {}
        file.visititems(lambda name, item: found.update({name: getattr(item, "shape", None)}))
        return found

    with h5py.File(path) as ours, h5py.File(golden / "formats" / "tiny_v2.caffemodel.h5") as caffes:
        assert contents(ours) == contents(caffes)
        assert ours["data/fc6/0"].dtype == caffes["data/fc6/0"].dtype


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (1, 1, 1, 40), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_every_shape_survives(tmp_path, shape, suffix):
    array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    path = tmp_path / f"net{suffix}"
    # Names of several lengths put the floats at every offset modulo 4.
    net = NetParameter(layer=[LayerParameter(name="x" * length, type="Scale") for length in range(1, 6)])
    write_caffemodel(path, net, {layer.name: [array, array.astype(np.float64)] for layer in net.layer})
    for arrays in read_caffemodel(path).blobs.values():
        for copy in arrays:
            assert copy.shape == shape
            np.testing.assert_array_equal(copy, array)


def test_floats_in_pieces_are_joined(tmp_path):
    # Protobuf lets a packed field come in several pieces, mixed with unpacked values; short ones lie close together.
    blob = BlobProto(data=[1, 2]).SerializeToString() + b"\x2d" + np.float32(3).tobytes()
    blob += BlobProto(data=[4]).SerializeToString() + BlobProto(shape={"dim": [2, 2]}).SerializeToString()
    for pad in range(4):
        layer = LayerParameter(name="x" * (pad + 1)).SerializeToString() + b"\x3a" + bytes([len(blob)]) + blob
        path = tmp_path / "net.caffemodel"
        path.write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
        (array,) = read_caffemodel(path).blobs["x" * (pad + 1)]
        np.testing.assert_array_equal(array, [[1, 2], [3, 4]])


def test_gradients_in_a_file_are_passed_over(tmp_path):
    net = NetParameter()
    net.layer.add(name="fc").blobs.add(data=[1, 2, 3], diff=[9, 9, 9], shape={"dim": [3]})
    path = tmp_path / "net.caffemodel"
    path.write_bytes(net.SerializeToString())
    np.testing.assert_array_equal(read_caffemodel(path).blobs["fc"][0], [1, 2, 3])


def test_what_a_fork_added_is_listed(tmp_path):
    net = NetParameter(name="fork")
    net.layer.add(name="conv", type="Convolution").blobs.add(data=[5], shape={"dim": [1]})
    net.layer.add(name="norm", type="Normalize").lrn_param.local_size = 3
    layers = [layer.SerializeToString() for layer in net.layer]
    layers[0] += b"\xb2\x0c\x02\x08\x01"  # field 198, a message
    layers[1] += b"\xe2\x08\x02\xff\xff"  # field 140 is Caffe's elu_param, but not in this file
    layers[1] += b"\xb2\x07\x02\x48\x01"  # lrn_param (118) with a field 9
    data = b"".join(b"\xa2\x06" + bytes([len(layer)]) + layer for layer in layers) + b"\x88\x7d\x01"
    path = tmp_path / "fork.caffemodel"
    path.write_bytes(data)
    model = read_caffemodel(path)
    assert set(model.unknown) == {
        "layer 'conv': field 198",
        "layer 'norm': field 140, which is not Caffe's elu_param",
        "layer 'norm': field 118, read as Caffe's lrn_param, though its type is not Caffe's",
        "layer 'norm': lrn_param.field 9",
        "field 2001",
    }
    assert model.blobs["conv"][0] == 5
    assert model.net.layer[1].lrn_param.local_size == 3


def test_hdf5_is_known_by_its_bytes(golden, tmp_path):
    path = tmp_path / "misnamed.caffemodel"
    path.write_bytes((golden / "formats" / "tiny_v2.caffemodel.h5").read_bytes())
    assert read_caffemodel(path).generation == "HDF5"


def test_what_cannot_be_written_is_said(tmp_path, model):
    with pytest.raises(CaffeError, match="'stranger'"):
        write_caffemodel(tmp_path / "a.caffemodel", model.net, {"stranger": [np.zeros(1)]})
    with pytest.raises(CaffeError, match=r"\.caffemodel or \.h5"):
        write_caffemodel(tmp_path / "a.npz", model.net, model.blobs)
    slashed = NetParameter(layer=[LayerParameter(name="inception_3a/1x1")])
    with pytest.raises(CaffeError, match="inception_3a/1x1"):
        write_caffemodel(tmp_path / "a.caffemodel.h5", slashed, {})
    huge = np.broadcast_to(np.float32(0), (1 << 29,))
    with pytest.raises(CaffeError, match="2 GB"):
        write_caffemodel(tmp_path / "a.caffemodel", NetParameter(layer=[LayerParameter(name="l")]), {"l": [huge]})
    assert list(tmp_path.iterdir()) == []


def test_the_mean_is_caffes(golden, tmp_path):
    mean = read_blob(golden / "formats" / "mean.binaryproto")
    expected = np.load(golden / "formats" / "mean.npy")
    assert mean.shape == expected.shape
    np.testing.assert_array_equal(mean, expected)
    write_blob(tmp_path / "mean.binaryproto", mean)
    np.testing.assert_array_equal(read_blob(tmp_path / "mean.binaryproto"), expected)


@pytest.mark.parametrize(
    ("read", "name", "reason"),
    [
        (read_caffemodel, "tiny_v2.prototxt", "is text"),
        (read_caffemodel, "tiny.npz", "zip archive"),
        (read_caffemodel, "mean.binaryproto", "no layers|damaged"),
        (read_caffemodel, "tiny_iter_3.solverstate.h5", "no group /data"),
        (read_caffemodel, "", "is a directory"),
        (read_caffemodel, "missing", "no such file"),
        (read_blob, "tiny_v2.caffemodel", "tiny_v2.caffemodel"),
        (read_prototxt, "tiny_v2.caffemodel", "is binary"),
        (read_prototxt, "missing.prototxt", "no such file"),
    ],
)
def test_the_wrong_file_is_named_and_told(golden, read, name, reason):
    with pytest.raises(CaffeFileError, match=reason) as caught:
        read(golden / "formats" / name)
    assert str(golden / "formats" / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_are_read_without_torch(golden):
    code = (
        "import sys; from converters import read_caffemodel, read_prototxt; read_caffemodel(sys.argv[1]);"
        "print(*(name for name in ('torch', 'scipy', 'h5py') if name in sys.modules))"
    )
    path = golden / "formats" / "tiny_v1.caffemodel"
    ran = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert ran.stdout.strip() == ""
