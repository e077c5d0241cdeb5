"""The interval of the best ratio is forecast for after probes that were not run yet."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from cmrplan.arrays import Array
from cmrplan.design.candidates import Candidates
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import central_interval
from cmrplan.fit.fit import Fit
from cmrplan.plan.loss_curves import COARSE_GRID, LossCurves, best_ratio, survey
from cmrplan.plan.optimum import FeasibleInterval, feasible_interval
from cmrplan.plan.request import PlanRequest

FEWEST_DRAWS = 50


class Outlook(ABC):
    """The draws of a fit: what each recommends now, and what they would after new runs.

    :meth:`with_run` takes a candidate as run; everything asked of what it returns is what is expected then.

    Parameters
    ----------
    fit : Fit
        Of both losses, by laws of ratio and tokens, with resamples.
    request : PlanRequest
        The full-scale run and its limits.
    candidates : Candidates

    Attributes
    ----------
    curves : LossCurves
        The losses of the full-scale run now, as a plan has them.
    answers : array (B,)
        What each draw recommends now.

    Raises
    ------
    CmrplanError
        If the fit cannot say what a run would show, or the limits leave no ratio.
    """

    def __init__(self, fit: Fit, request: PlanRequest, candidates: Candidates) -> None:
        if fit.settings.bootstrap < FEWEST_DRAWS:
            raise CmrplanError(
                f"the fit has {fit.settings.bootstrap} resamples; the next probes need {FEWEST_DRAWS} or more: fit "
                "with --bootstrap 200"
            )
        self.candidates = candidates
        self.request = request
        self.feasible: FeasibleInterval = feasible_interval(fit, request)
        if self.feasible.is_empty:
            raise CmrplanError(
                f"the limits leave no ratio: at least {self.feasible.low:.4g}, at most {self.feasible.high:.4g}; plan "
                "says what the smallest change is that would"
            )
        marks = self.feasible.marks
        self.curves: LossCurves = survey(fit, request, marks=marks)
        self.answers = self.curves.drawn_ratios(self.feasible.low, self.feasible.high)
        self._coarse = survey(fit, request, marks=marks, num_grid=COARSE_GRID)

    @abstractmethod
    def with_run(self, row: int) -> Outlook:
        """Return the outlook with one more candidate taken as run."""

    @abstractmethod
    def expected_variance_reduction(self) -> Array:
        """Return the share of the ratio's variance that the best use of each candidate would take away, ``(c,)``."""

    @abstractmethod
    def _ends(self) -> tuple[float, float]:
        """Return the expected ends of the interval, on the coarse grid."""

    def expected_width_reduction(self) -> Array:
        """Return the share by which the best use of each candidate would make the interval narrower, ``(c,)``."""
        return np.asarray(1 - np.sqrt(1 - self.expected_variance_reduction()))

    def interval_now(self) -> tuple[float, float]:
        """Return the ends of the interval of the best ratio before any of the candidates."""
        low, high = central_interval(self.answers, self.request.confidence)
        return float(low), float(high)

    def interval(self) -> tuple[float, float]:
        """Return the expected ends of the interval of the best ratio."""
        low, high = self.interval_now()
        coarse = self._coarse.drawn_ratios(self.feasible.low, self.feasible.high)
        coarse_low, coarse_high = central_interval(coarse, self.request.confidence)
        expected_low, expected_high = self._ends()
        # What is expected changes the interval now; how coarse the grid of the forecast is does not.
        return low + (expected_low - float(coarse_low)), high + (expected_high - float(coarse_high))

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
