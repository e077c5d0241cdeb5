"""Locks that a process holds on a folder and loses when it ends, however it ends."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmrplan.errors import InputError

PATIENCE_SECONDS = 20.0
"""How long to wait for a worker of a killed sweep to notice and let go of its run."""


@contextmanager
def locked(folder: Path, *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of a folder; what a killed process left half written in it is removed.

    Raises
    ------
    InputError
        If another process still holds the lock after ``patience`` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as stream:
        deadline = time.monotonic() + patience
        while not _try_lock(stream.fileno(), fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise InputError(
                    f"{folder} is being worked on by another process; wait for that sweep or stop it"
                )
            time.sleep(0.05)
        for leftover in folder.rglob(".*"):  # the temporary files of atomic writes
            leftover.unlink()
        yield


def is_locked(folder: Path) -> bool:
    """Tell whether a process holds the lock of a folder."""
    try:
        with open(folder / "lock") as stream:
            return not _try_lock(stream.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
