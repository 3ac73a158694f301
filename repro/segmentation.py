"""From weights and a photograph to a label map."""

import reference
from converters import CaffeError, CaffeNet, read_caffemodel
from reference.means import VOC
from repro.evaluation import label_map
from repro.images import load_image, preprocess

TRUNK_CHANNELS = {"conv1_1": 64, "conv1": 96}


def load(name, weights):
    """A published net for inference, a CaffeNet, with the weights of a caffemodel of any kind.

    The number of classes and the width are the weights' own. Raises CaffeError for weights of another net.
    """
    blobs = read_caffemodel(weights).blobs
    score, first = blobs.get("score_fr"), next((layer for layer in TRUNK_CHANNELS if layer in blobs), None)
    if not score or not first:
        raise CaffeError(f"{weights}: not the weights of {name}: it has no "
                         f"{'layer score_fr' if first else 'first convolution of a known trunk'}")
    width = blobs[first][0].shape[0] / TRUNK_CHANNELS[first]
    net = CaffeNet(reference.net(name, "deploy", num_classes=score[0].shape[0], width=width))
    report = net.copy_from(blobs)
    if report.missing or report.ignored:
        raise CaffeError(f"{weights}: not the weights of {name}: "
                         + (f"it lacks {', '.join(report.missing)}" if report.missing
                            else f"{name} has no {', '.join(report.ignored)}"))
    return net


def segment(net, image, mean=VOC):
    """The label map (uint8 HxW) of a photograph: a PIL image or a path, of any size."""
    return label_map(net, preprocess(load_image(image), mean))
