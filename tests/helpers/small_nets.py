"""Nets of one layer, for the tests of layers."""

import numpy as np
import torch

import converters


def one_layer(layer, *shapes, tops=1, phase="test", loss=False):
    """A CaffeNet, in float64, of Input layers b0, b1, ... of these shapes and one layer "l" that makes t0, t1, ..."""
    text = "".join(f"layer {{ name: 'b{i}' type: 'Input' top: 'b{i}' input_param {{ shape {{ {dims(shape)} }} }} }}\n"
                   for i, shape in enumerate(shapes))
    bottoms = "".join(f"bottom: 'b{i}' " for i in range(len(shapes)))
    names = "".join(f"top: 't{i}' " for i in range(tops))
    return converters.CaffeNet(f"{text}layer {{ name: 'l' {bottoms}{names}{layer} }}\n", phase=phase).double()


def dims(shape):
    return " ".join(f"dim: {size}" for size in shape)


def run(net, *arrays):
    """The tops of `one_layer`'s net for these bottoms, as arrays."""
    inputs = {f"b{i}": torch.tensor(np.asarray(array, float)) for i, array in enumerate(arrays)}
    names = [name for name in net.outputs if name.startswith("t")]
    with torch.no_grad():
        tops = net.forward_blobs(inputs, names)
    return [tops[name].numpy() for name in names]


def gradients(net, gtop, *arrays):
    """The gradients of (top t0 * gtop).sum() by the bottoms; zeros where none reaches a bottom."""
    bottoms = [torch.tensor(np.asarray(array, float), requires_grad=True) for array in arrays]
    top = net.forward_blobs({f"b{i}": bottom for i, bottom in enumerate(bottoms)}, ["t0"])["t0"]
    (top * torch.as_tensor(gtop)).sum().backward()
    return [np.zeros(b.shape) if b.grad is None else b.grad.numpy() for b in bottoms]


def check_gradients(net, arrays, differentiable=None):
    """Backward against finite differences, by the bottoms in `differentiable` (all unless told) and all parameters."""
    chosen = range(len(arrays)) if differentiable is None else differentiable
    bottoms = [torch.tensor(np.asarray(array, float), requires_grad=i in chosen) for i, array in enumerate(arrays)]
    parameters = list(net.parameters())
    names = [name for name in net.outputs if name.startswith("t")]

    def tops(*_):
        blobs = net.forward_blobs({f"b{i}": bottom for i, bottom in enumerate(bottoms)}, names)
        return tuple(blobs[name] for name in names if blobs[name].requires_grad)

    assert torch.autograd.gradcheck(tops, [*bottoms, *parameters], atol=1e-7)
