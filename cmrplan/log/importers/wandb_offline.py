"""The ``run-ID.wandb`` file that Weights & Biases writes for every run, read without that library.

Seven bytes of a header, then the log framing of LevelDB: blocks of 32 KiB, in each records of a checksum (4 bytes), a
length (2), a type (1: whole, first, middle or last part) and data. Put together, the data are messages ``Record``: the
run and its config, and a line of history for each step. Losses logged as ``eval/<corpus>/loss`` become rows; the tokens
are a key that was logged, such as ``tokens`` or ``train/num_input_tokens_seen``. A config key that is called like a
column of the probe log (``domain_ratio``, ``seed``) fills it, others with ``--map model.params=model_params``.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmrplan.errors import Code, InputError
from cmrplan.files import read_bytes
from cmrplan.log.cells import LogFinding, named
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_cells import cells_of, flat_settings, unique_names
from cmrplan.log.importers.run_layout import LINE_COUNTER, TOKEN_COUNTS, RunLayout, TrainerRun
from cmrplan.log.importers.runs import runs_to_log
from cmrplan.log.importers.wire import NotAMessage, fields, floats, inner, signed, text

WANDB_LAYOUT = RunLayout(
    steps={
        "train/global_step": 0,
        "trainer/global_step": 1,
        "global_step": 0,
        "train/step": 0,
        "step": 0,
        "iteration": 0,
        "iter": 0,
        LINE_COUNTER: 0,
    },
    tokens=TOKEN_COUNTS,
)
_WANDB_HEADER = b":W&B\xe1\xbe\x00"
_BLOCK = 32_768
_PART = 7  # bytes before the data of a part
_WHOLE_PART, _FIRST_PART, _MIDDLE_PART, _LAST_PART = 1, 2, 3, 4
_HISTORY, _CONFIG, _RUN_FIELD = 2, 5, 17  # fields of Record in wandb_internal.proto
_TEXT = 16  # the field of an item that holds its value as JSON


def is_wandb_file(path: Path, head: bytes) -> bool:
    """Tell whether a file has the header of a ``.wandb`` file."""
    return head.startswith(_WANDB_HEADER)


def import_wandb_offline(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses in ``.wandb`` files as a probe log.

    A run that was resumed has a file for each start, all of one name, in the order of their folders.

    Raises
    ------
    InputError
        If a file is none, or damaged inside.
    """
    paths = sorted(paths)
    read = [_run(path) for path in paths]
    starts: dict[tuple[str, str], list[TrainerRun]] = {}
    for path, run in zip(paths, read, strict=True):
        starts.setdefault((path.stem, run.name), []).append(run)
    called = unique_names(list(starts))
    runs = [_of_starts(runs, name) for name, runs in zip(called, starts.values(), strict=True)]
    return runs_to_log(runs, WANDB_LAYOUT, changes)


def _of_starts(starts: Sequence[TrainerRun], name: str) -> TrainerRun:
    """Return the run that was started once, or resumed."""
    table = pd.concat([run.table for run in starts], ignore_index=True).astype(object)
    settings = {key: value for run in starts for key, value in run.settings.items()}
    remarks = tuple(remark for run in starts for remark in run.remarks)
    return TrainerRun(
        name, starts[0].source, table.where(table.notna(), None), settings, remarks=remarks
    )


def _run(path: Path) -> TrainerRun:
    source = named(path)
    data = read_bytes(path)
    if not is_wandb_file(path, data):
        lack = "is empty" if not data else "has not the header of a run of Weights & Biases"
        raise InputError(f"{source} {lack}; give the run-ID.wandb file in its folder")
    name, history = path.stem, []
    config: dict[str, Any] = {}
    remarks: tuple[LogFinding, ...] = ()
    for record in _records(data, source):
        if isinstance(record, LogFinding):
            remarks = (record,)
            break
        try:
            for number, value in fields(record):
                if number == _HISTORY:
                    history.append(_items(value, 1))
                elif number == _CONFIG:
                    config |= _items(value, 1)
                elif number == _RUN_FIELD:
                    name, first = _described(value, name)
                    config |= first
        except NotAMessage as error:
            raise InputError(
                f"{source} is damaged: a record is no message of Weights & Biases ({error}); copy the file again"
            ) from None
    if not any(history):
        raise InputError(f"{source} has no history; give the file of a run that logged metrics")
    return TrainerRun(name, source, cells_of(history), flat_settings(config), remarks=remarks)


def _records(data: bytes, source: str) -> Iterator[bytes | LogFinding]:
    """Yield the records, and at the end a remark where the last one is not whole."""
    at, begun = len(_WANDB_HEADER), b""
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _PART:
            at += left  # the rest of a block is zeros
            continue
        if at + _PART > len(data):
            yield _cut_off(source, at, len(data))
            return
        checksum, size, kind = struct.unpack_from("<IHB", data, at)
        part = data[at + _PART : at + _PART + size]
        if kind not in (_WHOLE_PART, _FIRST_PART, _MIDDLE_PART, _LAST_PART) or size > left - _PART:
            raise _broken(source, at)
        if len(part) < size:
            yield _cut_off(source, at, len(data))
            return
        if zlib.crc32(part, zlib.crc32(bytes([kind]))) != checksum:
            raise _broken(source, at)
        begun = part if kind in (_WHOLE_PART, _FIRST_PART) else begun + part
        if kind in (_WHOLE_PART, _LAST_PART):
            yield begun
            begun = b""
        at += _PART + size
    if begun:
        yield _cut_off(source, at, len(data))


def _broken(source: str, at: int) -> InputError:
    return InputError(
        f"{source} is damaged: the record at byte {at:,} has another checksum than was written; copy the file again"
    )


def _cut_off(source: str, at: int, size: int) -> LogFinding:
    message = (
        f"{source}: the last record is cut off (byte {at:,} of {size:,}), so it was left out; copy the file again "
        "when its "
        "run is done"
    )
    return LogFinding(Code.CUT_OFF, message, source)


def _described(run: int | bytes, name: str) -> tuple[str, dict[str, Any]]:
    """Return the name that a run shows, or its id, and the config it began with."""
    shown_name, run_id, config = "", name, {}
    for number, value in inner(run):
        if number == 1:
            run_id = text(value)
        elif number == 4:
            config = _items(value, 1)
        elif number == 8:
            shown_name = text(value)
    return shown_name or run_id, config


def _items(message: int | bytes, which: int) -> dict[str, Any]:
    """Return the values of a message's items by key; nested keys are joined with dots."""
    return dict(_item(value) for number, value in inner(message) if number == which)


def _item(item: int | bytes) -> tuple[str, Any]:
    key, nested, content = "", [], None
    for number, value in inner(item):
        if number == 1:
            key = text(value)
        elif number == 2:
            nested.append(text(value))
        elif number == _TEXT:
            content = _json(text(value))
        elif number == 5:
            content = signed(value)
        elif number == 6:
            content = next(iter(floats(value, "d")), None)
        elif number == 7:
            content = text(value)
    return key or ".".join(nested), content


def _json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise NotAMessage("a value is not JSON") from None
