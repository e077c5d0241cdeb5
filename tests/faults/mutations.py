"""Damage to a file: bytes cut, flipped, doubled and moved, and words that number readers trip over."""

from __future__ import annotations

import random

# What has no place in a sound file, and what a reader may take for something else.
WORDS = (
    b"NaN", b"-Infinity", b"1e400", b"-0", b"1_000", b"0x10", b"9" * 400, b"null", b"true", b"[]", b"{}", b'""',
    b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\x1b[2J", b"\r", b"\n\n", b"%", b",", b'"', b"'", b"\\", b"[" * 2000,
    b"\xe2\x80\xae",     b"&a [*a]", b"<<: *a", b"!!python/object:os.system", b"=cmd()", b"../../x",
    b"\xd9\xa1\xd9\xa2",
)  # fmt: skip


def mutated(data: bytes, generator: random.Random) -> bytes:
    """Return a file with one to three kinds of damage."""
    for _ in range(generator.randint(1, 3)):
        data = generator.choice(KINDS)(data, generator)
    return data


def _cut(data: bytes, generator: random.Random) -> bytes:
    return data[: generator.randint(0, len(data))]


def _flip(data: bytes, generator: random.Random) -> bytes:
    if not data:
        return data
    at = generator.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def _stretch(data: bytes, generator: random.Random) -> slice:
    low = generator.randint(0, len(data))
    return slice(low, low + generator.randint(1, 40))


def _remove(data: bytes, generator: random.Random) -> bytes:
    gone = _stretch(data, generator)
    return data[: gone.start] + data[gone.stop :]


def _double(data: bytes, generator: random.Random) -> bytes:
    again = _stretch(data, generator)
    return data[: again.stop] + data[again] + data[again.stop :]


def _insert(data: bytes, generator: random.Random) -> bytes:
    at = generator.randint(0, len(data))
    return data[:at] + generator.choice(WORDS) + data[at:]


def _replace_number(data: bytes, generator: random.Random) -> bytes:
    digits = [at for at, byte in enumerate(data[:100_000]) if chr(byte).isdigit()]
    if not digits:
        return data
    at = end = generator.choice(digits)
    while end < len(data) and data[end : end + 1] in b"0123456789.eE+-":
        end += 1
    return data[:at] + generator.choice(WORDS) + data[end:]


KINDS = (_cut, _flip, _remove, _double, _insert, _replace_number)
