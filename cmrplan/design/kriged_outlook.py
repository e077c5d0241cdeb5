r"""What laws with a residual are expected to say after probes that were not run yet.

The losses are a Gaussian process, so what a run takes from their posterior covariance is known before it is run
(:mod:`cmrplan.fit.residual.posterior`). Two questions are asked of it.

*How much does it know of the answer?* The answer ``R`` is regressed over the draws on the leading directions of both
losses' curves, which gives it weights ``w`` on them. A run that measures ``D`` takes

.. math:: w'S_{.D} (S_{DD} + V)^{-1} S_{D.}w

from the variance of ``w'f``. By this runs are chosen, one after the other, each given those before it. It can never be
below 0.

*How narrow will the interval be?* Some draws take turns in being the truth. Each says what the runs would measure, all
draws are moved to the posterior after that by Matheron's rule, and the ends of the interval are the means over the
truths. A run has the same noise in whatever company it is looked at.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from cmrplan.arrays import Array
from cmrplan.design.candidates import Candidates
from cmrplan.design.forecast import Outlook
from cmrplan.fit.corpus_model import RandomStream, central_interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.residual.posterior import Posterior
from cmrplan.plan.request import PlanRequest

MOST_POINTS_A_RUN = 4  # that a run is looked at by, each standing for its share of all
NUM_TRUTHS = 8
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
    counts : array (e,)
        How many evaluations each of a run's values is a mean of.
    truths : int array (T,)
        The draws that take turns in being the truth.
    seed : int
        Of the noise of the runs.
    variance : array (K,)
        Of the part of the answer that is linear in this loss, by member.
    shared : array (K, c, e)
        Covariance of that part with what the runs would show.
    spread : array (K, c, e, e)
        Covariance within each run, without noise.
    shift : array (T, B, g)
        By what the draws were moved on the grid.
    steps : tuple of (array (K, e, m), array (T, B, e))
        The gain of each run that was taken, by member, and what the draws missed of it, whitened.
    """

    posterior: Posterior
    counts: Array
    truths: NDArray[np.intp]
    seed: int
    variance: Array
    shared: Array
    spread: Array
    shift: Array
    steps: tuple[tuple[Array, Array], ...] = ()

    @property
    def _num_grid(self) -> int:
        return int(self.shift.shape[2])

    def _index(self, row: int) -> NDArray[np.intp]:
        first = self._num_grid + row * len(self.counts)
        return np.arange(first, first + len(self.counts))

    def variance_reduction(self) -> Array:
        """Return by how much each run would lower the variance of the answer, averaged over the members, ``(c,)``."""
        noise = np.stack([member.noise(self.counts) for member in self.posterior.members])
        inverse = np.linalg.inv(self.spread + noise[:, None])
        parts = np.einsum("kci,kcij,kcj->kc", self.shared, inverse, self.shared)
        return np.asarray(self.posterior.weights @ parts)

    def after(self, row: int) -> LossForecast:
        """Return the forecast with one of the runs taken as made."""
        posterior, index, num_grid = self.posterior, self._index(row), self._num_grid
        moved = posterior.log_draws[:, index] + self._shift_at(index)
        shown = self._shown(row, index)
        members, gains, missed = [], [], np.empty_like(moved)
        variance, shared, spread = self.variance.copy(), self.shared.copy(), self.spread.copy()
        shift = self.shift.copy()
        for k, member in enumerate(posterior.members):
            noise = member.noise(self.counts)
            after, gain, factor = member.after(index, noise)
            members.append(after)
            gains.append(gain)
            mine = posterior.member_of_draws == k
            surprise = shown[:, None, :] - moved[:, mine] - self._noise(row, noise)[mine]
            white = np.linalg.solve(factor, surprise.reshape(-1, len(index)).T).T
            missed[:, mine] = white.reshape(surprise.shape)
            shift[:, mine] += missed[:, mine] @ gain[:, :num_grid]
            on_runs = gain[:, num_grid:].reshape(len(index), *shared.shape[1:])
            told = solve_triangular(factor, shared[k, row], lower=True)
            variance[k] -= told @ told
            shared[k] -= np.einsum("a,aci->ci", told, on_runs)
            spread[k] -= np.einsum("aci,acj->cij", on_runs, on_runs)
        return replace(
            self,
            posterior=replace(posterior, members=tuple(members)),
            variance=variance,
            shared=shared,
            spread=spread,
            shift=shift,
            steps=(*self.steps, (np.stack(gains), missed)),
        )

    def _shift_at(self, index: NDArray[np.intp]) -> Array:
        """Return by what the draws were moved at some points, ``(T, B, e)``."""
        shift = np.zeros((*self.shift.shape[:2], len(index)))
        for gains, missed in self.steps:
            for k, gain in enumerate(gains):
                mine = self.posterior.member_of_draws == k
                shift[:, mine] += missed[:, mine] @ gain[:, index]
        return shift

    def _shown(self, row: int, index: NDArray[np.intp]) -> Array:
        """Return what a run would measure in each truth, ``(T, e)``."""
        posterior, truths = self.posterior, self.truths
        shown = posterior.log_draws[np.ix_(truths, index)]
        for k, member in enumerate(posterior.members):
            noise = self._noise(row, member.noise(self.counts), is_measured=True)
            shown = np.where(
                posterior.member_of_draws[truths, None] == k, shown + noise[truths], shown
            )
        return shown

    def _noise(self, row: int, covariance: Array, *, is_measured: bool = False) -> Array:
        """Return noise of a run, ``(B, e)``: the draws' own, or what is measured where each is the truth."""
        generator = RandomStream.NEXT_PROBE.generator(self.seed, row, int(is_measured))
        normal = generator.standard_normal((len(self.posterior.log_draws), len(covariance)))
        return np.asarray(normal @ np.linalg.cholesky(covariance).T)


class KrigedOutlook(Outlook):
    """The draws of laws with a residual, and their posterior after more runs."""

    def __init__(self, fit: Fit, request: PlanRequest, candidates: Candidates) -> None:
        super().__init__(fit, request, candidates)
        evaluated = candidates.evaluated
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
        self._answer_variance = float(np.var(answers, ddof=1))
        weights = answer_weights(answers, on_grid)
        order = np.argsort(self.answers, kind="stable")
        middles = (np.arange(NUM_TRUTHS) + 0.5) / NUM_TRUTHS
        truths = order[(middles * len(order)).astype(int)]
        self._losses = {
            corpus: _forecast(posterior, weights[corpus], counts, truths, number)
            for number, (corpus, posterior) in enumerate(posteriors.items())
        }
        linear = sum(
            float(loss.posterior.weights @ loss.variance) for loss in self._losses.values()
        )
        self._not_linear = max(self._answer_variance - linear, 0.0)

    def expected_variance_reduction(self) -> Array:
        """Return the share of the ratio's variance that the best use of each candidate would take away, ``(c,)``."""
        losses = self._losses.values()
        left = self._not_linear + sum(
            float(loss.posterior.weights @ loss.variance) for loss in losses
        )
        if self._answer_variance == 0 or left <= 0:
            return np.zeros(len(self.candidates.train_tokens))
        return np.asarray(np.minimum(sum(loss.variance_reduction() for loss in losses) / left, 1.0))

    def with_run(self, row: int) -> KrigedOutlook:
        """Return the outlook with one more candidate taken as run."""
        after = copy(self)
        after.__dict__.pop("_expected_ends", None)
        after._losses = {corpus: loss.after(row) for corpus, loss in self._losses.items()}
        return after

    def _ends(self) -> tuple[float, float]:
        return self._expected_ends

    @cached_property
    def _expected_ends(self) -> tuple[float, float]:
        curves, num_grid = self._coarse, len(self._coarse.domain_ratio)
        on_general, on_domain = (np.exp(self._losses[c].shift) for c in ("general", "domain"))
        general = curves.general.draws * on_general[..., :num_grid]
        domain = curves.domain.draws * on_domain
        replay = None
        if curves.replay is not None:
            replay = (curves.replay.draws * on_general[..., num_grid:]).reshape(-1, 1)
        flat = general.reshape(-1, num_grid), domain.reshape(-1, num_grid)
        answers = self._ratios(*flat, replay).reshape(general.shape[:2])
        low, high = central_interval(answers.T, self.request.confidence)
        return float(np.mean(low)), float(np.mean(high))

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


def _forecast(
    posterior: Posterior, weights: Array, counts: Array, truths: NDArray[np.intp], seed: int
) -> LossForecast:
    """Return the forecast of a loss before any run."""
    num_draws, num_points = posterior.log_draws.shape
    num_grid = len(weights)
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
        counts=counts,
        truths=truths,
        seed=seed,
        variance=np.array(variance),
        shared=np.stack(shared),
        spread=np.stack(spread),
        shift=np.zeros((len(truths), num_draws, num_grid)),
    )
