"""Choose the next probes: those that narrow the recommended ratio most for what they cost.

Sequential design. One probe after the other is added, each time the one whose expected reduction of the ratio's
variance, per unit of cost, is largest (:mod:`cmrplan.design.information`), until the budget is spent or more does not
pay. Formulas and measurements: docs/next-probes.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from cmrplan.design.budget import ProbeBudget, parse_probe_budget
from cmrplan.design.candidates import candidates_of
from cmrplan.design.forecast import Outlook
from cmrplan.errors import Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.noise import Noise
from cmrplan.numbers import require_positive
from cmrplan.plan.extrapolation import extrapolation_findings
from cmrplan.plan.request import Limits

MOST_NARROWING = 1 - 1e-9
AT_EDGE = 0.25  # share of resamples at an outermost ratio that is worth a remark

Stop = Literal["budget", "resolution", "does_not_pay", "most_probes"]


@dataclass(frozen=True)
class NextProbe:
    """One probe to run, and the interval expected after it and those before it.

    Parameters
    ----------
    domain_ratio : float
    model_params, train_tokens : float
    seed : int
        The smallest of the log: ratios are new, so none has had it.
    cost : float
        In the unit of the budget.
    width_after : float
        Expected width of the ratio's interval.
    """

    domain_ratio: float
    model_params: float
    train_tokens: float
    seed: int
    cost: float
    width_after: float


@dataclass(frozen=True)
class NextProbes:
    """The probes to run next. Ratios in [0, 1]; ``cost`` and ``budget`` in ``unit``.

    ``domain_ratio`` is the best estimate now (NaN where none is feasible), with its interval; ``expected_low`` and
    ``expected_high`` bound the interval expected after all probes, should the laws stay where they are. ``stop``
    says why no more probes are named: ``budget`` (nothing affordable is left), ``resolution`` (the interval is as
    narrow as asked), ``does_not_pay`` (the whole budget would hardly narrow it) or ``most_probes`` (fit again first).
    """

    probes: tuple[NextProbe, ...]
    domain_ratio: float
    domain_ratio_low: float
    domain_ratio_high: float
    expected_low: float
    expected_high: float
    cost: float
    budget: float
    unit: str
    gpu_flops: float | None
    stop: Stop
    stop_reason: str
    resolution: float
    model_params: float
    train_tokens: float
    asked: Limits
    law: str
    noise: Noise
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    @property
    def width(self) -> float:
        """Width of the interval now."""
        return self.domain_ratio_high - self.domain_ratio_low

    @property
    def expected_width(self) -> float:
        """Width of the interval expected after all probes."""
        return self.expected_high - self.expected_low

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values, numbers unrounded."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return fields | {
            "domain_ratio": None if np.isnan(self.domain_ratio) else self.domain_ratio,
            "width": self.width,
            "expected_width": self.expected_width,
            "probes": [asdict(probe) for probe in self.probes],
            "asked": self.asked.as_dict(),
            "noise": asdict(self.noise),
            "warnings": [finding.as_dict() for finding in self.warnings],
        }


def next_probes(
    fit: Fit,
    *,
    budget: str,
    model_params: float,
    train_tokens: float,
    gpu_flops: float | None = None,
    resolution: float = 0.01,
    least_narrowing: float = 0.05,
    most_probes: int = 12,
    **limits: Any,
) -> NextProbes:
    """Name the probes that narrow the recommended ratio most for their cost.

    Parameters
    ----------
    fit : Fit
        Of both losses, by laws of ratio and tokens, with resamples.
    budget : str
        Such as ``"20gpu-hours"``, ``"5Btokens"`` or ``"1e18flops"``.
    model_params, train_tokens : float
        The full-scale run.
    gpu_flops : float, optional
        FLOP/s that one GPU really does in the probes, for a budget in GPU-hours; 4e14 by default.
    resolution : float
        Width of the ratio's interval below which more does not matter.
    least_narrowing : float
        More does not pay when the whole budget, at the price of the best probe, would narrow the interval by less
        than this share.
    most_probes : int
        After so many, fit again before going on.
    **limits
        The fields of :class:`~cmrplan.plan.request.Limits`, such as ``max_general_rise``, as in
        :func:`cmrplan.plan`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If the fit cannot say what a probe would tell.
    """
    money = parse_probe_budget(budget, gpu_flops)
    asked = Limits(**limits)
    require_positive("model_params", model_params)
    require_positive("train_tokens", train_tokens)
    _check(resolution, least_narrowing, most_probes)
    where = {"model_params": float(model_params), "train_tokens": float(train_tokens)}
    outlook = Outlook(fit, asked, **where, candidates=candidates_of(fit, train_tokens))
    window, (low, high) = outlook.window, outlook.interval()
    findings = [*fit.warnings, *outlook.land.findings, *extrapolation_findings(fit, **where)]
    findings += _edge_findings(outlook)
    point = outlook.land.point_ratio(window.low, window.high)
    chosen, stop, reason = _choose(
        outlook,
        money,
        resolution=resolution,
        least_narrowing=least_narrowing,
        most_probes=most_probes,
        seed=_smallest_seed(fit),
    )
    expected_low, expected_high = outlook.interval()
    return NextProbes(
        probes=tuple(chosen),
        domain_ratio=point,
        domain_ratio_low=low,
        domain_ratio_high=high,
        expected_low=expected_low,
        expected_high=expected_high,
        cost=sum(probe.cost for probe in chosen),
        budget=money.amount,
        unit=money.unit,
        gpu_flops=money.gpu_flops,
        stop=stop,
        stop_reason=reason,
        resolution=resolution,
        **where,
        asked=asked,
        law=fit.law,
        noise=outlook.noise,
        warnings=tuple(findings),
        provenance=fit.provenance,
    )


def _choose(
    outlook: Outlook,
    budget: ProbeBudget,
    *,
    resolution: float,
    least_narrowing: float,
    most_probes: int,
    seed: int,
) -> tuple[list[NextProbe], Stop, str]:
    """Add the best affordable probe until it does not pay, and say why it ended."""
    candidates = outlook.candidates
    cost = budget.cost(candidates.model_params, candidates.train_tokens)
    is_free = np.ones(len(cost), dtype=bool)
    left = budget.amount
    chosen: list[NextProbe] = []
    while True:
        low, high = outlook.interval()
        if high - low <= resolution:
            return (
                chosen,
                "resolution",
                f"the interval is {high - low:.3g} wide, as narrow as asked",
            )
        if len(chosen) == most_probes:
            return chosen, "most_probes", f"{most_probes} probes: run them and fit again"
        affordable = is_free & (cost <= left)
        if not affordable.any():
            return chosen, "budget", f"no probe is left that {left:.3g} {budget.unit} pay for"
        # saving below a probe's fair part of the budget is worth nothing
        gain = -np.log1p(-np.minimum(outlook.narrowing(), MOST_NARROWING))
        taken = np.maximum(cost, left / (most_probes - len(chosen)))
        row = int(np.argmax(np.where(affordable, gain / taken, -np.inf)))
        times = budget.amount / max(cost[row], budget.amount / most_probes)
        if 1 - np.exp(-gain[row] * times) < least_narrowing:
            reason = (
                f"more probes do not pay: at the price of the best one, all of {budget} would narrow the interval "
                f"by less than {100 * least_narrowing:g} %"
            )
            return chosen, "does_not_pay", reason
        outlook.add(row)
        ratio, size = candidates.domain_ratio[row], candidates.model_params[row]
        is_free &= (candidates.domain_ratio != ratio) | (candidates.model_params != size)
        left -= float(cost[row])
        low, high = outlook.interval()
        chosen.append(
            NextProbe(
                domain_ratio=float(ratio),
                model_params=float(size),
                train_tokens=float(candidates.train_tokens[row]),
                seed=seed,
                cost=float(cost[row]),
                width_after=high - low,
            )
        )


def _edge_findings(outlook: Outlook) -> list[Finding]:
    """Return a remark for each outermost ratio, inside (0, 1), at which many answers lie."""
    answers, findings = outlook.answers(), []
    for edge, word in zip(outlook.window.probed, ("smaller", "larger"), strict=True):
        share = float(np.mean(answers == edge))
        if share > AT_EDGE and 0 < edge < 1:
            findings.append(
                Finding(
                    Code.RATIO_AT_EDGE,
                    f"{100 * share:.0f} % of the resamples recommend the outermost probed ratio {edge:g}; probe "
                    f"{word} ones first, none are named here",
                )
            )
    return findings


def _smallest_seed(fit: Fit) -> int:
    """Return the smallest seed of the log: a new ratio has not had it yet, and its controls exist."""
    return int(fit.log["seed"].min()) if "seed" in fit.log else 0


def _check(resolution: float, least_narrowing: float, most_probes: int) -> None:
    if not resolution >= 0:
        raise InputError(f"resolution must be a width of the ratio, 0 or more, got {resolution:g}")
    if not 0 <= least_narrowing < 1:
        raise InputError(f"least_narrowing must be a share in [0, 1), got {least_narrowing:g}")
    if most_probes < 1:
        raise InputError(f"most_probes must be 1 or more, got {most_probes}")
