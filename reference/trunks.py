"""The classifiers that the FCNs grow from: VGG16, CaffeNet (AlexNet) and GoogLeNet, layer by layer.

Each function adds its layers to a `Net` and returns the last top. Names are those of the released models
(VGG_ILSVRC_16_layers, bvlc_reference_caffenet, bvlc_googlenet), so that their weights find their places.
"""

from collections.abc import Callable
from typing import Any

from reference.netspec import Net

Fillers = dict[str, Any]

FC = 4096  # channels of fc6 and of fc7


def no_fillers(name: str) -> Fillers:
    """Caffe's own."""
    return {}


def vgg16(net: Net, data: str, pad: int = 1, first: str = "conv1_1", last: str = "pool5") -> str:
    """VGG16's convolutions as far as the pooling `last`; `pad` and the name `first` are the first convolution's."""
    x = data
    for block, (depth, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)], start=1):
        for i in range(1, depth + 1):
            x = net.conv(first, x, channels, 3, pad) if x == data else net.conv(f"conv{block}_{i}", x, channels, 3, pad=1)
            net.relu(f"relu{block}_{i}", x)
        x = net.pool(f"pool{block}", x, 2, 2)
        if last == f"pool{block}":
            break
    return x


def caffenet(net: Net, data: str, pad: int = 0, fill: Callable[[str], Fillers] = no_fillers) -> str:
    """CaffeNet's convolutions to pool5: AlexNet with each pooling before its normalization; `fill(name)` gives fillers."""
    x = net.conv("conv1", data, 96, 11, pad, stride=4, group=1, **fill("conv1"))
    net.relu("relu1", x)
    x = net.lrn("norm1", net.pool("pool1", x, 3, 2))
    x = net.conv("conv2", x, 256, 5, pad=2, group=2, **fill("conv2"))
    net.relu("relu2", x)
    x = net.lrn("norm2", net.pool("pool2", x, 3, 2))
    for i, channels, group in (3, 384, 1), (4, 384, 2), (5, 256, 2):
        x = net.conv(f"conv{i}", x, channels, 3, pad=1, group=group, **fill(f"conv{i}"))
        net.relu(f"relu{i}", x)
    return net.pool("pool5", x, 3, 2)


def fc6_fc7(net: Net, x: str, kernel: int | None = None, fill: Callable[[str], Fillers] = no_fillers, **conv: Any) -> str:
    """The two large layers after pool5: convolutions, fc6 with this kernel, or inner products where it is None."""
    for i, size in (6, kernel or 0), (7, 1):
        if kernel:
            x = net.conv(f"fc{i}", x, FC, size, width=net.fc_width, **conv)
        else:
            x = net.inner_product(f"fc{i}", x, net.channels(FC, net.fc_width), **fill(f"fc{i}"))
        net.relu(f"relu{i}", x)
        net.dropout(f"drop{i}", x)
    return x


def googlenet(net: Net, data: str, pad: int = 3, branch: Callable[[Net, str, str], None] | None = None) -> str:
    """GoogLeNet to inception_5b; `branch(net, name, blob)` adds an auxiliary classifier where training has one."""

    def conv(name: str, relu: str, x: str, *args: int, **more: Any) -> str:
        x = net.conv(name, x, *args, **(more | xavier(0.2)))
        return net.relu(relu, x)

    def inception(block: str, x: str, ones: int, reduce3: int, threes: int, reduce5: int, fives: int, proj: int) -> str:
        def branch(part: str, x: str, *args: int) -> str:
            return conv(f"{name}/{part}", f"{name}/relu_{part}", x, *args)

        name = f"inception_{block}"
        a = branch("1x1", x, ones, 1)
        b = branch("3x3", branch("3x3_reduce", x, reduce3, 1), threes, 3, 1)
        c = branch("5x5", branch("5x5_reduce", x, reduce5, 1), fives, 5, 2)
        d = branch("pool_proj", net.pool(f"{name}/pool", x, 3, 1, pad=1), proj, 1)
        return net.layer("Concat", f"{name}/output", [a, b, c, d])

    x = conv("conv1/7x7_s2", "conv1/relu_7x7", data, 64, 7, pad, stride=2)
    x = net.lrn("pool1/norm1", net.pool("pool1/3x3_s2", x, 3, 2))
    x = conv("conv2/3x3_reduce", "conv2/relu_3x3_reduce", x, 64, 1)
    x = conv("conv2/3x3", "conv2/relu_3x3", x, 192, 3, 1)
    x = net.pool("pool2/3x3_s2", net.lrn("conv2/norm2", x), 3, 2)
    x = inception("3a", x, 64, 96, 128, 16, 32, 32)
    x = inception("3b", x, 128, 128, 192, 32, 96, 64)
    x = net.pool("pool3/3x3_s2", x, 3, 2)
    x = inception("4a", x, 192, 96, 208, 16, 48, 64)
    if branch:
        branch(net, "loss1", x)
    x = inception("4b", x, 160, 112, 224, 24, 64, 64)
    x = inception("4c", x, 128, 128, 256, 24, 64, 64)
    x = inception("4d", x, 112, 144, 288, 32, 64, 64)
    if branch:
        branch(net, "loss2", x)
    x = inception("4e", x, 256, 160, 320, 32, 128, 128)
    x = net.pool("pool4/3x3_s2", x, 3, 2)
    x = inception("5a", x, 256, 160, 320, 32, 128, 128)
    return inception("5b", x, 384, 192, 384, 48, 128, 128)


def xavier(bias: float) -> Fillers:
    """GoogLeNet's fillers."""
    return {"weight_filler": {"type": "xavier"}, "bias_filler": constant(bias)}


def gaussian(std: float, bias: float) -> Fillers:
    """CaffeNet's fillers."""
    return {"weight_filler": {"type": "gaussian", "std": std}, "bias_filler": constant(bias)}


def constant(value: float) -> dict[str, Any]:
    """A filler of one value."""
    return {"type": "constant", "value": value}
