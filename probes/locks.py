"""A process holds a lock on a folder and loses it when it ends, however it ends.

They are advisory ``flock`` locks. Between machines they hold where the file system passes them on: NFS does,
Lustre when it is mounted with ``flock``.
"""

from __future__ import annotations

import fcntl
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmrplan.errors import InputError
from cmrplan.files import TEMPORARY_PREFIX

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
    problem = f"{folder} is being worked on by another process; wait for that sweep or stop it"
    with _held(folder, patience, problem):
        for leftover in folder.rglob(f"{TEMPORARY_PREFIX}*"):
            if leftover.is_file():
                leftover.unlink()
        yield


@contextmanager
def only_sweep(folder: Path, *, patience: float = 2.0) -> Iterator[None]:
    """Be the only sweep in a folder; its runs have locks of their own.

    Raises
    ------
    InputError
        If another sweep still holds the lock after ``patience`` seconds.
    """
    owner = folder / "owner"
    known = owner.read_text(errors="replace").strip() if owner.exists() else "unknown"
    problem = f"{folder}: another sweep runs in this folder ({known}); wait for it or stop it"
    with _held(folder, patience, problem):
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
        yield


@contextmanager
def beside_single_runs(folder: Path, *, patience: float = 2.0) -> Iterator[None]:
    """Work on a single run of a sweep, beside others that do, and never beside a whole sweep.

    Raises
    ------
    InputError
        If a whole sweep still holds the lock after ``patience`` seconds.
    """
    problem = (
        f"{folder}: a whole sweep runs in this folder and does this run too; wait for it or stop it"
    )
    with _held(folder, patience, problem, fcntl.LOCK_SH):
        (folder / "owner").write_text(
            f"single runs, the newest by process {os.getpid()} on {socket.gethostname()}\n"
        )
        yield


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder as soon as those that came before have let go of it."""
    with _held(folder, math.inf, ""):
        yield


def is_locked(folder: Path) -> bool:
    """Tell whether a process holds the lock of a folder."""
    try:
        with open(folder / "lock") as stream:
            return not _try_lock(stream.fileno(), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False


@contextmanager
def _held(folder: Path, patience: float, problem: str, kind: int = fcntl.LOCK_EX) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a") as stream:
        deadline = time.monotonic() + patience
        while not _try_lock(stream.fileno(), kind):
            if time.monotonic() > deadline:
                raise InputError(problem)
            time.sleep(0.05)
        yield


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
