"""From weights and a photograph to a label map."""

import reference
from converters import CaffeError, CaffeNet, read_caffemodel
from reference.means import VOC
from reference.sizes import sizes_of
from repro.fast import accelerate
from repro.images import load_image, preprocess


def load(name, weights):
    """A published net for inference, a CaffeNet, with the weights of a caffemodel of any kind.

    The number of classes and the width are the weights' own. Raises CaffeError for weights of another net.
    """
    blobs = read_caffemodel(weights).blobs
    try:
        sizes = sizes_of(blobs)
        if "-fcn" in name and not sizes["num_classes"]:
            raise CaffeError("it has no layer score_fr")
        net = CaffeNet(reference.net(name, "deploy", **sizes))
    except CaffeError as error:
        raise CaffeError(f"{weights}: not the weights of {name}: {error}") from None
    report = net.copy_from(blobs)
    if report.missing or report.ignored:
        raise CaffeError(f"{weights}: not the weights of {name}: "
                         + (f"it lacks {', '.join(report.missing)}" if report.missing
                            else f"{name} has no {', '.join(report.ignored)}"))
    return net


def segment(net, image, mean=VOC):
    """The label map (uint8 HxW) of a photograph: a PIL image or a path, of any size."""
    return accelerate(net, ["score"]).labels(preprocess(load_image(image), mean))
