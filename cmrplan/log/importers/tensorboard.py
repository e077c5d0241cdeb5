"""Event files of TensorBoard: every scalar at every step, read from the records themselves.

A record is the length of its data (8 bytes), a checksum of it, the data, and a checksum of them: CRC-32C, rotated.
The data are a message ``Event`` with the step and the scalars. TensorBoard's own reader keeps a sample of the steps;
this one keeps all. The files of one folder are one run, called by the folder; in Lightning's ``version_<N>`` steps
count from 0. A writer that is still at work, or was killed, leaves the last record unfinished; what stands before it is
read, and the remark ``cut_off`` says so.
"""

from __future__ import annotations

import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmrplan.errors import Code, InputError
from cmrplan.files import read_bytes
from cmrplan.log.cells import LogFinding, named
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_cells import cells_of, unique_names
from cmrplan.log.importers.run_layout import TOKEN_COUNTS, RunLayout, TrainerRun
from cmrplan.log.importers.runs import by_step, runs_to_log
from cmrplan.log.importers.wire import NotAMessage, fields, floats, inner, signed, text

_SCALAR_STEP, _STEP_OF_LIGHTNING = "step", "step from 0"
TENSORBOARD_LAYOUT = RunLayout(steps={_SCALAR_STEP: 0, _STEP_OF_LIGHTNING: 1}, tokens=TOKEN_COUNTS)
_FOLDER_OF_LIGHTNING = re.compile(r"version_\d+")
_LENGTH = 12  # bytes: the length and its checksum
_LARGEST_SCALAR = 65_536  # bytes; a longer record holds an image, a histogram or a graph
_MASK = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed
_FLOAT, _DOUBLE = 1, 2  # TensorFlow's numbers for types


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_CRC_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """Return the rotated CRC-32C that stands behind data in a record file.

    Examples
    --------
    >>> crc = (masked_crc(b"123456789") - 0xA282EAD8) % 2**32
    >>> hex((crc >> 17 | crc << 15) % 2**32)  # the check value of CRC-32C
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF


def is_event_file(path: Path, head: bytes) -> bool:
    """Tell whether a file begins with a record."""
    return len(head) >= _LENGTH and struct.unpack_from("<I", head, 8)[0] == masked_crc(head[:8])


def import_tensorboard(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in event files as a probe log, one run for each folder.

    Raises
    ------
    InputError
        If a file is none, or damaged inside.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in sorted(paths, key=lambda path: path.name):
        folders[path.resolve().parent].append(path)
    names = unique_names([folder.parts for folder in folders], changes.facts.pattern)
    runs = []
    for name, (folder, files) in zip(names, folders.items(), strict=True):
        steps: list[dict[str, Any]] = []
        remarks: tuple[LogFinding, ...] = ()
        for path in files:
            rows, cut = _scalars(path)
            steps += rows
            remarks += cut
        run = by_step(
            TrainerRun(name, named(files[0]), cells_of(steps), remarks=remarks), _SCALAR_STEP
        )
        if _FOLDER_OF_LIGHTNING.fullmatch(folder.name):
            run = replace(run, table=run.table.rename(columns={_SCALAR_STEP: _STEP_OF_LIGHTNING}))
        if len(run.table):
            runs.append(run)
    if not runs:
        raise InputError(
            f"{named(paths[0])} holds no scalars; give the event files of a run that logged some"
        )
    return runs_to_log(runs, TENSORBOARD_LAYOUT, changes)


def _scalars(path: Path) -> tuple[list[dict[str, Any]], tuple[LogFinding, ...]]:
    """Return a row for each event with scalars, and a remark where the last record is not whole."""
    source = named(path)
    data = read_bytes(path)
    if not is_event_file(path, data):
        lack = "is empty" if not data else "is no event file of TensorBoard"
        raise InputError(f"{source} {lack}; give an events.out.tfevents file")
    rows: list[dict[str, Any]] = []
    at = 0
    while at < len(data):
        record, end = _record(data, at, source)
        if record is None:
            message = (
                f"{source}: the last record is cut off (byte {at:,} of {len(data):,}), so it was left out; copy the "
                "file "
                "again when its run is done"
            )
            return rows, (LogFinding(Code.CUT_OFF, message, source),)
        at = end
        if len(record) > _LARGEST_SCALAR:
            continue
        try:
            rows += _rows(record)
        except NotAMessage as error:
            raise InputError(
                f"{source} is no event file of TensorBoard: the record before byte {at:,} is no event ({error}); "
                "give an "
                "events.out.tfevents file"
            ) from None
    return rows, ()


def _record(data: bytes, at: int, source: str) -> tuple[bytes | None, int]:
    """Return the data of the record at a byte, None where the file ends inside it, and where the next one begins."""
    start = at + _LENGTH
    if start > len(data):
        return None, at
    size, checksum = struct.unpack_from("<QI", data, at)
    if masked_crc(data[at : at + 8]) != checksum:
        raise _damaged(source, at)
    if start + size + 4 > len(data):
        return None, at
    record = data[start : start + size]
    if size <= _LARGEST_SCALAR:
        (checksum,) = struct.unpack_from("<I", data, start + size)
        if masked_crc(record) != checksum:
            raise _damaged(source, at)
    return record, start + size + 4


def _damaged(source: str, at: int) -> InputError:
    return InputError(
        f"{source} is damaged: the record at byte {at:,} has another checksum than was written; copy the file again"
    )


def _rows(event: bytes) -> Iterator[dict[str, Any]]:
    """Yield the step and the scalars of an event, if it has some."""
    step = 0
    scalars: dict[str, float] = {}
    for number, value in fields(event):
        if number == 2:
            step = signed(value)
        elif number == 5:
            for which, part in inner(value):
                if which == 1:
                    scalars |= _scalar(inner(part))
    if scalars:
        yield {_SCALAR_STEP: step, **scalars}


def _scalar(parts: Iterator[tuple[int, int | bytes]]) -> dict[str, float]:
    """Return the number of a summary by its tag, nothing where it is no number."""
    tag, number = "", math.nan
    is_number = False
    for which, value in parts:
        if which == 1:
            tag = text(value)
        elif which == 2:
            (number,) = floats(value, "f")[:1] or [math.nan]
            is_number = True
        elif which == 8:
            tensor = _tensor(inner(value))
            if tensor is not None:
                number, is_number = tensor, True
    return {tag: number} if is_number else {}


def _tensor(parts: Iterator[tuple[int, int | bytes]]) -> float | None:
    """Return the one number of a tensor of 32-bit or 64-bit floats, None where it is something else."""
    kind, numbers = 0, []
    for which, value in parts:
        if which == 1:
            kind = signed(value)
        elif which == 4 and kind in (_FLOAT, _DOUBLE):
            numbers += floats(value, "f" if kind == _FLOAT else "d")
        elif which in (5, 6) and isinstance(value, bytes):
            numbers += floats(value, "f" if which == 5 else "d")
    return numbers[0] if len(numbers) == 1 else None
