"""Weights written for PyTorch and back again: every container, the remarks, what travels with them, and refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import converters
from converters.caffe_pb2 import NetParameter
from converters.layers import REGISTRY
from converters.pytorch.keys import blob_names
from converters.pytorch.preprocessing import Preprocessing
from converters.pytorch.safetensors_file import write_safetensors
from converters.pytorch.weights import TYPES, read_checkpoint
from repro.cli import main

SOURCES = ["tiny_v0.caffemodel", "tiny_v1.caffemodel", "tiny_v1_double.caffemodel", "tiny_v2.caffemodel",
           "tiny_v2_unpacked.caffemodel", "tiny_v2.caffemodel.h5"]


@pytest.fixture
def formats(golden):
    return golden / "formats"


@pytest.fixture(scope="session")
def tiny(golden):
    """The tiny net's arrays under the keys of its state_dict."""
    with np.load(golden / "formats" / "tiny.npz") as arrays:
        names = {"0": "weight", "1": "bias"}
        return {f"{key.split('/')[0]}.{names[key.split('/')[1]]}": arrays[key] for key in arrays if "/" in key}


def repro(*arguments, status=0):
    """What a command prints; a failure must be one line."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    if status:
        assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    return result.output


def read(path):
    """{key: array} of any of PyTorch's containers."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    tensors = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return {key: tensor.numpy() for key, tensor in tensors.items()}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".npz"])
def test_every_container_gives_caffes_arrays(formats, tiny, tmp_path, source, suffix):
    prototxt = ("--prototxt", formats / "tiny_v2.prototxt") if source.endswith(".h5") else ()
    repro("convert", "caffemodel", formats / source, "-o", tmp_path / f"tiny{suffix}", *prototxt)
    arrays = read(tmp_path / f"tiny{suffix}")
    assert set(arrays) == set(tiny)
    for key, expected in tiny.items():
        assert arrays[key].dtype == np.float32
        np.testing.assert_array_equal(arrays[key], expected)  # and no legacy axes are left
    converters.CaffeNet(formats / "tiny_v2.prototxt").load_state_dict(
        {key: torch.from_numpy(array) for key, array in arrays.items()})


@pytest.mark.parametrize("between", [".safetensors", ".pt"])
@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_to_pytorch_and_back_keeps_every_byte(formats, tmp_path, between, suffix):
    source, back = formats / "tiny_v2.caffemodel", tmp_path / f"back{suffix}"
    repro("convert", "caffemodel", source, "-o", tmp_path / f"tiny{between}")
    repro("convert", "pytorch", tmp_path / f"tiny{between}", "--prototxt", formats / "tiny_v2.prototxt", "-o", back)
    before, after = converters.read_caffemodel(source), converters.read_caffemodel(back)
    assert list(map(sorted, (before.blobs, after.blobs)))[0] == sorted(after.blobs)
    for name, arrays in before.blobs.items():
        assert [array.tobytes() for array in after.blobs[name]] == [array.tobytes() for array in arrays]
        assert [array.shape for array in after.blobs[name]] == [array.shape for array in arrays]


def test_opencv_loads_what_we_write(formats, tmp_path):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "tiny.caffemodel"
    repro("convert", "caffemodel", formats / "tiny_v0.caffemodel", "-o", path)
    net = cv2.dnn.readNetFromCaffe(str(formats / "tiny_v2.prototxt"), str(path))
    with np.load(formats / "tiny.npz") as tiny:
        net.setInput(tiny["data"])
        np.testing.assert_allclose(net.forward("prob"), tiny["prob"], atol=1e-6)


def test_a_safetensors_is_laid_out_plainly(tmp_path):
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 4), np.float32),
              "scalar": np.float32(7), "doubles": np.ones(3), "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    write_safetensors(tmp_path / "x.safetensors", arrays, {"mean": "[1]"})
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt", "mean": "[1]"}
        for name, array in arrays.items():
            np.testing.assert_array_equal(file.get_tensor(name), array)
    data = (tmp_path / "x.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    assert data[8 + length:][:24] == arrays["a"].tobytes()


def test_preprocessing_travels_with_the_weights(formats, tmp_path):
    (tmp_path / "classes.txt").write_text("hund\nkätzchen\n", encoding="utf-8")
    repro("convert", "caffemodel", formats / "tiny_v2.caffemodel", "-o", tmp_path / "tiny.safetensors", "--mean",
          "104.5,117,123", "--bgr", "--scale", "0.017", "--input-size", "12x16", "--classes", tmp_path / "classes.txt")
    assert converters.read_metadata(tmp_path / "tiny.safetensors") == Preprocessing(
        mean=(104.5, 117, 123), channels="bgr", scale=0.017, input_size=(12, 16), classes=("hund", "kätzchen"))
    assert converters.read_metadata(formats / "tiny_v2.caffemodel") == Preprocessing()
    with safe_open(tmp_path / "tiny.safetensors", "np") as file:
        assert len(converters.read_prototxt(file.metadata()["prototxt"]).layer) == 8


def test_a_mean_file_becomes_the_channels_means(formats, tmp_path):
    repro("convert", "caffemodel", formats / "tiny_v2.caffemodel", "-o", tmp_path / "tiny.safetensors", "--mean-file",
          formats / "mean.binaryproto")
    expected = np.load(formats / "mean.npy").reshape(3, -1).mean(1, dtype=float)
    np.testing.assert_allclose(converters.read_metadata(tmp_path / "tiny.safetensors").mean, expected, atol=1e-5)


@pytest.mark.parametrize("metadata", [{"mean": "104"}, {"mean": "[true]"}, {"channels": '"grb"'}, {"input_size": "[1]"},
                                      {"classes": "[1]"}, {"scale": "{"}, {"mean": "[" * 100000}])
def test_metadata_of_another_form_is_refused(tmp_path, metadata):
    write_safetensors(tmp_path / "x.safetensors", {}, metadata)
    with pytest.raises(converters.CaffeFileError, match=f"metadata '{next(iter(metadata))}'"):
        converters.read_metadata(tmp_path / "x.safetensors")


def test_blobs_can_be_injected(formats, tmp_path):
    np.save(tmp_path / "points.npy", np.arange(1000, dtype=np.int64))
    model = converters.read_caffemodel(formats / "tiny_v2.caffemodel")
    weight = model.blobs["conv1"][0]
    np.save(tmp_path / "weight.npy", np.full(weight.size, 2.5))
    repro("convert", "caffemodel", formats / "tiny_v2.caffemodel", "-o", tmp_path / "new.caffemodel",
          "--set", f"conv1/0={tmp_path / 'weight.npy'}", "--set", f"pool1/0={tmp_path / 'points.npy'}")
    new = converters.read_caffemodel(tmp_path / "new.caffemodel").blobs
    np.testing.assert_array_equal(new["conv1"][0], np.full(weight.shape, 2.5, np.float32))
    np.testing.assert_array_equal(new["conv1"][1], model.blobs["conv1"][1])
    np.testing.assert_array_equal(new["pool1"][0], np.arange(1000, dtype=np.float32))


@pytest.mark.parametrize(("setting", "reason"), [
    ("conv1/0", "LAYER/INDEX=FILE.npy"), ("stranger/0=points.npy", "'stranger/0'"), ("conv1/5=points.npy", "has 2 blobs"),
    ("conv1/1=points.npy", "has shape 3x7"), ("conv1/0=text.npy", "text.npy: cannot be read"),
    ("conv1/0=missing.npy", "missing.npy: no such file"), ("conv1/0=words.npy", "not one array of numbers"),
])
def test_what_cannot_be_injected_is_said(formats, tmp_path, monkeypatch, setting, reason):
    monkeypatch.chdir(tmp_path)
    np.save("points.npy", np.zeros((3, 7)))
    np.save("words.npy", np.array(["a"]))
    (tmp_path / "text.npy").write_text("1 2 3")
    command = "convert", "caffemodel", formats / "tiny_v2.caffemodel", "-o", "new.caffemodel", "--set", setting
    output = repro(*command, status=2)
    assert reason in output
    assert not (tmp_path / "new.caffemodel").exists()


def test_everything_unusual_is_listed(formats, tmp_path):
    model = converters.read_caffemodel(formats / "tiny_v2.caffemodel")
    net = NetParameter()
    net.CopyFrom(model.net)
    net.layer[2].type = "PriorBox"
    net.layer.add(name="extra", type="Convolution", convolution_param={"num_output": 1, "kernel_size": [1]})
    data = net.SerializeToString() + b"\x88\x7d\x01"  # field 2001
    (tmp_path / "fork.caffemodel").write_bytes(data)
    output = repro("convert", "caffemodel", tmp_path / "fork.caffemodel", "-o", tmp_path / "a.npz")
    assert "layer 'relu1' of type 'PriorBox'" in output and "field 2001" in output

    output = repro("convert", "caffemodel", formats / "tiny_v1_double.caffemodel", "-o", tmp_path / "b.npz")
    assert "doubles, written as floats: conv1, fc6, fc8" in output

    del net.layer[4]  # fc6
    converters.write_prototxt(tmp_path / "other.prototxt", net)
    output = repro("convert", "caffemodel", formats / "tiny_v2.caffemodel", "--prototxt", tmp_path / "other.prototxt",
                   "-o", tmp_path / "c.npz")
    assert "left out: layer 'fc6'" in output and "missing: layer 'extra'" in output
    assert not any(key.startswith("fc6") for key in read(tmp_path / "c.npz"))


def test_autocrop_aligns_crops_without_an_offset(tmp_path):
    net = NetParameter(name="old")
    net.layer.add(name="data", type="Input", top=["data"], input_param={"shape": [{"dim": [1, 1, 8, 8]}]})
    window = {"num_output": 1, "kernel_size": [4], "stride": [2], "pad": [3]}
    net.layer.add(name="down", type="Convolution", bottom=["data"], top=["down"], convolution_param=window)
    net.layer.add(name="up", type="Deconvolution", bottom=["down"], top=["up"], convolution_param={**window, "pad": [0]})
    net.layer.add(name="crop", type="Crop", bottom=["up", "data"], top=["crop"])
    converters.write_prototxt(tmp_path / "old.prototxt", net)
    for flag, offset in (((), []), (("--autocrop",), [3])):
        repro("convert", "prototxt", tmp_path / "old.prototxt", "-o", tmp_path / "new.prototxt", *flag)
        assert list(converters.read_prototxt(tmp_path / "new.prototxt").layer[3].crop_param.offset) == offset


@pytest.mark.parametrize(("arguments", "reason"), [
    (["caffemodel", "tiny_v2.caffemodel", "-o", "x.zip"], "written as .safetensors, .pt"),
    (["caffemodel", "tiny_v2.caffemodel", "-o", "x.npz", "--bgr"], "only a .safetensors keeps"),
    (["caffemodel", "tiny_v2.caffemodel", "-o", "x.npz", "--classes", "tiny.npz"], "not text in UTF-8"),
    (["caffemodel", "tiny_v2.prototxt", "-o", "x.npz"], "is text"),
    (["pytorch", "tiny.npz", "--prototxt", "tiny_v2.prototxt", "-o", "x.caffemodel"], "cannot be read as a .pt"),
    (["pytorch", "tiny.npz", "--prototxt", "tiny_v2.prototxt", "-o", "x.npz"], "written as .caffemodel"),
    (["prototxt", "tiny_v2.prototxt", "-o", "x.txt"], "written as .py or .prototxt"),
])
def test_mistakes_end_with_one_line(formats, tmp_path, monkeypatch, arguments, reason):
    monkeypatch.chdir(tmp_path)
    arguments = [formats / word if (formats / word).exists() else word for word in arguments]
    assert reason in repro("convert", *arguments, status=2).replace("is not text", "not text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("change", "reason"), [
    (lambda state: state.pop("fc8.bias"), "has no 'fc8.bias'"),
    (lambda state: state.update({"fc9.bias": torch.zeros(1)}), "has 'fc9.bias', which the net does not"),
    (lambda state: state.update({"fc8.bias": torch.zeros(1)}), "fc8.bias: has shape 1"),
])
def test_a_checkpoint_of_another_net_is_refused(formats, tiny, tmp_path, change, reason):
    state = {key: torch.from_numpy(array) for key, array in tiny.items()}
    change(state)
    save_file(state, tmp_path / "other.safetensors")
    output = repro("convert", "pytorch", tmp_path / "other.safetensors", "--prototxt", formats / "tiny_v2.prototxt",
                   "-o", tmp_path / "x.caffemodel", status=2)
    assert reason in output


def test_checkpoints_are_unpickled_only_as_tensors(tmp_path):
    torch.save({"model": {"fc.weight": torch.ones(2, dtype=torch.float16)}, "epoch": 3}, tmp_path / "run.pt")
    assert list(read_checkpoint(tmp_path / "run.pt")) == ["fc.weight"]
    torch.save({"fc.weight": print}, tmp_path / "code.pt")
    with pytest.raises(converters.CaffeFileError, match="weights_only"):
        read_checkpoint(tmp_path / "code.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(converters.CaffeFileError, match="safetensors"):
        read_checkpoint(tmp_path / "cut.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".h5", ".caffemodel"])
def test_converting_imports_no_torch(formats, tmp_path, suffix):
    code = ("import sys; from repro.cli import main; main(sys.argv[1:], standalone_mode=False);"
            "print(sorted({'torch', 'scipy'} & set(sys.modules)))")
    command = ["convert", "caffemodel", formats / "tiny_v1.caffemodel", "-o", tmp_path / f"x{suffix}"]
    ran = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_names_are_those_of_the_layers(golden):
    """What is known of the layers' blobs without torch agrees with the layers themselves."""
    seen = set()
    for path in sorted((golden / "layers").glob("*.npz")):
        net = converters.CaffeNet(str(np.load(path)["prototxt"]))
        for layer in net.layers.values():
            description = next(param for param in net.param.layer if param.name == layer.layer_name)
            assert tuple(layer.blob_names) == blob_names(description, len(layer.blob_names))
            seen.add(layer.type)
    assert {"Convolution", "Deconvolution", "InnerProduct", "Scale"} <= seen
    assert {type for type, layer in REGISTRY.items() if layer.origin == "BVLC"} <= TYPES


def test_metadata_is_json(formats, tmp_path):
    repro("convert", "caffemodel", formats / "tiny_v2.caffemodel", "-o", tmp_path / "x.safetensors", "--mean", "1,2,3")
    data = (tmp_path / "x.safetensors").read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    assert json.loads(header["__metadata__"]["mean"]) == [1, 2, 3]
