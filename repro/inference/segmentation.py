"""From weights and a photograph to a label map: loading a net, feeding it, naming its classes."""

import warnings

import numpy as np
import torch
from PIL import Image

import reference
from converters import CaffeError, CaffeNet, Preprocessing, read_metadata
from converters.files import FilePath
from converters.pytorch.weights import read_blobs
from reference.nets import sizes_of
from reference.recognition import Known, head_sizes, recognize
from repro.data.dataset import read_classes
from repro.data.images import load_image, preprocess
from repro.fast import accelerate


def load(name: str, weights: FilePath) -> CaffeNet:
    """A published net, ready to label, with the weights of a caffemodel of any generation, a .safetensors or a .pt.

    The weights are read from the file when they are needed, so the file must not change. The number of classes and the
    width are those of the weights. A .safetensors may describe preprocessing: mean, channel order, scale and class names are
    kept as the attribute `preprocessing`, which every function that labels with the net obeys; the input size becomes the
    net's.
    Raises CaffeError for weights of another net.
    """
    reference.net(name, "deploy")  # raises for an unknown name
    blobs, kept = read_blobs(weights), read_metadata(weights)
    try:
        sizes = sizes_of(blobs)
        if "-fcn" in name and not sizes["num_classes"]:
            raise CaffeError("it has no layer score_fr")
        param = reference.net(name, "deploy", **sizes)
        if kept.input_size:
            for shape in param.layer[0].input_param.shape:
                shape.dim[2:] = kept.input_size
        with torch.device("meta"):
            net = CaffeNet(param)
    except CaffeError as error:
        raise CaffeError(f"{weights}: not the weights of {name}: {error}") from None
    report = net.copy_from(blobs, assign=True)
    if report.missing or report.ignored:
        raise CaffeError(f"{weights}: not the weights of {name}: "
                         + (f"it lacks {', '.join(report.missing)}" if report.missing
                            else f"{name} has no {', '.join(report.ignored)}"))
    vars(net)["preprocessing"] = kept
    return net


def feed_alike(net, dataset):
    """Make a data set feed its photographs as the net's weights describe it, if they do (see `load`)."""
    kept = _kept(net)
    dataset.channels, dataset.factor = _order_and_scale(kept)
    dataset.mean = kept.mean or _in_order(dataset.mean, dataset.channels)


def segment(net: CaffeNet, image: FilePath | Image.Image | torch.Tensor, head: str | None = None) -> np.ndarray:
    """The label map of a photograph of any size: uint8 HxW.

    image: a path, a PIL image, or Caffe's own input: a float tensor 3xHxW or 1x3xHxW, BGR, with the mean subtracted. If the
    range of a tensor shows a mistake, a UserWarning says which. head: of a net with several, as "sem" and "geo" of SIFT
    Flow's; default: the main one. Raises CaffeError for a net that needs depth, for one whose mean is not
    known, and for an image that cannot be read.
    """
    return accelerate(net, [_score_blob(net, head)]).labels(_data(net, image))


def probabilities(net, image, head=None):
    """Each class's probability at every pixel, the softmax of the scores: float32 CxHxW. Arguments as for `segment`."""
    blob = _score_blob(net, head)
    return accelerate(net, [blob])(data=_data(net, image))[blob][0].softmax(0).cpu().numpy()


def areas(labels, classes):
    """{name: {"pixels", "fraction"}} of the classes in a label map (integers HxW), the largest first.

    classes: [name, ...] or {label: name}.
    """
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    return {classes[label]: {"pixels": int(counts[label]), "fraction": float(counts[label] / labels.size)}
            for label in np.argsort(-counts, kind="stable") if counts[label]}


def mean_of(net: CaffeNet) -> tuple[float, ...]:
    """The mean colour to subtract from a net's photographs, in the order of its channels.

    The one kept with its weights (see `load`) or given as its `preprocessing`, else its data layer's, else that of the data
    set that it was published with. Raises CaffeError where none of these is known: no mean is guessed.
    """
    kept = _kept(net)
    if kept.mean:
        return kept.mean
    found = recognize(net.param)
    if len(found) == 1:
        return _in_order(found[0].mean or found[0].family.mean, kept.channels or "bgr")
    raise CaffeError(f"{_called(net)}: {_why_unknown(found)}, so the mean to subtract is not known; give it as "
                     'net.preprocessing = converters.Preprocessing(mean=(blue, green, red), channels="bgr", '
                     "classes=(names)), or convert the weights with --mean and read them with repro.load")


def classes_of(net, file=None, head=None):
    """The names of a net's classes: those in `file`, one per line; else those kept with its weights; else the published
    ones; else "class 0" and so on.

    Raises CaffeError if the file has more or fewer names than the net has classes.
    """
    count, head = head_sizes(net.param), _head(net, head)
    if count is None:
        raise CaffeError(f"{_called(net)}: no layer scores pixels (a convolution score_fr)")
    if isinstance(count, dict):
        count = count[head]
    if file:
        names = read_classes(file)
        if len(names) != count:
            raise CaffeError(f"{file}: names {len(names)} classes, but the net has {count}")
        return names
    if _kept(net).classes and len(_kept(net).classes) == count:
        return list(_kept(net).classes)
    known = _known(net)
    published = known.family.classes(head) if known else ()
    return published if len(published) == count else [f"class {label}" for label in range(count)]


def _known(net: CaffeNet) -> Known | None:
    """What is published of a net; None for a net of one's own. Where several fit, they share all but their inputs."""
    found = recognize(net.param)
    return found[0] if found and all(each.family is found[0].family for each in found) else None


def _called(net):
    return f"net '{net.param.name}'" if net.param.name else "this net without a name"


def _why_unknown(found):
    """Why the published nets that fit, several or none, do not tell the mean."""
    if not found:
        return "neither its data layer, its name, nor its inputs and numbers of classes are those of a published net"
    return "published nets that look alike are fed " + " or ".join(", ".join(each.inputs.values()) for each in found)


def _head(net, head):
    """One of the heads of a net: `head` if the net has it, else the main one."""
    known, sizes = _known(net), head_sizes(net.param)
    heads = known.family.head_names if known else tuple(sizes) if isinstance(sizes, dict) else (None,)
    return head if head in heads else heads[0]


def _score_blob(net, head):
    """The blob of the scores of a head: score, or score_HEAD."""
    return "_".join(filter(None, ("score", _head(net, head))))


def _data(net, image):
    """Caffe's input for `image`: float32 1x3xHxW."""
    known = recognize(net.param)
    if known and all(each.needs_depth for each in known):
        family = known[0].family
        others = [name for name in family.nets if {*family.inputs_of(name).values()} == {"color"}]
        raise CaffeError(f"{net.param.name or 'this net'} needs depth, which a photograph does not have; use "
                         f"{', '.join(others)}")
    channels, scale = _order_and_scale(_kept(net))
    if isinstance(image, torch.Tensor):
        checks = (channels, scale) == ("bgr", 1) and (_kept(net).mean or len(known) == 1)
        return _checked(image, mean_of(net) if checks else None)
    if isinstance(image, np.ndarray):
        raise CaffeError("an array does not say whether red or blue comes first; give Image.fromarray(array) for RGB, as "
                         "PIL reads it, or Image.fromarray(array[:, :, ::-1]) for BGR, as OpenCV reads it")
    return preprocess(load_image(image), mean_of(net), channels, scale)


def _kept(net):
    """The `Preprocessing` that came with a net's weights; for a net that `load` did not make, an empty one."""
    return vars(net).get("preprocessing", Preprocessing())


def _order_and_scale(kept):
    return kept.channels or "bgr", 1 if kept.scale is None else kept.scale


def _in_order(mean, channels):
    """A published mean, which is blue first, in the order of `channels`."""
    return tuple(mean) if channels == "bgr" else tuple(mean)[::-1]


def _checked(tensor, mean):
    """A tensor as the net's input, 1x3xHxW. Warns if its range shows that it was made for another net.

    mean: None for a net with its own preprocessing, for which the right range is not known.
    """
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3 or not tensor.is_floating_point():
        raise CaffeError(f"a photograph's tensor needs to be float, 3xHxW or 1x3xHxW, not {tensor.dtype} of "
                         f"{tuple(tensor.shape)}; or give the PIL image, or its path")
    data = tensor.reshape(-1, *tensor.shape[-3:]).float()
    if not data.isfinite().all():
        raise CaffeError("the tensor holds numbers that are not finite (nan or inf)")
    if mean is not None and (mistake := _mistake(data, mean)):
        warnings.warn(f"{mistake}; Caffe's nets need 0 to 255, BGR, with the mean {mean} subtracted: give the PIL image, "
                      "or its path, or make the tensor with repro.preprocess", stacklevel=4)
    return data


def _mistake(data, mean):
    """The mistake that the range of a tensor Nx3xHxW shows, or None."""
    mean = torch.tensor(mean)
    low, high = data.amin((0, 2, 3)).cpu(), data.amax((0, 2, 3)).cpu()
    if low.min() >= 0 and high.max() <= 1:
        return "the tensor runs from 0 to 1, as torchvision scales it"
    if low.min() > -3 and high.max() < 3:
        return "the tensor looks normalized to unit variance, as torchvision's is"
    if low.min() >= 0:
        return "the tensor has no negative number, so the mean was not subtracted"
    beyond = 0.5  # resizing and rounding
    if (low < -mean - beyond).any() or (high > 255 - mean + beyond).any():
        flipped = mean.flip(0)
        if (low >= -flipped - beyond).all() and (high <= 255 - flipped + beyond).all():
            return "the tensor seems to be RGB (red first): its channels' ranges fit the mean in the order RGB"
        return f"the tensor runs from {low.min():.0f} to {high.max():.0f}, beyond a photograph with the mean subtracted"
    return None
