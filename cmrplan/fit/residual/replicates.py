"""Repeated seeds: their means carry all about the curve, and their differences all else about the noise.

Where every ratio and budget of a size was run with the same seeds, an orthogonal change of the rows over the seeds
splits them: the mean over ``c`` seeds, whose noise is divided by ``c``, and ``c - 1`` differences, which hold noise
alone. The likelihood is the product of both, exactly, and its matrices are smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import cholesky, helmert
from scipy.linalg.lapack import dpotri

from cmrplan.arrays import Array
from cmrplan.fit.supply import COLUMN

POOLED = "pooled_runs"  # a column: how many runs each row is the mean of
CELL = ["train_tokens", "domain_ratio"]


@dataclass(frozen=True)
class Differences:
    """Differences between the seeds of one size, or of several sizes with the same plan of probes.

    Parameters
    ----------
    values : array (m, k)
        Of the log losses of ``m`` points, orthonormal over the seeds: ``c - 1`` columns for ``c`` seeds of a size.
    same_run, same_step : array (m, m)
        Which points share a run, and a step, as 0 and 1.
    """

    values: Array
    same_run: Array
    same_step: Array

    @cached_property
    def _parts(self) -> tuple[Array, Array, Array]:
        return np.eye(len(self.values)), self.same_run, self.same_step

    def minus_log_likelihood(self, variances: Array, floor: float) -> tuple[float, Array]:
        """Return minus the log likelihood without constants, and its derivative by the three variances.

        Parameters
        ----------
        variances : array (3,)
            Of an evaluation, a run and a step.
        floor : float
            Added to the variance of each row.
        """
        inverse, log_determinant = self._inverse(variances, floor)
        solved, count = inverse @ self.values, self.values.shape[1]
        value = 0.5 * float(np.sum(self.values * solved)) + 0.5 * count * log_determinant
        weight = 0.5 * (count * inverse - solved @ solved.T)
        return value, np.array([np.vdot(weight, part) for part in self._parts])

    def information(self, variances: Array, floor: float) -> Array:
        """Return the information on the three variances, ``(3, 3)``."""
        inverse, _ = self._inverse(variances, floor)
        whitened = [inverse @ part for part in self._parts]
        count = self.values.shape[1]
        return np.array([[0.5 * count * np.sum(a * b.T) for b in whitened] for a in whitened])

    def _inverse(self, variances: Array, floor: float) -> tuple[Array, float]:
        unit, same_run, same_step = self._parts
        covariance = (variances[0] + floor) * unit
        covariance += variances[1] * same_run
        covariance += variances[2] * same_step
        factor = cholesky(covariance, lower=True, check_finite=False)
        return inverse_of(factor), 2 * float(np.sum(np.log(np.diag(factor))))


def inverse_of(factor: Array) -> Array:
    """Return the inverse of a matrix from its lower Cholesky factor."""
    lower, _ = dpotri(factor, lower=1)
    whole = np.ascontiguousarray(lower)
    whole += whole.T.copy()
    whole[np.diag_indices_from(whole)] *= 0.5
    return whole


def seed_means(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[Differences]]:
    """Return rows with the seeds of each size averaged, where every point of it has them all, and their differences.

    Parameters
    ----------
    rows : DataFrame
        With a column ``count``, one where a row is one evaluation. Pooled runs have no seeds to average.

    Returns
    -------
    rows : DataFrame
        ``loss`` is the geometric mean over the seeds and ``seeds`` their number; all else is that of the first seed.
    differences : list of Differences
        One for each plan of probes of sizes whose seeds were averaged.
    """
    rows = rows.assign(seeds=rows.get(POOLED, 1.0))
    if "seed" not in rows or (rows["seeds"] > 1).any():
        return rows, []
    parts, differences = [], []
    for _, part in rows.groupby("model_params", sort=True):
        seeds = np.unique(part["seed"]) if part["seed"].notna().all() else np.zeros(1)
        if len(seeds) < 2 or not _is_complete(part, len(seeds)):
            parts.append(part)
            continue
        ordered = part.sort_values(["seed", *CELL])
        log_loss = np.log(ordered["loss"].to_numpy(dtype=float)).reshape(len(seeds), -1).T
        first = ordered[ordered["seed"] == seeds[0]]
        parts.append(first.assign(loss=np.exp(log_loss.mean(axis=1)), seeds=float(len(seeds))))
        same = [_same(first[name].to_numpy()) for name in ("run_id", "train_tokens")]
        differences.append(Differences(log_loss @ helmert(len(seeds)).T, *same))
    return pd.concat(parts, ignore_index=True), _side_by_side(differences)


def _side_by_side(differences: list[Differences]) -> list[Differences]:
    """Return differences with those of sizes that share their plan of probes in one: their covariance is the same."""
    merged: list[Differences] = []
    for part in differences:
        for k, other in enumerate(merged):
            if np.array_equal(part.same_run, other.same_run) and np.array_equal(
                part.same_step, other.same_step
            ):
                merged[k] = replace(other, values=np.hstack([other.values, part.values]))
                break
        else:
            merged.append(part)
    return merged


def _is_complete(part: pd.DataFrame, num_seeds: int) -> bool:
    """Tell whether every point has each seed once, and every ratio and seed is one run of plain evaluations."""
    cells = part.groupby(CELL)["seed"].agg(["size", "nunique"])
    if COLUMN in part and (part.groupby(CELL)[COLUMN].nunique(dropna=False) > 1).any():
        return False  # seeds that drew from several corpora are no repeats of each other
    runs = part.groupby(["domain_ratio", "seed"])["run_id"].nunique()
    return bool(
        (cells == num_seeds).all(axis=None) and (runs == 1).all() and (part["count"] == 1).all()
    )


def _same(labels: NDArray[np.generic]) -> Array:
    return np.asarray(labels[:, None] == labels[None, :], dtype=float)
