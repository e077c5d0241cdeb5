"""The ledger of a sweep says what happened to its runs, one event a line, and only ever grows.

Only the process that holds the sweep's lock writes. A kill can leave the last line torn; it is cut off when the
ledger is opened again, and what happened while nobody was writing is added then, so that each event stands
in it once.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from cmrplan.errors import CmrplanError, InputError
from probes.runs import RunFolder, RunState
from probes.training.metrics import append_row, read_rows


class Event(StrEnum):
    """What can happen to a run."""

    PLANNED = "planned"
    """It got its folder."""
    STARTED = "started"
    """A worker began an attempt; host and process say where."""
    REQUEUED = "requeued"
    """The cluster took the worker away and started the same attempt anew."""
    DIED = "died"
    """The attempt ended without a result."""
    RETRIED = "retried"
    """It waits for another attempt."""
    STOPPED = "stopped"
    """The sweep was ended; the run goes on from its checkpoint at the next start."""
    FINISHED = "finished"
    """All its evaluations are there."""
    FAILED = "failed"
    """It ended without a result."""
    REOPENED = "reopened"
    """A new start of the sweep tries a failed run again."""


_BEGINNINGS = frozenset({Event.STARTED, Event.REQUEUED})
_SWEEP_ENDED = "the sweep's process ended"
_LAST = {RunState.FINISHED: Event.FINISHED, RunState.FAILED: Event.FAILED}


@dataclass(frozen=True)
class History:
    """What the ledger says of one run.

    Parameters
    ----------
    attempts : int
        How often a worker began it.
    last : Event
        What happened last.
    reason : str
        Why, of the last event that had a reason.
    began : str
        When the newest attempt began, or the cluster began it anew; empty before the first.
    host, pid : str, int
        Where that was.
    """

    attempts: int = 0
    last: Event = Event.PLANNED
    reason: str = ""
    began: str = ""
    host: str = ""
    pid: int = 0

    @property
    def is_open(self) -> bool:
        """Whether an attempt has begun of which no end is known."""
        return self.last in _BEGINNINGS


class Ledger:
    """The ledger of a sweep, opened for writing by the process that holds the sweep's lock.

    Parameters
    ----------
    path : Path
        The file; a torn last line is cut off.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        _cut_torn_end(path)
        self.histories = read_histories(path)

    def write(
        self, event: Event, run_id: str, *, reason: str = "", attempt: dict[str, Any] | None = None
    ) -> None:
        """Append an event and wait until it is on the disk.

        Parameters
        ----------
        event, run_id : Event, str
            What happened to which run.
        reason : str
            Why.
        attempt : dict, optional
            ``host``, ``pid`` and ``time`` of a beginning. The end of an attempt is written with the host and process
            of its beginning, everything else with those of this process.

        Raises
        ------
        CmrplanError
            If the ledger cannot be written to, for example for want of space.
        """
        before = self.histories.get(run_id, History())
        if (
            event is Event.STARTED and before.is_open
        ):  # by a worker that outlived its sweep a little
            self.write(Event.DIED, run_id, reason=_SWEEP_ENDED)
            before = self.histories[run_id]
        host, pid = socket.gethostname(), os.getpid()
        if attempt:
            host, pid = attempt["host"], attempt["pid"]
        elif before.is_open:
            host, pid = before.host, before.pid
        row = {
            "time": attempt["time"] if attempt else now(),
            "event": str(event),
            "run_id": run_id,
            "attempt": before.attempts + (event is Event.STARTED),
            "host": host,
            "pid": pid,
            "reason": reason,
        }
        try:
            append_row(self._path, row)
        except OSError as error:
            _cut_torn_end(self._path)
            raise CmrplanError(
                f"cannot write {self._path}: {error.strerror}; what is finished is kept: mend it and start again"
            ) from error
        _note(self.histories, row)

    def catch_up(self, runs: Iterable[RunFolder]) -> None:
        """Add what happened to runs when no sweep's process was there to write it."""
        for run in runs:
            run_id = run.path.name
            if run_id not in self.histories:
                self.write(Event.PLANNED, run_id)
            attempt = run.read_attempt()
            if attempt and attempt["time"] > self.histories[run_id].began:
                self.write(Event.STARTED, run_id, attempt=attempt)
            history, outcome, state = self.histories[run_id], run.read_outcome(), run.state()
            if outcome and history.last is not _LAST[state]:
                self.write(_LAST[state], run_id, reason=outcome["reason"])
            elif history.is_open and outcome is None and state is not RunState.RUNNING:
                self.write(Event.DIED, run_id, reason=_SWEEP_ENDED)


def read_histories(path: Path) -> dict[str, History]:
    """Return what a ledger says, by run; nothing if there is none.

    Raises
    ------
    InputError
        If a line is of another form than those that a sweep writes.
    """
    histories: dict[str, History] = {}
    for number, row in enumerate(read_rows(path), start=1):
        try:
            _note(histories, row)
        except (LookupError, TypeError, ValueError):
            raise InputError(
                f"{path}, line {number}: no event of a ledger; it was edited or damaged: move the file away, and "
                "cmrplan probe run writes what it can see of the runs anew"
            ) from None
    return histories


def now() -> str:
    """Return the time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _note(histories: dict[str, History], row: dict[str, Any]) -> None:
    event = Event(row["event"])
    before = histories.get(row["run_id"], History())
    begins = event in _BEGINNINGS
    histories[row["run_id"]] = History(
        attempts=row["attempt"],
        last=event,
        reason=row["reason"] or ("" if event is Event.FINISHED else before.reason),
        began=row["time"] if begins else before.began,
        host=row["host"] if begins else before.host,
        pid=row["pid"] if begins else before.pid,
    )


def _cut_torn_end(path: Path) -> None:
    """Cut a file back to its last complete line."""
    if path.exists():
        os.truncate(path, max(_line_ends(path), default=0))


def _line_ends(path: Path) -> Iterator[int]:
    """Yield the byte offset after every complete line that holds JSON."""
    end = 0
    with open(path, "rb") as stream:
        for line in stream:
            end += len(line)
            if not line.endswith(b"\n") or not _is_json(line):
                return
            yield end


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
