"""The metrics file of a run: one JSON object a line, appended and flushed to disk.

A kill can leave the last line torn. Reading stops before a torn line, and a resumed run first cuts
it off. What was evaluated once is never evaluated or written again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Append a row and wait until it is on the disk."""
    with open(path, "ab") as stream:
        stream.write(json.dumps(row, allow_nan=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the complete rows; none if there is no file."""
    return _complete_rows(path)[0]


def cut_torn(path: Path) -> list[dict[str, Any]]:
    """Cut off a torn last line and return the complete rows."""
    rows, end = _complete_rows(path)
    if path.exists():
        os.truncate(path, end)
    return rows


def _complete_rows(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the complete rows and the byte offset of their end."""
    rows: list[dict[str, Any]] = []
    end = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        rows.append(row)
        end += len(line)
    return rows, end
