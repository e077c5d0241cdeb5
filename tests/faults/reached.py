"""Damaged files that together run every line of the code that a search for faults has reached, for each reader.

A line of a file of ``corpus/reached`` is a damaged file, compressed and in base 64.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus" / "reached"
MOST_BYTES = 60_000  # for a reader, as written

Lines = set[tuple[str, int]]


def read_reached(reader: str) -> list[bytes]:
    """Return the files that are kept for a reader."""
    path = _path(reader)
    lines = path.read_text().split() if path.exists() else []
    return [zlib.decompress(base64.b64decode(line)) for line in lines]


def write_reached(reader: str, files: Sequence[bytes]) -> None:
    """Keep files for a reader, from the first on, as many as there is room for."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text, room = "", MOST_BYTES
    for data in files:
        line = base64.b64encode(zlib.compress(data, 9)).decode() + "\n"
        if len(line) <= room:
            text, room = text + line, room - len(line)
    _path(reader).write_text(text)


def shortest_for_all_lines(files: Sequence[bytes], reached: Sequence[Lines]) -> list[bytes]:
    """Return files that together run every line, the shortest first: each runs one that none before it does."""
    kept, known = [], set[tuple[str, int]]()
    for data, lines in sorted(zip(files, reached, strict=True), key=lambda pair: len(pair[0])):
        if lines - known:
            kept.append(data)
            known |= lines
    return kept


def _path(reader: str) -> Path:
    return FOLDER / f"{reader.replace(' ', '_')}.txt"
