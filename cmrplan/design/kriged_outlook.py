r"""What laws with a residual are expected to say after probes that were not run yet.

The losses are a Gaussian process, so what a run takes from their posterior covariance is known before it is run
(:mod:`cmrplan.fit.residual.posterior`). The answer ``R`` is regressed over the draws on the leading directions of both
losses' curves, which gives it weights ``w`` on them. A run that measures ``D`` takes

.. math:: w'S_{.D} (S_{DD} + V)^{-1} S_{D.}w

from the variance of ``w'f``. By this runs are chosen, one after the other, each given those before it, and the interval
of the answer shrinks about its median as the root of what is left of the variance. What of the answer is not linear in
the curves is taken to shrink alike. The interval is never wider than now.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from cmrplan.arrays import Array
from cmrplan.design.forecast import Outlook
from cmrplan.fit.fit import Fit
from cmrplan.fit.residual.posterior import Posterior
from cmrplan.plan.request import PlanRequest

MOST_POINTS_A_RUN = 4  # that a run is looked at by, each standing for its share of all
MOST_DIRECTIONS = 6  # of the curves of one loss, on which the answer is regressed
DRAWS_A_DIRECTION = 10
FAINTEST = 1e-3  # of the largest direction


@dataclass(frozen=True)
class LossForecast:
    """One loss on the grid and in ``c`` possible runs of ``e`` evaluations, after those that were taken as run.

    Parameters
    ----------
    posterior : Posterior
        At the ``g`` points of the grid and, behind them, those of the runs.
    num_grid : int
    counts : array (e,)
        How many evaluations each of a run's values is a mean of.
    variance : array (K,)
        Of the part of the answer that is linear in this loss, by member.
    shared : array (K, c, e)
        Covariance of that part with what the runs would show.
    spread : array (K, c, e, e)
        Covariance within each run, without noise.
    """

    posterior: Posterior
    num_grid: int
    counts: Array
    variance: Array
    shared: Array
    spread: Array

    @property
    def answer_variance(self) -> float:
        """Variance of the part of the answer that is linear in this loss, averaged over the members."""
        return float(self.posterior.weights @ self.variance)

    def variance_reduction(self) -> Array:
        """Return by how much each run would lower the variance of the answer, averaged over the members, ``(c,)``."""
        noise = np.stack([member.noise(self.counts) for member in self.posterior.members])
        inverse = np.linalg.inv(self.spread + noise[:, None])
        parts = np.einsum("kci,kcij,kcj->kc", self.shared, inverse, self.shared)
        return np.asarray(self.posterior.weights @ parts)

    def after(self, row: int) -> LossForecast:
        """Return the forecast with one of the runs taken as made."""
        first = self.num_grid + row * len(self.counts)
        index = np.arange(first, first + len(self.counts))
        members = []
        variance, shared, spread = self.variance.copy(), self.shared.copy(), self.spread.copy()
        for k, member in enumerate(self.posterior.members):
            after, gain, factor = member.after(index, member.noise(self.counts))
            members.append(after)
            on_runs = gain[:, self.num_grid :].reshape(len(index), *shared.shape[1:])
            told = solve_triangular(factor, shared[k, row], lower=True)
            variance[k] -= told @ told
            shared[k] -= np.einsum("a,aci->ci", told, on_runs)
            spread[k] -= np.einsum("aci,acj->cij", on_runs, on_runs)
        return replace(
            self,
            posterior=replace(self.posterior, members=tuple(members)),
            variance=variance,
            shared=shared,
            spread=spread,
        )


class KrigedOutlook(Outlook):
    """The draws of laws with a residual, and their posterior after more runs."""

    def __init__(self, fit: Fit, request: PlanRequest, more_sizes: Sequence[float] = ()) -> None:
        super().__init__(fit, request, more_sizes)
        evaluated = self.candidates.evaluated
        count = min(evaluated.shape[1], MOST_POINTS_A_RUN)
        kept = np.round(np.linspace(0, evaluated.shape[1] - 1, count)).astype(int)
        counts = np.full(count, evaluated.shape[1] / count)
        posteriors = {
            corpus: self._posterior(fit, corpus, evaluated[:, kept])
            for corpus in ("general", "domain")
        }
        num_points = {
            c: p.log_draws.shape[1] - evaluated[:, kept].size for c, p in posteriors.items()
        }
        on_grid = {c: p.log_draws[:, : num_points[c]] for c, p in posteriors.items()}
        answers = np.clip(self.answers, *self.interval_now())  # what lies beyond widens nothing
        weights = answer_weights(answers, on_grid)
        self._losses = {
            corpus: _forecast(posterior, weights[corpus], counts)
            for corpus, posterior in posteriors.items()
        }
        self._variance_now = self._variance_left

    @property
    def _variance_left(self) -> float:
        """What is left of the variance of the answer, as far as it is linear in the losses."""
        return max(sum(loss.answer_variance for loss in self._losses.values()), 0.0)

    def interval(self) -> tuple[float, float]:
        """Return the expected ends of the interval of the best ratio."""
        low, high = self.interval_now()
        if self._variance_now == 0:
            return low, high
        middle = float(np.clip(np.median(self.answers), low, high))
        part = float(np.sqrt(self._variance_left / self._variance_now))
        return low + (1 - part) * (middle - low), high - (1 - part) * (high - middle)

    def expected_variance_reduction(self) -> Array:
        """Return the share of the ratio's variance that the best use of each candidate would take away, ``(c,)``."""
        left = self._variance_left
        if left == 0:
            return np.zeros(len(self.candidates.train_tokens))
        taken = sum(loss.variance_reduction() for loss in self._losses.values())
        return np.asarray(np.minimum(taken / left, 1.0))

    def with_run(self, row: int) -> KrigedOutlook:
        """Return the outlook with one more candidate taken as run."""
        after = copy(self)
        after._losses = {corpus: loss.after(row) for corpus, loss in self._losses.items()}
        return after

    def _posterior(self, fit: Fit, corpus: str, evaluated: Array) -> Posterior:
        """Return the posterior of a loss on the grid, at pure replay where that counts, and in the runs."""
        curves, runs = self._coarse, self.candidates
        ratio, tokens = curves.domain_ratio, curves.train_tokens
        if corpus == "general" and curves.replay is not None:
            ratio, tokens = np.append(ratio, 0.0), np.append(tokens, tokens[0])
        each = evaluated.shape[1]
        on_grid = {
            "model_params": np.full(len(ratio), curves.model_params),
            "train_tokens": tokens,
            "domain_ratio": ratio,
        }
        in_runs = {
            "model_params": np.repeat(runs.model_params, each),
            "train_tokens": evaluated.ravel(),
            "domain_ratio": np.repeat(runs.domain_ratio, each),
        }
        supply, asked = fit.probed.supply, self.request.unique_tokens
        probed = None if supply is None else supply.unique_tokens
        parts = [
            fit.completed(corpus, on_grid, asked or probed),
            fit.completed(corpus, in_runs, probed or asked),
        ]
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        posterior = fit.model_of(corpus).posterior_at(columns)
        assert posterior is not None
        return posterior


def answer_weights(answers: Array, curves: dict[str, Array]) -> dict[str, Array]:
    """Return what the answers weigh each point of each loss with, by regression over the draws, ``(g,)`` each.

    Parameters
    ----------
    answers : array (B,)
    curves : dict of str to array (B, g)
        By loss. Each is regressed on by its leading directions alone, few for the number of draws.
    """
    most = max(min(MOST_DIRECTIONS, len(answers) // (len(curves) * DRAWS_A_DIRECTION)), 1)
    directions, scores = {}, []
    for corpus, draws in curves.items():
        off = draws - draws.mean(axis=0)
        _, size, across = np.linalg.svd(off, full_matrices=False)
        kept = across[: int(np.sum(size[:most] > FAINTEST * size[0]))]
        directions[corpus] = kept
        scores.append(off @ kept.T)
    slopes = np.linalg.lstsq(np.hstack(scores), answers - answers.mean(), rcond=None)[0]
    ends = np.cumsum([0, *(len(kept) for kept in directions.values())])
    return {
        corpus: slopes[first:last] @ kept
        for (corpus, kept), first, last in zip(directions.items(), ends, ends[1:], strict=False)
    }


def _forecast(posterior: Posterior, weights: Array, counts: Array) -> LossForecast:
    """Return the forecast of a loss before any run."""
    num_points, num_grid = posterior.log_draws.shape[1], len(weights)
    grid = np.arange(num_grid)
    runs = np.arange(num_grid, num_points).reshape(-1, len(counts))
    variance, shared, spread = [], [], []
    for member in posterior.members:
        weighted = member.covariance(grid) @ weights
        variance.append(float(weighted[:num_grid] @ weights))
        shared.append(weighted[num_grid:].reshape(runs.shape))
        spread.append(member.blocks(runs))
    return LossForecast(
        posterior=posterior,
        num_grid=num_grid,
        counts=counts,
        variance=np.array(variance),
        shared=np.stack(shared),
        spread=np.stack(spread),
    )
