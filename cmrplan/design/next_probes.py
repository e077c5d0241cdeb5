"""Choose the next probes: those that narrow the interval of the recommended ratio most for what they cost.

Sequential design. One probe after the other is added, each time the one whose expected reduction of the ratio's
variance, per unit of cost, is largest (:mod:`cmrplan.design.information`), until the budget is spent or more does not
pay. Formulas and measurements: docs/next-probes.md.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from cmrplan.design.budget import ProbeBudget, parse_probe_budget
from cmrplan.design.candidates import candidates_of
from cmrplan.design.controls import CONTROL_RATIOS, ControlRun, SizeControls, controls_of
from cmrplan.design.forecast import Outlook
from cmrplan.errors import Code, Finding, InputError
from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.noise import Noise
from cmrplan.fit.tabular import Tabular
from cmrplan.plan.request import (
    FitOrPath,
    PlanRequest,
    RequestOptions,
    fit_of,
    named_arguments,
    request_of,
)

LARGEST_REDUCTION = 1 - 1e-9
AT_EDGE = 0.25  # share of resamples at an outermost ratio that is worth a remark

StopCode = Literal["budget", "resolution", "does_not_pay", "most_probes"]


@dataclass(frozen=True)
class NextProbe:
    """One probe to run, and the interval expected after it and those before it.

    Parameters
    ----------
    domain_ratio : float
    model_params, train_tokens : float
    seed : int
        Of the log, one whose controls are there: ratios are new, so none has had it.
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


@dataclass(frozen=True, repr=False)
class NextProbes(Tabular):
    """The probes to run next. Ratios in [0, 1]; ``cost`` and ``budget`` in ``unit``.

    ``controls`` are runs at ratio 0 and 1 that the log lacks and the sweep adds; ``cost`` counts them. ``ratio`` is the
    best estimate now (NaN where none is feasible), with its interval; ``expected_low`` and ``expected_high`` bound the
    interval expected after all probes, should the laws stay where they are. ``stop`` says why no more probes are
    named: ``budget`` (nothing affordable is left), ``resolution`` (the interval is as narrow as asked),
    ``does_not_pay`` (the whole budget would hardly narrow it) or ``most_probes`` (fit again first).
    """

    probes: tuple[NextProbe, ...]
    controls: tuple[ControlRun, ...]
    ratio: Interval
    expected_low: float
    expected_high: float
    budget: float
    unit: str
    gpu_flops: float | None
    stop: StopCode
    stop_reason: str
    resolution: float
    asked: PlanRequest
    law: str
    noise: Noise
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    @property
    def domain_ratio(self) -> float:
        """Best estimate of the ratio now."""
        return self.ratio.estimate

    @property
    def domain_ratio_low(self) -> float:
        """Lower bound of the ratio now."""
        assert self.ratio.low is not None
        return self.ratio.low

    @property
    def domain_ratio_high(self) -> float:
        """Upper bound of the ratio now."""
        assert self.ratio.high is not None
        return self.ratio.high

    @property
    def cost(self) -> float:
        """What the sweep of the probes costs, its controls included."""
        return sum(run.cost for run in self.probes) + sum(run.cost for run in self.controls)

    @property
    def width(self) -> float:
        """Width of the interval now."""
        return self.domain_ratio_high - self.domain_ratio_low

    @property
    def expected_width(self) -> float:
        """Width of the interval expected after all probes."""
        return self.expected_high - self.expected_low

    def table(self) -> pd.DataFrame:
        """Return one row a probe."""
        return pd.DataFrame(
            [asdict(probe) for probe in self.probes], columns=list(NextProbe.__dataclass_fields__)
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the probes and what they rest on as plain values, numbers unrounded."""
        best = self.ratio.estimate
        return {
            "probes": [asdict(probe) for probe in self.probes],
            "domain_ratio": None if np.isnan(best) else best,
            "domain_ratio_low": self.ratio.low,
            "domain_ratio_high": self.ratio.high,
            "expected_low": self.expected_low,
            "expected_high": self.expected_high,
            "cost": self.cost,
            "budget": self.budget,
            "unit": self.unit,
            "gpu_flops": self.gpu_flops,
            "stop": self.stop,
            "stop_reason": self.stop_reason,
            "resolution": self.resolution,
            "model_params": self.asked.size,
            "train_tokens": self.asked.tokens,
            "asked": self.asked.limits_as_dict(),
            "law": self.law,
            "noise": asdict(self.noise),
            "warnings": [finding.as_dict() for finding in self.warnings],
            "provenance": self.provenance,
            "width": self.width,
            "expected_width": self.expected_width,
            "controls": [asdict(control) for control in self.controls],
        }


@dataclass(frozen=True)
class StoppingRule:
    """When no more probes are named.

    Parameters
    ----------
    resolution : float
        Width of the ratio's interval below which more does not matter.
    least_narrowing : float
        Share in [0, 1) by which the whole budget has to narrow the interval.
    most_probes : int
    """

    resolution: float
    least_narrowing: float
    most_probes: int

    def __post_init__(self) -> None:
        if not self.resolution >= 0:
            raise InputError(
                f"resolution must be a width of the ratio, 0 or more, got {self.resolution:g}"
            )
        if not 0 <= self.least_narrowing < 1:
            raise InputError(
                f"least_narrowing must be a share in [0, 1), got {self.least_narrowing:g}"
            )
        if self.most_probes < 1:
            raise InputError(f"most_probes must be 1 or more, got {self.most_probes}")


@named_arguments
def next_probes(
    fit: FitOrPath,
    request: PlanRequest | None = None,
    *,
    budget: str,
    resolution: float = 0.01,
    least_narrowing: float = 0.05,
    most_probes: int = 12,
    **options: Unpack[RequestOptions],
) -> NextProbes:
    """Name the probes that narrow the interval of the recommended ratio most for their cost.

    Parameters
    ----------
    fit : Fit or path
        Of both losses, by laws of ratio and tokens, with resamples.
    request : PlanRequest, optional
        The full-scale run and its limits. Its ``gpu_flops`` are what one GPU really does in the probes, for a budget
        in GPU-hours; 4e14 by default.
    budget : str
        Such as ``"20gpu-hours"``, ``"5Btokens"`` or ``"1e18flops"``.
    resolution : float
        Width of the ratio's interval below which more does not matter.
    least_narrowing : float
        More does not pay when the whole budget, at the price of the best probe, would narrow the interval by less
        than this share.
    most_probes : int
        After so many, fit again before going on.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If the fit cannot say what a probe would tell.
    """
    fit, asked = fit_of(fit), request_of(request, options)
    rule = StoppingRule(resolution, least_narrowing, most_probes)
    gpu_flops = None if asked.gpu_flops is None else float(asked.gpu_flops)
    return _choose(fit, asked, parse_probe_budget(budget, gpu_flops), rule)


def _choose(fit: Fit, asked: PlanRequest, budget: ProbeBudget, rule: StoppingRule) -> NextProbes:
    outlook = Outlook(fit, asked, candidates_of(fit, asked.tokens))
    sizes = np.unique(outlook.candidates.model_params).tolist()
    selection = _Selection(outlook, budget, {n: controls_of(fit, n, budget) for n in sizes})
    warnings = (
        *fit.warnings,
        *outlook.curves.findings,
        *fit.probed.extrapolation_findings(model_params=asked.size, train_tokens=asked.tokens),
        *_edge_findings(outlook),
    )
    low, high = outlook.interval()
    estimate = outlook.curves.best_estimate(outlook.feasible.low, outlook.feasible.high)
    stop, reason = selection.extend(rule)
    expected_low, expected_high = outlook.interval()
    return NextProbes(
        probes=tuple(selection.probes),
        controls=tuple(selection.controls),
        ratio=Interval(low, estimate, high),
        expected_low=expected_low,
        expected_high=expected_high,
        budget=budget.amount,
        unit=budget.unit,
        gpu_flops=budget.gpu_flops,
        stop=stop,
        stop_reason=reason,
        resolution=rule.resolution,
        asked=asked,
        law=fit.law,
        noise=outlook.noise,
        warnings=warnings,
        provenance=fit.provenance,
    )


class _Selection:
    """The probes that were chosen so far, with the controls that come with them.

    The first probe of a size pays for the controls that the size lacks. A control is trained anyway, so it is no
    candidate.
    """

    def __init__(
        self, outlook: Outlook, budget: ProbeBudget, controls_by_size: dict[float, SizeControls]
    ) -> None:
        self.probes: list[NextProbe] = []
        self.controls: list[ControlRun] = []
        self._outlook = outlook
        self._budget = budget
        self._left = budget.amount
        self._controls_by_size = controls_by_size
        candidates = outlook.candidates
        self._cost = budget.cost(candidates.model_params, candidates.train_tokens)
        by_candidate = [controls_by_size[size] for size in candidates.model_params]
        self._surcharge = np.array([controls.cost for controls in by_candidate])
        is_control = np.isin(candidates.domain_ratio, CONTROL_RATIOS) & (self._surcharge > 0)
        self._is_free = ~is_control

    def extend(self, rule: StoppingRule) -> tuple[StopCode, str]:
        """Add the best affordable probe until it does not pay, and return why it ended."""
        outlook, budget = self._outlook, self._budget
        while True:
            low, high = outlook.interval()
            if high - low <= rule.resolution:
                return "resolution", f"the interval is {high - low:.3g} wide, as narrow as asked"
            if len(self.probes) == rule.most_probes:
                return "most_probes", f"{rule.most_probes} probes: run them and fit again"
            cost = self._cost + self._surcharge
            affordable = self._is_free & (cost <= self._left)
            if not affordable.any():
                text = f"no probe is left that {self._left:.3g} {budget.unit} pay for"
                return "budget", text
            reduction = np.minimum(outlook.expected_width_reduction(), LARGEST_REDUCTION)
            gain = -np.log1p(-reduction)
            # Saving below a probe's fair part of the budget is worth nothing.
            taken = np.maximum(cost, self._left / (rule.most_probes - len(self.probes)))
            row = int(np.argmax(np.where(affordable, gain / taken, -np.inf)))
            times = budget.amount / max(cost[row], budget.amount / rule.most_probes)
            if 1 - np.exp(-gain[row] * times) < rule.least_narrowing:
                return "does_not_pay", (
                    f"more probes do not pay: at the price of the best one, all of {budget} would narrow the interval "
                    f"by less than {100 * rule.least_narrowing:g} %"
                )
            self._take(row)

    def _take(self, row: int) -> None:
        """Add one candidate, and the controls that its size lacks."""
        candidates = self._outlook.candidates
        ratio, size = float(candidates.domain_ratio[row]), float(candidates.model_params[row])
        is_same_size = candidates.model_params == size
        self._left -= float(self._cost[row] + self._surcharge[row])
        if self._surcharge[row] > 0:
            self.controls += self._controls_by_size[size].missing
            self._surcharge[is_same_size] = 0.0
        self._is_free &= (candidates.domain_ratio != ratio) | ~is_same_size
        self._outlook.add(row)
        low, high = self._outlook.interval()
        self.probes.append(
            NextProbe(
                domain_ratio=ratio,
                model_params=size,
                train_tokens=float(candidates.train_tokens[row]),
                seed=self._controls_by_size[size].seed,
                cost=float(self._cost[row]),
                width_after=high - low,
            )
        )


def _edge_findings(outlook: Outlook) -> list[Finding]:
    """Return a remark for each outermost ratio, inside (0, 1), at which many answers lie."""
    answers, findings = outlook.answers(), []
    for outermost, word in zip(outlook.feasible.probed, ("smaller", "larger"), strict=True):
        share = float(np.mean(answers == outermost))
        if share > AT_EDGE and 0 < outermost < 1:
            findings.append(
                Finding(
                    Code.RATIO_AT_EDGE,
                    f"{100 * share:.0f} % of the resamples recommend the outermost probed ratio {outermost:g}; probe "
                    f"{word} ones first, none are named here",
                )
            )
    return findings
