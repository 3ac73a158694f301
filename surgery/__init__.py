"""Operations on nets: classifiers made fully convolutional, weights carried over, blobs aligned."""

from surgery.coordinates import crop_offset, receptive_field

__all__ = ["crop_offset", "receptive_field"]
