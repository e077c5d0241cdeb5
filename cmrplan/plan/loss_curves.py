"""Both losses over the domain ratio at one size and budget: what a decision is taken on.

The rise of the general loss is held in the unit of the tolerance, resample by resample, so that every later step
compares it with one number. Domain data that repeat are counted at what a repeated token is worth.

Up to the largest probed budget the rise is that of the mean of many runs, which the probes there have shown. Beyond it
the limit is kept by the one run that will be trained: its rise has the noise of a run and of an evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.fit.general_loss import GeneralLoss
from cmrplan.fit.other_sizes import general_loss_by_laws
from cmrplan.fit.probed import TWO_DIGITS
from cmrplan.fit.tabular import Tabular
from cmrplan.numbers import Tolerance
from cmrplan.plan.refusals import unfitted_general_loss
from cmrplan.plan.repeated_data import domain_of_repeats, general_of_repeats
from cmrplan.plan.request import PlanRequest

FINE_GRID = 1001  # ratios, for one answer
COARSE_GRID = 201  # for one of many along a curve
FARTHEST_REPLAY = 0.1  # smallest fitted ratio from which the general loss is carried to 0
NATS = Tolerance(np.inf, "nats")  # what stands for a tolerance where there is none


@dataclass(frozen=True, repr=False)
class LossCurves(Tabular):
    """Losses in nats per token over ``G`` ratios; ``B`` resamples, which may be none.

    Parameters
    ----------
    model_params : float
    train_tokens : array (G,)
        The same everywhere, unless the budget follows from the ratio.
    general, domain : Prediction
    base_loss : float
    replay : Prediction or None
        The general loss on general data alone, at the same tokens; None where it cannot be known.
    tolerance : Tolerance
        Infinite where none was asked.
    rise : array (G,)
        Of the general loss over the reference, in the tolerance's unit.
    rise_upper : array (G,)
        Its upper quantile at the asked confidence; at that confidence or above one half never below the estimate.
    rise_draws, mean_rise_draws : array (B, G)
        Of the run that keeps the limit, whose quantile ``rise_upper`` is, and of the mean of many runs.
    run_noise : array (B, G) or (B, 1)
        What the noise of the run itself adds to the general loss, nats; 0 up to the largest probed budget.
    objective, objective_draws : array (G,), (B, G)
        What is sought to be low.
    findings : tuple of Finding
    """

    model_params: float
    train_tokens: Array
    general: Prediction
    domain: Prediction
    base_loss: float
    replay: Prediction | None
    tolerance: Tolerance
    rise: Array
    rise_upper: Array
    rise_draws: Array
    mean_rise_draws: Array
    run_noise: Array
    objective: Array
    objective_draws: Array
    findings: tuple[Finding, ...]

    @property
    def domain_ratio(self) -> Array:
        """The ratios, ascending, ``(G,)``."""
        return self.general.domain_ratio

    @property
    def general_of_run(self) -> Prediction:
        """The general loss that the limit is put on: with the noise of the run where its budget was not probed."""
        return replace(self.general, draws=self.general.draws + self.run_noise)

    def with_losses(
        self,
        request: PlanRequest,
        general: Prediction,
        domain: Prediction,
        replay: Prediction | None,
    ) -> LossCurves:
        """Return the curves with other losses at the same ratios."""
        losses = general, domain, replay
        decided = _decided_on(request, self.tolerance, self.base_loss, losses, self.run_noise)
        return replace(self, **decided)

    def between(self, low: float, high: float) -> slice:
        """Return the positions of the ratios from ``low`` to ``high``."""
        first, last = np.searchsorted(self.domain_ratio, [low, high], side="left")
        return slice(int(first), min(int(last), len(self.domain_ratio) - 1) + 1)

    def chance_constrained_ratio(
        self, low: float, high: float, allowed: float | None = None
    ) -> float:
        """Return the best ratio from ``low`` to ``high`` that holds with confidence; NaN where none does."""
        allowed = self.tolerance.largest_rise if allowed is None else allowed
        k = self.between(low, high)
        ratio, rise, objective = self.domain_ratio[k], self.rise_upper[k], self.objective[k]
        return float(best_ratio(ratio, rise[None, :], objective[None, :], allowed)[0])

    def best_estimate(self, low: float, high: float) -> float:
        """Return the best ratio from ``low`` to ``high`` by the estimates; NaN where none is feasible."""
        k = self.between(low, high)
        ratio, rise, objective = self.domain_ratio[k], self.rise[k], self.objective[k]
        return float(
            best_ratio(ratio, rise[None, :], objective[None, :], self.tolerance.largest_rise)[0]
        )

    def drawn_ratios(self, low: float, high: float) -> Array:
        """Return the best ratio of each resample of the mean, ``(B,)``; ``low`` where none is feasible."""
        if not len(self.rise_draws):
            return np.zeros(0)
        k = self.between(low, high)
        rises, objectives = self.mean_rise_draws[:, k], self.objective_draws[:, k]
        best = best_ratio(self.domain_ratio[k], rises, objectives, self.tolerance.largest_rise)
        return np.where(np.isnan(best), low, best)

    def needed(self, ratio: float) -> float:
        """Return the smallest tolerance that reaches a ratio with confidence, in the tolerance's unit.

        Every ratio between the one with the lowest rise and this one must be allowed too.
        """
        lowest = self.domain_ratio[int(np.argmin(self.rise_upper))]
        low, high = min(lowest, ratio), max(lowest, ratio)
        on_the_way = (self.domain_ratio >= low) & (self.domain_ratio <= high)
        at_end = np.interp(ratio, self.domain_ratio, self.rise_upper)
        return float(np.max(self.rise_upper[on_the_way], initial=at_end))

    def table(self) -> pd.DataFrame:
        """Return one row a ratio: both losses, and the rise with its upper quantile in the tolerance's unit."""
        return pd.DataFrame(
            {
                "domain_ratio": self.domain_ratio,
                "train_tokens": self.train_tokens,
                "general_loss": self.general.loss,
                "domain_loss": self.domain.loss,
                "rise": self.rise,
                "rise_upper": self.rise_upper,
            }
        )

    def violation(self) -> Array | None:
        """Return the share of resamples that break the tolerance at each ratio, ``(G,)``."""
        if not len(self.rise_draws):
            return None
        # A resample that is not a number there keeps nothing.
        return np.asarray(np.mean(~(self.rise_draws <= self.tolerance.largest_rise), axis=0))


def survey(
    fit: Fit,
    request: PlanRequest,
    *,
    train_tokens: Callable[[Array], Array] | None = None,
    ratios: tuple[float, float] | None = None,
    marks: Iterable[float] = (),
    num_grid: int = FINE_GRID,
) -> LossCurves:
    """Return both losses of a run over the fitted ratios.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest
    train_tokens : callable, optional
        Takes ratios ``(G,)`` and returns the tokens that go with each; those of the request by default.
    ratios : (float, float), optional
        The range; all fitted ratios by default.
    marks : iterable of float
        Ratios to hit exactly, such as those where a constraint ends; those outside are left out.
    num_grid : int

    Raises
    ------
    CmrplanError
        If a loss or the base loss is not known there.
    """
    low, high = ratios or fit.probed.ratio_range
    inside = [mark for mark in marks if low <= mark <= high]
    ratio = np.union1d(np.linspace(low, high, num_grid), inside)
    return _survey_at(fit, request, train_tokens(ratio) if train_tokens else request.tokens, ratio)


def survey_at(fit: Fit, request: PlanRequest, domain_ratio: float | Array) -> LossCurves:
    """Return both losses of a run at a single ratio, or at ratios ``(G,)``."""
    return _survey_at(fit, request, request.tokens, np.atleast_1d(domain_ratio))


def _survey_at(
    fit: Fit, request: PlanRequest, train_tokens: float | Array, ratio: Array
) -> LossCurves:
    general = planned_general_loss(fit, request, train_tokens, ratio)
    findings = [*general.findings]
    if request.unique_tokens is None and fit.probed.supply is None:
        size = request.size
        domain = fit.predict(
            "domain", model_params=size, train_tokens=train_tokens, domain_ratio=ratio
        )
    else:
        domain, said = domain_of_repeats(fit, request, train_tokens, ratio)
        findings = [*said, *findings]
    replay, remark = replay_loss(fit, request, train_tokens)
    tolerance = request.tolerance or NATS
    if request.rise_over == "replay":
        if replay is None:
            raise CmrplanError(
                "the rise over pure replay is not known: the fit has no ratio near 0 "
                f"(its smallest is {fit.probed.ratio_range[0]:g}); add a probe with domain_ratio = 0, or measure the "
                "rise over the base"
            )
        findings += remark
    tokens = np.broadcast_to(np.asarray(train_tokens, dtype=float), ratio.shape)
    noise = _run_noise(fit, general.prediction, tokens)
    losses = general.prediction, domain, replay
    return LossCurves(
        model_params=request.size,
        train_tokens=tokens,
        base_loss=general.base_loss,
        tolerance=tolerance,
        run_noise=noise,
        findings=tuple(findings),
        **_decided_on(request, tolerance, general.base_loss, losses, noise),
    )


def _run_noise(fit: Fit, general: Prediction, train_tokens: Array) -> Array:
    """Return what a run's own noise adds to the general loss beyond the probed budgets, ``(B, G)`` or ``(B, 1)``."""
    is_beyond = train_tokens > fit.probed.token_range[1] * (1 + TWO_DIGITS)
    is_known = is_beyond.any() and "general" in fit.models
    shifts = fit.new_run_shifts("general", len(general.draws)) if is_known else None
    if shifts is None:
        return np.zeros((len(general.draws), 1))
    moved = fit.model_of("general").with_shifts(general.loss[None, :], shifts)
    return np.where(is_beyond, moved - general.loss, 0.0)


def planned_general_loss(
    fit: Fit, request: PlanRequest, train_tokens: float | Array, ratio: Array
) -> GeneralLoss:
    """Return the general loss of a run at ratios ``(G,)``, and what its rise is counted from."""
    if "general" not in fit.models and request.is_domain_only:
        unknown = fit.predict(
            "domain", model_params=request.size, train_tokens=train_tokens, domain_ratio=ratio
        )
        nothing = replace(unknown, loss=np.nan * unknown.loss, draws=np.nan * unknown.draws)
        return GeneralLoss(nothing, np.nan, ())
    if "general" not in fit.models:
        raise unfitted_general_loss()

    def fresh(ratios: Array) -> GeneralLoss:
        size, base, over = request.size, request.base_loss, request.rise_over
        at = size, train_tokens, ratios, base
        return fit.general_loss_from_base(*at) or general_loss_by_laws(fit, *at, over)

    if request.unique_tokens is None:
        return fresh(ratio)
    return general_of_repeats(fit, request, train_tokens, ratio, fresh)


def _decided_on(
    request: PlanRequest,
    tolerance: Tolerance,
    base_loss: float,
    losses: tuple[Prediction, Prediction, Prediction | None],
    run_noise: Array,
) -> dict[str, Any]:
    """Return the fields of loss curves that follow from the general and domain losses and that of pure replay."""
    general, domain, replay = losses
    reference: Array | float = base_loss
    reference_draws: Array | float = base_loss
    if request.rise_over == "replay" and replay is not None:
        reference, reference_draws = replay.loss, replay.draws
    rise = tolerance.rise(general.loss, reference)
    mean_draws = tolerance.rise(general.draws, reference_draws)
    draws, upper = mean_draws, _upper(rise, mean_draws, request.confidence)
    if run_noise.any():
        draws = tolerance.rise(general.draws + run_noise, reference_draws)
        # Noise never allows more than the mean does, however few the resamples are.
        upper = np.maximum(_upper(rise, draws, request.confidence), upper)
    return {
        "general": general,
        "domain": domain,
        "replay": replay,
        "rise": rise,
        "rise_upper": upper,
        "rise_draws": draws,
        "mean_rise_draws": mean_draws,
        "objective": domain.loss + request.weight * (general.loss if request.weight else 0.0),
        "objective_draws": domain.draws
        + request.weight * (general.draws if request.weight else 0.0),
    }


def replay_loss(
    fit: Fit, request: PlanRequest, train_tokens: float | Array
) -> tuple[Prediction | None, list[Finding]]:
    """Return the general loss of a run on general data alone, and whether that is extrapolated.

    None where the smallest fitted ratio is too far from 0, or the law is not finite there.
    """
    lowest, _ = fit.probed.ratio_range
    if lowest > FARTHEST_REPLAY:
        return None, []
    zeros = np.zeros(np.shape(train_tokens) or 1)
    try:
        replay = planned_general_loss(fit, request, train_tokens, zeros).prediction
    except CmrplanError:
        return None, []
    if not (np.isfinite(replay.loss).all() and np.isfinite(replay.draws).all()):
        return None, []
    if lowest == 0:
        return replay, []
    remark = Finding(
        Code.REPLAY_EXTRAPOLATED,
        f"the loss of pure replay is carried from the smallest fitted ratio {lowest:g} to 0; probe a domain_ratio of 0",
    )
    return replay, [remark]


def _upper(rise: Array, draws: Array, confidence: float) -> Array:
    if not len(draws):
        return rise
    upper = np.quantile(draws, confidence, axis=0)
    # Resamples scatter around the estimate; confidence never buys a larger ratio than it.
    return np.maximum(upper, rise) if confidence >= 0.5 else upper


def best_ratio(ratio: Array, general: Array, domain: Array, limit: float) -> Array:
    """Return, for each of ``K`` pairs of curves, the feasible ratio with the lowest domain loss.

    A ratio is feasible when the general loss is at most ``limit`` there and everywhere between it and the ratio
    where the general loss is lowest: beyond a hole, a law is not to be believed. Where a constraint cuts between
    two points of the grid, the crossing is found by a straight line.

    Parameters
    ----------
    ratio : array (G,)
        Ascending domain ratios.
    general, domain : array (K, G)
        Losses, nats per token.
    limit : float
        Nats per token.

    Returns
    -------
    array (K,)
        NaN where no ratio is feasible.

    Examples
    --------
    >>> r = np.linspace(0, 1, 101)
    >>> best_ratio(r, 2.5 + 0.2 * r[None, :], 2.0 - r[None, :], 2.55).round(6).tolist()
    [0.25]
    """
    rows = np.arange(len(general))
    feasible = _connected(general, limit)
    masked = np.where(feasible, domain, np.inf)
    best = np.argmin(masked, axis=1)
    chosen = ratio[best]
    lowest = masked[rows, best]
    for side in (1, -1):
        beside = np.clip(best + side, 0, len(ratio) - 1)
        cut = feasible[rows, best] & ~feasible[rows, beside]
        inside, outside = general[rows, best], general[rows, beside]
        # An infinite loss beside the feasible point leaves the point itself.
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(cut, (limit - inside) / (outside - inside), 0.0)
            part = np.where(np.isfinite(part), np.clip(part, 0.0, 1.0), 0.0)
            loss = domain[rows, best] + part * (domain[rows, beside] - domain[rows, best])
        crossing = ratio[best] + part * (ratio[beside] - ratio[best])
        better = cut & (loss < lowest)
        chosen, lowest = np.where(better, crossing, chosen), np.where(better, loss, lowest)
    return np.where(feasible.any(axis=1), chosen, np.nan)


def _connected(general: Array, limit: float) -> NDArray[np.bool_]:
    """Return the feasible points without a hole between them and the lowest general loss, ``(K, G)``."""
    feasible = (general <= limit) | (np.isnan(general) & np.isinf(limit))
    holes = np.cumsum(~feasible, axis=1)
    lowest = np.argmin(general, axis=1)
    before = holes[np.arange(len(general)), lowest][:, None]
    return np.asarray(feasible & (holes == before))
