"""Damaged and made-up files: a `CaffeFileError` of one line or a sound result, never more, and never much memory."""

import struct
import tracemalloc

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from converters.caffe_pb2 import NetParameter
from converters.errors import CaffeFileError
from converters.formats.blob import read_blob
from converters.formats.caffemodel import read_caffemodel
from converters.formats.prototxt import read_prototxt, read_solver
from converters.formats.solverstate import read_solverstate
from converters.formats.wire import header, varint

pytestmark = pytest.mark.slow  # thousands of damaged files
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODELS = ["tiny_v0", "tiny_v1", "tiny_v1_double", "tiny_v2", "tiny_v2_unpacked"]


def attempt(read, path, data=None):
    """Read what may be damaged: the result, or None where it was refused as it should be."""
    if data is not None:
        path.write_bytes(data)
    try:
        return read(path)
    except CaffeFileError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        return None


def check(model):
    """What a damaged file still gave must be sound all the same."""
    for arrays in model.blobs.values() if model else ():
        for array in arrays:
            assert array.dtype == np.float32
            array.tobytes()  # touches every value


def refusal(read, path, data):
    path.write_bytes(data)
    with pytest.raises(CaffeFileError) as caught:
        read(path)
    return str(caught.value)


@st.composite
def damage(draw):
    """A function that truncates, flips bits, overwrites or repeats a part of some bytes."""
    kind = draw(st.sampled_from(["cut", "flip", "overwrite", "repeat"]))
    places = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    stuff = draw(st.binary(min_size=1, max_size=12))

    def apply(data):
        data = bytearray(data)
        for place in places:
            at = int(place * len(data))
            if kind == "cut":
                return bytes(data[:at])
            if kind == "flip":
                data[at] ^= 1 << (stuff[0] & 7)
            elif kind == "overwrite":
                data[at : at + len(stuff)] = stuff
            else:
                data[at:at] = data[at : at + 8 * len(stuff)]
        return bytes(data)

    return apply


@pytest.mark.parametrize("name", MODELS)
@FUZZ
@given(hurt=damage())
def test_damaged_caffemodels(golden, tmp_path, name, hurt):
    data = hurt((golden / "formats" / f"{name}.caffemodel").read_bytes())
    check(attempt(read_caffemodel, tmp_path / "damaged.caffemodel", data))


@pytest.mark.parametrize("name", ["tiny_v2.caffemodel.h5", "tiny_iter_3.solverstate.h5"])
@FUZZ
@given(hurt=damage())
def test_damaged_hdf5(golden, tmp_path, name, hurt):
    data = hurt((golden / "formats" / name).read_bytes())
    attempt(read_solverstate if "state" in name else read_caffemodel, tmp_path / "damaged.h5", data)


@FUZZ
@given(hurt=damage())
def test_damaged_solverstates_and_means(golden, tmp_path, hurt):
    for read, name in ((read_solverstate, "tiny_iter_3.solverstate"), (read_blob, "mean.binaryproto")):
        attempt(read, tmp_path / "damaged", hurt((golden / "formats" / name).read_bytes()))


@pytest.mark.parametrize("name", ["tiny_v0", "tiny_v1", "tiny_v2", "tiny_train"])
@FUZZ
@given(hurt=damage())
def test_damaged_prototxts(golden, tmp_path, name, hurt):
    data = hurt((golden / "formats" / f"{name}.prototxt").read_bytes())
    for read in (read_prototxt, read_solver):
        attempt(lambda path, read=read: read(path, []), tmp_path / "damaged.prototxt", data)


@FUZZ
@given(data=st.binary(max_size=200))
@example(b"")
@example(b"\xa2\x06\x00")
def test_made_up_bytes(tmp_path, data):
    path = tmp_path / "made-up"
    for read in (read_caffemodel, read_solverstate, read_blob, lambda path: read_prototxt(path, [])):
        attempt(read, path, data)
    attempt(read_caffemodel, path, b"\x89HDF\r\n\x1a\n" + data)


TOKENS = """layer layers name type { } < > : [ ] , "x" ' 1 - 1e9 RELU input input_dim blobs data convolution_param pad
    solver_type # \\ """


@FUZZ
@given(tokens=st.lists(st.sampled_from([*TOKENS.split(), "\n"]), max_size=30))
def test_made_up_text(tmp_path, tokens):
    path = tmp_path / "made-up.prototxt"
    for read in (read_prototxt, read_solver):
        attempt(lambda path, read=read: read(path, []), path, " ".join(tokens).encode())


def model_with(blob):
    """The bytes of a caffemodel of one layer "fc" with the one blob given by its bytes."""
    layer = header(1, 2) + b"fc" + header(7, len(blob)) + blob
    return header(100, len(layer)) + layer


def shape(*dims):
    packed = b"".join(varint(dim & (1 << 64) - 1) for dim in dims)
    body = header(1, len(packed)) + packed
    return header(7, len(body)) + body


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (shape(1 << 40), "needs 1099511627776 floats, but 0 are there"),
        (shape(1 << 62, 1 << 62, 4), "needs"),
        (shape(-3, -2) + header(5, 24) + bytes(24), "negative"),
        (shape(*[1] * 40) + header(5, 4) + bytes(4), "32 axes"),
        (shape(2, 3) + header(5, 20) + bytes(20), "needs 6 floats, but 5 are there"),
        (shape(0, 1 << 40, 1 << 40), "has more numbers than a blob of Caffe's may hold"),
        (shape(2) + header(5, 7) + bytes(7), "no whole number"),
        (shape(1) + header(5, 1 << 40) + bytes(4), "claims 1099511627776 bytes"),
        (shape(1) + b"\x2d\0\0", "claims 4 bytes and 2 are left"),
        (shape(1) + (header(5, 4) + bytes(4)) * 100, "more than 64 fields"),
        (b"\x08\x02\x10\x02\x18\x02\x20" + varint(-1 & (1 << 64) - 1) + header(5, 32) + bytes(32), "negative"),
        (b"\xff" * 30, "byte"),
        (b"\x2b\x2c", "wire type"),
    ],
)
def test_blobs_that_lie_are_refused_before_anything_is_allocated(tmp_path, blob, reason):
    path = tmp_path / "liar.caffemodel"
    tracemalloc.start()
    try:
        message = refusal(read_caffemodel, path, model_with(blob))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert reason in message
    assert "layer 'fc', blob 0" in message or "byte" in message


def test_many_small_things_take_little(tmp_path):
    path = tmp_path / "many.caffemodel"
    assert "fields" in refusal(read_caffemodel, path, b"\xa2\x06\x00" * 70_000)  # empty layers
    bottom = header(3, 1 << 20) + bytes(1 << 20)
    layer = header(100, len(bottom)) + bottom
    assert "implausibly large" in refusal(read_caffemodel, path, layer * 5)


def test_a_name_that_is_no_text(tmp_path):
    layer = header(1, 2) + b"\xff\xfe"
    assert "UTF-8" in refusal(read_caffemodel, tmp_path / "a.caffemodel", header(100, len(layer)) + layer)


def test_deep_messages_end(tmp_path):
    body = b""
    for _ in range(500):  # layer_param fields inside each other, where the schema has none
        body = header(100, len(body)) + body
    attempt(read_caffemodel, tmp_path / "deep.caffemodel", body)


def test_a_truncated_caffemodel_says_where(golden, tmp_path):
    data = (golden / "formats" / "tiny_v2.caffemodel").read_bytes()
    message = refusal(read_caffemodel, tmp_path / "half.caffemodel", data[: len(data) // 2])
    assert "byte" in message
    assert "truncated" in message


def test_the_required_is_required(tmp_path):
    net = NetParameter()
    net.layer.add(name="clip", type="Clip").clip_param.min = 0
    data = net.SerializePartialToString()
    assert "clip_param.max" in refusal(read_caffemodel, tmp_path / "clip.caffemodel", data)
    with pytest.raises(CaffeFileError, match="clip_param.max"):
        read_prototxt('layer { name: "clip" type: "Clip" clip_param { min: 0 } }')


def hdf5_refusal(path, build):
    with h5py.File(path, "w") as file:
        build(file.create_group("data/fc"))
    with pytest.raises(CaffeFileError) as caught:
        read_caffemodel(path)
    assert "/data/fc" in str(caught.value)
    return str(caught.value)


def test_hdf5_that_leads_elsewhere_is_refused(golden, tmp_path):
    path, other = tmp_path / "net.caffemodel.h5", golden / "formats" / "tiny_v2.caffemodel.h5"

    def link(kind):
        return lambda group: group.__setitem__("0", kind)

    assert "link" in hdf5_refusal(path, link(h5py.ExternalLink(other, "/data/fc6/0")))
    assert "link" in hdf5_refusal(path, link(h5py.SoftLink("/data/fc6/0")))

    def virtual(group):
        layout = h5py.VirtualLayout((9,), "<f4")
        layout[:] = h5py.VirtualSource(str(other), "data/fc6/1", (9,))
        group.create_virtual_dataset("0", layout)

    assert "another file" in hdf5_refusal(path, virtual)

    def external(group):
        group.create_dataset("0", (4,), "<f4", external=[(str(other), 0, 16)])

    assert "another file" in hdf5_refusal(path, external)


def test_hdf5_that_claims_too_much_is_refused(tmp_path):
    path = tmp_path / "bomb.caffemodel.h5"

    def never_written(group):
        group.create_dataset("0", (1 << 40,), "<f4")

    def compressed(group):
        group.create_dataset("0", (1 << 24,), "<f4", chunks=(1 << 20,), compression="gzip", fillvalue=0)[:] = 0

    def many_names(group):
        group["0"] = np.zeros(1000, np.float32)
        for i in range(1, 100):
            group[str(i)] = group["0"]

    for build in (never_written, compressed, many_names):
        assert "far more than the file holds" in hdf5_refusal(path, build)


@pytest.mark.parametrize("values", [np.arange(3), np.array([b"text"]), h5py.Empty("<f4")])
def test_hdf5_that_holds_no_floats_is_refused(tmp_path, values):
    hdf5_refusal(tmp_path / "net.caffemodel.h5", lambda group: group.create_dataset("0", data=values))


def test_hdf5_with_a_blob_missing_is_refused(tmp_path):
    message = hdf5_refusal(tmp_path / "net.caffemodel.h5", lambda group: group.create_dataset("1", data=np.float32([1])))
    assert "/data/fc/0: is missing" in message


def test_large_text_is_refused_unread(tmp_path):
    path = tmp_path / "huge.prototxt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CaffeFileError, match="larger than any prototxt"):
        read_prototxt(path)


def test_unpacked_floats_in_short_runs_take_no_time(tmp_path):
    # One unpacked float, then another field, over and over: refused early instead of being looked through again and again.
    piece = b"\x2d" + struct.pack("<f", 1) + b"\x08\x01"
    assert "more than 64 fields" in refusal(read_caffemodel, tmp_path / "runs.caffemodel", model_with(piece * 100_000))
