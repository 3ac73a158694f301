"""Net and solver descriptions (.prototxt), read in any generation and written in today's."""

import os
import warnings
from pathlib import Path
from typing import TypeGuard

from google.protobuf import text_format
from google.protobuf.message import Message

from converters.caffe_pb2 import NetParameter, SolverParameter
from converters.files import FilePath, atomic_write
from converters.formats.textformat import fill, parse_tree
from converters.formats.upgrade import upgrade_net, upgrade_solver
from converters.formats.wire import Malformed, blame, check_complete, check_file

MAX_TEXT = 4 << 20  # bytes; a thousand-layer ResNet takes a quarter of it


class UnknownFieldWarning(UserWarning):
    """A prototxt says something that Caffe 1.0 does not know; one line names all of it."""


def read_prototxt(path_or_text: FilePath, unknown: list[str] | None = None) -> NetParameter:
    """The NetParameter that a prototxt describes, upgraded from V0, V1 or the old input fields as Caffe upgrades it.

    A str with a newline or a "{", or with a ":" and no file of that name, is the text itself; anything else is a path.
    Fields, values and types that Caffe 1.0 does not know (a fork's) are left out of the net and named, with layer and line:
    appended to the list `unknown`, or, without one, in an `UnknownFieldWarning`. A Python layer's param_str stays text.
    Raises `CaffeFileError` with the line.
    """
    with blame(_name(path_or_text)):
        net = NetParameter()
        found = fill(net, parse_tree(_text(path_or_text)))
        if not (net.layer or net.layers) and found:
            raise Malformed(f"describes no layers, but has {found[0]}; a net is expected here")
        forks = {item.index: item.word for item in found if item.path == "type" and item.word}
        lines = [str(item) for item in found if not (item.path == "type" and item.word)]
        upgrade_net(net, forks, lines)
        check_complete(net)
    _tell(_name(path_or_text), lines, unknown)
    return net


def read_solver(path_or_text: FilePath, unknown: list[str] | None = None) -> SolverParameter:
    """The SolverParameter in a solver prototxt; the old solver_type becomes type, a missing snapshot_prefix the file's name.

    Arguments, unknown fields and errors as for `read_prototxt`.
    """
    with blame(_name(path_or_text)):
        solver = SolverParameter()
        found = fill(solver, parse_tree(_text(path_or_text)))
        if nets := [item for item in found if item.path in ("layer", "layers")]:
            raise Malformed("describes a net; a solver is expected here", f"line {nets[0].line}")
        upgrade_solver(solver)
        check_complete(solver)
    if not _is_text(path_or_text):
        _default_prefix(solver, Path(path_or_text))
    _tell(_name(path_or_text), [str(item) for item in found], unknown)
    return solver


def format_prototxt(message: Message) -> str:
    """A NetParameter (without its blobs) or a SolverParameter as prototxt text."""
    bare = type(message)()
    bare.CopyFrom(message)
    for layer in getattr(bare, "layer", ()):
        layer.ClearField("blobs")
    return text_format.MessageToString(bare, as_utf8=True)


def write_prototxt(path: FilePath, message: Message) -> None:
    """Write a NetParameter (without its blobs) or a SolverParameter as a prototxt. Raises CaffeFileError where it cannot."""
    with atomic_write(path) as temporary:
        temporary.write_text(format_prototxt(message), encoding="utf-8")


def _is_text(path_or_text: FilePath) -> TypeGuard[str]:
    if not isinstance(path_or_text, str):
        return False
    return any(mark in path_or_text for mark in "\n{") or (":" in path_or_text and not os.path.exists(path_or_text))


def _name(path_or_text: FilePath) -> FilePath:
    return "prototxt text" if _is_text(path_or_text) else path_or_text


def _text(path_or_text: FilePath) -> str:
    if _is_text(path_or_text):
        data = path_or_text.encode(errors="surrogateescape")
    else:
        check_file(path_or_text)
        if os.path.getsize(path_or_text) > MAX_TEXT:
            raise Malformed(f"is larger than any prototxt ({MAX_TEXT >> 20} MB); weights are read as a caffemodel")
        data = Path(path_or_text).read_bytes()
    if any(byte < 32 and byte not in b"\t\n\v\f\r" for byte in data[:256]):
        raise Malformed("is binary (a caffemodel?), not a prototxt; are the arguments swapped?")
    if len(data) > MAX_TEXT:
        raise Malformed(f"is larger than any prototxt ({MAX_TEXT >> 20} MB)")
    # Comments come in every encoding; names and paths must be UTF-8, and `fill` says so where they are not.
    return data.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape")


def _default_prefix(solver: SolverParameter, path: Path) -> None:
    """Snapshots are named after the solver's file unless it says otherwise (UpgradeSnapshotPrefixProperty)."""
    if not solver.HasField("snapshot_prefix"):
        solver.snapshot_prefix = str(path.with_suffix(""))
    elif os.path.isdir(solver.snapshot_prefix):
        solver.snapshot_prefix = os.path.join(solver.snapshot_prefix, path.stem)


def _tell(name: FilePath, lines: list[str], unknown: list[str] | None) -> None:
    lines = list(dict.fromkeys(lines))
    if unknown is not None:
        unknown += lines
    elif lines:
        shown = "; ".join(lines[:20]) + (f"; and {len(lines) - 20} more" if len(lines) > 20 else "")
        warnings.warn(f"{name}: not known to Caffe 1.0: {shown}", UnknownFieldWarning, stacklevel=3)
