"""The ledger of a sweep: what happened to its runs, one event a line, only ever appended to.

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

from cmrplan.errors import CmrplanError
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
    """The attempt ended without an answer."""
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


_OPEN = frozenset({Event.STARTED, Event.REQUEUED})
_LAST = {RunState.FINISHED: Event.FINISHED, RunState.FAILED: Event.FAILED}


@dataclass
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
    """

    attempts: int
    last: Event
    reason: str


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
            ``host``, ``pid`` and ``time`` of the worker; of this process and now when left out.

        Raises
        ------
        CmrplanError
            If the ledger cannot be written to, for example for want of space.
        """
        where = attempt or {"host": socket.gethostname(), "pid": os.getpid(), "time": now()}
        before = self.histories.get(run_id)
        number = (before.attempts if before else 0) + (event is Event.STARTED)
        row = {
            "time": where["time"],
            "event": str(event),
            "run_id": run_id,
            "attempt": number,
            "host": where["host"],
            "pid": where["pid"],
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
        """Add what happened to runs after the last sweep's process had ended."""
        for run in runs:
            history = self.histories.get(run.path.name)
            if history is None:
                self.write(Event.PLANNED, run.path.name)
                history = self.histories[run.path.name]
            outcome, state = run.read_outcome(), run.state()
            if outcome and history.last is not _LAST[state]:
                self.write(_LAST[state], run.path.name, reason=outcome["reason"])
            elif history.last in _OPEN and outcome is None and state is not RunState.RUNNING:
                self.write(Event.DIED, run.path.name, reason="the sweep's process ended")


def read_histories(path: Path) -> dict[str, History]:
    """Return what a ledger says, by run; nothing if there is none."""
    histories: dict[str, History] = {}
    for row in read_rows(path):
        _note(histories, row)
    return histories


def now() -> str:
    """Return the time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _note(histories: dict[str, History], row: dict[str, Any]) -> None:
    event = Event(row["event"])
    before = histories.get(row["run_id"])
    reason = row["reason"] or (before.reason if before and event is not Event.FINISHED else "")
    histories[row["run_id"]] = History(row["attempt"], event, reason)


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
