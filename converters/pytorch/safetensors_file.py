"""safetensors files: 8 bytes with the header's length, a JSON header, and the tensors' bytes one after the other."""

import json
from collections.abc import Mapping
from io import FileIO
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from converters.errors import CaffeFileError
from converters.files import FilePath, atomic_write
from converters.formats.blob import as_floats
from converters.formats.wire import check_file

CHUNK = 1 << 18  # bytes written at a time: what was read from a mapped file is then still in the processor's cache


class Header(NamedTuple):
    """What a safetensors file says of itself: {name: (dtype, shape)} and its metadata, {name: text}."""

    tensors: dict[str, tuple[str, tuple[int, ...]]]
    metadata: dict[str, str]


def write_safetensors(path: FilePath, tensors: Mapping[str, ArrayLike], metadata: Mapping[str, str] | None = None) -> None:
    """Write {name: array} as float32, from where the arrays lie: a mapped file's are never all in memory.

    metadata: {name: text}. Nothing waits for the disk, as nothing does in `cp`.
    """
    arrays = {name: as_floats(array) for name, array in tensors.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    at = 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    # "wb" would truncate the new file, which makes ext4 flush it when it is closed.
    with atomic_write(path, flush=False) as temporary, open(temporary, "rb+", buffering=0) as file:
        _write(file, memoryview(len(text).to_bytes(8, "little") + text))
        for array in arrays.values():
            _write(file, array.reshape(-1).view("u1").data)


def _write(file: FileIO, data: memoryview) -> None:
    at = 0
    while at < len(data):
        # Up to the next multiple of CHUNK in the file, so that no page is written twice.
        at += file.write(data[at : at + CHUNK - file.tell() % CHUNK])


def read_header(path: FilePath) -> Header:
    """The `Header` of a safetensors file, checked by the safetensors library. Raises CaffeFileError."""
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(path, "np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
            tensors = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
            return Header(tensors, file.metadata() or {})
    except SafetensorError as error:
        raise unreadable(path, error) from None


def unreadable(path: FilePath, error: Exception) -> CaffeFileError:
    """A CaffeFileError for what the safetensors library says of a file."""
    return CaffeFileError(path, f"cannot be read as safetensors: {' '.join(str(error).split())}; truncated or damaged")
