"""The answer of a report in a sentence, what it means, and the cautions that matter most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cmrplan.errors import CmrplanError, Finding, Severity
from cmrplan.fit.fit import Fit
from cmrplan.fit.planned_schedule import PlannedSchedule
from cmrplan.numbers import CONFIDENCES, compact
from cmrplan.plan.findings import breaks_with
from cmrplan.plan.plan import Plan, plan_for
from cmrplan.plan.request import PlanRequest
from cmrplan.plots.wording import percent
from cmrplan.report.page.content import ReportTable, shown_text
from cmrplan.report.page.explorer import WORDS_OF_BINDING
from cmrplan.report.text import (
    AT_PROBED,
    constraint_text,
    evaluated_name,
    infeasible_sentence,
    is_budget_untold,
    recommended_text,
    untold_text,
)
from cmrplan.report.ways_out import LEVEL_COLUMNS, ways_out

MOST_CAUTIONS = 3
DEFAULT_RISE = "3%"


def default_request(fit: Fit) -> PlanRequest:
    """Return what a report asks where no plan was given: the largest probed run and a rise of 3 %.

    Of a fit without a general loss, the lowest domain loss of that run.
    """
    rows = fit.log[fit.log["train_tokens"] > 0]
    return PlanRequest(
        model_params=float(rows["model_params"].max()),
        train_tokens=float(rows["train_tokens"].max()),
        **(
            {"max_general_rise": DEFAULT_RISE}
            if "general" in fit.models
            else {"general_weight": 0.0}
        ),
    )


def answer_sentence(plan: Plan) -> str:
    """Return the recommended ratio and what it keeps, or that none keeps the limit."""
    if not plan.is_feasible:
        return infeasible_sentence(plan)
    kept = ""
    if plan.asked.tolerance is not None:
        over = "the base checkpoint" if plan.asked.rise_over == "base" else "pure replay"
        kept = f" and keeps the general loss within {plan.max_general_rise} of {over}"
        if plan.num_resamples:
            kept += f" with {percent(plan.confidence)} confidence"
        if plan.is_contradicted:
            kept += f" by the fit, but with the runs measured beside it {breaks_with(plan.violation_probability)}"
        if is_budget_untold(plan):
            kept += f" {AT_PROBED}; {untold_text(plan)}"
    return (
        f"Give the domain {percent(plan.domain_ratio)} of the training tokens (a domain ratio of "
        f"{plan.domain_ratio:.3f}): this reaches the lowest domain loss{kept}."
    )


def schedule_text(schedule: PlannedSchedule | None) -> tuple[str, ...]:
    """Return a sentence on the learning rate of the run where it is not the log's.

    Examples
    --------
    >>> schedule_text(PlannedSchedule("log", 6e-4))
    ("The run has the log's schedule of the learning rate, with a peak of 0.0006.",)
    """
    if schedule is None:
        return ()
    course = "the log's" if schedule.name == "log" else f"a {schedule.name}"
    peak = "the log's peak" if schedule.peak_rate is None else f"a peak of {schedule.peak_rate:g}"
    return (f"The run has {course} schedule of the learning rate, with {peak}.",)


def meaning_of(plan: Plan) -> tuple[str, ...]:
    """Return a few sentences on what the answer means."""
    domain = plan.train_tokens * plan.evaluated_ratio
    at = (
        ""
        if plan.is_feasible
        else f"At a domain ratio of {plan.evaluated_ratio:.3f}, the {evaluated_name(plan)}: of"
    )
    base = (
        f", from {plan.base_loss:.4f} at the base checkpoint" if plan.base_loss is not None else ""
    )
    sentences = [
        f"{at or 'Of'} the {compact(plan.train_tokens)} tokens of a run of {compact(plan.model_params)} parameters, "
        f"{_tokens(domain)} come from the domain corpus and {_tokens(plan.train_tokens - domain)} are general data.",
    ]
    domain_loss = f"domain loss {plan.domain_loss.text(4)}"
    if np.isfinite(plan.general_loss.estimate):
        general = (
            f"general loss is then predicted to be {plan.general_loss.text(4)} nats per token{base}"
        )
        sentences.append(f"The {general}, and the {domain_loss}.")
    else:
        sentences.append(
            f"The {domain_loss} nats per token is then predicted; the log has no general loss."
        )
    if plan.violation_probability is not None:
        at = f", {AT_PROBED}" if is_budget_untold(plan) else ""
        sentences.append(
            f"The chance that the general loss breaks its limit is {percent(plan.violation_probability)}{at}."
        )
    if plan.domain_epochs is not None:
        sentences.append(f"The run passes {_times(plan.domain_epochs)} over the domain corpus.")
    held = f"What holds the ratio back is {WORDS_OF_BINDING[plan.binding]}; without any limit it"
    sentences.append(
        f"{held if plan.is_feasible else 'Without any limit the ratio'} would be "
        f"{plan.unconstrained_domain_ratio:.3f}."
    )
    return tuple(sentences)


def _times(passes: float) -> str:
    """Return passes in words: once, 0.45 times, twice.

    Examples
    --------
    >>> [_times(passes) for passes in (1.0, 0.454, 2.0, 2.5)]
    ['once', '0.45 times', 'twice', '2.5 times']
    """
    text = f"{passes:.2g}"
    return {"1": "once", "2": "twice"}.get(text, f"{text} times")


def _tokens(count: float) -> str:
    return compact(count) if count >= 1 else "none"


def confidence_table(fit: Fit, request: PlanRequest) -> ReportTable:
    """Return the recommended ratio at each confidence."""
    levels = CONFIDENCES if fit.num_draws else (request.confidence,)
    rows = []
    for level in sorted({*levels, request.confidence}):
        try:
            plan = plan_for(fit, replace(request, confidence=level))
        except CmrplanError:
            rows.append((percent(level), "none", "–", "–"))
            continue
        best, low, high = plan.ratio.text(3).replace("nan", "none"), plan.ratio.low, plan.ratio.high
        if low is not None and f"{low:.3f}" == f"{high:.3f}":
            best = f"{plan.ratio.estimate:.3f} (narrower than 0.001)"
        binding = plan.binding.replace("_", " ")
        rows.append((percent(level), recommended_text(plan), binding, best))
    columns = ("confidence", "recommended ratio", "what binds", "best estimate, its interval")
    return ReportTable("The ratio by how surely the limit is to hold", columns, tuple(rows))


def ways_out_tables(fit: Fit, plan: Plan) -> tuple[ReportTable, ...]:
    """Return what each confidence allows over the base and pure replay, and what to measure, where no ratio holds."""
    would_do = ways_out(fit, plan)
    if would_do is None:
        return ()
    return (
        ReportTable("The smallest limit that a ratio holds", LEVEL_COLUMNS, would_do.levels),
        ReportTable(
            "What would change it",
            ("what to measure, and what it is expected to bring",),
            tuple((text,) for text in would_do.advice),
        ),
    )


def constraints_table(plan: Plan) -> ReportTable:
    """Return what each limit allows."""
    rows = [(shown_text(constraint_text(one)),) for one in plan.constraints]
    rows.append((f"without any limit {plan.unconstrained_domain_ratio:.3f}",))
    return ReportTable("What each limit allows", ("limit and what it allows",), tuple(rows))


def cautions_of(findings: Sequence[Finding], of_fit: Sequence[Finding]) -> tuple[str, ...]:
    """Return the few findings that matter most, those on this answer before those on the fit."""
    known = set(of_fit)
    grave = [finding for finding in findings if finding.code.severity != Severity.NOTE]
    ordered = sorted(grave, key=lambda finding: finding in known)
    by_code = {finding.code: finding for finding in reversed(ordered)}
    first = sorted(by_code.values(), key=ordered.index)[:MOST_CAUTIONS]
    return tuple(f"{one.code.meaning} {_sentence(one.message)}" for one in first)


def _sentence(message: str) -> str:
    """Return a message as a sentence; the name of an option or a column stays as it is typed."""
    text = shown_text(message)
    begins = text if "_" in text.split(" ", 1)[0] else f"{text[:1].upper()}{text[1:]}"
    return f"{begins}."


def findings_table(findings: Sequence[Finding]) -> ReportTable:
    """Return every finding."""
    rows = [(one.code.value, shown_text(one.message)) for one in findings]
    return ReportTable("Every finding on the fit and the answer", ("code", "finding"), tuple(rows))
