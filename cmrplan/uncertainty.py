"""Resampling whole runs, since the evaluations of one run share its noise.

Two ways, both seeded and independent of the number of workers:

- ``runs``: draw as many runs as there are, with replacement; a resample is a count per run. For logs of
  many runs.
- ``wild``: keep every run and multiply all of a run's residuals, corrected for the run's own pull on
  the fit, by one random sign, and those of all runs by one factor that widens the resamples as Student's t does
  with one degree of freedom less than runs: so few residuals do not know their own size. For logs of few
  runs, where leaving out a run would leave out the only probe of its ratio.

The same resample serves the general and the domain loss, so their draws are paired.

References
----------
Efron 1979; Cameron, Gelbach & Miller 2008 (wild cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmrplan.laws.law import Array

FEWEST_RUNS_TO_DRAW = 20
# A direction that a run determines almost alone has no residual left to correct; this bounds the inverse.
LEAST_FREEDOM = 0.05

Method = Literal["runs", "wild"]


@dataclass(frozen=True)
class Resamples:
    """One multiplier per resample and run.

    Parameters
    ----------
    runs : tuple of str
        Run identifiers, sorted.
    method : {"runs", "wild"}
    multiplier : array (B, number of runs)
        Counts for ``runs``; signs times the resample's factor for ``wild``.
    """

    runs: tuple[str, ...]
    method: Method
    multiplier: Array

    @property
    def count(self) -> int:
        """Number of resamples B."""
        return len(self.multiplier)

    def weights(self, row_runs: Sequence[str]) -> Array:
        """Return row weights, ``(B, n)`` or ``(1, n)``."""
        if self.method == "runs":
            return self._by_row(row_runs)
        return np.ones((1, len(row_runs)))

    def shifts(self, row_runs: Sequence[str], residual: Array, noise: Array) -> Array:
        """Return what each row's fitted value is moved by, ``(B, n)`` or ``(1, n)``.

        ``residual`` gives back the data (for ``runs``); ``noise`` is flipped by run (for ``wild``), see
        :func:`leave_run_out`.
        """
        if self.method == "runs":
            return residual[None, :]
        return self._by_row(row_runs) * noise[None, :]

    def _by_row(self, row_runs: Sequence[str]) -> Array:
        position = {run: k for k, run in enumerate(self.runs)}
        return self.multiplier[:, [position[run] for run in row_runs]]


def leave_run_out(jacobian: Array, row_runs: Sequence[str], residual: Array) -> Array:
    """Return the residuals each run would have if the law were fitted without it, to first order.

    A fit bends toward every run, so its own residuals are too small, the more so the fewer runs there are. The
    correction multiplies the residuals of a run by the inverse of one minus its block of the hat
    matrix (the cluster form of HC3, or CR3).

    Parameters
    ----------
    jacobian : array (n, k)
        Derivative of the fitted values by the parameters.
    row_runs : sequence of n str
    residual : array (n,)

    References
    ----------
    Bell & McCaffrey 2002; MacKinnon, Nielsen & Webb 2023, section on CV3.
    """
    largest = np.max(np.abs(jacobian), axis=0, initial=0.0)
    span, _ = np.linalg.qr(jacobian / np.where(largest > 0, largest, 1.0))
    _, run_of = np.unique(np.asarray(row_runs), return_inverse=True)
    order = np.argsort(run_of, kind="stable")
    corrected = residual.copy()
    for rows in np.split(order, np.flatnonzero(np.diff(run_of[order])) + 1):
        # the block of a run is span @ span.T: its k eigenvalues are those of the k by k span.T @ span
        share, axes = np.linalg.eigh(span[rows].T @ span[rows])
        freedom = 1 - share
        gain = np.where(
            freedom >= LEAST_FREEDOM,
            1 / np.maximum(freedom, LEAST_FREEDOM),
            (1 / LEAST_FREEDOM - 1) / np.maximum(share, LEAST_FREEDOM),
        )
        along = axes.T @ (span[rows].T @ residual[rows])
        corrected[rows] += span[rows] @ (axes @ (gain * along))
    return corrected


def resample_runs(
    runs: Sequence[str], *, count: int, seed: int, method: Method | None = None
) -> Resamples:
    """Draw resamples of whole runs.

    Parameters
    ----------
    runs : sequence of str
        Run identifiers; repeats and order do not matter.
    count : int
        Number of resamples B.
    seed : int
    method : {"runs", "wild"}, optional
        By default ``wild`` below 20 runs.
    """
    names = tuple(sorted(set(runs)))
    if method is None:
        method = "runs" if len(names) >= FEWEST_RUNS_TO_DRAW else "wild"
    generator = np.random.Generator(np.random.Philox(seed))
    if method == "runs":
        chances = np.full(len(names), 1 / len(names))
        multiplier = generator.multinomial(len(names), chances, size=count).astype(float)
    else:
        multiplier = generator.choice([-1.0, 1.0], size=(count, len(names)))
        multiplier *= _student_scale(generator, count, len(names) - 1)
    return Resamples(names, method, multiplier)


def _student_scale(generator: np.random.Generator, count: int, freedom: int) -> Array:
    """Return what turns normal draws into draws of Student's t, one factor per resample, ``(B, 1)``."""
    if freedom < 1:
        return np.ones((count, 1))
    return np.asarray(np.sqrt(freedom / generator.chisquare(freedom, size=(count, 1))))
