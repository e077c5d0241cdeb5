"""A report on a fit of two corpora."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.files import DAMAGE, read_json, require_seal
from cmrplan.fit.fit import Fit
from cmrplan.fit.fitted_log import FittedLog
from cmrplan.fit.planned_schedule import PlannedSchedule
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan, plan_for
from cmrplan.plan.request import PlanRequest
from cmrplan.report.page import answer, sections
from cmrplan.report.page.content import (
    ReportContent,
    ReportSection,
    ReportTable,
    frame_table,
    shown_rows,
    shown_text,
)
from cmrplan.report.page.explorer import explorer_of

REMAKE = "make it again with cmrplan plan"


def report_on(
    fit: Fit,
    request: PlanRequest | None = None,
    *,
    schedule: PlannedSchedule | None = None,
    is_quick: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ReportContent:
    """Return a report on a fit and a question.

    Parameters
    ----------
    fit : Fit
    request : PlanRequest, optional
        By default the largest probed run and a rise of 3 %.
    schedule : PlannedSchedule, optional
        The learning rate of the run where it is not the log's, and ``fit`` is :func:`cp.under_schedule` it.
    is_quick : bool
        Leave out what fits anew: the law panel and the backtest.
    progress : callable, optional
        Takes a word on what is being done.
    """
    say = progress or (lambda line: None)
    asked = request or answer.default_request(fit)
    plan, refusal = _plan_or_refusal(fit, asked)
    findings = tuple(plan.warnings) if plan else tuple(fit.warnings)
    has_levels = asked.tolerance is not None and not _is_final(refusal, plan)
    summary = [answer.confidence_table(fit, asked)] if has_levels else []
    if plan is not None:
        summary += [*answer.ways_out_tables(fit, plan), answer.constraints_table(plan)]
    try:
        explorer = explorer_of(fit, asked, say)
    except CmrplanError:
        explorer = None  # the answer says why
    return ReportContent(
        title=_title(asked),
        answer=answer.answer_sentence(plan) if plan else _refused(refusal),
        meaning=(
            *_origin(fit, request),
            *answer.schedule_text(schedule),
            *(answer.meaning_of(plan) if plan else ()),
        ),
        cautions=answer.cautions_of(findings, fit.warnings),
        summary=tuple(summary),
        sections=tuple(_sections(fit, asked, plan, say, is_quick=is_quick)),
        explorer=explorer,
        plan=plan.as_dict() if plan else None,
        rows=shown_rows(fit.log),
    )


def _plan_or_refusal(fit: Fit, request: PlanRequest) -> tuple[Plan | None, str]:
    try:
        return plan_for(fit, request), ""
    except CmrplanError as error:
        return None, shown_text(str(error))


def _is_final(refusal: str, plan: Plan | None) -> bool:
    """Tell whether no confidence changes that there is no answer."""
    return plan is None and not refusal.startswith("no domain ratio keeps")


def _refused(refusal: str) -> str:
    return f"There is no answer yet: {refusal}."


def _title(request: PlanRequest) -> str:
    return f"Domain ratio of {compact(request.size)} parameters trained on {compact(request.tokens)} tokens"


def _origin(fit: Fit, request: PlanRequest | None) -> tuple[str, ...]:
    if request is not None:
        return ()
    if "general" not in fit.models:
        return (
            "No plan was given, so this is the lowest domain loss of the largest probed run, without any limit.",
        )
    return (
        f"No plan was given, so this is the answer for the largest probed run and a rise of {answer.DEFAULT_RISE}; "
        "the HTML page has sliders for other settings.",
    )


def _sections(
    fit: Fit, request: PlanRequest, plan: Plan | None, say: Callable[[str], None], *, is_quick: bool
) -> Iterator[ReportSection]:
    """Yield the parts; one that the fit cannot answer says why."""
    parts: list[tuple[str, Callable[[], ReportSection]]] = [
        ("Measured against fitted", lambda: sections.fit_section(fit)),
        ("Frontier", lambda: sections.frontier_section(fit, request)),
        ("Critical ratio", lambda: sections.critical_section(fit, request)),
    ]
    if not is_quick and plan is not None:
        parts.append(("Law panel", lambda: sections.panel_section(fit, plan, say)))
    if not is_quick:
        parts.append(("Backtest", lambda: sections.backtest_section(fit, request, say)))
    parts += [
        ("Next probes", lambda: sections.next_section(fit, request)),
        ("Costs", lambda: sections.cost_section(fit, request)),
    ]
    for title, part in parts:
        say(title)
        try:
            yield part()
        except CmrplanError as error:
            yield ReportSection(title, (f"Not shown: {shown_text(str(error))}.",))
    if is_quick:
        text = "The law panel and the backtest fit anew and were left out (--quick)."
        yield ReportSection("Left out", (text,))
    yield findings_section(plan.warnings if plan else fit.warnings)
    yield provenance_section(fit)


def findings_section(findings: tuple[Finding, ...]) -> ReportSection:
    """Return every finding, or that there is none."""
    if not findings:
        return ReportSection("Findings", ("There is none.",))
    return ReportSection("Findings", tables=(answer.findings_table(findings),))


def provenance_section(fit: FittedLog) -> ReportSection:
    """Return what the report rests on, down to the run."""
    known = {key: value for key, value in fit.provenance.items() if value}
    settings = {key: value for key, value in vars(fit.settings).items() if value is not None}
    rows = [
        *((key.replace("_", " "), shown_text(str(value))) for key, value in known.items()),
        *((f"fit: {key.replace('_', ' ')}", f"{value}") for key, value in settings.items()),
    ]
    return ReportSection(
        "Provenance",
        ("The log that the fit holds is part of this page and can be downloaded.",),
        tables=(
            ReportTable("What this rests on", ("what", "value"), tuple(rows)),
            frame_table("Runs", _runs(shown_rows(fit.log))),
        ),
    )


def _runs(log: pd.DataFrame) -> pd.DataFrame:
    shares = [name for name in log.columns if name.startswith(("domain_ratio", "share_"))]
    runs = log.groupby("run_id", sort=False)
    first = runs[["model_params", *shares]].first()
    if "seed" in log:
        first["seed"] = runs["seed"].first()
    first["largest tokens"] = runs["train_tokens"].max()
    first["evaluations"] = runs.size()
    return first.reset_index()


def read_request(path: str | os.PathLike[str], fit: Fit) -> PlanRequest:
    """Return the question of a plan's file.

    Raises
    ------
    InputError
        If the file is no plan of two corpora, or of another fit.
    """
    content = plan_content(path, "domain_ratio", fit.provenance)
    asked = dict(content["asked"])
    if asked.get("turning_point") == "inf":
        asked["turning_point"] = math.inf
    if asked.get("max_general_rise") is None:
        asked.pop("max_general_rise", None)
    try:
        return PlanRequest(
            model_params=content["model_params"], train_tokens=content["train_tokens"], **asked
        )
    except DAMAGE as error:
        raise InputError(f"{path} is not a plan that can be read ({error}); {REMAKE}") from None


def read_schedule(path: str | os.PathLike[str], fit: Fit) -> PlannedSchedule | None:
    """Return the learning rate that the file of a plan was asked with; None where it is the log's.

    Raises
    ------
    InputError
        If the file is no plan of two corpora, or of another fit.
    """
    content = plan_content(path, "domain_ratio", fit.provenance)
    if "schedule" not in content:
        return None
    return PlannedSchedule(content["schedule"], content.get("peak_rate"))


def plan_content(
    path: str | os.PathLike[str], key: str, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of a plan's file.

    Raises
    ------
    InputError
        If it has no ``key``, was changed, or its fit is another one.
    """
    content = read_json(path)
    parts = (key, "asked", "model_params", "train_tokens", "provenance")
    if not isinstance(content, dict) or any(part not in content for part in parts):
        raise InputError(
            f"{path} is not a plan of this kind of fit: it has no {key} with its question; {REMAKE} --out"
        )
    require_seal(path, content, remedy=REMAKE)
    of_plan = content["provenance"].get("log_fingerprint")
    if of_plan != provenance.get("log_fingerprint"):
        raise InputError(
            f"{path} is a plan from another log (its fingerprint is {shown_text(str(of_plan))}, that of the fit "
            f"{provenance.get('log_fingerprint')}); plan from this fit"
        )
    return content
