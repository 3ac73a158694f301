"""Layers in place: their gradients where Caffe's are right, and a refusal where Caffe's Backward reads overwritten data."""

import numpy as np
import pytest
import torch
from helpers.small_nets import one_layer

import converters
from converters import CaffeError

pytestmark = pytest.mark.usefixtures("one_thread")
X = np.random.default_rng(24).uniform(-1, 2, (2, 3, 4, 4))


def in_place_net(layer, loss="type: 'EuclideanLoss' bottom: 'x' bottom: 'y'"):
    return converters.CaffeNet(f"""
        layer {{ name: 'x' type: 'Input' top: 'x' top: 'y' input_param {{ shape {{ dim: 2 dim: 3 dim: 4 dim: 4 }} }} }}
        layer {{ name: 'first' type: 'Scale' bottom: 'x' top: 'x' }}
        layer {{ name: 'l' bottom: 'x' top: 'x' {layer} }}
        layer {{ name: 'loss' {loss} top: 'loss' }}""").double()


RIGHT = ["type: 'ReLU'", "type: 'ReLU' relu_param { negative_slope: 0.5 }", "type: 'PReLU'", "type: 'ELU'",
         "type: 'Sigmoid'", "type: 'TanH'", "type: 'Exp' exp_param { base: 2 scale: 3 }", "type: 'Swish'", "type: 'Dropout'",
         "type: 'Softmax'",
         "type: 'BatchNorm' batch_norm_param { use_global_stats: false }", "type: 'Scale' scale_param { bias_term: true }",
         "type: 'Bias'", "type: 'MVN' mvn_param { normalize_variance: false }"]
# Caffe's gradient: of Power and Log the square of the slope, as bottom and top are one diff, too; of BNLL, Clip, ReLU and
# ELU the slope at the top instead of the bottom; of MVN and LRN terms of a diff that is overwritten on the way.
WRONG = ["type: 'Power' power_param { power: 3 }", "type: 'Power' power_param { scale: 2 shift: 1 }",
         "type: 'Log' log_param { shift: 2 }", "type: 'BNLL'", "type: 'Clip' clip_param { min: 0 max: 1 }",
         "type: 'ReLU' relu_param { negative_slope: -0.5 }", "type: 'ELU' elu_param { alpha: -1 }", "type: 'MVN'",
         "type: 'LRN' lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL }"]


@pytest.mark.parametrize("layer", RIGHT)
def test_gradient_in_place(layer):
    x, y = torch.tensor(X, requires_grad=True), torch.zeros(X.shape).double()
    in_place_net(layer).loss(x=x, y=y).backward()
    apart = one_layer(layer, X.shape)
    other = torch.tensor(X, requires_grad=True)
    (apart.forward_blobs({"b0": other}, ["t0"])["t0"].square().sum() / 4).backward()
    np.testing.assert_allclose(x.grad, other.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("layer", WRONG)
def test_no_training_in_place(layer):
    net, x = in_place_net(layer), torch.tensor(X)
    loss = net.loss(x=x, y=torch.zeros_like(x))  # it runs
    with pytest.raises(CaffeError, match=r"layer 'l' \(\w+\): cannot be trained in place: .*; give its top another name"):
        loss.backward()
    (one_layer(layer, X.shape)(b0=x.requires_grad_())["t0"]).sum().backward()  # apart it can be


def test_no_gradient_no_refusal():
    net = in_place_net(WRONG[0])
    net.layers["first"].weight.requires_grad_(False)
    assert not net.loss(x=torch.tensor(X), y=torch.tensor(X)).requires_grad


@pytest.mark.parametrize("operation", ["SUM", "MAX"])
def test_eltwise_overwrites_its_first_bottom(operation):
    """eltwise_layer.cpp fills its top before it reads the bottoms."""
    with pytest.raises(CaffeError, match="cannot be in place: Caffe overwrites its bottom before it has read it"):
        in_place_net(f"bottom: 'y' type: 'Eltwise' eltwise_param {{ operation: {operation} }}")


def test_eltwise_product_in_place_runs_but_does_not_train():
    net = in_place_net("bottom: 'y' type: 'Eltwise' eltwise_param { operation: PROD }")
    x = torch.tensor(X)
    torch.testing.assert_close(net.forward_blobs({"x": x, "y": x}, ["x"])["x"], x * x)
    with pytest.raises(CaffeError, match="cannot be trained in place"):
        net.loss(x=x, y=x).backward()


def test_lrn_across_channels_overwrites_its_bottom():
    with pytest.raises(CaffeError, match="cannot be in place: Caffe overwrites its bottom before it has read it"):
        in_place_net("type: 'LRN'")
