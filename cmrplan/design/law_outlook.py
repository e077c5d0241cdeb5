"""What laws without a residual are expected to say after probes that were not run yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy

import numpy as np

from cmrplan.arrays import Array
from cmrplan.design.forecast import Outlook
from cmrplan.design.information import (
    LossOutlook,
    information_of,
    noise_beside,
    run_covariance,
)
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import central_interval, law_inputs
from cmrplan.fit.fit import Fit
from cmrplan.fit.law_model import LawModel
from cmrplan.plan.loss_curves import best_ratio
from cmrplan.plan.request import PlanRequest
from cmrplan.solve.law_fit import residual_jacobian

AROUND = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of the answers at which the losses are looked at


class LawOutlook(Outlook):
    """The resamples of laws, moved as least squares over more rows would move them.

    Of averaged laws the top-weighted one says how a new run would move them.
    """

    def __init__(self, fit: Fit, request: PlanRequest, more_sizes: Sequence[float] = ()) -> None:
        laws = {corpus: _top_law(fit, corpus) for corpus in ("general", "domain")}
        super().__init__(fit, request, more_sizes)
        self._covariance = run_covariance(fit.noise, self.candidates.evaluated.shape[1])
        is_log = fit.settings.link == "log"
        self._to_units: Callable[[Array], Array] = np.log if is_log else np.asarray
        self._to_loss: Callable[[Array], Array] = np.exp if is_log else np.asarray
        self._middle: dict[str, Array] = {}
        self._losses = {c: self._loss_outlook(fit, law_model) for c, law_model in laws.items()}
        self._num_added = 0
        self._moved_answers = self._coarse.drawn_ratios(self.feasible.low, self.feasible.high)

    def interval(self) -> tuple[float, float]:
        """Return the expected ends of the interval of the best ratio."""
        low, high = self.interval_now()
        coarse = self._coarse.drawn_ratios(self.feasible.low, self.feasible.high)
        coarse_low, coarse_high = central_interval(coarse, self.request.confidence)
        expected_low, expected_high = self._ends()
        # What is expected changes the interval now; how coarse the grid of the forecast is does not.
        return low + (expected_low - float(coarse_low)), high + (expected_high - float(coarse_high))

    def _ends(self) -> tuple[float, float]:
        low, high = central_interval(self._moved_answers, self.request.confidence)
        return float(low), float(high)

    def expected_variance_reduction(self) -> Array:
        """Return the share of the ratio's variance that the best use of each candidate would take away, ``(c,)``.

        The losses are fitted apart, so what they tell adds up.
        """
        answers = np.clip(self._moved_answers, *self._ends())  # what lies beyond widens nothing
        variance = float(np.var(answers, ddof=1))
        if variance == 0:
            return np.zeros(len(self.candidates.train_tokens))
        reduction = sum(
            np.maximum(loss.variance_reduction(answers, self._covariance), 0.0)
            for loss in self._losses.values()
        )
        return np.asarray(np.minimum(reduction / variance, 1.0))

    def with_run(self, row: int) -> LawOutlook:
        """Return the outlook with one more candidate taken as run."""
        after = copy(self)
        ratios = np.quantile(self._moved_answers, AROUND)
        around = np.unique(np.searchsorted(self._coarse.domain_ratio, ratios))
        after._losses = {}
        for number, (corpus, loss) in enumerate(self._losses.items()):
            seed = 2 * self._num_added + number
            noise = noise_beside(loss.off[:, around], self._covariance, seed)
            after._losses[corpus] = loss.after(row, noise)
        after._num_added += 1
        num_grid = len(self._coarse.domain_ratio)
        general = after._moved("general")
        has_replay = general.shape[1] > num_grid
        after._moved_answers = self._ratios(
            general[:, :num_grid],
            after._moved("domain"),
            general[:, num_grid:] if has_replay else None,
        )
        return after

    def _ratios(self, general: Array, domain: Array, replay: Array | None) -> Array:
        """Return the best ratio of each of ``K`` pairs of losses on the coarse grid, ``(K,)``.

        Parameters
        ----------
        general, domain : array (K, G)
        replay : array (K, 1), optional
            What the rise is over; the base loss where there is none.
        """
        curves, request = self._coarse, self.request
        low, high = self.feasible.low, self.feasible.high
        k = curves.between(low, high)
        reference: Array | float = curves.base_loss
        if request.rise_over == "replay" and replay is not None:
            reference = replay
        rise = curves.tolerance.rise(general[:, k], reference)
        objective = domain[:, k] + request.weight * general[:, k]
        best = best_ratio(curves.domain_ratio[k], rise, objective, curves.tolerance.largest_rise)
        return np.where(np.isnan(best), low, best)

    def _moved(self, corpus: str) -> Array:
        return self._to_loss(self._middle[corpus] + self._losses[corpus].off)

    def _loss_outlook(self, fit: Fit, law: LawModel) -> LossOutlook:
        corpus, curves, runs = law.corpus, self._coarse, self.candidates
        losses = [curves.general if corpus == "general" else curves.domain]
        tokens = [curves.train_tokens]
        if corpus == "general" and curves.replay is not None:
            losses.append(curves.replay)
            tokens.append(curves.train_tokens[:1])
        draws = self._to_units(np.hstack([loss.draws for loss in losses]))
        ratio = np.concatenate([loss.domain_ratio for loss in losses])
        at_points = law_inputs(
            corpus,
            {
                "model_params": np.full(ratio.shape, curves.model_params),
                "train_tokens": np.concatenate(tokens),
                "domain_ratio": ratio,
            },
        )
        shape = runs.evaluated.shape
        at_runs = law_inputs(
            corpus,
            {
                "model_params": np.repeat(runs.model_params, shape[1]),
                "train_tokens": runs.evaluated.ravel(),
                "domain_ratio": np.repeat(runs.domain_ratio, shape[1]),
            },
        )
        shown = self._to_units(self._shown(fit, corpus))
        self._middle[corpus] = draws.mean(axis=0)
        return LossOutlook(
            off=draws - draws.mean(axis=0),
            off_runs=shown - shown.mean(axis=0),
            at_points=residual_jacobian(law.fit, at_points),
            at_runs=residual_jacobian(law.fit, at_runs).reshape(*shape, -1),
            information=information_of(law.residuals(fit.rows(corpus)).jacobian),
        )

    def _shown(self, fit: Fit, corpus: str) -> Array:
        """Return what each candidate would show in each resample, ``(B, c, m)``."""
        evaluated, sizes = self.candidates.evaluated, self.candidates.model_params
        shown = np.empty((len(self.answers), *evaluated.shape))
        for size in np.unique(sizes):
            mine = sizes == size
            draws = fit.predict(
                corpus,
                model_params=float(size),
                train_tokens=evaluated[mine].ravel(),
                domain_ratio=np.repeat(self.candidates.domain_ratio[mine], evaluated.shape[1]),
            ).draws
            shown[:, mine] = draws.reshape(len(draws), -1, evaluated.shape[1])
        return shown


def _top_law(fit: Fit, corpus: str) -> LawModel:
    law = fit.models[corpus].top_weighted
    if law is None:
        raise CmrplanError(
            f"the {corpus} loss was fitted by the CMR laws, one per run and budget; the next probes need a law "
            "over ratio and tokens: fit with --law dcpt"
        )
    return law
