"""The metrics file of a run has one JSON object a line, appended and flushed to disk.

A kill can leave the last line torn. Reading stops before a torn line, and a resumed run first cuts
it off. What was evaluated once is never evaluated or written again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from cmrplan.files import read_bytes


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row and wait until it is on the disk."""
    with open(path, "ab") as stream:
        stream.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows; none if there is no file."""
    return [row for row, _ in _rows_with_end(path)]


def cut_torn(path: Path) -> list[dict[str, Any]]:
    """Cut off a torn last line and return the complete rows."""
    return cut_back(path)


def cut_back(path: Path, *, last_step: float = math.inf) -> list[dict[str, Any]]:
    """Cut off a torn last line and all rows from the first after ``last_step`` on; return the rest."""
    kept = list(takewhile(lambda pair: pair[0]["step"] <= last_step, _rows_with_end(path)))
    if path.exists():
        os.truncate(path, kept[-1][1] if kept else 0)
    return [row for row, _ in kept]


def _rows_with_end(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield each complete row and the byte offset of its end."""
    end = 0
    content = read_bytes(path) if path.exists() else b""
    for line in content.splitlines(keepends=True):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return
        if not (line.endswith(b"\n") and isinstance(row, dict)):
            return
        end += len(line)
        yield row, end
