"""Here every file name of a sweep is set down, and the state of a run is read from its files.

::

    RUNS/
      spec.yaml                    the spec with every default
      ledger.jsonl                 what happened to the runs, one event a line
      lock, owner                  held while a sweep runs, and by whom
      corpora/                     packed tokens, tokenizer.json, manifest.json
      bases/<run_id>/              one folder a base model
      probes/<run_id>/             one folder a probe
        settings.json              everything the run depends on
        metrics.jsonl              one row an evaluation, only ever appended to
        losses/step-00000488.npz   the loss of every evaluation sequence
        checkpoints/               weights and optimizer, to go on or to start from
        progress.json              where a run in work is
        attempt.json               who works on it, or did last
        outcome.json               how it ended
        lock                       held while a process works on the run
      workers/                     what worker processes wrote on standard error, and messages to and from them;
                                   its lock is held while a process of probe run --only prepares or writes the ledger
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from cmrplan.files import CHECKSUM, read_json, require_seal, write_json
from probes.locks import is_locked
from probes.run_settings import RunSettings

CHECKPOINT_SECONDS = 30.0
"""Longest time between two checkpoints; a kill loses at most this much work."""


class RunState(StrEnum):
    """Where a run is in its life."""

    PLANNED = "planned"
    """Named, never started."""
    RUNNING = "running"
    """A process is working on it."""
    STOPPED = "stopped"
    """Started and interrupted; it goes on from its checkpoint."""
    FINISHED = "finished"
    """All evaluations are there."""
    FAILED = "failed"
    """Ended without a result; the outcome says why."""
    DAMAGED = "damaged"
    """Its files cannot be read, or contradict each other; no file says so, whoever reads them does."""


_CODE_VERSION = re.compile(r"\d+(\.\d+)*((a|b|rc)\d{1,4})?(\.(post|dev)\d+)*(\+[\w.]+)?")
_OUTCOME_FIELDS = {
    "state": str,
    "reason": str,
    "retry": bool,
    "seconds": float,
    "torch_version": str,
    "code_version": str,
}
_PROGRESS_FIELDS = {"step": int, "train_tokens": int, "seconds": float, "notes": list}


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    state : RunState
        ``FINISHED``, ``FAILED`` or ``STOPPED``.
    reason : str
        Why it failed or stopped; what was unusual on the way when finished, mostly nothing.
    seconds : float
        Time spent training and evaluating, over all starts of the run.
    """

    state: RunState
    reason: str
    seconds: float


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path : Path
        The folder; its name is the run's id.
    """

    path: Path

    @property
    def settings(self) -> Path:
        """Everything the run depends on."""
        return self.path / "settings.json"

    @property
    def metrics(self) -> Path:
        """One JSON row an evaluation."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the weights and optimizer states of the last saved steps."""
        return self.path / "checkpoints"

    @property
    def progress(self) -> Path:
        """Step and seconds of a run in work."""
        return self.path / "progress.json"

    @property
    def outcome(self) -> Path:
        """State at the end, with the reason of a failure."""
        return self.path / "outcome.json"

    @property
    def attempt(self) -> Path:
        """The host and process that works on the run, or did last."""
        return self.path / "attempt.json"

    def losses(self, step: int) -> Path:
        """Return the file with the loss of every evaluation sequence after a step."""
        return self.path / "losses" / f"step-{step:08d}.npz"

    def read_settings(self) -> RunSettings:
        """Return the run's settings."""
        return RunSettings.from_dict(read_json(self.settings))

    def verified_settings(self) -> RunSettings:
        """Return the run's settings, which are those that the folder's name holds the hash of.

        Raises
        ------
        InputError
            If they are damaged, or those of another run.
        """
        stored = read_json(self.settings)
        try:
            settings = RunSettings.from_dict(stored)
            run_id = settings.run_id
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{self.settings} is damaged ({type(error).__name__}: {error}); write it again from a copy, or "
                "remove the folder"
            ) from None
        if run_id != self.path.name:
            raise InputError(
                f"{self.settings} holds the settings of {ascii(run_id)[1:-1]}, and its folder is {self.path.name}; it "
                "was edited or moved: write it again from a copy, or remove the folder"
            )
        return settings

    def read_outcome(self) -> dict[str, Any] | None:
        """Return how the run ended, or None."""
        return _read_fields(self.outcome, _OUTCOME_FIELDS)

    def read_finished(self) -> Outcome:
        """Return how a run that has an outcome ended."""
        stored = self.read_outcome()
        assert stored is not None
        return Outcome(RunState(stored["state"]), stored["reason"], stored["seconds"])

    def read_progress(self) -> dict[str, Any] | None:
        """Return where the run is, or None before its first step."""
        return _read_fields(self.progress, _PROGRESS_FIELDS)

    def read_attempt(self) -> dict[str, Any] | None:
        """Return who works on the run, or None before anyone did."""
        return read_json(self.attempt) if self.attempt.exists() else None

    def was_begun(self) -> bool:
        """Return whether the folder is a run's: it has settings, or results without them."""
        return self.settings.exists() or self.outcome.exists() or self.metrics.exists()

    def state(self) -> RunState:
        """Return the run's state, as its files and its lock tell it."""
        return self.state_after(self.read_outcome())

    def state_after(self, outcome: dict[str, Any] | None) -> RunState:
        """Return the run's state where its outcome has been read."""
        if outcome:
            return RunState(outcome["state"])
        if is_locked(self.path):
            return RunState.RUNNING
        return RunState.STOPPED if self.progress.exists() else RunState.PLANNED


def _read_fields(path: Path, fields: Mapping[str, type[Any]]) -> dict[str, Any] | None:
    """Return the object of a JSON file whose fields have these types and, as numbers, are finite and not negative.

    None if there is no file. Its checksum is compared; files of 0.2.0 have none.

    Raises
    ------
    InputError
        Naming the file and the first field that has not.
    """
    if not path.exists():
        return None
    stored = read_json(path)
    if not isinstance(stored, dict):
        raise InputError(f"{path} is damaged (it is no object); remove it")
    for name, kind in fields.items():
        value: Any = stored.get(name)
        allowed = (int, float) if kind is float else (kind,)
        sound = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
        if sound and kind in (int, float):
            sound = 0 <= value < math.inf
        elif sound and name == "state":
            sound = value in tuple(RunState)
        elif sound and name == "code_version":
            sound = _CODE_VERSION.fullmatch(value) is not None
        if not sound:
            raise InputError(f"{path} is damaged ({name} is {ascii(value)[:40]}); remove it")
    if CHECKSUM in stored:
        require_seal(path, stored, remedy="write it again from a copy, or remove it")
    return stored


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep.

    Parameters
    ----------
    path : Path
        The folder that was given as output.
    """

    path: Path

    @property
    def spec(self) -> Path:
        """The spec with every default."""
        return self.path / "spec.yaml"

    @property
    def corpora(self) -> Path:
        """Folder of the prepared corpora."""
        return self.path / "corpora"

    @property
    def workers(self) -> Path:
        """Folder of the worker processes' error output, and of messages to and from them."""
        return self.path / "workers"

    @property
    def ledger(self) -> Path:
        """What happened to the runs, one event a line."""
        return self.path / "ledger.jsonl"

    def run(self, settings: RunSettings) -> RunFolder:
        """Return the folder of a run."""
        return self.base(settings.run_id) if settings.stage == "base" else self.probe(settings)

    def base(self, run_id: str) -> RunFolder:
        """Return the folder of a base by its id."""
        return RunFolder(self.path / "bases" / run_id)

    def probe(self, settings: RunSettings) -> RunFolder:
        """Return the folder of a probe."""
        return RunFolder(self.path / "probes" / settings.run_id)

    def plan(self, settings: RunSettings) -> RunFolder:
        """Give a run its folder and settings file, if it has none, and return the folder."""
        run = self.run(settings)
        if not run.settings.exists():
            write_json(run.settings, settings.as_dict())
        return run

    def all_runs(self) -> list[RunFolder]:
        """Return the folders of all planned bases and probes, bases first, by name."""
        folders = (
            path for kind in ("bases", "probes") for path in sorted(self.path.glob(f"{kind}/*"))
        )
        return [run for run in map(RunFolder, folders) if run.was_begun()]
