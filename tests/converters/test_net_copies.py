"""A net can be copied, saved whole and sent to another process; the copy answers the same and is on its own."""

import copy

import numpy as np
import pytest
import torch
from helpers import GOLDEN
from helpers.copies import COPIES

import converters

pytestmark = pytest.mark.usefixtures("one_thread")
# Both convolutions have one kernel, both PReLUs one slope, the InnerProducts one matrix in two shapes.
NET = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: 'conv1' type: 'Convolution' bottom: 'data' top: 'conv1' param { name: 'w' } param { name: 'b' }
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: 'xavier' } } }
layer { name: 'bn1' type: 'BatchNorm' bottom: 'conv1' top: 'bn1'
        param { name: 'mean' } param { name: 'var' } param { name: 'f' } }
layer { name: 'relu1' type: 'PReLU' bottom: 'bn1' top: 'relu1' param { name: 'slope' } }
layer { name: 'conv2' type: 'Convolution' bottom: 'relu1' top: 'conv2' param { name: 'w' } param { name: 'b' }
        convolution_param { num_output: 3 kernel_size: 3 pad: 1 weight_filler { type: 'xavier' } } }
layer { name: 'bn2' type: 'BatchNorm' bottom: 'conv2' top: 'bn2'
        param { name: 'mean' } param { name: 'var' } param { name: 'f' } }
layer { name: 'relu2' type: 'PReLU' bottom: 'bn2' top: 'relu2' param { name: 'slope' } }
layer { name: 'drop' type: 'Dropout' bottom: 'relu2' top: 'relu2' }
layer { name: 'ip1' type: 'InnerProduct' bottom: 'relu2' top: 'ip1' param { name: 'm' }
        inner_product_param { num_output: 4 axis: 1 bias_term: false weight_filler { type: 'xavier' } } }
layer { name: 'flat' type: 'Reshape' bottom: 'relu2' top: 'flat' reshape_param { shape { dim: -1 dim: 96 } } }
layer { name: 'ip2' type: 'InnerProduct' bottom: 'flat' top: 'ip2' param { name: 'm' share_mode: PERMISSIVE }
        inner_product_param { num_output: 8 bias_term: false } }
"""


CHANGES = {**COPIES, "double": lambda net: copy.deepcopy(net).double()}


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = converters.CaffeNet(NET)
    with torch.no_grad():
        for blob in net.layers["bn1"].blobs():
            blob.uniform_(0.5, 2)
    return net.requires_grad_(False)


def inputs_of(net):
    generator = torch.Generator().manual_seed(0)
    return {name: torch.rand(shape, generator=generator) for name, shape in net.input_shapes.items()}


def assert_same(ours, theirs):
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_copy_answers_the_same_and_is_on_its_own(net, copied):
    inputs, before = inputs_of(net), net(**inputs_of(net))
    again = copied(net)
    assert_same(again(**inputs), before)
    assert again.param == net.param and again.state_dict().keys() == net.state_dict().keys()
    for layer in ("bn1", "conv1"):
        with torch.no_grad():
            again.layers[layer].blobs()[0].add_(1)
        assert not torch.equal(again(**inputs)["ip1"], before["ip1"])
        assert_same(net(**inputs), before)


@pytest.mark.parametrize("copied", CHANGES.values(), ids=CHANGES)
def test_what_is_shared_stays_shared_in_the_copy(net, copied):
    again = copied(net)
    assert [blob.name for blob in again.learnable()] == [blob.name for blob in net.learnable()]
    with torch.no_grad():
        for blob in again.parameters():
            blob.add_(1)
        again.layers["bn2"].blobs()[1].add_(1)
    for one, other in (("conv1", "conv2"), ("relu1", "relu2"), ("bn1", "bn2")):
        for ours, theirs in zip(again.params[one], again.params[other], strict=True):
            assert torch.equal(ours, theirs)
    assert torch.equal(again.params["ip1"][0].flatten(), again.params["ip2"][0].flatten())


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_net_that_has_no_shapes_yet(copied):
    again = copied(converters.CaffeNet(NET.replace("input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } }", "")))
    again.reshape(data=(2, 3, 8, 8))
    assert again.layers["conv1"].weight is again.layers["conv2"].weight


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_every_layer(copied):
    files = sorted((GOLDEN / "layers").glob("*.npz"))
    assert files
    for file in files:
        golden = np.load(file)
        net = converters.CaffeNet(str(golden["prototxt"]))
        inputs = {name: torch.from_numpy(golden[f"in_{name}"]) for name in net.inputs}
        with torch.no_grad():
            assert_same(copied(net)(**inputs), net(**inputs))


@pytest.mark.slow
def test_another_process(net):
    inputs, before = inputs_of(net), net(**inputs_of(net))
    with torch.multiprocessing.get_context("spawn").Pool(1) as pool:
        assert_same(pool.apply(net.forward, (), inputs), before)
        again = pool.apply(copy.deepcopy, (net,))
    assert_same(again(**inputs), before)
    assert again.layers["conv1"].weight is again.layers["conv2"].weight
