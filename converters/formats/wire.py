"""Protobuf's wire format, scanned where it lies, so that weights are never copied just to be found.

A message is a run of fields, each a varint key (number << 3 | wire type) and a value
(https://protobuf.dev/programming-guides/encoding). No length is trusted before it has been compared with what is left.
"""

import mmap
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from converters.errors import CaffeError, CaffeFileError
from converters.files import FilePath, did_you_mean_file

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_BYTES = 2**31 - 1  # of a message that protobuf itself, and so Caffe, can read
MAX_FIELDS = 1 << 16  # in one message; the largest nets have a few thousand layers, and unpacked floats are counted as one


class Malformed(CaffeError):
    """Bytes or text that do not say what they should; `where` is an offset, a line or a layer. See `blame`."""

    def __init__(self, reason: str, where: str | None = None):
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason, self.where = reason, where


class Field(NamedTuple):
    """One field of a message: `value` is the number of a VARINT, the payload's offset otherwise."""

    number: int
    wire: int
    value: int
    start: int
    end: int


@contextmanager
def blame(path: FilePath) -> Iterator[None]:
    """Turn whatever shows that the file is not what it should be into a `CaffeFileError` that names `path`."""
    try:
        yield
    except Malformed as error:
        raise CaffeFileError(path, error.reason, error.where) from None
    except DecodeError:
        raise CaffeFileError(path, "not a message of Caffe's; the file is damaged or of another kind") from None
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise CaffeFileError(path, f"a name or text is not UTF-8 ({error.reason})") from None


def check_file(path: FilePath) -> None:
    """Raise a `CaffeFileError` unless `path` is an ordinary file that may be read."""
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise CaffeFileError(path, "is a directory, not a file")
        if not stat.S_ISREG(mode):
            raise CaffeFileError(path, "is not an ordinary file")
        with open(path, "rb"):
            pass
    except CaffeFileError:
        raise
    except FileNotFoundError:
        raise CaffeFileError(path, f"no such file or directory{did_you_mean_file(path)}") from None
    except (OSError, ValueError) as error:
        raise CaffeFileError(path, (getattr(error, "strerror", None) or str(error)).lower()) from None


def map_file(path: FilePath) -> mmap.mmap:
    """The bytes of a file as a private memory map: writing to it changes neither the file nor another reader's bytes."""
    check_file(path)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise CaffeFileError(path, "is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def read_varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """(value, offset of what follows) of the varint at `at`."""
    value = 0
    for i in range(10):
        if at + i >= end:
            raise Malformed("the message ends within a number; the file is truncated or damaged", f"byte {at}")
        byte = data[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + i + 1
    raise Malformed("a number runs on for more than 10 bytes; the file is damaged", f"byte {at}")


def read_field(data: mmap.mmap, at: int, end: int) -> Field:
    """The `Field` that starts at `at`."""
    key, value = read_varint(data, at, end)
    number, wire = key >> 3, key & 7
    if not 0 < number < 1 << 29:
        raise Malformed(f"there is no field number {number}; the file is damaged or not protobuf", f"byte {at}")
    if wire == VARINT:
        value, stop = read_varint(data, value, end)
        return Field(number, wire, value, at, stop)
    if wire == BYTES:
        size, value = read_varint(data, value, end)
    elif wire in (FIXED32, FIXED64):
        size = 4 if wire == FIXED32 else 8
    else:
        raise Malformed(f"wire type {wire} is none of Caffe's; the file is damaged or not protobuf", f"byte {at}")
    if size > end - value:
        raise Malformed(f"field {number} claims {size} bytes and {end - value} are left; truncated or damaged", f"byte {at}")
    return Field(number, wire, value, at, value + size)


def read_fields(data: mmap.mmap, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that lies from `start` to `end`."""
    for _ in range(MAX_FIELDS):
        if start >= end:
            return
        field = read_field(data, start, end)
        yield field
        start = field.end
    if start < end:
        raise Malformed(f"a message of more than {MAX_FIELDS} fields; the file is damaged", f"byte {start}")


def signed(value: int) -> int:
    """A varint as the int64 it encodes."""
    return value - (1 << 64) if value >> 63 else value


def check_complete(message: Any) -> None:
    """Raise `Malformed` where a message, or one in it, lacks a field that the schema requires."""
    if missing := message.FindInitializationErrors():  # which protobuf's stubs do not know
        raise Malformed(f"the required {missing[0]} is missing")


def varint(value: int) -> bytes:
    """The bytes of a varint; `value` is not negative."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def header(number: int, size: int) -> bytes:
    """The key and the length that go before a payload of `size` bytes."""
    return varint(number << 3 | BYTES) + varint(size)


def is_hdf5(data: mmap.mmap) -> bool:
    return data[:8] == b"\x89HDF\r\n\x1a\n"


def refuse_other_kinds(data: mmap.mmap, wanted: str) -> None:
    """Say so when a file that should be one of Caffe's protobufs is plainly something else."""
    head = data[:256]
    if head[:4] == b"PK\3\4":
        raise Malformed(f"is a zip archive (a .pt or .npz file?), not {wanted}")
    if head[:2] == b"\xff\xd8" or head[:4] == b"\x89PNG":
        raise Malformed(f"is an image, not {wanted}; are the arguments swapped?")
    if all(32 <= byte < 127 or byte in b"\t\n\r" for byte in head):
        raise Malformed(f"is text (a prototxt or a web page?), not {wanted}; are the arguments swapped?")
