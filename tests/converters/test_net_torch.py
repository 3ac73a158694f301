"""CaffeNet among PyTorch's own tools: compile, export, deepcopy, state_dict, half precision."""

import copy

import pytest
import torch

import converters

pytestmark = pytest.mark.usefixtures("one_thread")
NET = """
layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 1 dim: 3 dim: 20 dim: 24 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
        convolution_param { num_output: 4 kernel_size: 3 pad: 5 weight_filler { type: 'xavier' } } }
layer { name: 'bn' type: 'BatchNorm' bottom: 'conv' top: 'conv' }
layer { name: 'scale' type: 'Scale' bottom: 'conv' top: 'conv' scale_param { bias_term: true } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }
layer { name: 'pool' type: 'Pooling' bottom: 'conv' top: 'pool' pooling_param { kernel_size: 3 stride: 2 } }
layer { name: 'ave' type: 'Pooling' bottom: 'pool' top: 'ave' pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 } }
layer { name: 'norm' type: 'LRN' bottom: 'ave' top: 'norm' }
layer { name: 'mvn' type: 'MVN' bottom: 'norm' top: 'mvn' }
layer { name: 'prelu' type: 'PReLU' bottom: 'mvn' top: 'prelu' }
layer { name: 'up' type: 'Deconvolution' bottom: 'prelu' top: 'up' convolution_param {
        num_output: 4 group: 4 kernel_size: 8 stride: 4 bias_term: false weight_filler { type: 'bilinear' } } }
layer { name: 'score' type: 'Crop' bottom: 'up' bottom: 'data' top: 'score' crop_param { axis: 2 offset: 2 } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'score' bottom: 'label' top: 'loss' include { phase: TRAIN }
        loss_param { ignore_label: 255 } }
layer { name: 'prob' type: 'Softmax' bottom: 'score' top: 'prob' include { phase: TEST } }
layer { name: 'best' type: 'ArgMax' bottom: 'prob' top: 'best' argmax_param { axis: 1 } include { phase: TEST } }
"""
X = torch.randn(1, 3, 20, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    net = converters.CaffeNet(NET, phase="train")
    net.reshape(data=X.shape, label=(1, 20, 24))
    for _ in range(3):
        net.loss(data=X, label=torch.zeros(1, 20, 24))  # BatchNorm's statistics
    tested = converters.CaffeNet(NET)
    tested.load_state_dict(net.state_dict())
    return tested


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compile(net, backend):
    torch._dynamo.reset()
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(data=X), net(data=X))


@pytest.mark.slow
def test_compiled_training(net):
    torch._dynamo.reset()
    training = converters.CaffeNet(NET, phase="train")
    training.load_state_dict(net.state_dict())
    inputs = {"data": X, "label": torch.full((1, 20, 24), 2)}
    compiled = torch.compile(copy.deepcopy(training), backend="aot_eager", fullgraph=True)
    compiled(**inputs)["loss"].backward()
    training(**inputs)["loss"].backward()
    for (name, ours), theirs in zip(training.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad, ours.grad, msg=name)
    for ours, theirs in zip(training.buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(theirs, ours)


def test_export(net):
    program = torch.export.export(net, (), {"data": X})
    torch.testing.assert_close(program.module()(data=X), net(data=X))


@pytest.mark.slow
def test_export_for_images_of_any_size(net):
    class Segmenter(torch.nn.Module):  # torch.export takes no dynamic shapes for keyword arguments alone
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, data):
            return self.net(data=data)["best"]

    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(Segmenter(), (X,), dynamic_shapes={"data": {2: free, 3: free}})
    for size in ((33, 41), (17, 64)):
        image = torch.randn(1, 3, *size)
        assert torch.equal(program.module()(image), net(data=image)["best"])


def test_deepcopy_is_independent(net):
    twin = copy.deepcopy(net)
    before = net(data=X)["best"]
    assert torch.equal(twin(data=X)["best"], before)
    with torch.no_grad():
        twin.params["conv"][0].zero_()
    assert torch.equal(net(data=X)["best"], before)


def test_state_dict_into_a_net_without_shapes(net):
    body = NET[NET.index("layer { name: 'conv'"):]  # no Input layer: nothing says a shape
    unshaped = converters.CaffeNet(body)
    assert unshaped.params["conv"] == [None, None]
    unshaped.load_state_dict(net.state_dict())
    assert torch.equal(unshaped(data=X)["best"], net(data=X)["best"])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.03), (torch.float16, 0.005), (torch.float64, 1e-5)])
def test_other_precisions(net, dtype, tolerance):
    expected = net.forward_blobs({"data": X}, ["prob"])["prob"]
    prob = net.to(dtype).forward_blobs({"data": X.to(dtype)}, ["prob"])["prob"]
    assert prob.dtype == dtype
    assert (prob.float() - expected).abs().max() < tolerance


def test_parameters_made_by_the_first_pass_are_of_its_precision():
    body = NET[NET.index("layer { name: 'conv'"):]
    net = converters.CaffeNet(body)
    assert net(data=X.double())["best"].dtype == torch.float64
    assert all(parameter.dtype == torch.float64 for parameter in net.parameters())


def test_autocast(net):
    with torch.autocast("cpu", torch.bfloat16):
        prob = net.forward_blobs({"data": X}, ["prob"])["prob"]
    assert (prob - net.forward_blobs({"data": X}, ["prob"])["prob"]).abs().max() < 0.03
