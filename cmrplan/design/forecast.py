"""The interval of the recommended ratio is forecast for after probes that were not run yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.design.candidates import Candidates
from cmrplan.design.information import (
    LossOutlook,
    information_of,
    noise_beside,
    run_covariance,
)
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import Prediction, central_interval, law_inputs
from cmrplan.fit.fit import Fit
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.noise import Noise
from cmrplan.plan.loss_curves import LossCurves, survey
from cmrplan.plan.optimum import FeasibleInterval, feasible_interval
from cmrplan.plan.request import PlanRequest
from cmrplan.solve.law_fit import residual_jacobian

FEWEST_DRAWS = 50
AROUND = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of the answers at which the losses are looked at


class Outlook:
    """The resamples of a fit: what each recommends, and how they would close up after new runs.

    :meth:`add` takes a candidate as run; everything asked after it is what is expected then.

    Parameters
    ----------
    fit : Fit
        Of both losses, by laws of ratio and tokens, with resamples. Of averaged laws the top-weighted one says how
        a new run would move them.
    request : PlanRequest
        The full-scale run and its limits.
    candidates : Candidates

    Raises
    ------
    CmrplanError
        If the fit cannot say what a run would show.
    """

    def __init__(self, fit: Fit, request: PlanRequest, candidates: Candidates) -> None:
        self.candidates = candidates
        self.request = request
        laws = {corpus: _top_law(fit, corpus) for corpus in ("general", "domain")}
        if fit.settings.bootstrap < FEWEST_DRAWS:
            raise CmrplanError(
                f"the fit has {fit.settings.bootstrap} resamples; the next probes need {FEWEST_DRAWS} or more: fit "
                "with --bootstrap 200"
            )
        self.noise: Noise = fit.noise
        self.feasible: FeasibleInterval = feasible_interval(fit, request)
        if self.feasible.is_empty:
            raise CmrplanError(
                f"the limits leave no ratio: at least {self.feasible.low:.4g}, at most {self.feasible.high:.4g}; plan "
                "says what the smallest change is that would"
            )
        self.curves: LossCurves = survey(fit, request, marks=self.feasible.marks)
        self._covariance = run_covariance(self.noise, candidates.evaluated.shape[1])
        is_log = fit.settings.link == "log"
        self._to_units: Callable[[Array], Array] = np.log if is_log else np.asarray
        self._to_loss: Callable[[Array], Array] = np.exp if is_log else np.asarray
        self._middle: dict[str, Array] = {}
        self._losses = {c: self._loss_outlook(fit, law_model) for c, law_model in laws.items()}
        self._num_added = 0

    def answers(self) -> Array:
        """Return the best ratio of each resample, ``(B,)``."""
        return self.curves.drawn_ratios(self.feasible.low, self.feasible.high)

    def interval(self) -> tuple[float, float]:
        """Return the ends of the interval of the best ratio."""
        low, high = central_interval(self.answers(), self.request.confidence)
        return float(low), float(high)

    def expected_variance_reduction(self) -> Array:
        """Return the share of the ratio's variance that the best use of each candidate would take away, ``(c,)``.

        The losses are fitted apart, so what they tell adds up.
        """
        answers = np.clip(self.answers(), *self.interval())  # what lies beyond widens nothing
        variance = float(np.var(answers, ddof=1))
        if variance == 0:
            return np.zeros(len(self.candidates.train_tokens))
        reduction = sum(
            np.maximum(loss.variance_reduction(answers, self._covariance), 0.0)
            for loss in self._losses.values()
        )
        return np.asarray(np.minimum(reduction / variance, 1.0))

    def expected_width_reduction(self) -> Array:
        """Return the share by which the best use of each candidate would make the interval narrower, ``(c,)``."""
        return np.asarray(1 - np.sqrt(1 - self.expected_variance_reduction()))

    def add(self, row: int) -> None:
        """Take a candidate as run."""
        ratios = np.quantile(self.answers(), AROUND)
        around = np.unique(np.searchsorted(self.curves.domain_ratio, ratios))
        for number, (corpus, loss) in enumerate(self._losses.items()):
            seed = 2 * self._num_added + number
            noise = noise_beside(loss.off[:, around], self._covariance, seed)
            self._losses[corpus] = loss.after(row, noise)
        self._num_added += 1
        curves = self.curves
        self.curves = curves.with_losses(
            self.request,
            self._moved("general", curves.general, slice(len(curves.domain_ratio))),
            self._moved("domain", curves.domain, slice(len(curves.domain_ratio))),
            None
            if curves.replay is None
            else self._moved("general", curves.replay, slice(len(curves.domain_ratio), None)),
        )

    def _moved(self, corpus: str, known: Prediction, where: slice) -> Prediction:
        units = self._middle[corpus][where] + self._losses[corpus].off[:, where]
        return replace(known, draws=self._to_loss(units))

    def _loss_outlook(self, fit: Fit, law: LawModel) -> LossOutlook:
        corpus, curves, runs = law.corpus, self.curves, self.candidates
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
        shown = np.empty((len(self.curves.general.draws), *evaluated.shape))
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
    if corpus not in fit.models:
        raise CmrplanError(
            f"the {corpus} loss was not fitted, and the next probes need both; add rows with eval_corpus = {corpus}"
        )
    law = fit.models[corpus].top_weighted
    if law is None:
        raise CmrplanError(
            f"the {corpus} loss was fitted by the CMR laws, one per run and budget; the next probes need a law "
            "over ratio and tokens: fit with --law dcpt"
        )
    return law
