"""The wire format of protocol buffers, as far as a log needs it: the fields of one message, one after the other.

The format is fixed (protobuf.dev/programming-guides/encoding), and a log needs a dozen of its fields, so nothing has
to be installed for it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from cmrplan.errors import InputError

Field = tuple[int, int | bytes]
"""The number of a field, and its value: a whole number, or the bytes of a fixed-width number, a text or a message."""

_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT = 10


class NotAMessage(InputError):
    """Bytes that are no message; whoever reads a file says which."""


def fields(message: bytes) -> Iterator[Field]:
    """Yield the fields of a message.

    Raises
    ------
    NotAMessage
        If the bytes end inside a field, or are none.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        else:
            size = {_EIGHT: 8, _FOUR: 4}.get(kind, -1)
        if size < 0 or at + size > len(message):
            raise NotAMessage("a field ends outside its message")
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(_LONGEST_VARINT):
        if at + index >= len(message):
            raise NotAMessage("a number ends outside its message")
        byte = message[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise NotAMessage("a number has too many bytes")


def signed(value: int | bytes) -> int:
    """Return the 64-bit integer with a sign that a field holds."""
    number = _whole(value)
    return number - 2**64 if number >= 2**63 else number


def text(value: int | bytes) -> str:
    """Return the text that a field holds."""
    try:
        return _bytes(value).decode()
    except UnicodeDecodeError:
        raise NotAMessage("a text is not UTF-8") from None


def inner(value: int | bytes) -> Iterator[Field]:
    """Yield the fields of a message that a field holds."""
    return fields(_bytes(value))


def floats(value: int | bytes, kind: str) -> list[float]:
    """Return the numbers that a field holds; ``kind`` is ``f`` for 32 bits, ``d`` for 64 bits."""
    data = _bytes(value)
    if len(data) % struct.calcsize(kind):
        raise NotAMessage("numbers end outside their field")
    return [number for (number,) in struct.iter_unpack(f"<{kind}", data)]


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise NotAMessage("a field holds a number instead of bytes")
    return value


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise NotAMessage("a field holds bytes instead of a number")
    return value
