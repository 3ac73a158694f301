"""MATLAB files, the labels' container in SBD, NYUDv2, SIFT Flow and PASCAL-Context."""

from scipy.io import loadmat

from converters.errors import CaffeFileError


def read_mat(path, key):
    """Read the variable `key` of a MATLAB file (any version before 7.3) as an array.

    Raises CaffeFileError on a file that is missing or damaged and on one without `key`.
    """
    try:
        variables = loadmat(path, appendmat=False)
    except FileNotFoundError as error:
        raise CaffeFileError(path, "no such file") from error
    except Exception as error:  # scipy lets the errors of zlib, struct and its own parser through
        raise CaffeFileError(path, f"cannot be read as a MATLAB file: {error}") from error
    if key not in variables:
        present = ", ".join(name for name in variables if not name.startswith("__")) or "nothing"
        raise CaffeFileError(path, f"has no variable {key}, only {present}")
    return variables[key]
