"""A Parquet file as a frame: its own columns, whatever pandas noted about them."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.files import require_regular
from cmrplan.log.cells import UnreadableLog, check_number, unreadable

MOST_PARQUET_ROWS = 5_000_000
MOST_PARQUET_BYTES = 2**31  # in memory; a file of repeated cells may be a millionth of that
PARQUET_BATCH_ROWS = 1024


def read_parquet(path: str | os.PathLike[str], source: str) -> pd.DataFrame:
    """Return the columns of a Parquet file; messages call it ``source``.

    Raises
    ------
    UnreadableLog
        If it is no file or no whole Parquet file, has more cells than a log can have, or pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise needs_pyarrow(source) from None
    try:
        require_regular(path)
        with open(path, "rb") as stream:
            _check_shape(pyarrow.parquet.read_metadata(stream), source)
            stream.seek(0)
            stored = pyarrow.parquet.ParquetFile(stream)
            table = pyarrow.Table.from_batches(_batches(stored, source), stored.schema_arrow)
        table.validate(full=True)  # texts that are none would be found when they are used
        # The columns are the file's own, whatever pandas noted about them, and integers beside nulls stay exact.
        frame = table.to_pandas(ignore_metadata=True, integer_object_nulls=True)
    except UnreadableLog:
        raise
    except InputError as error:
        raise unreadable(Code.UNREADABLE_FILE, source, str(error)) from None
    except (pyarrow.ArrowException, OSError, ValueError):
        raise _not_whole(source) from None
    return pd.DataFrame(frame)


def parquet_columns(path: str | os.PathLike[str], source: str) -> list[str]:
    """Return the names of the columns of a Parquet file, without its rows; see :func:`read_parquet`."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise needs_pyarrow(source) from None
    try:
        return [str(name) for name in pyarrow.parquet.read_schema(path).names]
    except (pyarrow.ArrowException, OSError, ValueError):
        raise _not_whole(source) from None


def _not_whole(source: str) -> UnreadableLog:
    message = f"{source} is not a whole Parquet file; write it again"
    return unreadable(Code.BAD_PARQUET, source, message)


def _check_shape(metadata: Any, source: str) -> None:
    """Refuse a Parquet file that says it has more cells than a log can have, before they take the memory."""
    if metadata.num_rows > MOST_PARQUET_ROWS:
        raise unreadable(
            Code.BAD_PARQUET,
            source,
            f"{source} has {metadata.num_rows:,} rows; a probe log has at most {MOST_PARQUET_ROWS:,}",
        )
    check_number(metadata.num_columns, source)


def _batches(stored: Any, source: str) -> list[Any]:
    """Return the rows of a Parquet file, or refuse those that are far larger unpacked than any log."""
    batches, size = [], 0
    for batch in stored.iter_batches(batch_size=PARQUET_BATCH_ROWS):
        size += batch.nbytes
        if size > MOST_PARQUET_BYTES:
            raise unreadable(
                Code.BAD_PARQUET,
                source,
                f"{source} takes more than {MOST_PARQUET_BYTES >> 30} GiB of memory; a probe log has a row of numbers "
                "and short names for each evaluation, so leave out other columns",
            )
        batches.append(batch)
    return batches


def needs_pyarrow(source: str) -> UnreadableLog:
    """Return the error for Parquet without pyarrow."""
    return unreadable(
        Code.NEEDS_PYARROW,
        source,
        f"{source}: Parquet needs pyarrow; pip install 'cmrplan[parquet]', or use .csv or .jsonl",
    )
