"""Caffe's HDF5 files (util/hdf5.cpp): data/LAYER/I in weights; iter, learned_net, current_step, history/I in solver states.

libhdf5 is asked for little: plain groups, plain float datasets, and no more bytes than a small multiple of the file's.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from converters.errors import CaffeError, CaffeFileError
from converters.files import FilePath, atomic_write
from converters.formats.blob import MAX_AXES, Blobs, as_floats
from converters.formats.wire import Malformed, blame

EXPANSION = 4  # how often over a file's size its datasets may claim; Caffe itself compresses nothing
MAX_LAYERS = 1 << 16


@contextmanager
def open_hdf5(path: FilePath) -> Iterator[h5py.File]:
    """An open file, and a `CaffeFileError` for whatever h5py makes of a damaged one."""
    try:
        with blame(path), h5py.File(path, "r") as file:
            yield file
    except CaffeFileError:
        raise
    except Exception as error:  # libhdf5's complaints arrive as a dozen types
        reason = " ".join(str(error).split())[:200]
        raise CaffeFileError(path, f"HDF5 cannot be read; the file is truncated or damaged ({reason})") from None


@contextmanager
def created_hdf5(path: FilePath) -> Iterator[h5py.File]:
    """A new, empty HDF5 file, which is at `path` once it is whole."""
    # Through Python's own file: on a full disk libhdf5's leaves its library unable to close it.
    with atomic_write(path) as temporary, open(temporary, "wb+") as plain, h5py.File(plain, "w") as file:
        yield file


class Budget:
    """How many bytes the datasets of a file may still claim."""

    def __init__(self, path: FilePath):
        self.left = EXPANSION * os.path.getsize(path)

    def take(self, size: int, where: str) -> None:
        self.left -= size
        if self.left < 0:
            raise Malformed("claims far more than the file holds", where)


def has(group: h5py.Group, name: str) -> bool:
    """Is there a link of that name? (`in` would follow it, into another file if it leads there.)"""
    return bool(group.id.links.exists(name.encode()))


def child(group: h5py.Group, name: str, kind: type) -> Any:
    """The group or dataset `name` that lies in this file itself."""
    where = f"{group.name.rstrip('/')}/{name}"
    if not has(group, name):
        raise Malformed("is missing", where)
    if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
        raise Malformed("is a link to elsewhere, which is not followed", where)
    found = group[name]
    if not isinstance(found, kind):
        raise Malformed(f"is no {kind.__name__.lower()}", where)
    return found


def read_dataset(group: h5py.Group, name: str, budget: Budget) -> np.ndarray:
    """A plain dataset's values, checked before anything is read."""
    dataset, where = child(group, name, h5py.Dataset), f"{group.name.rstrip('/')}/{name}"
    if dataset.is_virtual or dataset.external:
        raise Malformed("its values lie in another file, which is not read", where)
    if dataset.shape is None or dataset.ndim > MAX_AXES or dataset.dtype.hasobject:
        raise Malformed("is not a plain array", where)
    if dataset.compression not in (None, "gzip", "lzf"):
        raise Malformed(f"is compressed with {dataset.compression}, which is not read", where)
    for shape in (dataset.shape, dataset.chunks or ()):
        budget.take(int(np.prod(shape, dtype=object)) * dataset.dtype.itemsize, where)
    return np.asarray(dataset[()])


def read_arrays(group: h5py.Group, budget: Budget) -> list[np.ndarray]:
    """The float32 arrays "0", "1", ... of a group."""
    arrays = []
    for i in range(len(group)):
        if not has(group, str(i)):
            raise Malformed("is missing, or stands among names that are not 0, 1, 2, ...", f"{group.name}/{i}")
        values = read_dataset(group, str(i), budget)
        if values.dtype.kind != "f":
            raise Malformed(f"holds {values.dtype}, not floats", f"{group.name}/{i}")
        arrays.append(as_floats(values))
    return arrays


def read_hdf5_blobs(path: FilePath) -> dict[str, list[np.ndarray]]:
    """{layer name: [float32 ndarray, ...]} of a weights file in its (alphabetical) order, layers without blobs included."""
    with open_hdf5(path) as file:
        if not has(file, "data"):
            raise Malformed("has no group /data; not weights that Caffe wrote")
        layers, budget = child(file, "data", h5py.Group), Budget(path)
        if len(layers) > MAX_LAYERS:
            raise Malformed(f"more than {MAX_LAYERS} layers", "/data")
        return {name: read_arrays(child(layers, name, h5py.Group), budget) for name in layers}


def write_hdf5_blobs(path: FilePath, blobs: Blobs) -> None:
    """Write {layer name: [array, ...]} as Net::ToHDF5 lays it out."""
    for name in blobs:
        if "/" in name or name in ("", "."):
            raise CaffeError(f"{path}: HDF5 cannot hold a layer named '{name}' where Caffe finds it; write a .caffemodel")
    with created_hdf5(path) as file:
        data = file.create_group("data")
        for name, arrays in blobs.items():
            write_arrays(data.create_group(name), arrays)


def write_arrays(group: h5py.Group, arrays: Sequence[np.ndarray]) -> None:
    for i, array in enumerate(arrays):
        group.create_dataset(str(i), data=as_floats(array))
