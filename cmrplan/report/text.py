"""A terminal shows fits and plans in a few lines of plain text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.fit.fitted_log import resamples_remedy
from cmrplan.fit.parameter_table import uncertainty
from cmrplan.numbers import Tolerance, compact
from cmrplan.plan.findings import breaks_with
from cmrplan.plan.optimum import Constraint
from cmrplan.plan.plan import Plan

OWN_TEXTS = {
    "confidence": "tightens the tolerance",
    "untested": "tokens lie beyond the probed budgets, where one new run has to keep the limit",
    "probed_high": "is the largest probed ratio",
    "probed_low": "is the smallest probed ratio",
}
AT_PROBED = "at the budget that was probed"  # said of a limit where the log tells no other budget
TIGHTER_UPWARD = ("turning_point", "ratio_floor")  # a larger setting allows less


def fit_text(fit: Fit) -> str:
    """Return a fit as a small table: law, quality and parameters of each corpus."""
    lines = []
    for corpus, figures in fit.summary().items():
        r2 = "  n/a " if figures["r2"] is None else f"{figures['r2']:.4f}"
        lines += [
            f"{corpus} loss  {figures['formula']}  [{figures['reference']}]",
            *averaged_text(figures),
            f"  {figures['n_rows']} rows of {figures['n_runs']} runs, R² {r2}, mean absolute error "
            f"{figures['mae']:.4f} nats, {figures['status']}",
        ]
        lines += noise_text(figures)
        lines += left_out_text(figures)
        for name, value in figures["params"].items():
            _, low, high = uncertainty(figures, name)
            band = ""
            if low is not None and f"{low:.4g}" != f"{high:.4g}":
                band = f"   {low:.4g} to {high:.4g}"
            remark = ""
            if name in figures["held"]:
                remark = "   held"
            elif name in figures["at_bound"]:
                remark = "   at the edge of its range"
            elif name in figures["unidentified"]:
                remark = "   not identified"
            shown = "n/a" if value is None else f"{value:.5g}"
            lines.append(f"  {name:<14}{shown:>12}{band}{remark}")
    return "\n".join(lines)


def noise_text(figures: dict[str, Any]) -> list[str]:
    """Return a line on the noise between runs and between evaluations, by the residuals and by seeds."""
    if figures.get("noise") is None:
        return []

    def words(noise: dict[str, float]) -> str:
        return f"{noise['run']:.2g} a run, {noise['checkpoint']:.2g} an evaluation"

    seeds = figures["seed_noise"]
    apart = "" if seeds is None else f"; between seeds {words(seeds)}"
    return [
        f"  left over, as standard deviations of the residuals: {words(figures['noise'])}{apart}"
    ]


def left_out_text(figures: dict[str, Any]) -> list[str]:
    """Return a line on how the model predicts runs and ratios without them; none for laws alone."""
    if "left_out" not in figures:
        return []
    run, ratio = figures["left_out"]["run"], figures["left_out"]["ratio"]
    return [
        f"  left out in turn, a run is missed by {run['mae']:.4f} nats (most {run['worst']}, by "
        f"{run['worst_error']:+.4f}), a ratio by {ratio['mae']:.4f} (most {ratio['worst']:g}, by "
        f"{ratio['worst_error']:+.4f})"
    ]


def averaged_text(figures: dict[str, Any]) -> list[str]:
    """Return a line on the laws that were averaged; none for a single law."""
    if "members" not in figures:
        return []
    members = figures["members"]
    if "residual" in members[0]:
        words = {"gp": " with a residual", "none": ""}
        shares = ", ".join(
            f"{m['law']}{words[m['residual']]} {100 * m['weight']:.0f} %" for m in members
        )
        repeats = ""
        if "repeat_scale" in figures:
            scale = figures["repeat_scale"]
            repeats = (
                f"; repeated domain tokens count with R* about {scale['estimate']:.3g} "
                f"({scale['low']:.3g} to {scale['high']:.3g})"
            )
        lines = [
            f"  predicted by {shares} (by evidence); the parameters are those of the law above{repeats}"
        ]
        if "of_finished_runs" in figures:
            lines.append(
                "  the learning rate is counted: a prediction is of a run that ends at its tokens, by the log's "
                "schedule stretched to them"
            )
        if "by_base_tokens" in figures:
            lines.append("  replay is counted by what the base of each size had seen (base_tokens)")
        return lines
    shares = ", ".join(f"{m['law']} {100 * m['weight']:.0f} %" for m in members)
    return [f"  average by held-out error: {shares}; the figures are those of the first"]


def plan_text(plan: Plan) -> str:
    """Return a plan as the answer in a sentence, its risk and its reasons."""
    lines = [*answer_sentences(plan), "", f"recommended domain ratio  {recommended_text(plan)}"]
    lines[-1] += f"   ({interval_text(plan)})" if plan.ratio.low is not None else ""
    lowest, highest = plan.probed_ratios
    lines += [
        f"what binds                {binding_text(plan)}",
        f"without any constraint    {plan.unconstrained_domain_ratio:.3f}, the best of the probed {lowest:g} to "
        f"{highest:g}",
    ]
    if not plan.is_feasible:
        lines.append(
            f"at a domain ratio of      {plan.evaluated_ratio:.3f}, the {evaluated_name(plan)}:"
        )
    if plan.violation_probability is not None:
        at = f", {AT_PROBED}" if is_budget_untold(plan) else ""
        lines.append(f"chance to break the limit {100 * plan.violation_probability:.0f} %{at}")
    if np.isfinite(plan.general_loss.estimate):
        lines += [
            f"general loss              {_with_band(plan.general_loss)}{limit_text(plan)}",
            f"rise over the base        {_rise_text(plan)}",
        ]
    if plan.replay_rise is not None and plan.evaluated_ratio > 0:
        lines.append(
            f"rise over pure replay     {_with_band(plan.replay_rise)}, which reaches {plan.replay_loss:.4f}"
        )
    lines += [
        f"domain loss               {_with_band(plan.domain_loss)}",
        f"asked for                 N = {compact(plan.model_params)} parameters, D = {compact(plan.train_tokens)} "
        f"tokens, law {plan.law}",
    ]
    if plan.domain_epochs is not None:
        lines.append(f"passes over domain data   {plan.domain_epochs:.3g}")
    shown = [one for one in plan.constraints if plan.is_feasible or one.name == "tolerance"]
    heads = ["constraints", *[""] * len(shown)]
    lines += [
        f"{head:<26}{constraint_text(constraint)}"
        for head, constraint in zip(heads, shown, strict=False)
    ]
    return "\n".join(lines)


def answer_sentences(plan: Plan) -> list[str]:
    """Return the answer: what was measured against it, the ratio, what its confidence means, the best estimate."""
    against = [one.message for one in plan.warnings if one.code == Code.MEASURED_BREAK]
    against = [f"Measured otherwise: {message}." for message in against[:1]]
    return [*against, _feasible_text(plan) if plan.is_feasible else infeasible_sentence(plan)]


def _feasible_text(plan: Plan) -> str:
    answer = f"Recommended: a domain ratio of {plan.domain_ratio:.3f}"
    best, level = plan.ratio.estimate, f"{100 * plan.confidence:g} %"
    if plan.asked.tolerance is None:
        return f"{answer}, which has the lowest objective within the limits that were asked for."
    if not plan.num_resamples:
        return (
            f"{answer}, the best estimate; without resamples how often it breaks the limit is not known "
            f"({resamples_remedy(plan.warnings)})."
        )
    if plan.is_contradicted:
        holds = (
            f"by the fit it holds {_tolerance_text(plan)} in {level} of the resamples of the probes, but runs measured "
            "beside it lie above the fit by more than their noise, and with them it "
            f"{breaks_with(plan.violation_probability)}: look at the fit there (cmrplan plot FIT ratio), or take less"
        )
    else:
        holds = f"it holds {_tolerance_text(plan)} with {level}, that is in {level} of the resamples of the probes"
    if is_budget_untold(plan):
        holds += f", {AT_PROBED}; {untold_text(plan)}"
    if not np.isfinite(best):
        return f"{answer}; {holds}. The estimates alone allow none."
    if f"{best:.3f}" == f"{plan.domain_ratio:.3f}":
        return f"{answer}; {holds}. It is the best estimate too."
    return f"{answer}; {holds}. {_best_estimate_text(plan)}"


def is_budget_untold(plan: Plan) -> bool:
    """Whether what the plan says of the limit is known of the one probed budget alone."""
    return any(one.code == Code.BUDGET_UNTOLD for one in plan.warnings)


def untold_text(plan: Plan) -> str:
    """Return that the log does not tell whether the planned tokens keep the limit."""
    return f"nothing in the log tells whether it does at {compact(plan.train_tokens)} tokens"


def _best_estimate_text(plan: Plan) -> str:
    chance = breaks_with(plan.point_violation_probability)
    return f"The best estimate is {plan.ratio.estimate:.3f}, which {chance}."


def infeasible_sentence(plan: Plan) -> str:
    """Return that no ratio holds the tolerance, which tolerance one would hold, and the best estimate."""
    level, best = f"{100 * plan.confidence:g} %", plan.ratio.estimate
    text = (
        f"No domain ratio holds {_tolerance_text(plan)} with {level}; the smallest tolerance that one holds so is "
        f"{plan.least_tolerance}."
    )
    if not np.isfinite(best):
        return f"{text} The estimates alone allow none either."
    return f"{text} {_best_estimate_text(plan)}"


def _tolerance_text(plan: Plan) -> str:
    over = "pure replay" if plan.asked.rise_over == "replay" else "the base"
    return f"a rise of {plan.max_general_rise} over {over}"


def evaluated_name(plan: Plan) -> str:
    """Return what the ratio is at which a plan without a recommended one gives its losses."""
    return "best estimate" if plan.evaluated_ratio == plan.ratio.estimate else "least rise"


def recommended_text(plan: Plan) -> str:
    """Return the recommended ratio, or that there is none."""
    return f"{plan.domain_ratio:.3f}" if plan.is_feasible else "none"


def interval_text(plan: Plan) -> str:
    """Return the best estimate and its two-sided interval."""
    best, low, high = plan.ratio.estimate, plan.ratio.low, plan.ratio.high
    assert low is not None
    level = f"two-sided {100 * plan.confidence:g} % interval of the best ratio "
    level += "narrower than 0.001" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"
    return (
        f"best estimate {best:.3f}, {level}" if np.isfinite(best) else f"no best estimate, {level}"
    )


def levels_text(levels: pd.DataFrame) -> str:
    """Return what each confidence allows as a small table, a line a reference."""
    lines = []
    for over, rows in levels.groupby("rise_over", sort=False):
        cells = []
        for row in rows.to_dict("records"):
            ratio = row["domain_ratio"]
            holds = "no ratio holds" if np.isnan(ratio) else f"{ratio:.3f} holds"
            least = f"{row['least_tolerance']} at {row['least_rise_ratio']:.3f}"
            cells.append(f"{100 * row['confidence']:g} %: {holds}; smallest tolerance {least}")
        name = "over the base" if over == "base" else "over pure replay"
        lines += [
            f"{head:<26}{cell}"
            for head, cell in zip([name, *[""] * len(cells)], cells, strict=False)
        ]
    return "\n".join(lines)


def nothing_helps_text(plan: Plan, levels: pd.DataFrame) -> str:
    """Return what to do where no ratio holds and nothing that could be measured is known to help."""
    text = (
        f"no probe of up to half the run's compute is expected to lower the smallest tolerance; allow "
        f"{plan.least_tolerance}"
    )
    over_replay = levels[
        (levels["rise_over"] == "replay") & (levels["confidence"] == plan.confidence)
    ]["domain_ratio"].dropna()
    if plan.asked.rise_over == "base" and len(over_replay):
        held = f"{plan.max_general_rise} over that holds up to {over_replay.iloc[0]:.3f}"
        text += f", or count the rise over pure replay (--rise-over replay): {held}"
    return text


def _rise_text(plan: Plan) -> str:
    if plan.general_rise is not None:
        return _with_band(plan.general_rise)
    return "not known: the log has no row with train_tokens = 0, and no --base-loss was given"


def limit_text(plan: Plan) -> str:
    """Return the limit of the general loss and what it is made of; empty where there is none."""
    if plan.general_loss_limit is None:
        return ""
    return (
        f", limit {plan.general_loss_limit:.4f} = {reference_text(plan)} + {plan.max_general_rise}"
    )


def reference_text(plan: Plan) -> str:
    """Return the loss that the limit is counted from, by name."""
    if plan.asked.rise_over == "replay":
        return f"pure replay {plan.replay_loss:.4f}"
    return f"base {plan.base_loss:.4f}"


def binding_text(plan: Plan) -> str:
    """Return in words what keeps the ratio from going further."""
    ratios = {c.name: c.ratio_without for c in plan.constraints}
    lowest, highest = plan.probed_ratios
    without = f"without it {ratios.get(plan.binding, plan.unconstrained_domain_ratio):.3f}"
    over = " over pure replay" if plan.asked.rise_over == "replay" else ""
    return {
        "tolerance": f"tolerance: the general loss may rise by {plan.max_general_rise}{over} ({without})",
        "turning_point": f"turning_point: beyond it the objective has not turned in time ({without})",
        "domain_tokens": f"domain_tokens: more would repeat the domain data too often ({without})",
        "ratio_floor": f"ratio_floor: less domain data was not wanted ({without})",
        "ratio_ceiling": f"ratio_ceiling: more domain data was not wanted ({without})",
        "probed_high": f"probed_high: no ratio above {highest:g} was probed, and more might be better",
        "probed_low": f"probed_low: no ratio below {lowest:g} was probed, and less might be better",
        "confidence": "confidence: a lower one would allow more",
        "untested": "untested: beyond the probed budgets one new run has to keep the limit",
        "compute": "compute: it cuts the tokens; no limit holds the ratio back",
        "none": f"none: no limit holds the ratio back within the probed {lowest:g} to {highest:g}",
    }[plan.binding]


def _with_band(interval: Interval) -> str:
    if interval.low is None:
        return f"{interval.estimate:.4f}"
    return f"{interval.estimate:.4f} ({interval.low:.4f} to {interval.high:.4f})"


def constraint_text(constraint: Constraint) -> str:
    """Return in words what a constraint allows and how far it would have to move to matter, or not to.

    Examples
    --------
    >>> constraint_text(Constraint("tolerance", 0.03, "fraction", True, 0.4, 0.6, 0.0512))
    'tolerance 3% allows up to 0.400; binds, stops to matter from 5.12% on (ratio 0.600)'
    >>> constraint_text(Constraint("ratio_ceiling", 0.9, "ratio", False, 0.9, np.nan, np.nan))
    'ratio_ceiling 0.900 allows up to 0.900; does not bind'
    """
    name, unit, at = constraint.name, constraint.unit, constraint.breakpoint
    text = f"{name} {shown(constraint.setting, unit)}"
    if name == "compute":
        text += " cuts the tokens" if constraint.is_binding else ""
        return text + ("" if at is None else f"; matters below {shown(at, unit)}")
    if name in OWN_TEXTS:
        return f"{text} {OWN_TEXTS[name]}" + _held_back(constraint)
    if np.isnan(constraint.allows):
        return f"{text} allows no ratio" + (
            "" if at is None else f"; {shown(at, unit)} would allow {constraint.ratio_without:.3f}"
        )
    is_up = name in TIGHTER_UPWARD
    text += f" allows {'down' if name == 'ratio_floor' else 'up'} to {constraint.allows:.3f}; "
    if not constraint.is_binding:
        if at is None:
            return text + ("repeats count" if name == "domain_tokens" else "never binds here")
        if np.isnan(at):  # no ratio holds the tolerance
            return text + "does not bind"
        return text + f"would bind {'above' if is_up else 'below'} {shown(at, unit)}"
    if at is None:
        return text + "binds"
    side = f"below {shown(at, unit)}" if is_up else f"from {shown(at, unit)} on"
    return text + f"binds, stops to matter {side} (ratio {constraint.ratio_without:.3f})"


def _held_back(constraint: Constraint) -> str:
    if not constraint.is_binding:
        return ""
    without = constraint.ratio_without
    return "; binds" if np.isnan(without) else f"; binds (ratio without it {without:.3f})"


def shown(value: float, unit: str) -> str:
    """Return a setting as a person would write it."""
    if unit in ("nats", "fraction", "perplexity_fraction", "perplexity"):
        return str(Tolerance(float(f"{value:.3g}"), unit))  # type: ignore[arg-type]
    if unit == "probability":
        return f"{100 * value:g} %"
    return f"{value:.4g}" if unit in ("tokens", "FLOPs", "lambda") else f"{value:.3f}"
