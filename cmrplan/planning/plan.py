"""Turn fitted laws into one recommended domain ratio.

The question: how much domain data can a continual pre-training run take before the general loss rises more than
the user allows? Steps, in the order below::

    fit + budget -> curves over the ratio -> feasible ratios -> the lowest domain loss -> Plan

The recommended ratio keeps the rise within the tolerance with the asked confidence: the constraint is put on the
upper quantile of the resampled general loss, ratio by ratio. The best estimate, which breaks the tolerance
about every other time, stands beside it as ``point_domain_ratio``.

Nothing here reads files, draws, or fits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fits import Fit, Prediction, require_positive
from cmrplan.laws.law import Array
from cmrplan.planning.choice import best_ratio
from cmrplan.planning.early import early_findings
from cmrplan.planning.extrapolation import extrapolation_findings, ratio_range
from cmrplan.planning.misfit import misfit_findings
from cmrplan.planning.tolerance import Tolerance, base_loss_at, parse_tolerance
from cmrplan.planning.turning import turning_ratio

NUM_GRID = 1001
SAME_RATIO = 1e-6
FLOPS_PER_PARAM_AND_TOKEN = 6  # forward and backward pass, Kaplan et al. 2020

Binding = Literal["tolerance", "turning_point", "domain_tokens", "compute", "none"]


@dataclass(frozen=True)
class Plan:
    """The recommended ratio and its reasons. Losses in nats per token, ratios in [0, 1].

    ``domain_ratio`` holds the tolerance with probability ``confidence`` (where there are resamples);
    ``domain_ratio_low`` and ``_high`` bound the best feasible ratio at that level, and
    ``point_domain_ratio`` is its best estimate. ``violation_probability`` is the share of resamples whose general
    loss at ``domain_ratio`` is above ``general_loss_limit``. Losses are predicted at ``domain_ratio``.
    Fields that need resamples are None without them.
    """

    domain_ratio: float
    domain_ratio_low: float | None
    domain_ratio_high: float | None
    point_domain_ratio: float
    confidence: float
    binding: Binding
    unconstrained_domain_ratio: float
    violation_probability: float | None
    general_loss: float
    general_loss_low: float | None
    general_loss_high: float | None
    domain_loss: float
    domain_loss_low: float | None
    domain_loss_high: float | None
    general_rise: float
    general_rise_low: float | None
    general_rise_high: float | None
    base_loss: float
    general_loss_limit: float
    max_general_rise: str
    model_params: float
    train_tokens: float
    domain_epochs: float | None
    turning_point_ratio: float | None
    law: str
    num_resamples: int
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values, numbers unrounded."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {"warnings": [finding.as_dict() for finding in self.warnings]}


def plan(
    fit: Fit,
    *,
    model_params: float,
    max_general_rise: float | str | Tolerance,
    train_tokens: float | None = None,
    base_loss: float | None = None,
    confidence: float = 0.9,
    domain_tokens: float | None = None,
    max_epochs: float = 1.0,
    compute: float | None = None,
    turning_point: float | None = None,
) -> Plan:
    """Recommend the domain ratio of a full-scale run.

    Parameters
    ----------
    fit : Fit
    model_params : float
        Size of the full-scale model, counted as in the log.
    max_general_rise : float or str
        Allowed rise of the general loss over the base: nats per token (``0.05``), or a percentage
        of the base loss (``"3%"``).
    train_tokens : float, optional
        Budget in tokens, domain and replay together. May be left out when ``compute`` is given.
    base_loss : float, optional
        General loss of the base checkpoint, nats per token; from the log by default.
    confidence : float
        How surely the tolerance is to hold, and the level of the intervals; in (0, 1).
    domain_tokens : float, optional
        Unique tokens of the domain corpus; the ratio is kept from using more than
        ``max_epochs`` passes over them.
    max_epochs : float
        Passes allowed over the domain corpus.
    compute : float, optional
        Budget in FLOPs, at 6 a parameter and token; cuts ``train_tokens`` where it is the smaller.
    turning_point : float, optional
        Weight lambda of the CMR paper's second test, ``inf`` for the version without it. Needs a fit with the
        CMR laws.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If no ratio is feasible, with the smallest tolerance that would be; or the fit lacks what
        is asked.
    """
    require_positive("model_params", model_params)
    tolerance = parse_tolerance(max_general_rise)
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence:g}")
    tokens, cut_by_compute = _budget(model_params, train_tokens, compute)
    findings = list(fit.warnings)
    if base_loss is None:
        base_loss, remarks = base_loss_at(fit.base_loss.get("general", {}), model_params)
        findings += remarks
    else:
        require_positive("base_loss", base_loss)
    limit = tolerance.limit(base_loss)

    lowest, highest = ratio_range(fit)
    caps: dict[Binding, float] = {}
    if domain_tokens is not None:
        require_positive("domain_tokens", domain_tokens)
        require_positive("max_epochs", max_epochs)
        caps["domain_tokens"] = max_epochs * domain_tokens / tokens
    turned = None
    if turning_point is not None:
        turned = turning_ratio(
            fit, model_params=model_params, train_tokens=tokens, multiplier=turning_point
        )
        caps["turning_point"] = turned
    top = min([highest, *caps.values()])
    if top < lowest:
        name = min(caps, key=lambda key: caps[key])
        raise CmrplanError(
            f"{name} allows a domain ratio of at most {top:.4g}, below the smallest probed ratio {lowest:g}; probe "
            "smaller ratios, or relax that constraint"
        )

    def curves(ratio: Array) -> tuple[Prediction, Prediction]:
        general, domain = (
            fit.predict(c, model_params=model_params, train_tokens=tokens, domain_ratio=ratio)
            for c in ("general", "domain")
        )
        return general, domain

    general, domain = curves(np.linspace(lowest, top, NUM_GRID))
    point, safe, draws = _choose(general, domain, limit, confidence)
    if np.isnan(safe):
        raise CmrplanError(
            _infeasible(general, point, base_loss, tolerance, confidence, model_params, tokens)
        )
    free = fit.predict(
        "domain",
        model_params=model_params,
        train_tokens=tokens,
        domain_ratio=np.linspace(lowest, highest, NUM_GRID),
    )
    unconstrained = float(free.domain_ratio[np.argmin(free.loss)])

    at_general, at_domain = curves(np.array([safe]))
    general_low, general_high = _bounds(at_general, confidence)
    domain_low, domain_high = _bounds(at_domain, confidence)
    has_draws = len(general.draws) > 0
    tail = (1 - confidence) / 2
    binding = _binding(safe, unconstrained, top, caps, cut_by_compute)
    findings += extrapolation_findings(
        fit, model_params=model_params, train_tokens=tokens, domain_ratio=safe
    )
    findings += early_findings(
        fit,
        model_params=model_params,
        train_tokens=tokens,
        domain_ratio=general.domain_ratio,
        limit=limit,
        chosen=point,
    )
    findings += _edges(safe, lowest, highest, binding)
    findings += misfit_findings(
        fit, model_params=model_params, domain_ratio=safe, allowed=limit - base_loss
    )
    if has_draws:
        draws = np.where(np.isnan(draws), lowest, draws)
    return Plan(
        domain_ratio=safe,
        domain_ratio_low=float(np.quantile(draws, tail)) if has_draws else None,
        domain_ratio_high=float(np.quantile(draws, 1 - tail)) if has_draws else None,
        point_domain_ratio=point,
        confidence=confidence,
        binding=binding,
        unconstrained_domain_ratio=unconstrained,
        violation_probability=(
            float(np.mean(at_general.draws[:, 0] > limit)) if has_draws else None
        ),
        general_loss=float(at_general.loss[0]),
        general_loss_low=general_low,
        general_loss_high=general_high,
        domain_loss=float(at_domain.loss[0]),
        domain_loss_low=domain_low,
        domain_loss_high=domain_high,
        general_rise=float(at_general.loss[0]) - base_loss,
        general_rise_low=None if general_low is None else general_low - base_loss,
        general_rise_high=None if general_high is None else general_high - base_loss,
        base_loss=base_loss,
        general_loss_limit=limit,
        max_general_rise=str(tolerance),
        model_params=float(model_params),
        train_tokens=tokens,
        domain_epochs=None if domain_tokens is None else tokens * safe / domain_tokens,
        turning_point_ratio=turned,
        law=fit.law,
        num_resamples=len(general.draws),
        warnings=tuple(findings),
        provenance=fit.provenance,
    )


def _budget(
    model_params: float, train_tokens: float | None, compute: float | None
) -> tuple[float, bool]:
    """Return the tokens to train on, and whether compute cut them."""
    if train_tokens is None and compute is None:
        raise InputError("train_tokens or compute must be given")
    if train_tokens is not None:
        require_positive("train_tokens", train_tokens)
    if compute is None:
        assert train_tokens is not None
        return float(train_tokens), False
    require_positive("compute", compute)
    affordable = compute / (FLOPS_PER_PARAM_AND_TOKEN * model_params)
    if train_tokens is None or affordable < train_tokens:
        return float(affordable), True
    return float(train_tokens), False


def _choose(
    general: Prediction, domain: Prediction, limit: float, confidence: float
) -> tuple[float, float, Array]:
    """Return the best estimate, the ratio that holds with confidence, and one ratio per resample."""
    ratio = general.domain_ratio
    point = best_ratio(ratio, general.loss[None, :], domain.loss[None, :], limit)[0]
    if not len(general.draws):
        return float(point), float(point), np.zeros(0)
    upper = np.quantile(general.draws, confidence, axis=0)
    # resamples scatter around the estimate; confidence never buys a larger ratio than it
    upper = np.maximum(upper, general.loss) if confidence >= 0.5 else upper
    safe = best_ratio(ratio, upper[None, :], domain.loss[None, :], limit)[0]
    draws = best_ratio(ratio, general.draws, domain.draws, limit)
    return float(point), float(safe), draws


def _bounds(prediction: Prediction, confidence: float) -> tuple[float | None, float | None]:
    if not len(prediction.draws):
        return None, None
    low, high = prediction.interval(confidence)
    return float(low[0]), float(high[0])


def _infeasible(
    general: Prediction,
    point: float,
    base_loss: float,
    tolerance: Tolerance,
    confidence: float,
    model_params: float,
    tokens: float,
) -> str:
    upper = general.loss
    if len(general.draws):
        upper = np.maximum(upper, np.quantile(general.draws, confidence, axis=0))
    k = int(np.argmin(upper))
    needed = float(upper[k]) - base_loss
    shown = f"{100 * needed / base_loss:.3g}%" if tolerance.is_relative else f"{needed:.4g}"
    text = (
        f"no domain ratio keeps the general loss within {tolerance} of the base loss {base_loss:.4f} with confidence "
        f"{confidence:g} at model_params = {model_params:.4g}, train_tokens = {tokens:.4g}; smallest feasible "
        f"tolerance is {shown} (at domain_ratio {general.domain_ratio[k]:.3g})"
    )
    if np.isfinite(point):
        text += f"; the best estimate {point:.3g} would break it about every other time"
    return text


def _binding(
    chosen: float, unconstrained: float, top: float, caps: dict[Binding, float], cut: bool
) -> Binding:
    if abs(chosen - unconstrained) > SAME_RATIO:
        if chosen >= top - SAME_RATIO and caps and min(caps.values()) <= top + SAME_RATIO:
            return min(caps, key=lambda key: caps[key])
        return "tolerance"
    return "compute" if cut else "none"


def _edges(chosen: float, lowest: float, highest: float, binding: Binding) -> list[Finding]:
    findings = []
    if chosen >= highest - SAME_RATIO and highest < 1:
        findings.append(
            Finding(
                "ratio_at_edge",
                f"the ratio is the largest that was probed ({highest:g}); probe larger ones to see whether more is "
                "feasible",
            )
        )
    if chosen <= lowest + SAME_RATIO and lowest > 0:
        findings.append(
            Finding(
                "ratio_at_edge",
                f"the ratio is the smallest that was probed ({lowest:g}); probe smaller ones",
            )
        )
    if binding == "none" and chosen < highest - SAME_RATIO:
        findings.append(
            Finding(
                "domain_loss_turns",
                f"the fitted domain loss has its lowest value at {chosen:.3g} and rises beyond; more domain data "
                "should not hurt the domain loss, so look at the fit",
            )
        )
    return findings
