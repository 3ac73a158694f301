"""Every net of the paper and its release, as NetParameters.

Layer names, blob names, order and settings are those of the authors' release (fcn.berkeleyvision.org). Nets it never had
(voc-fcn-googlenet, the ablations) are built from the paper's words. Crop offsets are computed where a Crop is added.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeError, instead
from reference.classifiers import CLASSIFIERS
from reference.families import FAMILIES, Classes, family_of
from reference.netspec import FIXED, LEARNED, Net, Width
from reference.trunks import FC, caffenet, fc6_fc7, googlenet, vgg16

IMAGENET = 1000  # classes of a classifier
PAD = 100  # pixels around the image, so that the smallest image still gives a score map (section 4.1)
PHASES = ("train", "val", "deploy")

# The first convolution of every trunk, and its channels at width 1.
FIRST = {"conv1_1": 64, "conv1_1_bgrd": 64, "conv1_1color": 64, "conv1": 96, "conv1/7x7_s2": 64}
SCORES = re.compile(r"score_(?:fr|pool\d)(?:_(\w+)|color|hha)?")


def names() -> list[str]:
    """The names that `net` knows."""
    return list(_builders())


def net(name: str, phase: str = "train", num_classes: Classes | None = None, width: Width = 1) -> NetParameter:
    """The NetParameter of a published net.

    phase: "train" and "val" take the image and its label and end in the loss; "deploy" takes the image alone and ends at
    the scores. num_classes: default: as published; the two heads of siftflow nets take {"sem": n, "geo": m}. width
    multiplies the channel counts of the trunk; a pair has one number for the convolutions and one for fc6 and fc7. Raises
    CaffeError for an unknown name or phase.
    """
    builders = _builders()
    if name not in builders:
        raise CaffeError(f"no net '{name}'{instead(name, builders)}")
    published = family_of(name).num_classes if "-fcn" in name else IMAGENET
    if num_classes is None:
        num_classes = published
    if set(_heads(num_classes)) != set(_heads(published)):
        raise CaffeError(f"num_classes of '{name}' must be of the form {published}, not {num_classes}")
    return builders[name](name=name, phase=phase, num_classes=num_classes, width=width)


def sizes_of(blobs: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """{"num_classes", "width"} as `net` takes them, read off a net's weights, {layer: [array, ...]}.

    num_classes is None where no layer scores pixels, as in a classifier; width is a pair where fc6 and fc7 have one of their
    own. Raises CaffeError for an unknown trunk.
    """
    first = next((name for name in FIRST if name in blobs), None)
    if first is None:
        raise CaffeError(f"no first convolution of a known trunk ({', '.join(FIRST)}) is among these weights")
    heads: dict[str | None, int] = {}
    for name, arrays in blobs.items():
        if match := SCORES.fullmatch(name):
            heads.setdefault(match[1], arrays[0].shape[0])
    num_classes = heads.get(None, heads) or None
    width = blobs[first][0].shape[0] / FIRST[first]
    biases = next((blobs[name][1] for name in ("fc7", "fc7color") if name in blobs), None)
    fc_width = width if biases is None else biases.shape[-1] / FC
    return {"num_classes": num_classes, "width": width if fc_width == width else (width, fc_width)}


def fcn(trunk: str = "vgg16", skips: Sequence[str] = ("pool4", "pool3"), num_classes: Classes = 21,
        phase: str = "train", width: Width = 1, name: str = "fcn", scales: Mapping[str, float] | None = None,
        fixed_trunk: bool = False) -> NetParameter:
    """A fully convolutional net of one's own: a trunk, its class scores, and finer ones from `skips`, coarsest first.

    trunk: "vgg16", "caffenet" or "googlenet". num_classes: a number, or {head: number} for several heads on one trunk,
    whose names then end in `_head`. scales: {pool: number it is multiplied by before its scores} (the at-once training).
    fixed_trunk: learn the scores alone. phase and width as in `net`. The loss is summed over the pixels on VGG16 and
    averaged on the other trunks, as they were trained.
    """
    if trunk not in TRUNKS:
        raise CaffeError(f"no trunk '{trunk}'{instead(trunk, TRUNKS)}")
    net = Net(name, width, FIXED if fixed_trunk else LEARNED)
    heads = _heads(num_classes)
    _input(net, phase, ("data",), heads)
    top = TRUNKS[trunk](net, "data")
    for head, classes in heads.items():
        score = net.score(f"score_fr{head}", top, classes)
        # Where all windows are odd the grids are a half pixel off those of VGG16, and so is the last kernel.
        score = _fuse(net, score, skips, head, classes, scales or {}, odd=trunk != "vgg16")
        _finish(net, phase, score, head, normalize=trunk != "vgg16")
    return net.proto


def _fuse(net: Net, score: str, skips: Sequence[str], head: str, classes: int, scales: Mapping[str, float],
          odd: bool) -> str:
    """Upsample the scores to the image, adding the scores of each skip on the way (section 4.2)."""
    name, coarse = "upscore{factor}", _stride(net, score)
    for pool in skips:
        fine = _stride(net, pool)
        factor = int(coarse / fine)
        if factor < 2:
            raise CaffeError(f"skip '{pool}' is not finer than what comes before it; name the coarsest first")
        up = net.upsample(name.format(factor=factor) + head, score, classes, kernel=2 * factor, stride=factor)
        skip = net.scale(f"scale_{pool}{head}", pool, scales[pool]) if pool in scales else pool
        skip = net.score(f"score_{pool}{head}", skip, classes)
        score = net.add(f"fuse_{pool}{head}", [up, net.crop(f"{skip}c", skip, up)])
        name, coarse = f"upscore_{pool}", fine
    return _upsample(net, score, classes, head, odd, name)


def _upsample(net: Net, score: str, classes: int, head: str = "", odd: bool = False, otherwise: str | None = None) -> str:
    """Upsample the scores to the image's stride; the layer's name is `otherwise` where the usual one is taken."""
    factor = int(_stride(net, score))
    name: str | None = "upscore" if factor == 32 else f"upscore{factor}"
    if any(layer.name == f"{name}{head}" for layer in net.proto.layer):
        name = otherwise
    return net.upsample(f"{name}{head}", score, classes, kernel=2 * factor - odd, stride=factor)


def _stride(net: Net, blob: str) -> Fraction:
    """The stride of a blob in pixels of the image, the same both ways."""
    # Imported late, since it needs torch: names are listed, and completed by a shell, without it.
    from surgery.coordinates import stride

    factor = stride(net.proto, blob)
    return factor[0] if isinstance(factor, tuple) else factor


def _input(net: Net, phase: str, data: Sequence[str], heads: Mapping[str, int]) -> None:
    if phase not in PHASES:
        raise CaffeError(f"no phase '{phase}'; there are {', '.join(PHASES)}")
    blobs = {blob: (1, 1 if blob == "depth" else 3, 500, 500) for blob in data}
    if phase == "deploy":
        net.input("input", blobs)
    else:
        net.input(data[0], blobs | {_label(head): (1, 1, 500, 500) for head in heads})


def _heads(num_classes: Classes) -> dict[str, int]:
    """{what the names of a head's layers end in: its number of classes}."""
    heads = {f"_{head}": n for head, n in num_classes.items()} if isinstance(num_classes, Mapping) else {"": num_classes}
    if not heads or min(heads.values()) < 1:
        raise CaffeError(f"num_classes must be positive, not {num_classes}")
    return heads


def _label(head: str) -> str:
    return head.lstrip("_") or "label"


def _finish(net: Net, phase: str, score: str, head: str = "", like: str = "data", normalize: bool = False) -> None:
    score = net.crop(f"score{head}", score, like)
    if phase != "deploy":
        # The semantic head's loss goes without its name: the release's scoring looks for "loss".
        loss = f"loss{head}" if head != "_sem" else "loss"
        net.segmentation_loss(loss, score, _label(head), normalize)


def color_d(name: str, phase: str, num_classes: int, width: Width) -> NetParameter:
    """Color and depth as four input channels, which make the first layer another one (section 5, NYUDv2)."""
    net = Net(name, width)
    _input(net, phase, ("color", "depth"), {"": num_classes})
    top = _vgg16_trunk(net, net.layer("Concat", "data", ("color", "depth")), first="conv1_1_bgrd")
    _finish(net, phase, _upsample(net, net.score("score_fr", top, num_classes), num_classes))
    return net.proto


def color_hha(name: str, phase: str, num_classes: int, width: Width) -> NetParameter:
    """Two trunks, one for color and one for HHA, whose scores are averaged (section 5, NYUDv2)."""
    net, streams = Net(name, width), ("color", "hha")
    _input(net, phase, streams, {"": num_classes})
    scores = []
    for stream in streams:
        net.suffix = stream
        scores.append(net.score("score_fr", _vgg16_trunk(net, stream), num_classes))
    net.suffix = ""
    score = net.add("score_fused", scores, coeff=[0.5, 0.5])
    _finish(net, phase, _upsample(net, score, num_classes), like="color")
    return net.proto


def one_pool(name: str, phase: str, num_classes: int, width: Width, pool: str) -> NetParameter:
    """The ablation: the scores of one pooling layer alone."""
    net = Net(name, width)
    _input(net, phase, ("data",), {"": num_classes})
    score = net.score(f"score_{pool}", vgg16(net, "data", PAD, last=pool), num_classes)
    _finish(net, phase, _upsample(net, score, num_classes))
    return net.proto


def classifier(name: str, phase: str, num_classes: int, width: Width) -> NetParameter:
    """A classifier; `-fullconv` is the same with its inner products made convolutions."""
    trunk, _, convolutional = name.partition("-")
    if phase not in PHASES:
        raise CaffeError(f"no phase '{phase}'; there are {', '.join(PHASES)}")
    net = CLASSIFIERS[trunk](phase, num_classes, width)
    if not convolutional:
        return net
    from surgery.convolutionize import convolutionize

    return convolutionize(net)


def _vgg16_trunk(net: Net, data: str, first: str = "conv1_1") -> str:
    return fc6_fc7(net, vgg16(net, data, PAD, first), kernel=7)


def _caffenet_trunk(net: Net, data: str) -> str:
    net.trunk_param = ()  # the release declares none: weights and biases learn at the same rate
    return fc6_fc7(net, caffenet(net, data, PAD), kernel=6, group=1)


def _googlenet_trunk(net: Net, data: str) -> str:
    x = googlenet(net, data, PAD)
    return net.dropout("pool5/drop_7x7_s1", x, 0.4)


TRUNKS: dict[str, Callable[[Net, str], str]] = {
    "vgg16": _vgg16_trunk, "caffenet": _caffenet_trunk, "googlenet": _googlenet_trunk}
SKIPS = {"32s": (), "16s": ("pool4",), "8s": ("pool4", "pool3")}

# {what follows "fcn" in a net's name: what makes it}; a family's nets are those for which it has a learning rate.
FCNS: dict[str, Callable[..., NetParameter]] = {
    **{finest: partial(fcn, skips=skips) for finest, skips in SKIPS.items()},
    "8s-atonce": partial(fcn, skips=SKIPS["8s"], scales={"pool4": 0.01, "pool3": 0.0001}),
    "-alexnet": partial(fcn, "caffenet", ()),
    "-googlenet": partial(fcn, "googlenet", ()),
    "32s-fixed": partial(fcn, skips=(), fixed_trunk=True),
    **{f"-{pool}": partial(one_pool, pool=pool) for pool in ("pool5", "pool4", "pool3")},
    "32s-color": partial(fcn, skips=()),
    "32s-color-d": color_d,
    "32s-hha": partial(fcn, skips=()),
    "32s-color-hha": color_hha,
}


def _builders() -> dict[str, Callable[..., NetParameter]]:
    """{name of a net: what makes it}."""
    return {
        **{name: FCNS[stage] for family in FAMILIES.values() for name, stage in zip(family.nets, family.training.base_lr,
                                                                                   strict=True)},
        **{name + form: classifier for name in CLASSIFIERS for form in ("", "-fullconv")},
    }
