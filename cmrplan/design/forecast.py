"""The interval of the best ratio is forecast for after probes that were not run yet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from cmrplan.arrays import Array
from cmrplan.design.candidates import candidates_of
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import central_interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.fitted_log import resamples_remedy
from cmrplan.plan.loss_curves import COARSE_GRID, LossCurves, survey
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
    more_sizes : sequence of float
        Sizes that could be probed beside those of the log.

    Attributes
    ----------
    candidates : Candidates
        The runs worth considering.
    curves : LossCurves
        The losses of the full-scale run now, as a plan has them.
    answers : array (B,)
        What each draw recommends now.

    Raises
    ------
    CmrplanError
        If the fit cannot say what a run would show, or the limits leave no ratio.
    """

    def __init__(self, fit: Fit, request: PlanRequest, more_sizes: Sequence[float] = ()) -> None:
        if fit.settings.bootstrap < FEWEST_DRAWS:
            raise CmrplanError(
                f"the fit has {fit.settings.bootstrap} resamples; the next probes need {FEWEST_DRAWS} or more: "
                + resamples_remedy(fit.warnings)
            )
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
        self.candidates = candidates_of(fit, request.tokens, more_sizes, self.interval_now())

    @abstractmethod
    def with_run(self, row: int) -> Outlook:
        """Return the outlook with one more candidate taken as run."""

    @abstractmethod
    def expected_variance_reduction(self) -> Array:
        """Return the share of the ratio's variance that the best use of each candidate would take away, ``(c,)``."""

    @abstractmethod
    def interval(self) -> tuple[float, float]:
        """Return the expected ends of the interval of the best ratio."""

    def expected_width_reduction(self) -> Array:
        """Return the share by which the best use of each candidate would make the interval narrower, ``(c,)``."""
        return np.asarray(1 - np.sqrt(1 - self.expected_variance_reduction()))

    @property
    def best_estimate(self) -> float:
        """The best ratio by the estimates; NaN where none is feasible."""
        return self.curves.best_estimate(self.feasible.low, self.feasible.high)

    @property
    def ratio_in_question(self) -> float:
        """The best estimate, or the allowed ratio where the general loss rises least if none is feasible."""
        if np.isfinite(self.best_estimate):
            return self.best_estimate
        allowed = self.curves.between(self.feasible.low, self.feasible.high)
        least = np.argmin(self.curves.rise[allowed])
        return float(self.curves.domain_ratio[allowed][least])

    def interval_now(self) -> tuple[float, float]:
        """Return the ends of the interval of the best ratio before any of the candidates."""
        low, high = central_interval(self.answers, self.request.confidence)
        return float(low), float(high)
