"""Operations on nets: classifiers made fully convolutional, weights carried over, blobs aligned."""

from surgery.convolutionize import convolutionize
from surgery.coordinates import crop_offset, receptive_field, stride
from surgery.interp import bilinear_kernel, interp
from surgery.transplant import expand_input, expand_score, fill_missing, transplant, unfilled

__all__ = [
    "bilinear_kernel",
    "convolutionize",
    "crop_offset",
    "expand_input",
    "expand_score",
    "fill_missing",
    "interp",
    "receptive_field",
    "stride",
    "transplant",
    "unfilled",
]
