"""A log file as a table of cells, before anything is known to be right.

Three formats come in, by suffix; what goes out is one :class:`RawLog`: the cells as they
are, the line of each row, and the words to point at a row. Nothing here knows a column's
meaning (see columns.py for that), so what can be wrong is the file itself: its encoding, its
suffix, a row with too many cells.

Rows are counted from 1 over the rows of data; lines are the lines of a text file, header included,
and the last line of a row that spans several. A message says both: ``(runs.csv row 17, line 18)``.
Rows without a single filled cell do not count.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmrplan.errors import Code, Finding, InputError, Severity
from cmrplan.files import read_text

SUFFIXES = (".csv", ".jsonl", ".parquet")
MOST_COLUMNS = 1000
_CHUNK = 500  # rows turned into columns at a time: fastest at 1e6 rows, the memory stays warm
_MAX_SHOWN = 40  # characters of a value
_MAX_ROWS_NAMED = 10
_JSON = "logs import trainer_state reads a Trainer's trainer_state.json; one object on each line is .jsonl"


@dataclass(frozen=True)
class LogFinding(Finding):
    """A remark on a log, and the row and column it is about.

    Parameters
    ----------
    code : Code
    message : str
        See :class:`cmrplan.errors.Finding`.
    file : str
        The file as it was named, or ``"log"`` for a frame.
    row, line : int, optional
        First row it applies to, counted from 1, and its line in a text file.
    column : str, optional
        The column it is about.
    value : str, optional
        The first value found there, as the message shows it.
    num_rows : int
        Rows it applies to; 0 where it is about the log as a whole.
    """

    file: str
    row: int | None = None
    line: int | None = None
    column: str | None = None
    value: str | None = None
    num_rows: int = 0

    @property
    def severity(self) -> Literal["error", "warning"]:
        """An error keeps the log from being read; a warning asks for care with the fit."""
        return "error" if self.code.severity is Severity.STOP else "warning"

    def as_dict(self) -> dict[str, Any]:
        """Return the code, message, severity and every other field, as JSON can hold them."""
        names = ("severity", "file", "row", "line", "column", "value", "num_rows")
        return super().as_dict() | {name: getattr(self, name) for name in names}


class UnreadableLog(InputError):
    """A log that cannot be taken apart into cells; ``finding`` says why."""

    def __init__(self, finding: LogFinding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True)
class RawLog:
    """The cells of a log, unchecked.

    Parameters
    ----------
    table : DataFrame
        One column per column of the file, with a RangeIndex; text files give ``object`` columns
        of the cells as written, frames and Parquet keep their types.
    source : str
        The file as messages name it.
    lines : array of int, shape (rows,), optional
        The line of each row; absent where there are no lines.
    numbers : array of int, shape (rows,), optional
        The number of each row in its file, where rows were left out or put in another order.
    ends_open : bool
        Whether the last line of a text file has no line end.
    labels : tuple of str, optional
        What messages call the rows in place of their numbers, where the file has no rows.
    """

    table: pd.DataFrame
    source: str
    lines: npt.NDArray[np.int64] | None = None
    numbers: npt.NDArray[np.int64] | None = None
    ends_open: bool = False
    labels: tuple[str, ...] | None = None

    def number(self, row: int) -> int:
        """Return the number, counted from 1, that messages give to the row at a position."""
        return row + 1 if self.numbers is None else int(self.numbers[row])

    def called(self, row: int) -> str:
        """Return what messages call the row at a position."""
        return f"row {self.number(row)}" if self.labels is None else self.labels[row]

    def kept(self, rows: npt.NDArray[np.bool_]) -> RawLog:
        """Return the rows that are True, known by the numbers and lines they had."""
        numbers = np.arange(1, len(rows) + 1) if self.numbers is None else self.numbers
        lines = None if self.lines is None else self.lines[rows]
        table = self.table[rows].reset_index(drop=True)
        labels = self.labels and tuple(compress(self.labels, rows))
        return RawLog(table, self.source, lines, numbers[rows], labels=labels)

    def finding(
        self,
        code: Code,
        problem: str,
        remedy: str,
        *,
        rows: npt.NDArray[np.int64],
        column: str | None = None,
        value: str | None = None,
    ) -> LogFinding:
        """Return a finding on ``rows`` (positions from 0): ``problem (where). remedy``."""
        first = int(rows[0])
        line = None if self.lines is None else int(self.lines[first])
        where = f"{self.source} {self.called(first)}" + ("" if line is None else f", line {line}")
        if len(rows) > 1:
            named = [self.called(row).removeprefix("row ") for row in rows[1:_MAX_ROWS_NAMED]]
            more = len(rows) - 1 - len(named)
            what = "" if self.labels else "row "
            where += f"; also {what}{', '.join(named)}" + (f" and {more:,} more" if more else "")
        return LogFinding(
            code,
            f"{problem} ({where}). {remedy}",
            self.source,
            self.number(first),
            line,
            column,
            value,
            len(rows),
        )


def shown(value: object) -> str:
    """Return a value as a message may show it: short, on one line, text in quotes."""
    if isinstance(value, str):
        text = value.strip()
        if not _is_number(text):
            return repr(_cut(value))
    else:
        text = str(value)
        text = text if text.isprintable() else ascii(text)
    return _cut(text)


def listed(values: list[Any], most: int = 8) -> str:
    """Return values as a message may show them, the first few of many."""
    text = ", ".join(shown(value) for value in values[:most])
    return text + (f" and {len(values) - most} more" if len(values) > most else "")


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def named(source: str | os.PathLike[str]) -> str:
    """Return a file's name as a message may show it, in full."""
    text = os.fspath(source)
    return text if text.isprintable() else ascii(text)


def read_raw(path: str | os.PathLike[str]) -> RawLog:
    """Return the cells of a ``.csv``, ``.jsonl`` or ``.parquet`` file.

    Raises
    ------
    UnreadableLog
        If the file cannot be read, has another suffix, holds no rows, or breaks its format.
    """
    source = named(path)
    if os.path.isdir(path):
        message = f"{source} is a folder; cmrplan logs import auto {source} --out LOG.csv makes a log of its runs"
        raise unreadable(Code.UNREADABLE_FILE, source, message)
    suffix = checked_suffix(path)
    if suffix == ".parquet":
        from cmrplan.log.parquet import read_parquet  # which knows the errors of this module

        return raw_frame(read_parquet(path, source), source)
    try:
        text = read_text(path)
    except InputError as error:
        raise unreadable(Code.UNREADABLE_FILE, source, str(error)) from None
    return _read_csv(text, source) if suffix == ".csv" else _read_jsonl(text, source)


def checked_suffix(path: str | os.PathLike[str]) -> str:
    """Return the suffix in lower case; raise UnreadableLog unless it is one of ours."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        source = named(path)
        got = f"got {shown(suffix)}; {_JSON if suffix == '.json' else 'rename or convert it'}"
        message = f"{source}: a probe log ends in .csv, .jsonl or .parquet, {got}"
        raise unreadable(Code.WRONG_SUFFIX, source, message)
    return suffix


def raw_frame(frame: pd.DataFrame, source: str) -> RawLog:
    """Return a frame as a RawLog, its column names as text.

    Raises
    ------
    UnreadableLog
        If the frame has no rows, or two columns of one name.
    """
    header = [str(name) for name in frame.columns]
    _check_header(header, source)
    if frame.empty:
        raise _no_rows(source)
    table = frame.reset_index(drop=True)
    table.columns = pd.Index(header)
    return RawLog(table, source)


def unreadable(code: Code, source: str, message: str, **where: Any) -> UnreadableLog:
    """Return the error for a file that cannot be taken apart into cells."""
    return UnreadableLog(LogFinding(code, message, source, **where))


def _no_rows(source: str, code: Code = Code.NO_ROWS) -> UnreadableLog:
    lack = "is empty" if code == Code.EMPTY_FILE else "has a header and no rows"
    return unreadable(code, source, f"{source} {lack}; a probe log has one row for each evaluation")


def _check_header(header: Sequence[str], source: str) -> None:
    check_number(len(header), source)
    counts = Counter(header)
    repeated = next((name for name in header if counts[name] > 1), None)
    if repeated is not None:
        raise unreadable(
            Code.DUPLICATE_COLUMN,
            source,
            f"{source} has {counts[repeated]} columns named {shown(repeated)}; keep one",
            column=repeated,
        )
    for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and delimiter in header[0]:
            raise unreadable(
                Code.WRONG_DELIMITER,
                source,
                f"{source} separates its columns with {name}; save it with commas "
                "and decimal points",
            )


def _read_csv(text: str, source: str) -> RawLog:
    records = _csv_records(text, source)
    _, first = next(records, (0, []))
    if not first:
        raise _no_rows(source, Code.EMPTY_FILE)
    header = [name.strip() for name in first]
    _check_header(header, source)
    width = len(header)
    chunks: list[list[npt.NDArray[Any]]] = [[] for _ in header]
    lines: list[int] = []
    ragged: list[tuple[int, int]] = []  # row from 0, cells it has
    while chunk := list(islice(records, _CHUNK)):
        rows = [cells for _, cells in chunk]
        if set(map(len, rows)) != {width}:
            start = len(lines)
            ragged += [(start + i, len(row)) for i, row in enumerate(rows) if len(row) != width]
        lines += [line for line, _ in chunk]
        if ragged:
            continue
        for pieces, cells in zip(chunks, zip(*rows, strict=True), strict=True):
            seen: dict[str, str] = {}  # equal cells share one string: half the time and memory
            pieces.append(np.array(list(map(seen.setdefault, cells, cells)), dtype=object))
    if not lines:
        raise _no_rows(source)
    if ragged:
        shape = RawLog(pd.DataFrame(), source, np.array(lines))
        num_cells = ragged[0][1]
        raise UnreadableLog(
            shape.finding(
                Code.RAGGED_ROW,
                f"the row has {num_cells} cells where the header has {width}",
                "Quote a cell that holds a comma; leave a cell without a value empty.",
                rows=np.array([row for row, _ in ragged]),
                value=str(num_cells),
            )
        )
    cells_of = {name: np.concatenate(pieces) for name, pieces in zip(header, chunks, strict=True)}
    if width > 1 and not header[0] and all(map(str.isdigit, cells_of[""])):
        del cells_of[""]  # pandas writes the numbers of rows so
    ends_open = not text.endswith(("\n", "\r"))
    return RawLog(_object_frame(cells_of), source, np.array(lines), ends_open=ends_open)


def _csv_records(text: str, source: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells of each row that has any."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            if any(cells) and (len(cells) > 1 or cells[0].strip()):
                yield reader.line_num, cells
    except csv.Error as error:
        raise unreadable(
            Code.BAD_CSV,
            source,
            f"{source} line {reader.line_num} is not CSV ({error}); check its quotes",
            line=reader.line_num,
        ) from None


def _read_jsonl(text: str, source: str) -> RawLog:
    columns: dict[str, list[Any]] = {}
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        record = _json_record(line, number, source)
        for name in record:
            if name not in columns:
                columns[name] = [None] * len(lines)
                check_number(len(columns), source)
        for name, cells in columns.items():
            cells.append(record.get(name))
        lines.append(number)
    if not lines:
        raise _no_rows(source, Code.EMPTY_FILE)
    cells_of = {}
    for name, cells in columns.items():
        cells_of[name] = np.empty(len(lines), dtype=object)
        cells_of[name][:] = cells
    return RawLog(_object_frame(cells_of), source, np.array(lines))


def _json_record(line: str, number: int, source: str) -> dict[str, Any]:
    try:
        record = json.loads(line, parse_constant=str)  # NaN is a value, and null none
        problem = "" if isinstance(record, dict) else f"{type(record).__name__} found"
    except json.JSONDecodeError as error:
        problem = f"column {error.colno}: {error.msg}"
    except (ValueError, RecursionError) as error:  # an endless number, or brackets without end
        problem = type(error).__name__
    if problem:
        raise unreadable(
            Code.BAD_JSON,
            source,
            f"{source} line {number} is not a JSON object ({problem}); "
            "JSONL has one object on each line",
            line=number,
        )
    return dict(record)


def check_number(num_columns: int, source: str) -> None:
    """Refuse more columns than a log can have.

    Raises
    ------
    UnreadableLog
        With their number.
    """
    if num_columns > MOST_COLUMNS:
        raise unreadable(
            Code.UNREADABLE_FILE,
            source,
            f"{source} has {num_columns:,} columns; a probe log has at most {MOST_COLUMNS:,}, so leave out others",
        )


def _object_frame(columns: dict[str, npt.NDArray[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})
