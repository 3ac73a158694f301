"""Reading off its weights how many classes a net has and how wide its trunk is."""

import re

from converters.errors import CaffeError
from reference.trunks import FC

# The first convolution of every trunk, and its channels at width 1.
FIRST = {"conv1_1": 64, "conv1_1_bgrd": 64, "conv1_1color": 64, "conv1": 96, "conv1/7x7_s2": 64}
SCORES = re.compile(r"score_(?:fr|pool\d)(?:_(\w+)|color|hha)?")


def sizes_of(blobs):
    """{"num_classes", "width"} as `reference.net` takes them, of a net's blobs, {layer: [array, ...]}.

    num_classes is None where no layer scores pixels, as in a classifier; width is a pair where fc6 and fc7 have one of their
    own. Raises CaffeError for an unknown trunk.
    """
    first = next((name for name in FIRST if name in blobs), None)
    if first is None:
        raise CaffeError(f"no first convolution of a known trunk ({', '.join(FIRST)}) is among these weights")
    heads = {}
    for name, arrays in blobs.items():
        if match := SCORES.fullmatch(name):
            heads.setdefault(match[1], arrays[0].shape[0])
    num_classes = heads.get(None, heads) or None
    width = blobs[first][0].shape[0] / FIRST[first]
    biases = next((blobs[name][1] for name in ("fc7", "fc7color") if name in blobs), None)
    fc_width = width if biases is None else biases.shape[-1] / FC
    return {"num_classes": num_classes, "width": width if fc_width == width else (width, fc_width)}
