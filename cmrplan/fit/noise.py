"""How noisy a log is: what a run's evaluations share, and what each has of its own.

A run that is repeated with another seed ends elsewhere, and all its evaluations move together; on top of that
every evaluation scatters by itself. The two are told apart by analysis of variance (Henderson's method 3): the
residuals of a fit are split into the means of the runs and the rest, and the two sums of squares are set
equal to what the variances would make them, given the fit's pull on its own data. The general and the domain loss of a
log are taken together, since few runs leave little to estimate from.

What a law cannot follow counts as noise of the runs here. Repeated seeds show the noise without any law; the
difference between the two is misfit.

Units: residuals, so log losses for a law that is fitted to log losses: 0.004 is 0.4 % of the loss.

References
----------
Henderson 1953; Searle, Casella & McCulloch 1992, Variance Components, section 5.5; Satterthwaite 1946.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array

ROUNDED_DEGREES = (
    1e-6  # degrees of freedom below which there are none: traces of projections add up rounding
)


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the two kinds of noise, in residual units.

    Parameters
    ----------
    run : float
        What the evaluations of a run share.
    checkpoint : float
        What each evaluation has of its own.
    degrees_of_freedom : float
        Those behind ``run``, by Satterthwaite's formula.
    """

    run: float
    checkpoint: float
    degrees_of_freedom: float


@dataclass(frozen=True)
class Residuals:
    """What a fit left of ``n`` rows.

    Parameters
    ----------
    residual : array (n,)
    jacobian : array (n, k)
        Derivative of the fitted values by the parameters that moved.
    runs : sequence of n str
    """

    residual: Array
    jacobian: Array
    runs: Sequence[str]


def run_noise(parts: Sequence[Residuals]) -> Noise:
    """Return the noise that the residuals of one or more fits show.

    Parameters
    ----------
    parts : sequence of Residuals
        Fits whose noise is taken to be the same.
    """
    expected, squares, makers = np.zeros((2, 2)), np.zeros(2), []
    for part in parts:
        span = column_span(part.jacobian)
        member, size = _membership(part.runs)
        mean = _run_sums(part.residual[:, None], member)[:, 0] / np.sqrt(size)
        between = float(mean @ mean)
        squares += [between, float(part.residual @ part.residual) - between]
        # The blocks of the residual maker I - QQ' are summed over runs and divided by the root of their size.
        pull = _run_sums(span, member) / np.sqrt(size)[:, None]
        maker = _Maker(pull, size)
        expected[0] += [maker.shared, maker.trace]
        expected[1] += [
            float(np.sum(size) - np.sum(size * np.sum(pull**2, axis=1))) - maker.shared,
            len(part.residual) - span.shape[1] - maker.trace,
        ]
        makers.append(maker)
    variance = _solve(expected, squares)
    total = sum(variance[0] * maker.shared + variance[1] * maker.trace for maker in makers)
    scatter = sum(maker.scatter(*variance) for maker in makers)
    has_degrees = expected[0, 1] > ROUNDED_DEGREES and scatter > 0  # between the means of the runs
    degrees = total**2 / scatter if has_degrees else 1.0
    return Noise(float(np.sqrt(variance[0])), float(np.sqrt(variance[1])), max(degrees, 1.0))


def spare_runs(parts: Sequence[Residuals]) -> float:
    """Return how many runs fits leave to tell the noise between runs by; 0 where they go through every run."""
    makers = []
    for part in parts:
        member, size = _membership(part.runs)
        makers.append(
            _Maker(_run_sums(column_span(part.jacobian), member) / np.sqrt(size)[:, None], size)
        )
    spare = sum(maker.trace for maker in makers)
    return spare if spare > ROUNDED_DEGREES else 0.0


class _Maker:
    """Traces of products of ``M = I - PP'`` and ``D``, the sizes of ``R`` runs; ``P`` is ``(R, k)``.

    They are taken from matrices of ``k`` columns: those of runs by runs fill the memory where there are thousands.
    """

    def __init__(self, pull: Array, size: Array) -> None:
        self.gram = pull.T @ pull
        self.sized = pull.T @ (size[:, None] * pull)
        one = np.eye(pull.shape[1])
        self.square = 2 * one - self.gram  # M^2 is I - P square P', and M^3 the same with cube
        self.cube = self.square + one - self.gram @ self.square
        self.trace = len(size) - float(np.trace(self.gram))
        self.shared = float(np.sum(size) - np.trace(self.square @ self.sized))
        twice_sized = pull.T @ (size[:, None] ** 2 * pull)
        self._of_square = len(size) - float(np.trace(self.square @ self.gram))
        self._of_cube = float(np.sum(size) - np.trace(self.cube @ self.sized))
        turned = self.square @ self.sized
        self._of_fourth = float(
            np.sum(size**2) - 2 * np.trace(self.square @ twice_sized) + np.trace(turned @ turned)
        )

    def scatter(self, run: float, checkpoint: float) -> float:
        """Return the sum of squares of ``run * MDM + checkpoint * M``."""
        return float(
            run**2 * self._of_fourth
            + 2 * run * checkpoint * self._of_cube
            + checkpoint**2 * self._of_square
        )


def _solve(expected: Array, squares: Array) -> Array:
    """Return the variances that make the expected sums of squares the found ones, none below zero."""
    if (
        expected[1, 1] <= ROUNDED_DEGREES
    ):  # one evaluation a run: nothing to tell the two kinds apart by
        return np.array([squares[0] / expected[0, 0] if expected[0, 0] > 0 else 0.0, 0.0])
    if (
        expected[0, 0] <= ROUNDED_DEGREES
        or abs(np.linalg.det(expected)) <= 1e-12 * expected[0, 0] * expected[1, 1]
    ):
        return np.array([0.0, squares[1] / expected[1, 1]])
    return np.asarray(np.maximum(np.linalg.solve(expected, squares), 0.0))


def seed_noise(rows: pd.DataFrame) -> Noise | None:
    """Return the noise of log losses between runs that differ in nothing but their seed.

    Parameters
    ----------
    rows : DataFrame
        Rows of one corpus after the base checkpoint.

    Returns
    -------
    Noise or None
        None where no setting was run twice with two evaluations at the same token counts.
    """
    between = within = 0.0
    degrees, weight, spare = 0, 0.0, 0
    log_loss = np.log(rows["loss"].to_numpy(dtype=float))
    frame = rows[["model_params", "domain_ratio", "run_id", "train_tokens"]].assign(y=log_loss)
    for _, group in frame.groupby(["model_params", "domain_ratio"], sort=True):
        if group["run_id"].nunique() < 2:
            continue
        table = group.pivot_table(index="run_id", columns="train_tokens", values="y", sort=False)
        table = table.dropna(axis=1)
        runs, evaluations = table.shape
        if runs < 2 or evaluations < 2:
            continue
        rest = table.to_numpy() - table.to_numpy().mean(axis=0)
        mean = rest.mean(axis=1)
        between += evaluations * float(mean @ mean)
        within += float(np.sum((rest - mean[:, None]) ** 2))
        degrees += runs - 1
        weight += evaluations * (runs - 1)
        spare += (runs - 1) * (evaluations - 1)
    if not degrees:
        return None
    checkpoint = within / spare
    run = max(between - degrees * checkpoint, 0.0) / weight
    return Noise(float(np.sqrt(run)), float(np.sqrt(checkpoint)), float(degrees))


def within_runs(part: Residuals) -> Array:
    """Return the residuals less the mean of their run, widened for the parameters that were fitted, ``(n,)``."""
    member, size = _membership(part.runs)
    mean = _run_sums(part.residual[:, None], member)[:, 0] / size
    num_rows = len(part.residual)
    spare = max(num_rows - part.jacobian.shape[1], 1)
    return np.asarray((part.residual - mean[member]) * np.sqrt(num_rows / spare))


def column_span(jacobian: Array) -> Array:
    """Return an orthonormal basis of the columns, ``(n, rank)``."""
    largest = np.max(np.abs(jacobian), axis=0, initial=0.0)
    scaled = jacobian / np.where(largest > 0, largest, 1.0)
    span, singular, _ = np.linalg.svd(scaled, full_matrices=False)
    kept = singular > np.finfo(float).eps * len(jacobian) * np.max(singular, initial=0.0)
    return np.asarray(span[:, kept])


def _membership(runs: Sequence[str]) -> tuple[NDArray[np.intp], Array]:
    """Return the number of each row's run, ``(n,)``, and the rows of each run, ``(R,)``."""
    member = pd.factorize(np.asarray(runs, dtype=object))[0]
    return member, np.bincount(member).astype(float)


def _run_sums(values: Array, member: NDArray[np.intp]) -> Array:
    """Return the sums over each run, ``(R, k)`` for ``(n, k)``."""
    columns = [np.bincount(member, weights=column) for column in values.T]
    return np.stack(columns, axis=1) if columns else np.zeros((int(member.max()) + 1, 0))
