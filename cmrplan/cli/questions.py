"""Which question the options of ``plan`` ask, and the tables beside its answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cmrplan.errors import Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.loss_curves import survey
from cmrplan.plan.plan import Plan
from cmrplan.plan.plan import plan as make_plan
from cmrplan.plan.questions.compute_budget import best_budget
from cmrplan.plan.questions.critical_curve import Axis, curve_along, default_places
from cmrplan.plan.questions.domain_tokens import by_epochs, spend_domain_tokens
from cmrplan.plan.questions.frontier import frontier_of
from cmrplan.plan.questions.target_loss import fewest_tokens, smallest_model
from cmrplan.report.tables import plain_rows

NUM_FRONTIER = 21

Say = Callable[[str], None]


@dataclass(frozen=True)
class Answered:
    """A plan, what else was computed, and how that is said before the plan."""

    plan: Plan
    lines: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def answer_of(
    fit: Fit,
    *,
    model_params: float | None,
    sizes: list[float] | tuple[float, float] | None,
    train_tokens: float | None,
    compute: str | None,
    gpu_flops: float | None,
    target_domain_loss: float | None,
    **limits: Any,
) -> Answered:
    """Return the answer to the question that these options ask.

    Raises
    ------
    InputError
        If they ask none.
    CmrplanError
        If there is no answer, with the smallest change that would give one.
    """
    if (model_params is None) == (sizes is None):
        raise InputError(
            "give either --model-params, or --sizes to choose the size for --compute or --target-domain-loss"
        )
    money: dict[str, Any] = {"compute": compute, "gpu_flops": gpu_flops}
    if sizes is not None:
        if target_domain_loss is not None:
            return _smallest_model(fit, sizes, train_tokens, target_domain_loss, limits)
        return _best_budget(fit, sizes, train_tokens, money, limits)
    assert model_params is not None
    if target_domain_loss is not None:
        return _fewest_tokens(fit, model_params, train_tokens, money, target_domain_loss, limits)
    if train_tokens is None and compute is None and limits["domain_tokens"] is not None:
        recommended = spend_domain_tokens(fit, model_params=model_params, **limits)
        line = f"run that uses the domain data up   D = {compact(recommended.train_tokens)} tokens"
        return Answered(recommended, [line])
    recommended = make_plan(
        fit, model_params=model_params, train_tokens=train_tokens, **money, **limits
    )
    return Answered(recommended)


def _fewest_tokens(
    fit: Fit,
    model_params: float,
    train_tokens: float | None,
    money: dict[str, Any],
    target: float,
    limits: dict[str, Any],
) -> Answered:
    target_run = fewest_tokens(
        fit,
        target_domain_loss=target,
        model_params=model_params,
        train_tokens=train_tokens,
        **money,
        **limits,
    )
    line = (
        f"fewest tokens for a domain loss of {target:g}   {compact(target_run.plan.train_tokens)}"
    )
    if target_run.point_train_tokens is not None and target_run.plan.num_resamples:
        line += f" (best estimate {compact(target_run.point_train_tokens)})"
    return Answered(
        target_run.plan,
        [line],
        {
            "target_domain_loss": target,
            "domain_loss_safe": target_run.domain_loss_safe,
            "point_train_tokens": target_run.point_train_tokens,
        },
    )


def _smallest_model(
    fit: Fit,
    sizes: list[float] | tuple[float, float],
    train_tokens: float | None,
    target: float,
    limits: dict[str, Any],
) -> Answered:
    if train_tokens is None or isinstance(sizes, tuple):
        raise InputError(
            "the smallest model for --target-domain-loss needs --train-tokens and a list of --sizes (100M,300M,1B)"
        )
    target_run = smallest_model(
        fit, target_domain_loss=target, sizes=sizes, train_tokens=train_tokens, **limits
    )
    size = compact(target_run.plan.model_params)
    return Answered(
        target_run.plan,
        [f"smallest listed model for a domain loss of {target:g}   {size} parameters"],
        {
            "target_domain_loss": target,
            "domain_loss_safe": target_run.domain_loss_safe,
            "sizes": plain_rows(target_run.table()),
        },
    )


def _best_budget(
    fit: Fit,
    sizes: list[float] | tuple[float, float],
    train_tokens: float | None,
    money: dict[str, Any],
    limits: dict[str, Any],
) -> Answered:
    if money["compute"] is None or train_tokens is not None:
        raise InputError(
            "--sizes chooses the size for --compute, which pays for the tokens: give --compute and not --train-tokens"
        )
    which = {"size_range": sizes} if isinstance(sizes, tuple) else {"sizes": sizes}
    budget_run = best_budget(fit, **money, **which, **limits)
    line = (
        f"best run for {budget_run.compute:.4g} FLOPs   N = {compact(budget_run.plan.model_params)} parameters, "
        f"D = {compact(budget_run.plan.train_tokens)} tokens, of {len(budget_run.tried)} sizes"
    )
    return Answered(budget_run.plan, [line], {"sizes": plain_rows(budget_run.table())})


def _frontier(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    land = survey(
        fit,
        plan.asked,
        model_params=plan.model_params,
        train_tokens=plan.train_tokens,
        num_grid=NUM_FRONTIER,
    )
    return frontier_of(land, plan.confidence).table(), []


def _critical(axis: Axis) -> Callable[[Fit, Plan, Say], tuple[pd.DataFrame, list[Finding]]]:
    def table(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
        here, fixed = plan.train_tokens, plan.model_params
        if axis == "model_params":
            here, fixed = fixed, here
        curve = curve_along(fit, plan.asked, axis, default_places(fit, axis, here), fixed)
        known = {finding.code for finding in plan.warnings}
        return curve.table(), [w for w in curve.warnings if w.code not in known]

    return table


def _epochs(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    asked = plan.asked
    if asked.domain_tokens is None:
        raise InputError("the table of epochs needs --domain-tokens")
    limits = {name: getattr(asked, name) for name in asked.__dataclass_fields__}
    del limits["max_epochs"]
    table = by_epochs(fit, model_params=plan.model_params, train_tokens=plan.train_tokens, **limits)
    return table, []


def _panel(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    from cmrplan.plan.questions.law_panel import law_panel  # fits anew, so it brings all of fit/

    panel = law_panel(fit, plan, progress=say)
    return panel.table(), list(panel.warnings)


def _sensitivity(fit: Fit, plan: Plan, say: Say) -> tuple[pd.DataFrame, list[Finding]]:
    from cmrplan.plan.questions.sensitivity import sensitivity  # as above

    return sensitivity(fit, plan, progress=say), []


TABLES: dict[str, Callable[[Fit, Plan, Say], tuple[pd.DataFrame, list[Finding]]]] = {
    "frontier": _frontier,
    "critical-tokens": _critical("train_tokens"),
    "critical-sizes": _critical("model_params"),
    "epochs": _epochs,
    "panel": _panel,
    "sensitivity": _sensitivity,
}
