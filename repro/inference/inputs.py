"""Which photographs a command's arguments name (files, folders, patterns), and where their results may be written."""

import re
from glob import glob, has_magic
from pathlib import Path

from converters.errors import CaffeError, CaffeFileError

SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".apng", ".gif", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".jp2", ".mpo",
            ".pgm", ".ppm", ".pnm")


def find(names):
    """The paths of photographs, each once: the files named, the images of a folder, and the images that match a pattern.

    Other files of a folder, and files whose name begins with a dot, are skipped. Images of a folder or a pattern come in the
    order of the numbers in their names: frame2 before frame10. Raises CaffeError for a name that leads to no image.
    """
    found = {}
    for name in names:
        path = Path(name)
        if path.is_dir():
            paths = _in_order(file for file in path.iterdir() if _is_image(file))
        elif path.exists():
            paths = [path]
        elif has_magic(str(name)):
            paths = _in_order(file for file in map(Path, glob(str(name), recursive=True)) if _is_image(file))
        else:
            raise CaffeFileError(name, "does not exist; give photographs, folders of them, or patterns")
        if not paths:
            raise CaffeError(f"{name}: holds no images ({', '.join(SUFFIXES[:4])}, ...)")
        found |= dict.fromkeys(paths)
    return list(found)


def check_outputs(paths, folder, suffixes):
    """Raise CaffeError if two photographs have the same FOLDER/STEM + suffix, or if a result would replace a photograph."""
    inputs, owners = {path.resolve() for path in paths}, {}
    for path in paths:
        for suffix in suffixes:
            target = Path(folder) / f"{path.stem}{suffix}"
            other = owners.setdefault(target, path)
            if other != path:
                raise CaffeError(f"{other} and {path} would both be written as {target}; label them in two calls, with "
                                 "two folders (-o)")
            if target.resolve() in inputs:
                raise CaffeError(f"{target} is a photograph and would be overwritten; choose another folder (-o)")


def _is_image(path):
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _in_order(paths):
    return sorted(paths, key=lambda path: [int(part) if part.isdecimal() else part
                                           for part in re.split(r"(\d+)", str(path))])
