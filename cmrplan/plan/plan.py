"""Turn fitted laws into one recommended domain ratio.

The question: how much domain data can a continual pre-training run take before the general loss rises more than
the user allows? Steps, in the order below::

    fit + request -> losses over the ratio -> what the constraints leave -> the lowest domain loss -> Plan

The recommended ratio keeps the rise within the tolerance with the asked confidence: the constraint is put on the
upper quantile of the resampled rise, ratio by ratio; beyond the probed budgets on that of one new run. The best
estimate stands beside it as ``ratio``, with its interval and its own chance to break the tolerance.

Nothing here draws or fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding
from cmrplan.fit.corpus_model import Interval, interval_as_dict
from cmrplan.fit.fit import Fit
from cmrplan.fit.tabular import rows_html, rows_text
from cmrplan.numbers import Tolerance, training_flops
from cmrplan.plan.findings import chance_to_break, infeasible_text, plan_findings
from cmrplan.plan.loss_curves import LossCurves, survey_at
from cmrplan.plan.optimum import (
    Constraint,
    ConstraintName,
    Decision,
    binding_constraint,
    constraints_of,
    decide,
)
from cmrplan.plan.repeated_data import supply_in
from cmrplan.plan.request import (
    FitOrPath,
    PlanRequest,
    RequestOptions,
    fit_of,
    named_arguments,
    request_of,
)


@dataclass(frozen=True, repr=False)
class Plan:
    """The recommended ratio and its reasons. Losses in nats per token, ratios in [0, 1].

    Parameters
    ----------
    domain_ratio : float
        The recommended ratio; it holds the tolerance with the asked confidence (where there are resamples). NaN where
        none does: then ``is_feasible`` is false.
    evaluated_ratio : float
        Where the losses below are given: the recommended ratio; without one the best estimate, and without that the
        ratio whose general loss rises least.
    ratio : Interval
        The best feasible ratio by the estimates, NaN where these allow none; its bounds are None where no resamples do.
    binding : str
        The constraint that keeps the ratio from going further, the ends of the probed ratios among them; ``"none"``
        where none does.
    constraints : tuple of Constraint
    probed_ratios : (float, float)
        The ends of the probed ratios.
    unconstrained_domain_ratio : float
        The best of the probed range without any constraint.
    violation_probability : float or None
        How probably the general loss rises too far at ``evaluated_ratio``: the share of resamples, moved by what the
        fit does not explain (:func:`~cmrplan.plan.findings.chance_to_break`). None without resamples or tolerance.
    point_violation_probability : float or None
        The same at the best estimate; None where there is none too.
    general_loss, domain_loss, general_rise : Interval, the last or None
        Predicted at ``evaluated_ratio``; the rise is over the base checkpoint. Beyond the probed budgets the intervals
        of the general loss and its rise are those of one new run, which decide there.
    base_loss : float or None
        None where it is not known, which a rise over pure replay does without; there is no ``general_rise`` then.
    replay_loss : float or None
        General loss of a run of the same tokens on general data alone; None without a fitted ratio near 0.
    replay_rise : Interval or None
        Rise of the general loss over that.
    least_tolerance : Tolerance or None
        The smallest tolerance that some ratio holds with the asked confidence; None without a tolerance.
    general_loss_limit : float or None
        What the tolerance allows over the reference that was asked for; None without a tolerance.
    model_params, train_tokens : float
        The run.
    law, num_resamples : str, int
    asked : PlanRequest
        The question as it was put.
    reason : str
        Why no ratio is recommended, and what would do; empty where one is.
    warnings : tuple of Finding
    provenance : dict, of the fit
    spends_domain_tokens : bool
        Whether the length follows from the ratio, so that the run uses the domain tokens up.
    supply_tokens : float or None
        Domain tokens of the probes, whose repeats the losses count; None where others were asked for, or none repeat.
    """

    domain_ratio: float
    evaluated_ratio: float
    ratio: Interval
    binding: ConstraintName
    constraints: tuple[Constraint, ...]
    probed_ratios: tuple[float, float]
    unconstrained_domain_ratio: float
    violation_probability: float | None
    point_violation_probability: float | None
    general_loss: Interval
    domain_loss: Interval
    general_rise: Interval | None
    base_loss: float | None
    replay_loss: float | None
    replay_rise: Interval | None
    least_tolerance: Tolerance | None
    general_loss_limit: float | None
    model_params: float
    train_tokens: float
    law: str
    num_resamples: int
    asked: PlanRequest
    reason: str
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]
    spends_domain_tokens: bool = False
    supply_tokens: float | None = None

    @property
    def is_feasible(self) -> bool:
        """Whether a ratio holds the tolerance with the asked confidence."""
        return bool(np.isfinite(self.domain_ratio))

    @property
    def is_contradicted(self) -> bool:
        """Whether runs measured beside the recommended ratio make it break the limit more often than was asked."""
        chance = self.violation_probability
        if chance is None or not self.is_feasible:
            return False
        return chance > 1 - self.confidence + 1 / self.num_resamples + 1e-9

    @property
    def domain_ratio_low(self) -> float | None:
        """Lower bound of the best ratio, or None."""
        return self.ratio.low

    @property
    def domain_ratio_high(self) -> float | None:
        """Upper bound of the best ratio, or None."""
        return self.ratio.high

    @property
    def confidence(self) -> float:
        """How surely the tolerance holds, and the level of every interval."""
        return self.asked.confidence

    @property
    def max_general_rise(self) -> str:
        """The tolerance as it is typed; ``"any"`` without one."""
        return "any" if self.asked.tolerance is None else str(self.asked.tolerance)

    @property
    def compute(self) -> float:
        """FLOPs of the run."""
        return training_flops(self.model_params, self.train_tokens)

    @property
    def domain_epochs(self) -> float | None:
        """Passes over the domain corpus; None where its tokens are not known."""
        unique = self.asked.unique_tokens or self.supply_tokens
        return None if unique is None else self.train_tokens * self.evaluated_ratio / unique

    @property
    def turning_point_ratio(self) -> float | None:
        """The largest ratio that turns in time; None where it was not asked for."""
        turns = [one.allows for one in self.constraints if one.name == "turning_point"]
        return turns[0] if turns else None

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, numbers unrounded; infinity as ``"inf"``."""
        best, replay = self.ratio.estimate, self.replay_rise
        values = {
            "domain_ratio": self.domain_ratio if self.is_feasible else None,
            "domain_ratio_low": self.ratio.low,
            "domain_ratio_high": self.ratio.high,
            "point_domain_ratio": None if np.isnan(best) else best,
            "confidence": self.confidence,
            "is_feasible": self.is_feasible,
            "evaluated_ratio": self.evaluated_ratio,
            "reason": self.reason,
            "binding": self.binding,
            "constraints": [constraint.as_dict() for constraint in self.constraints],
            "unconstrained_domain_ratio": self.unconstrained_domain_ratio,
            "probed_ratios": list(self.probed_ratios),
            "violation_probability": self.violation_probability,
            "point_violation_probability": self.point_violation_probability,
            **interval_as_dict("general_loss", self.general_loss),
            **interval_as_dict("domain_loss", self.domain_loss),
            **interval_as_dict("general_rise", self.general_rise),
            "base_loss": self.base_loss,
            "replay_loss": self.replay_loss,
            **interval_as_dict("replay_rise", replay),
            "least_tolerance": None if self.least_tolerance is None else str(self.least_tolerance),
            "general_loss_limit": self.general_loss_limit,
            "max_general_rise": self.max_general_rise,
            "rise_over": self.asked.rise_over,
            "model_params": self.model_params,
            "train_tokens": self.train_tokens,
            "compute": self.compute,
            "domain_epochs": self.domain_epochs,
            "supply_tokens": self.supply_tokens,
            "turning_point_ratio": self.turning_point_ratio,
            "law": self.law,
            "num_resamples": self.num_resamples,
            "asked": self.asked.limits_as_dict(),
            "warnings": [finding.as_dict() for finding in self.warnings],
            "provenance": self.provenance,
        }
        # A log without the general loss has none.
        return {name: None if value != value else value for name, value in values.items()}

    def with_findings(self, findings: Sequence[Finding]) -> Plan:
        """Return the plan with more remarks."""
        return replace(self, warnings=(*self.warnings, *findings))

    def __repr__(self) -> str:
        answer = f"domain_ratio={self.domain_ratio:.3f}" if self.is_feasible else "no ratio"
        return rows_text(f"Plan({answer})", self._rows())

    def _repr_html_(self) -> str:
        answer = f"{self.domain_ratio:.3f}" if self.is_feasible else "none holds the tolerance"
        return rows_html([("domain ratio", answer), *self._rows()])

    def _rows(self) -> list[tuple[str, str]]:
        """Return the answer in a few names and texts."""
        codes = list(dict.fromkeys(str(finding.code) for finding in self.warnings))
        rise, allowed = self.general_rise, f"allowed {self.max_general_rise}"
        if self.asked.rise_over == "replay":
            rise, allowed = self.replay_rise, f"{allowed}, over pure replay"
        rows = [
            (f"best ratio ({100 * self.confidence:g} %)", self.ratio.text(3)),
            ("binding", self.binding),
            ("general loss", self.general_loss.text(4)),
            ("general rise", f"{rise.text(4) if rise else 'not known'}, {allowed}"),
            ("domain loss", self.domain_loss.text(4)),
            ("run", f"{self.model_params:.4g} parameters, {self.train_tokens:.4g} tokens"),
            ("law", self.law),
            ("warnings", ", ".join(codes) or "none"),
        ]
        if self.violation_probability is not None:
            rows.insert(2, ("chance to break the limit", f"{self.violation_probability:.3f}"))
        return rows


@named_arguments
def plan(
    fit: FitOrPath, request: PlanRequest | None = None, **options: Unpack[RequestOptions]
) -> Plan:
    """Recommend the domain ratio of a full-scale run.

    Parameters
    ----------
    fit : Fit or path
        A fit, or its file.
    request : PlanRequest, optional
        The question: a size, tokens or compute, and limits.
    **options
        The fields of :class:`~cmrplan.plan.request.PlanRequest` one by one; they stand above those of ``request``.

    Raises
    ------
    InputError
        If an argument is wrong.
    CmrplanError
        If other limits than the tolerance leave no ratio, or the fit lacks what is asked. Where the tolerance holds
        nowhere with the asked confidence the plan is an answer too: its ``is_feasible`` is false, and ``reason`` says
        what would do.

    Examples
    --------
    >>> import cmrplan as cp
    >>> fit = cp.fit(cp.read_log("data/published/dcpt_usage1_log.csv"), bootstrap=0)
    >>> cp.plan(fit, model_params="1.8B", train_tokens="10B", max_general_rise="3%").binding
    'tolerance'
    """
    return plan_for(fit_of(fit), request_of(request, options))


def plan_for(fit: Fit, request: PlanRequest) -> Plan:
    """Return :func:`plan` for a request that was put together before."""
    require_mixture_laws(fit)
    request.refuse_uncounted_passes()
    decision = decide(fit, request)
    curves, evaluated = decision.curves, decision.evaluated
    at = survey_at(fit, request, evaluated)
    binding = binding_constraint(decision, is_cut=request.is_cut)
    general = _interval_of(at.general.loss, at.general_of_run.draws, request)
    limit, allowed = _limit(request, curves)
    findings = plan_findings(fit, request, decision, binding=binding, allowed=allowed)
    replay_loss, replay_rise = _over_replay(at, curves, request)
    return Plan(
        domain_ratio=decision.ratio,
        evaluated_ratio=evaluated,
        ratio=decision.interval(request.confidence),
        binding=binding,
        constraints=constraints_of(fit, request, decision, binding),
        probed_ratios=decision.feasible.probed,
        unconstrained_domain_ratio=decision.unconstrained,
        violation_probability=chance_to_break(fit, request, at),
        point_violation_probability=_chance_at_best(fit, request, decision, at),
        general_loss=general,
        domain_loss=_interval_of(at.domain.loss, at.domain.draws, request),
        general_rise=general.less(curves.base_loss) if np.isfinite(curves.base_loss) else None,
        base_loss=curves.base_loss if np.isfinite(curves.base_loss) else None,
        replay_loss=replay_loss,
        replay_rise=replay_rise,
        least_tolerance=decision.least_tolerance if request.tolerance is not None else None,
        general_loss_limit=limit,
        model_params=request.size,
        train_tokens=request.tokens,
        law=fit.law,
        num_resamples=len(curves.general.draws),
        asked=request,
        reason="" if decision.is_feasible else infeasible_text(fit, request, decision),
        warnings=tuple(findings),
        provenance=fit.provenance,
        supply_tokens=supply_in(fit, supply, request) if (supply := fit.probed.supply) else None,
    )


def _chance_at_best(
    fit: Fit, request: PlanRequest, decision: Decision, at: LossCurves
) -> float | None:
    best = decision.best_estimate
    if not np.isfinite(best):
        return None
    same = best == at.domain_ratio[0]
    return chance_to_break(fit, request, at if same else survey_at(fit, request, best))


def feasible_plan_for(fit: Fit, request: PlanRequest) -> Plan:
    """Return :func:`plan_for` where a ratio has to come out.

    Raises
    ------
    CmrplanError
        If none holds the tolerance, with the one that would do.
    """
    answer = plan_for(fit, request)
    if not answer.is_feasible:
        raise CmrplanError(answer.reason)
    return answer


def require_mixture_laws(fit: Fit) -> None:
    """Refuse a fit whose laws do not read the ratio.

    Raises
    ------
    CmrplanError
        Naming the law.
    """
    blind = [model.law for model in fit.models.values() if not model.reads_mixture]
    if blind:
        raise CmrplanError(
            f"the law {blind[0]} does not read the domain ratio, so it cannot choose one; fit a log of several ratios "
            "with --law dcpt"
        )


def _limit(request: PlanRequest, curves: LossCurves) -> tuple[float | None, float | None]:
    """Return the largest general loss allowed, and how far it lies above what the rise is counted from."""
    if request.tolerance is None:
        return None, None
    reference = curves.base_loss
    if request.rise_over == "replay" and curves.replay is not None:
        reference = float(curves.replay.loss[0])
    limit = request.tolerance.limit(reference)
    return limit, limit - reference


def _over_replay(
    at: LossCurves, curves: LossCurves, request: PlanRequest
) -> tuple[float | None, Interval | None]:
    """Return the loss of pure replay and the rise over it; the resamples of both losses are paired."""
    replay = curves.replay
    if replay is None:
        return None, None
    draws = at.general_of_run.draws - replay.draws
    rise = _interval_of(at.general.loss - replay.loss, draws, request)
    return float(replay.loss[0]), rise


def _interval_of(loss: Array, draws: Array, request: PlanRequest) -> Interval:
    """Return the interval of the loss at a single ratio, from ``(1,)`` and ``(B, 1)``."""
    return Interval.of_draws(float(loss[0]), draws[:, 0], request.confidence)
