"""Layers of one name, which Caffe allows (net.cpp keeps layers by index): a number tells the later ones apart here."""

import numpy as np
import pytest
import torch

import converters
from converters.formats.blob import unique_names
from converters.inspect import describe_net
from converters.pytorch.keys import state_dict
from converters.pytorch.module_source import build_module, make_module, module_source
from converters.pytorch.weights import read_blobs, set_blob, write_weights
from converters.verify import verify_weights
from surgery import transplant

IP = "type: 'InnerProduct' inner_product_param { num_output: 3 weight_filler { type: 'xavier' } }"
NET = f"""
layer {{ name: 'data' type: 'Input' top: 'data' input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
layer {{ name: 'ip' bottom: 'data' top: 'a' {IP} }}
layer {{ name: 'act' type: 'TanH' bottom: 'a' top: 'b' }}
layer {{ name: 'ip' bottom: 'b' top: 'c' {IP} }}
layer {{ name: 'act' type: 'ReLU' bottom: 'c' top: 'd' }}
layer {{ name: 'ip' bottom: 'd' top: 'e' {IP} }}
"""


@pytest.fixture
def net():
    torch.manual_seed(0)
    return converters.CaffeNet(NET)


@pytest.fixture
def model(net, tmp_path):
    converters.write_caffemodel(tmp_path / "net.caffemodel", net.param, net.to_blobs())
    return converters.read_caffemodel(tmp_path / "net.caffemodel")


def same(blobs, others):
    assert list(blobs) == list(others)
    for name in blobs:
        for ours, theirs in zip(blobs[name], others[name], strict=True):
            assert torch.equal(torch.as_tensor(ours), torch.as_tensor(theirs))


@pytest.mark.parametrize(("names", "unique"), [
    ("a b c", "a b c"), ("a a b a", "a a_2 b a_3"), ("a a a_2 a_2", "a a_3 a_2 a_2_2"), ("a_2 a a", "a_2 a a_3"),
])
def test_numbers_tell_names_apart(names, unique):
    assert unique_names(names.split()) == unique.split()


def test_a_net_keeps_all_its_layers(net):
    assert list(net.layers) == ["data", "ip", "act", "ip_2", "act_2", "ip_3"]
    assert list(net.params) == ["ip", "ip_2", "ip_3"]
    assert [param.name for param in net.param.layer] == ["data", "ip", "act", "ip", "act", "ip"]
    assert set(net.state_dict()) == {f"{layer}.{blob}" for layer in net.params for blob in ("weight", "bias")}
    assert [param.name for param in net.learnable()][::2] == ["ip/0", "ip_2/0", "ip_3/0"]
    x = torch.randn(2, 3)
    b = (x @ net.params["ip"][0].T).tanh()
    torch.testing.assert_close(net(data=x)["e"], (b @ net.params["ip_2"][0].T).relu() @ net.params["ip_3"][0].T)


def test_no_weights_are_lost_or_mixed(net, model, tmp_path):
    same(model.blobs, net.to_blobs())
    state = state_dict(model.net, model.blobs)
    same({key: [array] for key, array in state.items()}, {key: [blob] for key, blob in net.state_dict().items()})
    twin = converters.CaffeNet(NET)
    twin.copy_from(net.to_blobs())
    same(twin.params, net.params)
    twin = converters.CaffeNet(NET)
    twin.load_state_dict(net.state_dict())
    same(twin.params, net.params)
    twin = converters.CaffeNet(NET)
    assert transplant(twin, tmp_path / "net.caffemodel").copied == ["ip", "ip_2", "ip_3"]
    same(twin.params, net.params)
    write_weights(tmp_path / "net.safetensors", model)
    same(dict(sorted(read_blobs(tmp_path / "net.safetensors").items())), net.to_blobs())
    set_blob(model, "ip_2/1", save(tmp_path / "x.npy", np.ones(3, np.float32)))
    assert model.blobs["ip_2"][1].sum() == 3 and model.blobs["ip"][1].sum() == 0


def save(path, array):
    np.save(path, array)
    return path


def test_a_file_is_copied_as_caffe_does(net, model, tmp_path):
    # CopyTrainedLayersFrom takes each source layer in turn into the first of its name: the last one holds.
    twin = converters.CaffeNet(NET)
    before = twin.to_blobs()
    report = twin.copy_from(tmp_path / "net.caffemodel")
    assert report == (["ip"], [], ["ip_2", "ip_3"])
    same(twin.params, {"ip": net.params["ip_3"], "ip_2": before["ip_2"], "ip_3": before["ip_3"]})


def test_a_file_is_copied_into_a_net_with_one_layer_of_that_name(net, model, tmp_path):
    one = converters.CaffeNet("".join(NET.splitlines(keepends=True)[:3]))
    assert one.copy_from(tmp_path / "net.caffemodel").copied == ["ip"]
    same(one.params, {"ip": net.params["ip_3"]})


def test_hdf5_holds_one_layer_of_a_name(net, tmp_path):
    with pytest.raises(converters.CaffeError, match="HDF5 holds one layer of a name, but several are named 'ip'"):
        converters.write_caffemodel(tmp_path / "net.h5", net.param, net.to_blobs())
    one = converters.CaffeNet("".join(NET.splitlines(keepends=True)[:3]))
    converters.write_caffemodel(tmp_path / "one.h5", one.param, one.to_blobs())
    # CopyTrainedLayersFromHDF5 looks a name up in layer_names_index_, which holds the last layer of that name.
    assert net.copy_from(tmp_path / "one.h5") == (["ip_3"], [], ["ip", "ip_2"])
    same({"ip": net.params["ip_3"]}, one.params)


def test_source_and_verification(net, model, tmp_path):
    x = torch.randn(2, 3)
    with torch.no_grad():
        torch.testing.assert_close(make_module(net.param, net.to_blobs())(x)["e"], net(data=x)["e"])
        write_weights(tmp_path / "net.safetensors", model)
        loaded = build_module(module_source(net.param))["load"](tmp_path / "net.safetensors")
        torch.testing.assert_close(loaded(x)["e"], net(data=x)["e"])
    report = verify_weights(model, tmp_path / "net.safetensors")
    report.check()
    described = describe_net(model.net, model.blobs)
    assert [layer["parameters"] for layer in described["layers"]] == [0, 12, 0, 12, 0, 12]


def test_names_that_only_a_dot_tells_apart_are_refused():
    with pytest.raises(converters.CaffeError, match="layer 'a_b' .*: 'a.b' has the same name in PyTorch"):
        converters.CaffeNet("layer { name: 'a.b' type: 'TanH' bottom: 'x' top: 'y' }\n"
                            "layer { name: 'a_b' type: 'TanH' bottom: 'y' top: 'z' }\n")
