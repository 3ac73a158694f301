"""Offsets for the Crop layers of the older FCN and HED files, whose fork of Caffe inferred them."""

from converters.caffe_pb2 import NetParameter
from surgery.coordinates import crop_offset


def autocrop(net: NetParameter) -> dict[str, int | tuple[int, int]]:
    """Give every Crop layer of `net` (NetParameter) that has no offset the one that aligns its bottoms, in place.

    Returns {layer name: offset}, ints, or (height, width) where they differ. Raises CaffeError where two bottoms cannot be
    aligned.
    """
    given = {}
    for layer in net.layer:
        if layer.type == "Crop" and not layer.crop_param.offset:
            # Rows and columns are what the fork cropped; without an offset Caffe's own default is 0 from there on.
            offset = crop_offset(net, *layer.bottom)
            layer.crop_param.axis = 2
            layer.crop_param.offset.extend([offset] if isinstance(offset, int) else offset)
            given[layer.name] = offset
    return given
