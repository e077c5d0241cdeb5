"""One page of Markdown shows a fit and a plan.

Text that comes from a log is escaped, so that a name can neither break a table nor become a link.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.numbers import compact
from cmrplan.plan.plan import Plan
from cmrplan.report.text import (
    AT_PROBED,
    answer_sentences,
    binding_text,
    constraint_text,
    interval_text,
    is_budget_untold,
    reference_text,
)
from cmrplan.report.ways_out import LEVEL_COLUMNS, ways_out


def summary_page(
    fit: Fit,
    plan: Plan,
    *,
    title: str,
    pictures: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> str:
    """Return the page.

    Parameters
    ----------
    fit : Fit
    plan : Plan
    title : str
    pictures : sequence of (file name, caption)
    notes : sequence of str
        Paragraphs after the answer: what was run, what to do next.
    files : mapping of file name to what it is
        Listed at the end.
    """
    blocks = [f"# {escape(title)}", _answer(plan), _numbers(plan), _ways_out(fit, plan)]
    blocks += [_constraints(plan), *notes]
    blocks += [f"![{caption}]({name})\n\n{caption}." for name, caption in pictures]
    blocks += [_laws(fit), _warnings(plan)]
    if files:
        listed = "\n".join(f"- [{name}]({name}): {what}" for name, what in files.items())
        blocks.append(f"## Files\n\n{listed}")
    blocks.append(_provenance(plan))
    return "\n\n".join(block for block in blocks if block) + "\n"


def escape(text: object) -> str:
    """Return text that Markdown shows as it is, on one line."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|#~@&]|(?<=:)/|(?<=www)\.)", r"\\\1", line)


def _answer(plan: Plan) -> str:
    first, *rest = answer_sentences(plan)
    answer = " ".join([f"**{escape(first)}**", *map(escape, rest)])
    if plan.ratio.low is not None:
        answer += f" ({escape(interval_text(plan))}.)"
    answer += f" What binds: {escape(binding_text(plan))}."
    if plan.violation_probability is not None:
        at = f", {AT_PROBED}" if is_budget_untold(plan) else ""
        answer += (
            f" Chance that the general loss breaks its limit at a domain ratio of {plan.evaluated_ratio:.3f}: "
            f"{100 * plan.violation_probability:.0f} %{at}."
        )
    return answer


def _ways_out(fit: Fit, plan: Plan) -> str:
    """Return what each confidence allows and what to measure, where no ratio holds."""
    would_do = ways_out(fit, plan)
    if would_do is None:
        return ""
    rows = [LEVEL_COLUMNS, ("---",) * len(LEVEL_COLUMNS), *would_do.levels]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    advice = [f"- {escape(text)}" for text in would_do.advice]
    return "\n".join(["## What would do", "", *lines, "", *advice]).rstrip()


def _numbers(plan: Plan) -> str:
    def row(name: str, interval: Interval) -> str:
        band = "" if interval.low is None else f"{interval.low:.4f} to {interval.high:.4f}"
        return f"| {name} | {interval.estimate:.4f} | {band} |"

    lines = [
        f"At a domain ratio of {plan.evaluated_ratio:.3f}, N = {compact(plan.model_params)} parameters, D = "
        f"{compact(plan.train_tokens)} tokens, in nats per token:",
        "",
        f"| | predicted | {100 * plan.confidence:g} % interval |",
        "| --- | --- | --- |",
        row("general loss", plan.general_loss),
        row("domain loss", plan.domain_loss),
    ]
    if plan.general_rise is not None:
        lines.insert(-1, row("general rise over the base", plan.general_rise))
    if plan.replay_rise is not None:
        name = "general rise over pure replay of the same tokens"
        lines.insert(-1, row(name, plan.replay_rise))
    if plan.general_loss_limit is not None:
        limit = f"{plan.general_loss_limit:.4f} | {reference_text(plan)} + {plan.max_general_rise}"
        lines.append(f"| limit of the general loss | {limit} |")
    return "\n".join(lines)


def _constraints(plan: Plan) -> str:
    lines, (lowest, highest) = ["## Constraints", ""], plan.probed_ratios
    lines += [f"- {escape(constraint_text(constraint))}" for constraint in plan.constraints]
    lines.append(
        f"- without any: {plan.unconstrained_domain_ratio:.3f}, the best of the probed {lowest:g} to {highest:g}"
    )
    return "\n".join(lines)


def _laws(fit: Fit) -> str:
    lines = [
        "## Laws",
        "",
        "| loss | law | R² | mean absolute error | rows (runs) | status |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for corpus, figures in fit.summary().items():
        r2 = "" if figures["r2"] is None else f"{figures['r2']:.4f}"
        lines.append(
            f"| {corpus} | {escape(figures['formula'])} | {r2} | {figures['mae']:.4f} | "
            f"{figures['n_rows']} ({figures['n_runs']}) | {escape(figures['status'])} |"
        )
    for corpus, figures in fit.summary().items():
        shown = ", ".join(
            f"{name} = {'n/a' if value is None else f'{value:.4g}'}"
            for name, value in figures["params"].items()
        )
        unsure = ", ".join(figures["unidentified"]) or "none"
        lines += ["", f"{corpus}: {escape(shown)}. Not identified: {escape(unsure)}."]
    return "\n".join(lines)


def _warnings(plan: Plan) -> str:
    if not plan.warnings:
        return ""
    lines = [f"- {w.code.severity}, `{w.code}`: {escape(w.message)}" for w in plan.warnings]
    return "\n".join(["## Warnings", "", *lines])


def _provenance(plan: Plan) -> str:
    known: dict[str, Any] = {key: value for key, value in plan.provenance.items() if value}
    shown = ", ".join(
        f"{escape(key.replace('_', ' '))} {escape(value)}" for key, value in known.items()
    )
    return f"## Provenance\n\n{plan.num_resamples} resamples of whole runs; {shown}."
