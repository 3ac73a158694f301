"""MATLAB files: the labels of SBD, NYUDv2, SIFT Flow and PASCAL-Context are stored in them."""

import numpy as np
from scipy.io import loadmat

from converters.errors import CaffeFileError
from converters.formats.blob import dims_text
from repro.data.images import VOID


def read_mat(path, key):
    """Read the variable `key` of a MATLAB file (any version before 7.3) as an array.

    Raises CaffeFileError for a file that is missing, damaged or without `key`.
    """
    try:
        variables = loadmat(path, appendmat=False)
    except FileNotFoundError as error:
        raise CaffeFileError(path, "no such file") from error
    except Exception as error:  # scipy raises errors of zlib, of struct and of its own parser
        raise CaffeFileError(path, f"cannot be read as a MATLAB file: {error}") from error
    if key not in variables:
        present = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
        raise CaffeFileError(path, f"has no variable {key}; it has {present}")
    return variables[key]


def read_label_mat(path, key):
    """Read the variable `key` as a label map, integers HxW. Whole numbers that are stored as floats are accepted."""
    labels = read_mat(path, key)
    if labels.ndim != 2 or labels.dtype.kind not in "iuf" or (labels % 1).any():
        raise CaffeFileError(path, f"{key} is {labels.dtype} of shape {dims_text(labels.shape)}; it needs whole numbers HxW")
    return labels.astype(np.int64)


def shift_labels(labels, void):
    """Turn labels that count classes from 1 into labels from 0. Those in `void` become 255."""
    return np.where(np.isin(labels, void), VOID, labels - 1)
