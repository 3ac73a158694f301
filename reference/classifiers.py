"""The ImageNet classifiers: VGG16 (Simonyan and Zisserman), BVLC's CaffeNet and BVLC's GoogLeNet."""

from collections.abc import Callable

from converters.caffe_pb2 import NetParameter
from reference.netspec import Net, Width
from reference.trunks import Fillers, caffenet, fc6_fc7, gaussian, googlenet, vgg16, xavier


def classify_vgg16(phase: str, num_classes: int, width: Width) -> NetParameter:
    """VGG16."""
    net = _begin("VGG_ILSVRC_16_layers", phase, 224, width)
    return _finish(net, phase, net.inner_product("fc8", fc6_fc7(net, vgg16(net, "data")), num_classes))


def classify_caffenet(phase: str, num_classes: int, width: Width) -> NetParameter:
    """CaffeNet, BVLC's AlexNet."""
    def fill(name: str) -> Fillers:
        bias = 1 if name in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0
        return gaussian(0.005 if name in ("fc6", "fc7") else 0.01, bias)

    net = _begin("CaffeNet", phase, 227, width)
    x = fc6_fc7(net, caffenet(net, "data", fill=fill), fill=fill)
    return _finish(net, phase, net.inner_product("fc8", x, num_classes, **fill("fc8")))


def classify_googlenet(phase: str, num_classes: int, width: Width) -> NetParameter:
    """GoogLeNet, with its auxiliary classifiers but in the phase "deploy"."""
    net = _begin("GoogleNet", phase, 224, width)

    def auxiliary(net: Net, name: str, x: str) -> None:
        x = net.pool(f"{name}/ave_pool", x, 5, 3, method="AVE")
        x = net.relu(f"{name}/relu_conv", net.conv(f"{name}/conv", x, 128, 1, **xavier(0.2)))
        x = net.relu(f"{name}/relu_fc", net.inner_product(f"{name}/fc", x, net.channels(1024), **xavier(0.2)))
        net.dropout(f"{name}/drop_fc", x, 0.7)
        x = net.inner_product(f"{name}/classifier", x, num_classes, **xavier(0))
        net.layer("SoftmaxWithLoss", f"{name}/loss", [x, "label"], [f"{name}/loss1"], loss_weight=[0.3])

    x = googlenet(net, "data", branch=None if phase == "deploy" else auxiliary)
    x = net.pool("pool5/7x7_s1", x, 7, 1, method="AVE")
    net.dropout("pool5/drop_7x7_s1", x, 0.4)
    return _finish(net, phase, net.inner_product("loss3/classifier", x, num_classes, **xavier(0)), loss="loss3/loss3")


CLASSIFIERS: dict[str, Callable[[str, int, Width], NetParameter]] = {
    "vgg16": classify_vgg16, "caffenet": classify_caffenet, "googlenet": classify_googlenet}


def _begin(name: str, phase: str, size: int, width: Width) -> Net:
    net = Net(name, width)
    image = {"data": (1, 3, size, size)}
    net.input(*(("input", image) if phase == "deploy" else ("data", image | {"label": (1,)})))
    return net


def _finish(net: Net, phase: str, score: str, loss: str = "loss") -> NetParameter:
    if phase == "deploy":
        net.layer("Softmax", "prob", score)
    else:
        net.layer("SoftmaxWithLoss", loss, [score, "label"])
    return net.proto
