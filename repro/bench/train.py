"""How long one training iteration takes, and in how much memory: the project's Solver beside torchfcn under torch.optim.SGD.

Both train FCN-8s by Caffe's solver settings on one image of noise, with the loss summed over its pixels; they take turns,
one iteration each. Imports wait until a process needs them; see `Contestant`.
"""

from repro.bench.contestants import take_turns
from repro.bench.peers import LAST, OPENCV, installed, torchfcn_models

NET = "voc-fcn8s"


def bench(size=(375, 500), runs=3, threads=2, width=1, peers=True):
    """[Measurement, ...], ours first; each turn's result is the loss. `peers`: also torchfcn, where it is installed."""
    found = {"repro": (ours, size, threads, width)}
    if peers:  # OpenCV does not train
        found |= {peer: (torchfcn, size, threads, peer.endswith(LAST)) for peer in installed(NET, width) if peer != OPENCV}
    return take_turns(found, runs)


def ours(size, threads, width):
    import itertools

    import torch

    import reference
    import surgery
    from converters import CaffeNet
    from repro.training import malloc
    from repro.training.solver import Solver

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net = CaffeNet(reference.net(NET, "train", width=width), "train")
    data, label = example(size)
    net.reshape(data=data.shape, label=label.shape)
    surgery.fill_missing(net, surgery.unfilled(net), "msra")
    surgery.interp(net)
    solver = Solver(reference.solver(NET), net, itertools.repeat({"data": data, "label": label}))
    malloc.keep_freed()  # as `repro train` does
    return solver.step


def torchfcn(size, threads, channels_last=False):
    """torchfcn's FCN8s, its parameters in the groups of its own training script: biases at twice the rate, without decay."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    import reference

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    with torchfcn_models() as models:
        model = models.FCN8s().train()
    data, label = example(size)
    if channels_last:
        data, model = (each.to(memory_format=torch.channels_last) for each in (data, model))
    label = label[:, 0].long()
    param = reference.solver(NET)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    optimizer = torch.optim.SGD(
        [{"params": [module.weight for module in convolutions]},
         {"params": [module.bias for module in convolutions], "lr": 2 * param.base_lr, "weight_decay": 0}],
        lr=param.base_lr, momentum=param.momentum, weight_decay=param.weight_decay)

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data), label, reduction="sum")
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def example(size):
    """A batch of one image of noise (1x3xHxW) and its labels (1x1xHxW)."""
    import torch

    generator = torch.Generator().manual_seed(1)
    return (60 * torch.randn(1, 3, *size, generator=generator),
            torch.randint(21, (1, 1, *size), generator=generator).float())
