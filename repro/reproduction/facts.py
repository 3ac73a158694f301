"""What the paper and its release say that needs no data to check: architectures, crops, lists, classes, solvers.

The published numbers are written down here again; ours are computed from the nets, lists and solvers of `reference`.
"""

import torch

import reference
from converters import CaffeNet
from surgery import receptive_field, stride

FCN_OF = {"caffenet": "voc-fcn-alexnet", "vgg16": "voc-fcn32s", "googlenet": "voc-fcn-googlenet"}
LAST_POOLED = {"googlenet": "pool5/7x7_s1"}  # the classifier's layer with the published field, where it is not fc7

# {net: {Crop layer: offset}}, in the release's prototxts.
CROPS = {
    "voc-fcn32s": {"score": 19},
    "voc-fcn16s": {"score_pool4c": 5, "score": 27},
    "voc-fcn8s": {"score_pool4c": 5, "score_pool3c": 9, "score": 31},
    "voc-fcn8s-atonce": {"score_pool4c": 5, "score_pool3c": 9, "score": 31},
    "voc-fcn-alexnet": {"score": 18},
}
SPLITS = {"seg11valid": 736, "nyud-trainval": 795, "nyud-test": 654, "siftflow-test": 200}
CLASSES = {"voc": 21, "nyud": 40, "siftflow-sem": 33, "siftflow-geo": 3, "pascalcontext": 60}

# {net: (base_lr, momentum, iter_size, max_iter)}
SOLVERS = {
    "voc-fcn32s": (1e-10, 0.99, 1, 100000),
    "voc-fcn16s": (1e-12, 0.99, 1, 100000),
    "voc-fcn8s": (1e-14, 0.99, 1, 100000),
    "voc-fcn8s-atonce": (1e-10, 0.99, 1, 300000),
    "voc-fcn-alexnet": (1e-4, 0.9, 20, 100000),
    "pascalcontext-fcn32s": (1e-10, 0.99, 1, 300000),
    "pascalcontext-fcn16s": (1e-12, 0.99, 1, 300000),
    "pascalcontext-fcn8s": (1e-14, 0.99, 1, 300000),
    "siftflow-fcn32s": (1e-10, 0.99, 1, 300000),
    "siftflow-fcn16s": (1e-12, 0.99, 1, 300000),
    "siftflow-fcn8s": (1e-12, 0.99, 1, 300000),
    "nyud-fcn32s-color": (1e-10, 0.99, 1, 300000),
    "nyud-fcn32s-color-d": (1e-10, 0.99, 1, 300000),
    "nyud-fcn32s-hha": (1e-10, 0.99, 1, 300000),
    "nyud-fcn32s-color-hha": (1e-12, 0.99, 1, 300000),
}


def facts():
    """Yield (what, ours, published) of every fact, numbers, in the order of the table."""
    for row in reference.paper.ARCHITECTURES:
        for what, ours in architecture(row.trunk).items():
            yield f"FCN on {row.trunk}: {what.replace('_', ' ')}", ours, getattr(row, what)
    for net, crops in CROPS.items():
        offsets = {layer.name: layer.crop_param.offset[0] for layer in reference.net(net).layer if layer.type == "Crop"}
        for layer, offset in crops.items():
            yield f"{net}: crop of {layer}", offsets[layer], offset
    for split, count in SPLITS.items():
        yield f"images in {split}", len(set(reference.split(split))), count
    for name, count in CLASSES.items():
        yield f"classes of {name}", len(set(reference.classes(name))), count
    for net, published in SOLVERS.items():
        solver = reference.solver(net)
        for field, value in zip(("base_lr", "momentum", "iter_size", "max_iter"), published, strict=True):
            # Caffe keeps these as float32.
            yield f"{net}: {field}", float(f"{getattr(solver, field):.6g}"), value


def architecture(trunk):
    """The numbers of CVPR's table 1 for a trunk made fully convolutional, counted from its net."""
    net = reference.net(FCN_OF[trunk], "deploy")
    with torch.device("meta"):
        params = CaffeNet(net).params
    upsampling = {layer.name for layer in net.layer if layer.type == "Deconvolution"}
    count = sum(blob.numel() for name, blobs in params.items() if name not in upsampling for blob in blobs)
    depth = {}  # of each blob, in convolutions along the longest path
    for layer in net.layer:
        below = max((depth[bottom] for bottom in layer.bottom), default=0)
        depth |= dict.fromkeys(layer.top, below + (layer.type == "Convolution"))
    classifier = reference.net(f"{trunk}-fullconv", "deploy")
    return {"conv_layers": depth["score"], "parameters": round(count / 1e6),
            "receptive_field": int(receptive_field(classifier, LAST_POOLED.get(trunk, "fc7"))),
            "max_stride": int(stride(net, "score_fr"))}
