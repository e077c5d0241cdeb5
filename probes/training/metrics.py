"""The metrics file of a run: one JSON object a line, appended and flushed to disk.

A kill can leave the last line torn. Reading stops before a torn line, and a resumed run first cuts
the file back to the rows its checkpoint knows.
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
    return [row for row, _ in _rows_with_end(path)]


def cut_back(path: Path, *, last_step: int) -> list[dict[str, Any]]:
    """Drop rows after ``last_step`` and a torn last line; return the rows that stay."""
    kept = [(row, end) for row, end in _rows_with_end(path) if row["step"] <= last_step]
    if path.exists():
        os.truncate(path, kept[-1][1] if kept else 0)
    return [row for row, _ in kept]


def _rows_with_end(path: Path) -> list[tuple[dict[str, Any], int]]:
    """Return each complete row and the byte offset of its end."""
    rows: list[tuple[dict[str, Any], int]] = []
    end = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        end += len(line)
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n"):
            break
        rows.append((row, end))
    return rows
