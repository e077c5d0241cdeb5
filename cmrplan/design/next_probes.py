"""Choose the next probes: those that narrow the interval of the best ratio most for what they cost.

Sequential design. One probe after the other is added, each time the one whose expected reduction of the ratio's
variance is largest for its cost, at several prices (:mod:`cmrplan.design.nested`); of all designs that the budget pays
for the one with the narrowest expected interval is named. Formulas and measurements: docs/next-probes.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Unpack

import numpy as np
import pandas as pd

from cmrplan.design.budget import ProbeBudget, parse_probe_budget
from cmrplan.design.controls import ControlRun, controls_of
from cmrplan.design.evaluations import BaseEvaluation, base_evaluations
from cmrplan.design.forecast import Outlook
from cmrplan.design.nested import FINE, Design, RunPrices, best_design, designs
from cmrplan.design.outlooks import outlook_of, require_both_losses
from cmrplan.design.trial import trial_run
from cmrplan.errors import Code, Finding, InputError
from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.noise import Noise
from cmrplan.fit.tabular import Tabular
from cmrplan.numbers import CountOrText, parse_named_count
from cmrplan.plan.request import (
    FitOrPath,
    PlanRequest,
    RequestOptions,
    fit_of,
    named_arguments,
    request_of,
)

AT_EDGE = 0.25  # share of resamples at an outermost ratio that is worth a remark

NO_RATIO = (
    "no ratio holds the limit, by the estimates or in enough resamples, so there is no interval to narrow; "
    "cmrplan plan says which tolerance would do, and what to measure"
)
BEYOND_PROBES = (
    "the run lies beyond the probes, as the cautions say, and there resamples of the same laws agree more easily than "
    "runs do: "
)
TRIAL = "the probe that is named comes nearest to the run and tests it; make it and fit again"
NO_TRIAL = (
    "one longer or larger probe at that ratio would test it, which this budget does not pay for"
)
_BEYOND = (Code.EXTRAPOLATES_TOKENS, Code.EXTRAPOLATES_SIZE)

StopCode = Literal["budget", "resolution", "no_ratio", "does_not_pay", "most_probes"]


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

    ``controls`` are runs at ratio 0 and 1 that the log lacks and the sweep adds; ``cost`` counts them. ``evaluations``
    are those of checkpoints that exist, which cost next to nothing. ``ratio`` is the best estimate now (NaN where none
    is feasible), with its interval; ``expected_low`` and ``expected_high`` bound the interval expected after all
    probes, should the laws stay where they are: never wider than the interval now, nor than after a smaller budget.
    Where the interval has nothing to narrow but the run lies beyond the probes, ``probes`` is one that tests the answer
    (``is_trial``).
    ``stop`` says why no more probes are named: ``budget`` (nothing affordable is left), ``resolution`` (the interval is
    as narrow as asked), ``no_ratio`` (none holds the limit, so there is no interval), ``does_not_pay`` (the rest of the
    budget would hardly narrow it) or ``most_probes`` (fit again first).
    """

    probes: tuple[NextProbe, ...]
    controls: tuple[ControlRun, ...]
    evaluations: tuple[BaseEvaluation, ...]
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
    def has_interval(self) -> bool:
        """Whether the estimates or enough resamples have a best ratio."""
        return self.stop != "no_ratio"

    @property
    def is_trial(self) -> bool:
        """Whether the probe named tests an answer that has nothing to narrow (:mod:`cmrplan.design.trial`)."""
        return bool(self.probes) and (self.stop == "no_ratio" or self.width <= self.resolution)

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
            "is_trial": self.is_trial,
            "domain_ratio": None if np.isnan(best) else best,
            "domain_ratio_low": self.ratio.low if self.has_interval else None,
            "domain_ratio_high": self.ratio.high if self.has_interval else None,
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
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
        }


@dataclass(frozen=True)
class StoppingRule:
    """When no more probes are named.

    Parameters
    ----------
    resolution : float
        Width of the ratio's interval below which more does not matter.
    least_narrowing : float
        Share in [0, 1) of the interval's width; what narrows it by less is not worth its cost.
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
    sizes: Sequence[CountOrText] = (),
    **options: Unpack[RequestOptions],
) -> NextProbes:
    """Name the probes that narrow the interval of the best ratio most for their cost.

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
        Probes that narrow the interval by less than this share of its width now are not worth their cost.
    most_probes : int
        After so many, fit again before going on.
    sizes : sequence of float or str
        Sizes that could be probed beside those of the log, such as ``["400M", "1B"]``.
    **options
        Fields of :class:`~cmrplan.plan.request.PlanRequest`.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If the fit cannot say what a probe would tell.
    """
    fit = fit_of(fit)
    require_both_losses(fit)
    asked = request_of(request, options)
    rule = StoppingRule(resolution, least_narrowing, most_probes)
    gpu_flops = None if asked.gpu_flops is None else float(asked.gpu_flops)
    counts = tuple(parse_named_count("sizes", size) for size in sizes)
    return _choose(fit, asked, parse_probe_budget(budget, gpu_flops), rule, counts)


def _choose(
    fit: Fit, asked: PlanRequest, budget: ProbeBudget, rule: StoppingRule, sizes: tuple[float, ...]
) -> NextProbes:
    outlook = outlook_of(fit, asked, sizes)
    controls = {
        size: controls_of(fit, size, budget)
        for size in np.unique(outlook.candidates.model_params).tolist()
    }
    prices = RunPrices.of(outlook, budget, controls)
    warnings = (
        *fit.warnings,
        *outlook.curves.findings,
        *fit.probed.extrapolation_findings(model_params=asked.size, train_tokens=asked.tokens),
        *_edge_findings(outlook),
    )
    low, high = outlook.interval_now()
    estimate = outlook.best_estimate
    if high - low > rule.resolution:
        nested = list(designs(outlook, prices, budget.amount, rule.most_probes))
        best = best_design(nested, rule.resolution, rule.least_narrowing)
        stop, reason = _why_it_stops(best, prices, budget, rule)
    else:
        best = Design((), (), 0.0, low, high, ())
        stop, reason = _nothing_to_narrow(best, estimate)
        if any(finding.code in _BEYOND for finding in warnings):
            trial = trial_run(fit, outlook, prices, budget.amount, outlook.ratio_in_question)
            reason = f"{reason}; {BEYOND_PROBES}{TRIAL if trial else NO_TRIAL}"
            best = trial or best
    return NextProbes(
        probes=_probes(best, outlook, prices, high - low),
        controls=best.controls,
        evaluations=base_evaluations(fit, asked, outlook),
        ratio=Interval(low, estimate, high),
        expected_low=best.low,
        expected_high=best.high,
        budget=budget.amount,
        unit=budget.unit,
        gpu_flops=budget.gpu_flops,
        stop=stop,
        stop_reason=reason,
        resolution=rule.resolution,
        asked=asked,
        law=fit.law,
        noise=fit.models["general"].noise or fit.noise,
        warnings=warnings,
        provenance=fit.provenance,
    )


def _nothing_to_narrow(now: Design, estimate: float) -> tuple[StopCode, str]:
    """Return why no probes are sought: without a feasible ratio, or with an interval as narrow as asked."""
    if np.isnan(estimate):
        return "no_ratio", NO_RATIO
    return "resolution", _as_narrow_as_asked(now)


def _as_narrow_as_asked(design: Design) -> str:
    return f"the interval is {design.width:.3g} wide, as narrow as asked"


def _why_it_stops(
    best: Design, prices: RunPrices, budget: ProbeBudget, rule: StoppingRule
) -> tuple[StopCode, str]:
    """Return why no more probes are named than those of the best design."""
    if best.width <= rule.resolution:
        return "resolution", _as_narrow_as_asked(best)
    if len(best.rows) == rule.most_probes:
        return "most_probes", f"{rule.most_probes} probes: run them and fit again"
    left = budget.amount - best.cost
    cheapest = float(np.min(prices.cost + prices.surcharge, where=prices.is_free, initial=np.inf))
    if cheapest > left * (1 + FINE):
        return "budget", f"no probe is left that {left:.3g} {budget.unit} pay for"
    share = f"{100 * rule.least_narrowing:g} %"
    if best.rows:
        return "does_not_pay", f"more probes do not pay: they would narrow it by less than {share}"
    return "does_not_pay", (
        f"no probe helps: the best use of {budget} would narrow the interval by less than {share}; what is left of it "
        "is the noise of a run, or what probes of these sizes and lengths cannot show of the run that is asked for; "
        "name larger sizes (--sizes) or a larger budget"
    )


def _probes(
    design: Design, outlook: Outlook, prices: RunPrices, width: float
) -> tuple[NextProbe, ...]:
    runs = outlook.candidates
    rows = list(design.rows)
    return tuple(
        NextProbe(
            domain_ratio=float(runs.domain_ratio[row]),
            model_params=float(runs.model_params[row]),
            train_tokens=float(runs.train_tokens[row]),
            seed=prices.controls[float(runs.model_params[row])].seed,
            cost=float(prices.cost[row]),
            width_after=min(width, *design.widths[: number + 1]),
        )
        for number, row in enumerate(rows)
    )


def _edge_findings(outlook: Outlook) -> list[Finding]:
    """Return a remark for each outermost ratio, inside (0, 1), at which many answers lie."""
    answers, curves, findings = outlook.answers, outlook.curves, []
    left = curves.between(outlook.feasible.low, outlook.feasible.high)
    has_one = (curves.mean_rise_draws[:, left] <= curves.tolerance.largest_rise).any(axis=1)
    for outermost, word in zip(outlook.feasible.probed, ("smaller", "larger"), strict=True):
        share = float(np.mean((answers == outermost) & has_one))
        if share > AT_EDGE and 0 < outermost < 1:
            findings.append(
                Finding(
                    Code.RATIO_AT_EDGE,
                    f"{100 * share:.0f} % of the resamples recommend the outermost probed ratio {outermost:g}; probe "
                    f"{word} ones first, none are named here",
                )
            )
    return findings
