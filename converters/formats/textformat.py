"""Protobuf's text format, as prototxts use it: text to a tree, and the tree into a message.

What the schema does not have is told by name and line; protobuf's own parser stops at it, or passes over it in silence.
"""

import re
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from converters.caffe_pb2 import LayerParameter, V1LayerParameter
from converters.formats.wire import Malformed

Field = Any  # a FieldDescriptor; protobuf's stubs have two classes of that name
MAX_DEPTH = 64
_SKIP = re.compile(r"(?:\s|#[^\n]*)*")
_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<atom>-?[ \t]*(?:[\w.]|(?<=[0-9.][eE])[-+])+)
      | (?P<mark>[{}<>\[\]:,;])""",
    re.VERBOSE | re.ASCII,
)
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|-?(?:inf|infinity|nan)", re.IGNORECASE)
_INTEGER = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+)")
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))")
_ESCAPED = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))
_BOOLS = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}


class Node(NamedTuple):
    """A field as written. `value` is a list of nodes for a message, a str for a bare word or number, bytes for a string."""

    name: str
    value: Any
    line: int


class Unknown(NamedTuple):
    """A field, or an enum's value, that the schema does not have.

    path: "convolution_param.engine"; word: the value, where the field is known; line: its line; layer, index: the layer
    message that it stands in and that layer's number in the net, or None and None.
    """

    path: str
    word: str
    line: int
    layer: LayerParameter | V1LayerParameter | None
    index: int | None  # type: ignore[assignment]  # hides tuple.index, which nobody asks

    def __str__(self) -> str:
        text = f"{self.path}{f': {self.word}' if self.word else ''} (line {self.line})"
        if self.layer is None:
            return text
        named = self.layer.layer if isinstance(self.layer, V1LayerParameter) and self.layer.HasField("layer") else self.layer
        return f"layer '{named.name}': {text}"


Where = tuple[LayerParameter | V1LayerParameter | None, int | None]  # a layer message, and its number in the net


class _Tokens:
    """The text's tokens in turn: the one that stands next in `kind` ("string", "atom", "mark", "end"), `text` and `line`."""

    def __init__(self, source: str):
        self.source, self.at, self.line = source, 0, 1
        self.kind: str | None = None
        self.advance()

    def advance(self) -> None:
        start = _SKIP.match(self.source, self.at).end()  # type: ignore[union-attr]  # it matches any text
        self.line += self.source.count("\n", self.at, start)
        self.at = start
        if start == len(self.source):
            self.kind, self.text = "end", ""
            return
        match = _TOKEN.match(self.source, start)
        if match is None:
            rest = self.source[start : start + 20].splitlines()[0]
            raise self.error(f"{rest!r} is not closed" if rest[0] in "\"'" else f"{rest!r} is not understood")
        self.kind, self.text, self.at = match.lastgroup, match[0], match.end()

    def take(self, marks: str) -> str:
        """Step over one of the marks if it stands next, and return it."""
        if self.kind == "mark" and self.text in marks:
            mark = self.text
            self.advance()
            return mark
        return ""

    def error(self, reason: str) -> Malformed:
        return Malformed(reason, f"line {self.line}")

    def expected(self, what: str) -> Malformed:
        found = "the end of the text" if self.kind == "end" else repr(self.text[:40])
        return self.error(f"{found} stands where {what} belongs")


def parse_tree(source: str) -> list[Node]:
    """The nodes of a text; raises `Malformed` with the line where it is not text format."""
    return _nodes(_Tokens(source), "", 0)


def _nodes(tokens: _Tokens, closing: str, depth: int) -> list[Node]:
    if depth > MAX_DEPTH:
        raise tokens.error(f"nested deeper than {MAX_DEPTH}")
    nodes: list[Node] = []
    while not (tokens.take(closing) if closing else tokens.kind == "end"):
        if tokens.kind != "atom" or not tokens.text.isidentifier():
            raise tokens.expected("a field's name" + (f" or '{closing}'" if closing else ""))
        name, line = tokens.text, tokens.line
        tokens.advance()
        colon = tokens.take(":")
        if colon and tokens.take("["):
            while not tokens.take("]"):
                nodes.append(Node(name, _value(tokens, colon, depth), line))
                if not tokens.take(",") and tokens.text != "]":
                    raise tokens.expected("',' or ']'")
        else:
            nodes.append(Node(name, _value(tokens, colon, depth), line))
        tokens.take(",;")
    return nodes


def _value(tokens: _Tokens, colon: str, depth: int) -> list[Node] | str | bytes:
    if opening := tokens.take("{<"):
        return _nodes(tokens, "}" if opening == "{" else ">", depth + 1)
    if not colon:
        raise tokens.expected("':' or '{'")
    if tokens.kind == "atom":
        word = "".join(tokens.text.split())  # "- 1" is -1
        tokens.advance()
        return word
    text = b""
    if tokens.kind != "string":
        raise tokens.expected("a value")
    while tokens.kind == "string":  # strings side by side are one
        try:
            text += _ESCAPE.sub(_unescape, tokens.text[1:-1].encode(errors="surrogateescape"))
        except (KeyError, ValueError):
            raise tokens.error(f"{tokens.text[:40]} holds an unknown escape") from None
        tokens.advance()
    return text


def _unescape(match: re.Match[bytes]) -> bytes:
    octal, digits, letter = match.groups()
    return bytes([int(octal, 8) if octal else int(digits, 16) if digits else _ESCAPED[ord(letter)]])


def fill(message: Message, nodes: list[Node]) -> list[Unknown]:
    """Set `message` from nodes; returns the `Unknown`s among them.

    Raises `Malformed` with the line for a value that its field cannot have and for a field given twice.
    """
    unknown: list[Unknown] = []
    _fill(message, nodes, "", (None, None), unknown)
    return unknown


def _fill(message: Message, nodes: list[Node], prefix: str, layer: Where, unknown: list[Unknown]) -> None:
    for node in nodes:
        path, where = prefix + node.name, f"line {node.line}"
        field = message.DESCRIPTOR.fields_by_name.get(node.name)
        if field is None:
            unknown.append(Unknown(path, "", node.line, *layer))
            continue
        target = getattr(message, node.name)
        repeated = hasattr(target, "append")
        if not repeated and message.HasField(node.name):
            raise Malformed(f"{path} is given twice", where)
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if not isinstance(node.value, list):
                raise Malformed(f"{path} needs {{ ... }}", where)
            inner = target.add() if repeated else target
            inner.SetInParent()
            if isinstance(inner, (LayerParameter, V1LayerParameter)):
                _fill(inner, node.value, "", (inner, len(target) - 1), unknown)
            else:
                _fill(inner, node.value, f"{path}.", layer, unknown)
            continue
        if field.type == FieldDescriptor.TYPE_ENUM and _fork_word(field, node):
            unknown.append(Unknown(path, node.value, node.line, *layer))
            continue
        try:
            value = _convert(field, node.value)
            if repeated:
                target.append(value)
            else:
                setattr(message, node.name, value)
        except (ValueError, TypeError, KeyError):
            raise Malformed(f"{path} {_complaint(field, node.value)}", where) from None


def _fork_word(field: Field, node: Node) -> bool:
    """Is the value a word or number that this enum lacks, as a fork's would be?"""
    names, numbers = field.enum_type.values_by_name, field.enum_type.values_by_number
    if not isinstance(node.value, str) or node.value in names:
        return False
    return int(node.value) not in numbers if _INTEGER.fullmatch(node.value) else node.value.isidentifier()


def _convert(field: Field, value: Any) -> Any:
    """A node's value as `field` takes it; ValueError, TypeError or KeyError where it cannot."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return value.decode() if isinstance(value, bytes) else None
    if field.type == FieldDescriptor.TYPE_BYTES:
        return value if isinstance(value, bytes) else None
    if not isinstance(value, str):
        raise TypeError
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _BOOLS[value]
    if field.type == FieldDescriptor.TYPE_ENUM and not _INTEGER.fullmatch(value):
        return field.enum_type.values_by_name[value].number
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        value = value.removesuffix("f") if value[-1:] == "f" and value[-2:-1] in "0123456789." else value
        if not _NUMBER.fullmatch(value):
            raise ValueError
        return float(value)
    if not _INTEGER.fullmatch(value):
        raise ValueError
    digits = value.lstrip("-").lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") and len(digits) > 1 else 10
    return int(value, base)


def _complaint(field: Field, value: Any) -> str:
    """What is wrong with a value, and what its field takes."""
    if isinstance(value, list):
        return "needs a value, not { ... }"
    shown = repr(value.decode(errors="replace")) if isinstance(value, bytes) else value
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"needs UTF-8 text in quotes, not {shown[:40]}"
    if field.type == FieldDescriptor.TYPE_ENUM:
        names = list(field.enum_type.values_by_name)
        return f"needs a word such as {names[-1]}, without quotes, not {shown[:40]}"
    kind = {FieldDescriptor.CPPTYPE_BOOL: "true or false", FieldDescriptor.CPPTYPE_FLOAT: "a number"}
    return f"needs {kind.get(field.cpp_type, 'an integer in range')}, not {shown[:40]}"
