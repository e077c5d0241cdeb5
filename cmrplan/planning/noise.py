"""How much of a fit's residuals is shared by a run, and how much is of one checkpoint.

Each log loss is taken as law + run effect + checkpoint noise: one random number per run, one per evaluation. What is
left over when every run gets a level of its own knows of checkpoint noise alone; what is left over of the law
alone has both, in known proportion. The parameters' own pull on the residuals is counted in each.

The estimate is unbiased however few runs there are. Likelihood would weigh the rows anew and can carry the parameters
far away where the law is not quite right; then the runs seem to differ by what they do not.

References
----------
Henderson 1953, method 3; Searle, Casella & McCulloch 1992, section 5.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmrplan.errors import CmrplanError
from cmrplan.laws.law import Array

# A few runs can by chance show no noise of their own, and a single long run would then seem to tell everything.
LEAST_RUN_SHARE = 1.0
LEAST_NOISE = (
    1e-12  # variance of a checkpoint: a millionth of the loss is below what anyone measures
)


@dataclass(frozen=True)
class RunNoise:
    """Variances of log losses.

    Parameters
    ----------
    run : float
        Of what all evaluations of a run share; at least that of a checkpoint.
    checkpoint : float
        Of what each evaluation has of its own.
    """

    run: float
    checkpoint: float

    def covariance(self, count: int) -> Array:
        """Return the covariance of ``count`` evaluations of one run."""
        return np.asarray(self.run + self.checkpoint * np.eye(count))


def run_noise(jacobian: Array, row_runs: Sequence[str], residual: Array) -> RunNoise:
    """Estimate both variances from the residuals of a fit.

    Parameters
    ----------
    jacobian : array (n, k)
        Derivative of the fitted log losses by the parameters.
    row_runs : sequence of n str
    residual : array (n,)
        Log residuals.

    Raises
    ------
    CmrplanError
        If the law follows every run, so that nothing is left to tell the noise from.
    """
    _, run = np.unique(np.asarray(row_runs), return_inverse=True)
    member = np.equal.outer(run, np.arange(run.max() + 1)).astype(float)
    span, levels = _basis(jacobian), _basis(np.hstack([jacobian, member]))
    within = len(run) - levels.shape[1]
    between = float(np.sum(member**2) - np.sum((span.T @ member) ** 2))
    if within < 1 or levels.shape[1] == span.shape[1]:
        raise CmrplanError(
            f"{member.shape[1]} runs with {len(run)} evaluations do not tell the noise of a run from the law's "
            f"{span.shape[1]} parameters; add runs at other ratios"
        )
    checkpoint = max(_left_over(residual, levels) / within, LEAST_NOISE)
    freedom = len(run) - span.shape[1]
    effect = (_left_over(residual, span) - freedom * checkpoint) / between
    return RunNoise(run=max(effect, LEAST_RUN_SHARE * checkpoint), checkpoint=checkpoint)


def _left_over(residual: Array, span: Array) -> float:
    """Return the sum of squares that a basis does not explain."""
    return float(np.sum((residual - span @ (span.T @ residual)) ** 2))


def _basis(jacobian: Array) -> Array:
    """Return an orthonormal basis of what the columns span, ``(n, rank)``."""
    largest = np.max(np.abs(jacobian), axis=0, initial=0.0)
    left, singular, _ = np.linalg.svd(
        jacobian / np.where(largest > 0, largest, 1.0), full_matrices=False
    )
    floor = np.finfo(float).eps * max(jacobian.shape) * np.max(singular, initial=0.0)
    return np.asarray(left[:, singular > floor])
