"""Damage to a file: bytes cut, flipped, doubled and moved, and words that number readers trip over.

Edits leave a JSON file, or each line of JSON, what it is by its syntax, and change what it says.
"""

from __future__ import annotations

import copy
import json
import random
from typing import Any

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


def edited(data: bytes, generator: random.Random) -> bytes:
    """Return a file of JSON, or of lines of JSON, whose content was edited once."""
    lines = _lines(data)
    if len(lines) > 1 and generator.random() < 0.3:
        return _joined(_shuffled(lines, generator))
    at = generator.randrange(len(lines))
    value = json.loads(lines[at])
    while True:
        other = copy.deepcopy(value)
        generator.choice(EDITS)(*generator.choice(list(_parts(other))), generator)
        if json.dumps(other, sort_keys=True) != json.dumps(value, sort_keys=True):
            break
    text = json.dumps(other).encode()
    return text if len(lines) == 1 else _joined([*lines[:at], text, *lines[at + 1 :]])


def _lines(data: bytes) -> list[bytes]:
    try:
        json.loads(data)
    except ValueError:
        return data.splitlines()
    return [data]


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _shuffled(lines: list[bytes], generator: random.Random) -> list[bytes]:
    """Drop, double or move a line; another order of equal lines is none."""
    at, to = generator.sample(range(len(lines)), 2)
    rest = lines[:at] + lines[at + 1 :]
    ways = (rest, [*lines[: at + 1], *lines[at:]], [*rest[:to], lines[at], *rest[to:]])
    return generator.choice(ways)


def _parts(value: Any) -> Any:
    """Yield each container of a JSON value that is not empty, with a key of its."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _parts(value[key])


def _edit_value(part: Any, key: Any, generator: random.Random) -> None:
    value = part[key]
    if isinstance(value, bool) or value is None:
        part[key] = generator.choice([True, False, None, 0])
    elif isinstance(value, int | float):
        part[key] = _other_digit(value, generator)
    elif isinstance(value, str) and value:
        at = generator.randrange(len(value))
        part[key] = value[:at] + generator.choice("0x3.b") + value[at + 1 :]


def _other_digit(value: float, generator: random.Random) -> float:
    text = repr(value)
    at = generator.choice([k for k, letter in enumerate(text) if letter.isdigit()])
    other = text[:at] + generator.choice("123456789") + text[at + 1 :]
    return type(value)(other)


def _rename(part: Any, key: Any, generator: random.Random) -> None:
    if isinstance(part, dict):
        part[key + generator.choice("xs_")] = part.pop(key)


def _drop(part: Any, key: Any, _: random.Random) -> None:
    del part[key]


def _double_entry(part: Any, key: Any, generator: random.Random) -> None:
    if isinstance(part, list):
        part.insert(generator.randint(0, len(part)), copy.deepcopy(part[key]))
    else:
        part[f"{key}_2"] = copy.deepcopy(part[key])


def _swap(part: Any, key: Any, generator: random.Random) -> None:
    other = generator.choice(list(part) if isinstance(part, dict) else range(len(part)))
    part[key], part[other] = part[other], part[key]


EDITS = (_edit_value, _edit_value, _rename, _drop, _double_entry, _swap)
