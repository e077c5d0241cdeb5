"""A run writes its evaluations, and its progress with the time it took, as it trains."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from cmrplan.files import atomic_write, sealed, write_json
from probes.data.thresholds import domain_sequences
from probes.run_settings import RunSettings
from probes.runs import RunFolder
from probes.training.metrics import append_row, cut_torn

PROGRESS_SECONDS = 1.0
"""Time between two updates of the progress file."""


def begin(
    run: RunFolder, settings: RunSettings, start_losses: Mapping[str, np.ndarray] | None
) -> list[int]:
    """Make the metrics of a run whole and return the steps that it has evaluated after."""
    rows = cut_torn(run.metrics)
    if start_losses is not None and not rows:
        record(run, settings, 0, start_losses)
    return [row["step"] for row in rows]


def record(
    run: RunFolder,
    settings: RunSettings,
    step: int,
    losses: Mapping[str, np.ndarray],
) -> None:
    """Write one evaluation: the losses of all sequences, then the metrics row."""
    with atomic_write(run.losses(step)) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, allow_pickle=False, **losses)
    append_row(run.metrics, evaluation_row(settings, step, losses))


def evaluation_row(
    settings: RunSettings, step: int, losses: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Return the metrics row of an evaluation: what the settings say of the step, and the mean losses."""
    num_domain = domain_sequences(
        step, settings.batch_size, settings.domain_ratio, seed=settings.seed
    )
    ends = (s for s in settings.segments if s.evaluates and s.stop == step > 0)
    segment = next(ends, None)
    row: dict[str, Any] = {
        "step": step,
        "train_tokens": step * settings.step_tokens,
        "domain_tokens": num_domain * settings.sequence_length,
        "realized_domain_ratio": num_domain / (step * settings.batch_size) if step else None,
        "learning_rate": settings.schedule.rate(step - 1, segment) if segment else None,
    }
    for name, values in losses.items():
        row[f"{name}_loss"] = float(np.mean(values, dtype=np.float64))
    return row


class Clock:
    """Counts the seconds of a run over all its starts and writes its progress file.

    Parameters
    ----------
    run : RunFolder
        Where the file goes.
    settings : RunSettings
        The run.
    share : float
        Part of the time that counts for the run; the members of a group share its time.
    """

    def __init__(self, run: RunFolder, settings: RunSettings, *, share: float) -> None:
        self._run = run
        self._settings = settings
        self._share = share
        before = run.read_progress() or {"seconds": 0.0, "notes": []}
        self._earlier: float = before["seconds"]
        self.notes: list[str] = list(before["notes"])
        self._began = self._written = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds so far."""
        return self._earlier + self._share * (time.monotonic() - self._began)

    @property
    def is_due(self) -> bool:
        """Whether the file is old, or not there."""
        is_old = time.monotonic() - self._written > PROGRESS_SECONDS
        return is_old or not self._run.progress.exists()

    def write(self, step: int) -> None:
        """Write the file."""
        self._written = time.monotonic()
        content = {
            "step": step,
            "steps": self._settings.steps,
            "train_tokens": step * self._settings.step_tokens,
            "seconds": round(self.seconds(), 3),
            "notes": self.notes,
        }
        write_json(self._run.progress, sealed(content))
