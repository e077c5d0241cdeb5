"""The log file of one run is ``<run_id>.jsonl``, with a line for each evaluation and corpus.

Beside it stands ``<run_id>.run.json`` with the run's state and, where it has failed, the reason: a diverged run has
no loss, so it has no row for it. The state carries a checksum over its content, and one over the rows. Both files are
for any training loop; the callbacks use nothing else.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from cmrplan._version import __version__
from cmrplan.errors import InputError
from cmrplan.files import CHECKSUM, fingerprint, read_json, require_seal, sealed, write_json
from cmrplan.log.cells import shown
from cmrplan.log.columns import SHARE_PREFIX
from probes.callbacks.description import ProbeRun
from probes.training.metrics import append_row, cut_back, read_rows

LOG_SUFFIX = ".jsonl"
STATE_SUFFIX = ".run.json"
_ROWS_CHECKSUM = "rows_checksum"

_BEFORE_TOKENS = ("run_id", "model_params")
_BEFORE_CORPUS = ("domain_ratio", SHARE_PREFIX)
_SAME_IN_A_RUN = ("model_params", "domain_ratio", "seed", SHARE_PREFIX)


class State(StrEnum):
    """Where a run is, as far as its files can tell."""

    UNFINISHED = "unfinished"
    """Started and not at its end: in work, or killed."""
    STOPPED = "stopped"
    """Its trainer ended it before the last planned step."""
    FINISHED = "finished"
    """At its end."""
    FAILED = "failed"
    """A validation loss was not a number above 0."""


class ProbeLogWriter:
    """Writes the probe-log rows of one run, in its process or in the one that resumes it.

    Parameters
    ----------
    folder : path
        Where the log goes; several runs may share it.
    run : ProbeRun
        The run, with its ``model_params``.
    resume_step : int, default 0
        Optimizer steps the model has had in this run. Rows after it are dropped, since they will be written again.
    planned_steps : int, optional
        Steps at the run's end; a run that ends earlier counts as stopped.

    Raises
    ------
    InputError
        If the folder has another run of this ``run_id``, or a finished one that would be started over, or cannot be
        written to.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> writer = ProbeLogWriter(folder, ProbeRun(run_id="r0.3", domain_ratio=0.3, model_params=1e6))
    >>> writer.write(0, 0, {"general": 2.9, "domain": 3.4})
    >>> writer.write(100, 204_800, {"general": 2.95, "domain": 3.1})
    >>> writer.end(100)
    >>> len(writer.path.read_text().splitlines())
    4
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        run: ProbeRun,
        *,
        resume_step: int = 0,
        planned_steps: int | None = None,
    ) -> None:
        self.path = Path(folder) / f"{run.run_id}{LOG_SUFFIX}"
        self.state_path = Path(folder) / f"{run.run_id}{STATE_SUFFIX}"
        self._columns = run.columns()
        self._planned_steps = planned_steps
        self._has_failed = False
        self._check_earlier(resume_step)
        self._save_state(State.UNFINISHED)
        rows = _writing(self.path, cut_back, last_step=resume_step)
        self._written = {(row["step"], row["eval_corpus"]) for row in rows}

    def write(
        self,
        step: int,
        train_tokens: float,
        losses: Mapping[str, float],
        *,
        learning_rate: float | None = None,
    ) -> None:
        """Append one evaluation and wait until it is on the disk.

        An evaluation of this step and corpus that is there already stays. With a loss that is no number above 0 the
        run has failed: the step's rows are dropped, the reason is noted, and no row follows.

        Parameters
        ----------
        step : int
            Optimizer steps of the continual phase so far.
        train_tokens : float
            Tokens of the continual phase so far, of all processes; 0 for the base checkpoint.
        losses : mapping of str to float
            Validation loss of each corpus, nats per token.
        learning_rate : float, optional
            Rate of the last step.

        Raises
        ------
        InputError
            If ``train_tokens`` does not belong to ``step``, or the file cannot be written.
        """
        if (
            not math.isfinite(train_tokens)
            or train_tokens < 0
            or (train_tokens == 0) != (step == 0)
        ):
            raise InputError(
                f"train_tokens must be above 0 after step 0 and 0 before it, got {train_tokens:g} at step {step}; "
                "give tokens_per_step"
            )
        for corpus, loss in losses.items():
            if not self._has_failed and not (math.isfinite(loss) and loss > 0):
                self._fail(step, train_tokens, corpus, loss)
        if self._has_failed:
            return
        for corpus, loss in losses.items():
            if (step, corpus) not in self._written:
                row = self._row(step, train_tokens, corpus, loss, learning_rate)
                _writing(self.path, append_row, row)
                self._written.add((step, corpus))

    def end(self, step: int) -> None:
        """Note that the trainer has ended after ``step`` steps; a failed run stays failed.

        Raises
        ------
        InputError
            If rows that were written are gone, or the file cannot be written.
        """
        if self._has_failed:
            return
        if len(read_rows(self.path)) < len(self._written):
            raise InputError(
                f"{self.path} has lost rows that were written; it was removed or cut while the run went on, so its "
                "end is not noted: train the run again"
            )
        if self._planned_steps is not None and step < self._planned_steps:
            reason = f"ended at step {step} of {self._planned_steps}"
            self._save_state(State.STOPPED, reason)
        else:
            self._save_state(State.FINISHED)

    def _row(
        self, step: int, train_tokens: float, corpus: str, loss: float, rate: float | None
    ) -> dict[str, Any]:
        row = {name: self._columns[name] for name in _BEFORE_TOKENS}
        row["train_tokens"] = train_tokens
        row |= _chosen(self._columns, _BEFORE_CORPUS)
        row |= {"eval_corpus": corpus, "loss": loss, "step": step}
        if rate is not None:
            row["learning_rate"] = rate
        return row | {k: v for k, v in self._columns.items() if k not in row}

    def _fail(self, step: int, train_tokens: float, corpus: str, loss: float) -> None:
        self._has_failed = True
        _writing(self.path, cut_back, last_step=step - 1)
        reason = f"{corpus} validation loss was {loss} at step {step}"
        self._save_state(State.FAILED, f"{reason}; a lower learning_rate may help", train_tokens)

    def _save_state(
        self, state: State, reason: str = "", train_tokens: float | None = None
    ) -> None:
        rows = read_rows(self.path)
        if train_tokens is None:
            train_tokens = rows[-1]["train_tokens"] if rows else 0
        content = {
            "state": str(state),
            "reason": reason,
            "train_tokens": train_tokens,
            "planned_steps": self._planned_steps,
            "run": self._columns,
            "code_version": __version__,
            _ROWS_CHECKSUM: rows_checksum(self.path),
        }
        write_json(self.state_path, sealed(content))

    def _check_earlier(self, resume_step: int) -> None:
        """Refuse to write into the file of another run, or over a finished one."""
        if not self.state_path.exists():
            if self.path.exists():
                raise InputError(
                    f"{self.path} has no {self.state_path.name} beside it, so it may be another log; "
                    "choose another folder or run_id"
                )
            return
        earlier = read_state(self.state_path, str(self._columns["run_id"]))
        before, now = (_chosen(run, _SAME_IN_A_RUN) for run in (earlier["run"], self._columns))
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise InputError(
                    f"run_id {shown(self._columns['run_id'])} has {name} {before.get(name)} in {self.path}, "
                    f"now {now.get(name)}; give every training run a run_id of its own"
                )
        if earlier["state"] == State.FINISHED and resume_step == 0:
            raise InputError(
                f"run_id {shown(self._columns['run_id'])} is finished in {self.path}; choose another "
                "run_id, resume from a checkpoint, or remove the file to train it again"
            )


def read_state(path: Path, run_id: str) -> dict[str, Any]:
    """Return the state of a run.

    Parameters
    ----------
    path : Path
    run_id : str
        Name of the run, which the file's name begins with.

    Returns
    -------
    dict
        ``state``, ``run`` and what else :class:`ProbeLogWriter` writes; of 0.2 without checksums.

    Raises
    ------
    InputError
        If the file is damaged, was edited, or is that of another run.
    """
    state = read_json(path)
    run = state.get("run") if isinstance(state, dict) else None
    if not isinstance(run, dict) or state.get("state") not in tuple(State):
        raise InputError(
            f"{path} is damaged (it has no run, or no state); copy it back or remove it"
        )
    if run.get("run_id") != run_id:
        raise InputError(
            f"{path} is of run {shown(run.get('run_id'))}; it was edited or renamed, so copy it back"
        )
    if {CHECKSUM, _ROWS_CHECKSUM} & state.keys():
        require_seal(path, state, remedy="copy it back, or remove it and train the run again")
    return state


def rows_checksum(path: Path) -> str:
    """Return the checksum of a log's bytes, which the state of an ended run holds; that of nothing without a file."""
    return fingerprint(path.read_bytes() if path.exists() else b"")


def _chosen(columns: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the columns of these names; ``share_`` stands for all shares."""
    return {
        name: value
        for name, value in columns.items()
        if name in names or (SHARE_PREFIX in names and name.startswith(SHARE_PREFIX))
    }


def _writing(path: Path, write: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return write(path, *arguments, **options)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; make room or choose another folder"
        ) from None
