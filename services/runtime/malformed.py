"""Requests that are no valid message: found before any servicer sees them, and said which field.

gRPC answers a request that it cannot parse with a bare INTERNAL. Here parsing gives a `Malformed`
in the request's place, and `CallScope` answers it like any other value out of range.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from services.runtime.errors import InvalidArgument

_LENGTH_DELIMITED = 2  # wire type of strings, bytes and messages
_DEEPEST = 32
"""Messages within messages that are searched for the field; no contract has as many."""


class Malformed(InvalidArgument):
    """The request is not a message of the method's type."""

    reason = "REQUEST_MALFORMED"


class TextNotUtf8(InvalidArgument):
    """A text in the request is not valid UTF-8."""

    reason = "TEXT_NOT_UTF8"


Deserializer = Callable[[bytes], Any]


def guarded(deserialize: Deserializer | None) -> Deserializer | None:
    """A deserializer that returns the error in place of the message instead of raising it."""
    if deserialize is None:  # bytes that are forwarded unread
        return None
    descriptor: Descriptor | None = getattr(
        getattr(deserialize, "__self__", None), "DESCRIPTOR", None
    )

    def parse(data: bytes) -> object:
        try:
            return deserialize(data)
        except DecodeError:
            field = _field_not_utf8(data, descriptor, _DEEPEST) if descriptor else ""
            if field:
                return TextNotUtf8(
                    f"{field} is not valid UTF-8; send text encoded as UTF-8", field=field
                )
            return Malformed("the request is not a valid message of this method's request type")

    return parse


def _field_not_utf8(data: bytes, descriptor: Descriptor, deepest: int) -> str:
    """Path of the first string field whose bytes are not UTF-8; empty where none is found."""
    shell = Empty()
    try:
        shell.ParseFromString(data)  # keeps every field as unknown bytes
    except DecodeError:
        return ""
    places: Counter[int] = Counter()
    unknowns: Iterable[Any] = UnknownFieldSet(shell)  # type: ignore[assignment]
    for unknown in unknowns:
        field = descriptor.fields_by_number.get(unknown.field_number)
        if field is None or unknown.wire_type != _LENGTH_DELIMITED:
            continue
        name = f"{field.name}[{places[field.number]}]" if field.is_repeated else field.name
        places[field.number] += 1
        if field.type == FieldDescriptor.TYPE_STRING:
            try:
                unknown.data.decode()
            except UnicodeDecodeError:
                return name
        elif field.message_type is not None and deepest:
            inner = _field_not_utf8(unknown.data, field.message_type, deepest - 1)
            if inner:
                return f"{name}.{inner}"
    return ""
