"""The command ``cmrplan plan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import pandas as pd

from cmrplan.cli.limits import tolerance_options
from cmrplan.cli.output import (
    is_on_terminal,
    line_width,
    print_error,
    print_findings,
    print_json,
    show,
    verbosity_options,
    working,
)
from cmrplan.cli.outputs import PLAN_FILE, force_option, out_option
from cmrplan.cli.parameters import COUNT, SHARE_LIST, SIZE_LIST, as_json, confidences
from cmrplan.cli.schedule import read_fit_under, schedule_options, schedule_record
from cmrplan.cli.tables import TABLES
from cmrplan.errors import Finding, InputError
from cmrplan.files import sealed, write_json
from cmrplan.fit.fit import Fit
from cmrplan.numbers import CONFIDENCES, compact
from cmrplan.plan.plan import Plan, plan_for
from cmrplan.plan.questions.compared_ratios import compared_ratios
from cmrplan.plan.questions.compute_budget import best_budget
from cmrplan.plan.questions.confidence_levels import levels_beside
from cmrplan.plan.questions.domain_tokens import spend_domain_tokens
from cmrplan.plan.questions.remedies import remedies
from cmrplan.plan.questions.target_loss import fewest_tokens, smallest_model
from cmrplan.plan.request import PlanRequest
from cmrplan.report.tables import plain_rows, table_text
from cmrplan.report.text import levels_text, nothing_helps_text, plan_text

SizeList = list[float] | tuple[float, float]


@click.command()
@click.argument("fit", type=click.Path())
@click.option("--model-params", type=COUNT, help="Parameters N, counted as in the log: 1.8B.")
@click.option(
    "--sizes",
    type=SIZE_LIST,
    help="Choose N among these (100M,300M,1B) or between two (100M..1B): the best for --compute, or the "
    "smallest for --target-domain-loss.",
)
@click.option("--train-tokens", type=COUNT, help="Budget D in tokens: 10B.")
@click.option(
    "--compute",
    help="Budget in FLOPs, 6 a parameter and token, or in GPU-hours: 1e21 or 500gpu-hours.",
)
@click.option(
    "--gpu-flops",
    type=COUNT,
    help="FLOP/s that one GPU really does in your training; needed for GPU-hours.",
)
@click.option(
    "--target-domain-loss",
    type=COUNT,
    help="Find the fewest tokens, or the smallest of --sizes, that reach this domain loss.",
)
@tolerance_options
@schedule_options
@confidences
@click.option(
    "--compare",
    type=SHARE_LIST,
    help="Also print losses, rise, risk and cost of these ratios: 0.1,0.3,0.5.",
)
@click.option(
    "--table",
    "tables",
    type=click.Choice(list(TABLES)),
    multiple=True,
    help="Also print a table; may be given again. panel and sensitivity fit anew and take a while.",
)
@out_option("the plan (JSON)", PLAN_FILE)
@verbosity_options
@as_json
@force_option
def plan(
    fit: str,
    out: str | None,
    as_json: bool,
    tables: tuple[str, ...],
    compare: list[float] | None,
    confidence: list[float],
    schedule: str,
    peak_rate: float | None,
    **asked: Any,
) -> int:
    """Recommend the domain ratio of a full-scale run.

    The ratio has the lowest domain loss among those that keep the rise of the general loss within
    the tolerance with the asked confidence, and every other limit. With --domain-tokens and neither
    --train-tokens nor --compute, the run's length follows from the ratio: it uses them up. Where no ratio
    holds the tolerance, that is the answer, with what would do, and the exit code is 1.
    """
    read, fitted = read_fit_under(fit, schedule, peak_rate)
    answer = answer_of(fitted, confidence=confidence[0], **asked)
    recommended = answer.plan
    shown: dict[str, pd.DataFrame] = {}
    with working() as say:
        is_kept = as_json or out is not None
        beside = beside_of(fitted, recommended, confidence, is_kept=is_kept)
        if compare:
            shown["compare"] = compared_ratios(fitted, recommended, ratios=compare)
        for name in tables:
            shown[name], findings = TABLES[name](fitted, recommended, say)
            recommended = recommended.with_findings(findings)
    result = recommended.as_dict() | answer.extra | beside.extra
    result |= schedule_record(schedule, peak_rate)
    if shown:
        result["tables"] = {name: plain_rows(table) for name, table in shown.items()}
    result = sealed(result)
    if out:
        write_json(out, result)
    code = 0 if recommended.is_feasible else 1
    is_told = code > 0 and (as_json or not is_on_terminal())
    if is_told:
        print_error(recommended.reason, code)
    if as_json:
        print_json(result)
        return code
    show("\n".join([*answer.lines, plan_text(recommended), *beside.lines]))
    for name, table in shown.items():
        show(f"\n{name}\n{table_text(table, line_width(err=False))}", is_table=True)
    _print_remarks(recommended, read.warnings, is_told=is_told)
    if out:
        show(f"plan -> {out}")
    return code


def _print_remarks(recommended: Plan, said: Sequence[Finding], *, is_told: bool) -> None:
    """Print the remarks on a plan that the fit did not make; those in the reason for no ratio once, where it stands."""
    in_reason = [one for one in recommended.warnings if one.message in recommended.reason]
    findings = [one for one in recommended.warnings if not (is_told and one in in_reason)]
    said = [one for one in said if one not in in_reason]
    print_findings(findings, said=said, again="cmrplan plan …")


@dataclass(frozen=True)
class Beside:
    """What each confidence allows, and what to measure where no ratio holds: as lines and as plain values."""

    lines: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def beside_of(fit: Fit, recommended: Plan, confidence: list[float], *, is_kept: bool) -> Beside:
    """Return what stands beside a plan with a tolerance; its lines where there is no ratio, or several levels.

    ``is_kept`` tells whether the plain values are written, without which a feasible plan needs none of it.
    """
    is_said = len(confidence) > 1 or not recommended.is_feasible
    is_known = recommended.asked.tolerance is not None and recommended.num_resamples
    if not is_known or not (is_said or is_kept):
        return Beside(extra={"levels": [], "remedies": []})
    listed = confidence if len(confidence) > 1 else sorted({*CONFIDENCES, *confidence})
    levels = levels_beside(fit, recommended, listed)
    advice = remedies(fit, recommended)
    extra = {"levels": plain_rows(levels), "remedies": [one.as_dict() for one in advice]}
    lines = []
    if is_said:
        lines.append(levels_text(levels))
    texts = [one.text for one in advice]
    if not recommended.is_feasible and not texts:
        texts = [nothing_helps_text(recommended, levels)]
    heads = ["what would change it", *[""] * len(texts)]
    lines += [f"{head:<26}{text}" for head, text in zip(heads, texts, strict=False)]
    return Beside(lines, extra)


@dataclass(frozen=True)
class Answered:
    """A plan, what else was computed, and how that is said before the plan."""

    plan: Plan
    lines: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


def answer_of(
    fit: Fit, *, sizes: SizeList | None, target_domain_loss: float | None, **asked: Any
) -> Answered:
    """Return the answer to the question that the options ask.

    Raises
    ------
    InputError
        If they ask none.
    CmrplanError
        If there is no answer, with the smallest change that would give one.
    """
    if (asked["model_params"] is None) == (sizes is None):
        raise InputError(
            "give either --model-params, or --sizes to choose the size for --compute or --target-domain-loss"
        )
    limits = ("max_general_rise", "general_weight", "turning_point")
    if "general" not in fit.models and all(asked[name] is None for name in limits):
        raise InputError(
            "this fit has no general loss, so a plan can seek the lowest domain loss alone: add --general-weight 0"
        )
    request = PlanRequest(**asked)
    if sizes is not None:
        if target_domain_loss is not None:
            return _smallest_model(fit, request, sizes, target_domain_loss)
        return _best_budget(fit, request, sizes)
    if target_domain_loss is not None:
        return _fewest_tokens(fit, request, target_domain_loss)
    if request.train_tokens is None and request.compute is None and request.domain_tokens:
        recommended = spend_domain_tokens(fit, request)
        line = f"run that uses the domain data up   D = {compact(recommended.train_tokens)} tokens"
        return Answered(recommended, [line])
    return Answered(plan_for(fit, request))


def _fewest_tokens(fit: Fit, request: PlanRequest, target: float) -> Answered:
    answer = fewest_tokens(fit, request, target_domain_loss=target)
    tokens, best_estimate = answer.plan.train_tokens, answer.best_estimate_tokens
    line = f"fewest tokens for a domain loss of {target:g}   {compact(tokens)}"
    if best_estimate is not None and answer.plan.num_resamples:
        line += f" (best estimate {compact(best_estimate)})"
    extra = {
        "target_domain_loss": target,
        "domain_loss_safe": answer.domain_loss_safe,
        "point_train_tokens": best_estimate,
    }
    return Answered(answer.plan, [line], extra)


def _smallest_model(fit: Fit, request: PlanRequest, sizes: SizeList, target: float) -> Answered:
    if request.train_tokens is None or isinstance(sizes, tuple):
        raise InputError(
            "the smallest model for --target-domain-loss needs --train-tokens and a list of --sizes (100M,300M,1B)"
        )
    answer = smallest_model(fit, request, target_domain_loss=target, sizes=sizes)
    size = compact(answer.plan.model_params)
    line = f"smallest listed model for a domain loss of {target:g}   {size} parameters"
    extra = {
        "target_domain_loss": target,
        "domain_loss_safe": answer.domain_loss_safe,
        "sizes": plain_rows(answer.table()),
    }
    return Answered(answer.plan, [line], extra)


def _best_budget(fit: Fit, request: PlanRequest, sizes: SizeList) -> Answered:
    if request.compute is None or request.train_tokens is not None:
        raise InputError(
            "--sizes chooses the size for --compute, which pays for the tokens: give --compute and not --train-tokens"
        )
    if isinstance(sizes, tuple):
        answer = best_budget(fit, request, size_range=sizes)
    else:
        answer = best_budget(fit, request, sizes=sizes)
    line = (
        f"best run for {answer.compute:.4g} FLOPs   N = {compact(answer.plan.model_params)} parameters, "
        f"D = {compact(answer.plan.train_tokens)} tokens, of {len(answer.tried)} sizes"
    )
    return Answered(answer.plan, [line], {"sizes": plain_rows(answer.table())})
