"""The documents of one file are read lazily, from JSONL, Parquet, Arrow or plain text.

Every reader is an iterator that holds a line, a batch of rows or a document at a time, never the
file. What is wrong with a file is one line that names file, row and field.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cmrplan.errors import InputError, printable
from cmrplan.files import require_regular

BATCH_ROWS = 256
"""Rows of a Parquet file that are in memory at once."""

BLOCK_BYTES = 2**20
"""Bytes of a text file that are read at once."""

MOST_DOCUMENT_BYTES = 2**28
"""Bytes of one document, unpacked: a small compressed file may hold one without end."""

COMPRESSIONS = (".gz", ".zst")
"""Suffixes that may follow that of JSONL and plain text."""


def read_file(path: Path, *, text_field: str, separator: str | None) -> Iterator[str]:
    """Yield the documents of a file.

    Parameters
    ----------
    path : Path
        The file; :func:`file_kind` tells how it is read.
    text_field : str
        The JSONL field, Parquet or Arrow column that holds the text.
    separator : str or None
        What stands between the documents of a plain text file; a file is one document when None.

    Raises
    ------
    InputError
        If the file is gone, no regular file, damaged, or has a row without text; names file, row and field.
    """
    kind = file_kind(path)
    require_regular(path)
    try:
        if kind == "text":
            yield from _read_text(path, separator)
        else:
            yield from _READERS[kind](path, text_field)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowException, gzip.BadGzipFile, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or no {_KIND_NAMES[kind]}: {_first_line(error)}"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or _first_line(error)}") from None


def file_kind(path: Path) -> str:
    """Return ``"jsonl"``, ``"parquet"``, ``"arrow"`` or ``"text"``, as the suffix says."""
    suffix = Path(path.stem).suffix if path.suffix in COMPRESSIONS else path.suffix
    return _KINDS.get(suffix, "text")


def checked_text(value: object, where: str, text_field: str) -> str:
    """Return the text of a row, or refuse what is none.

    Raises
    ------
    InputError
        If ``value`` is not text that UTF-8 can hold; ``where`` names file and row.
    """
    if not isinstance(value, str):
        raise InputError(
            f"{where}: field '{text_field}' must be text, got {json.dumps(value, default=str)[:40]}"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: field '{text_field}' has a lone surrogate, which is not text"
        ) from None
    return value


def _open(path: Path) -> io.BufferedIOBase:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    return open(path, "rb")


def _read_jsonl(path: Path, text_field: str) -> Iterator[str]:
    with _open(path) as stream:
        lines = iter(lambda: stream.readline(MOST_DOCUMENT_BYTES + 1), b"")
        for row, line in enumerate(lines, start=1):
            where = f"{path} row {row}"
            _refuse_endless(len(line), where)
            text = _decoded(line.removeprefix(codecs.BOM_UTF8) if row == 1 else line, where)
            if not text.strip():
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise InputError(f"{where}: not JSON ({problem})") from None
            if not isinstance(record, dict):
                raise InputError(f"{where}: expected a JSON object, got {text.strip()[:40]}")
            if text_field not in record:
                raise InputError(
                    f"{where}: no field '{text_field}'; fields: {', '.join(record)}; set text_field"
                )
            yield checked_text(record[text_field], where, text_field)


def _read_parquet(path: Path, text_field: str) -> Iterator[str]:
    with pq.ParquetFile(path) as stored:
        _check_column(path, stored.schema_arrow.names, text_field)
        batches = stored.iter_batches(batch_size=BATCH_ROWS, columns=[text_field])
        yield from _texts(batches, path, text_field)


def _read_arrow(path: Path, text_field: str) -> Iterator[str]:
    """Read both forms of Arrow IPC: the file, and the stream that ``datasets`` writes."""
    with pa.memory_map(str(path)) as source:
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        reader = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
        _check_column(path, reader.schema.names, text_field)
        if is_file:
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
        else:
            batches = iter(reader)
        yield from _texts(batches, path, text_field)


def _texts(batches: Iterator[pa.RecordBatch], path: Path, text_field: str) -> Iterator[str]:
    row = 0
    for batch in batches:
        column = batch.column(batch.schema.get_field_index(text_field))
        for start in range(0, len(column), BATCH_ROWS):
            for value in column.slice(start, BATCH_ROWS).to_pylist():
                row += 1
                yield checked_text(value, f"{path} row {row}", text_field)


def _check_column(path: Path, columns: list[str], text_field: str) -> None:
    if text_field not in columns:
        raise InputError(
            f"{path}: no column '{text_field}'; columns: {', '.join(columns)}; set text_field"
        )


def _read_text(path: Path, separator: str | None) -> Iterator[str]:
    with _open(path) as stream:
        if separator is None:
            data = stream.read(MOST_DOCUMENT_BYTES + 1)
            _refuse_endless(len(data), str(path))
            yield _decoded(data.removeprefix(codecs.BOM_UTF8), str(path))
            return
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        rest, position = "", 0
        while True:
            block = stream.read(BLOCK_BYTES)
            pending = len(decoder.getstate()[0])  # a character may straddle two blocks
            try:
                rest += decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise InputError(_not_utf8(path, error, position - pending)) from None
            position += len(block)
            *documents, rest = rest.split(separator)
            _refuse_endless(len(rest), str(path))
            yield from documents
            if not block:
                yield rest
                return


def _refuse_endless(size: int, where: str) -> None:
    if size > MOST_DOCUMENT_BYTES:
        raise InputError(
            f"{where}: a document has more than {MOST_DOCUMENT_BYTES >> 20} MiB unpacked, too much to hold at once; "
            "split it, or set the separator of its documents"
        )


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(_not_utf8(where, error, 0)) from None


def _not_utf8(where: object, error: UnicodeDecodeError, position: int) -> str:
    byte = position + error.start
    return f"{where} is not UTF-8 text (byte {byte} is 0x{error.object[error.start]:02x}); save it as UTF-8"


def _first_line(error: BaseException) -> str:
    return printable((str(error).splitlines() or [type(error).__name__])[0])


_KINDS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet", ".arrow": "arrow"}
_KIND_NAMES = {
    "jsonl": "JSONL file",
    "parquet": "Parquet file",
    "arrow": "Arrow file",
    "text": "text",
}
_READERS: dict[str, Callable[[Path, str], Iterator[str]]] = {
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "arrow": _read_arrow,
}
