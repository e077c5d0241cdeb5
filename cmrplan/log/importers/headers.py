"""The names of the columns of a table, as far as recognising its format needs them."""

from __future__ import annotations

from pathlib import Path

from cmrplan.errors import InputError
from cmrplan.log.parquet import parquet_columns

_PARQUET = b"PAR1"


def column_names(path: Path, head: bytes) -> list[str]:
    """Return the columns of a CSV or Parquet file, none where it is neither or cannot be read."""
    if not head.startswith(_PARQUET):
        return header_of(head)
    try:
        return parquet_columns(path, path.name)
    except InputError:
        return []


def header_of(head: bytes) -> list[str]:
    """Return the names in the first line of a CSV file, none where it is no text."""
    try:
        line = head.decode("utf-8-sig", errors="strict" if len(head) < 1000 else "ignore").split(
            "\n", 1
        )[0]
    except UnicodeDecodeError:
        return []
    return (
        [name.strip().strip('"') for name in line.strip().split(",")]
        if line.isprintable() or "\r" in line
        else []
    )
