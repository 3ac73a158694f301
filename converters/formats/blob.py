"""Caffe's arrays (BlobProto): found in a file's bytes, viewed where they lie, and written without a second copy."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from mmap import mmap

import numpy as np
from numpy.typing import ArrayLike

from converters.errors import CaffeFileError
from converters.files import FilePath, atomic_write
from converters.formats.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Field,
    Malformed,
    blame,
    header,
    map_file,
    read_field,
    read_fields,
    read_varint,
    signed,
    varint,
)

Blobs = Mapping[str, Sequence[np.ndarray]]  # {layer, as in unique_names: its blobs, in Caffe's order}
Size = tuple[int, int]  # an image's height and width
MAX_AXES = 32  # blob.hpp, kMaxBlobAxes
MAX_COUNT = 2**31 - 1  # blob.cpp, Reshape
MAX_FIELDS = 64  # a blob has nine kinds of field, and a writer packs its floats into one piece or into none
LEGACY = {1: "num", 2: "channels", 3: "height", 4: "width"}
DATA, DIFF, SHAPE, DOUBLE_DATA, DOUBLE_DIFF = 5, 6, 7, 8, 9
F4, F8 = np.dtype("<f4"), np.dtype("<f8")
UNPACKED: dict[np.dtype, int] = {F4: FIXED32, F8: FIXED64}
FLOATS: dict[int, np.dtype] = {DATA: F4, DIFF: F4, DOUBLE_DATA: F8, DOUBLE_DIFF: F8}


def unique_names(names: Iterable[str]) -> list[str]:
    """What the layers of a net are called here, each by itself: a, a, b are a, a_2, b.

    In Caffe layers may have one name. The first keeps it; the next ones get a number, the first that no layer has.
    """
    names = list(names)
    taken, found = set(names), list[str]()
    count: dict[str, int] = {}
    for name in names:
        unique = name
        if name in count:
            while unique in taken:
                count[name] += 1
                unique = f"{name}_{count[name]}"
        count.setdefault(name, 1)
        taken.add(unique)
        found.append(unique)
    return found


def read_blob(path: FilePath) -> np.ndarray:
    """The array of a file that holds one BlobProto, such as mean.binaryproto: float32 in the stored shape (1xCxHxW).

    The array is a view of a private memory map of the file. Raises CaffeFileError.
    """
    with blame(path):
        data = map_file(path)
        array, _, unknown = parse_blob(data, 0, len(data))
        if unknown:
            raise CaffeFileError(path, f"holds {', '.join(unknown)}, which no BlobProto has; not a mean file")
        return array


def write_blob(path: FilePath, array: ArrayLike) -> None:
    """Write one array as a BlobProto; Caffe expects a mean to have the four axes 1xCxHxW."""
    array = as_floats(array)
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(blob_header(array.shape))
        file.write(array.data)


def parse_blob(data: mmap, start: int, end: int, where: str | None = None,
               aligned: bool = True) -> tuple[np.ndarray, bool, list[str]]:
    """(array, were they doubles, unknown fields) of the BlobProto from `start` to `end` of `data`, a private memory map.

    float32, as Caffe loads it (blob.cpp, FromProto), in the stored shape. Packed floats are viewed in the map itself; those
    that do not start at a multiple of 4 are first moved there, over the key and length before them, if `aligned`.
    """
    legacy: dict[int, int] = {}
    dims: list[int] = []
    unknown: list[str] = []
    pieces: dict[int, list[np.ndarray]] = {number: [] for number in FLOATS}
    at, offset, fields = start, 0, 0
    while at < end:
        field = read_field(data, at, end)
        number, at = field.number, field.end
        if number in FLOATS:
            piece, at = _floats(data, field, end)
            pieces[number].append(piece)
            offset = field.value if number == DATA else offset
        elif number in LEGACY and field.wire == VARINT:
            legacy[number] = signed(field.value)
        elif number == SHAPE and field.wire == BYTES:
            dims += _dims(data, field)
        else:
            unknown.append(f"field {number}")
        fields += 1
        if fields > MAX_FIELDS:
            raise Malformed(f"more than {MAX_FIELDS} fields in one blob; the file is damaged", where or f"byte {at}")
    shape = tuple(legacy.get(number, 0) for number in LEGACY) if legacy else tuple(dims)
    doubles = bool(pieces[DOUBLE_DATA])
    found = pieces[DOUBLE_DATA] or pieces[DATA]
    _check_shape(shape, sum(piece.size for piece in found), where or f"byte {start}", unknown)
    if len(found) == 1 and found[0].flags.c_contiguous and not doubles:
        floats = found[0]
        if aligned and not floats.flags.aligned:
            # The bytes before have been read, and at least two keys and lengths lie between two blobs' floats.
            data.move(offset - offset % 4, offset, floats.nbytes)
            floats = np.frombuffer(data, "<f4", floats.size, offset - offset % 4)
        return floats.reshape(shape), False, unknown
    with np.errstate(over="ignore"):  # a double beyond float32's range becomes infinite, as it does in Caffe
        floats = np.concatenate([np.empty(0, "<f4"), *found], dtype="<f4", casting="same_kind")
    return floats.reshape(shape), doubles, unknown


def _floats(data: mmap, field: Field, end: int) -> tuple[np.ndarray, int]:
    """(values, offset of what follows): one packed piece, or the whole run of unpacked floats that starts with `field`."""
    dtype = FLOATS[field.number]
    if field.wire == BYTES:
        count, rest = divmod(field.end - field.value, dtype.itemsize)
        if rest:
            raise Malformed(f"{field.end - field.value} bytes are no whole number of floats", f"byte {field.value}")
        return np.frombuffer(data, dtype, count, field.value), field.end
    if field.wire != UNPACKED[dtype]:
        raise Malformed(f"field {field.number} of a blob holds no floats; the file is damaged", f"byte {field.start}")
    record = np.dtype([("key", "u1"), ("value", dtype)])
    if field.end - field.start != record.itemsize:
        raise Malformed("a float's key is not written as protobuf writes it", f"byte {field.start}")
    records = np.frombuffer(data, record, (end - field.start) // record.itemsize, field.start)
    run, step = 1, 64
    while run < len(records):  # look further in growing steps, so that short runs stay cheap
        other = records["key"][run : run + step] != data[field.start]
        if other.any():
            run += int(other.argmax())
            break
        run, step = run + len(other), 2 * step
    return records["value"][:run], field.start + run * record.itemsize


def _dims(data: mmap, field: Field) -> list[int]:
    """The dimensions in a BlobShape, packed or not."""
    dims: list[int] = []
    for inner in read_fields(data, field.value, field.end):
        if inner.number == 1 and inner.wire == VARINT:
            dims.append(signed(inner.value))
        elif inner.number == 1 and inner.wire == BYTES:
            at = inner.value
            while at < inner.end and len(dims) <= MAX_AXES:
                value, at = read_varint(data, at, inner.end)
                dims.append(signed(value))
        if len(dims) > MAX_AXES:
            raise Malformed(f"a blob of more than {MAX_AXES} axes", f"byte {field.start}")
    return dims


def _check_shape(shape: Sequence[int], count: int, where: str, unknown: list[str]) -> None:
    if len(shape) > MAX_AXES:
        raise Malformed(f"a blob of {len(shape)} axes; Caffe has {MAX_AXES} at most", where)
    if any(dim < 0 for dim in shape):
        raise Malformed(f"the shape {dims_text(shape)} has a negative axis", where)
    if prod(shape) != count:
        hint = f" (a fork's {', '.join(unknown)} may hold them)" if unknown and not count else ""
        raise Malformed(f"the shape {dims_text(shape)} needs {prod(shape)} floats, but {count} are there{hint}", where)
    if prod(max(dim, 1) for dim in shape) > MAX_COUNT:  # beside an axis of none, others may be of any size
        raise Malformed(f"the shape {dims_text(shape)} has more numbers than a blob of Caffe's may hold", where)


def dims_text(shape: Sequence[int]) -> str:
    """A shape as every message and table here writes it, after Caffe's: 64x3x3x3, and () where there are no axes."""
    return "x".join(map(str, shape)) or "()"


def as_floats(array: ArrayLike) -> np.ndarray:
    """`array` as little-endian float32 in C order; itself, where it is that already."""
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype="<f4", order="C")


def blob_header(shape: Sequence[int]) -> bytes:
    """What makes a BlobProto of the floats that follow it (see `as_floats`): the shape, and the floats' key and length."""
    dims = b"".join(map(varint, shape))
    dims = header(1, len(dims)) + dims if dims else b""
    return header(SHAPE, len(dims)) + dims + header(DATA, 4 * prod(shape))


def blob_field(number: int, shape: Sequence[int]) -> tuple[bytes, int]:
    """`blob_header` as the field `number` of a message: (its bytes, the size of the whole field with its floats)."""
    start = blob_header(shape)
    start = header(number, len(start) + 4 * prod(shape)) + start
    return start, len(start) + 4 * prod(shape)
