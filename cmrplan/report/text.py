"""A terminal shows fits and plans in a few lines of plain text."""

from __future__ import annotations

from typing import Any

from cmrplan.fit.corpus_model import Interval
from cmrplan.fit.fit import Fit
from cmrplan.numbers import Tolerance, compact
from cmrplan.plan.optimum import Constraint
from cmrplan.plan.plan import Plan

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
            interval = figures["interval"].get(name)
            band = "" if interval is None else f"   {interval[0]:.4g} to {interval[1]:.4g}"
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
        return lines
    shares = ", ".join(f"{m['law']} {100 * m['weight']:.0f} %" for m in members)
    return [f"  average by held-out error: {shares}; the figures are those of the first"]


def plan_text(plan: Plan) -> str:
    """Return a plan as the answer, its risk and its reasons."""
    lines = [f"recommended domain ratio  {plan.domain_ratio:.3f}"]
    level = f"{100 * plan.confidence:g} %"
    ratio = plan.ratio
    if ratio.low is not None:
        lines[0] += (
            f"   ({level} interval of the best ratio {ratio.low:.3f} to {ratio.high:.3f}, best estimate "
            f"{ratio.estimate:.3f})"
        )
    lines += [
        f"what binds                {binding_text(plan)}",
        f"without any constraint    {plan.unconstrained_domain_ratio:.3f}",
    ]
    if plan.violation_probability is not None:
        lines.append(f"chance to break the limit {100 * plan.violation_probability:.0f} %")
    lines += [
        f"general loss              {_with_band(plan.general_loss)}{limit_text(plan)}",
        f"rise over the base        {_with_band(plan.general_rise)}",
    ]
    if plan.replay_rise is not None:
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
    heads = ["constraints", *[""] * len(plan.constraints)]
    lines += [
        f"{head:<26}{constraint_text(constraint)}"
        for head, constraint in zip(heads, plan.constraints, strict=False)
    ]
    return "\n".join(lines)


def limit_text(plan: Plan) -> str:
    """Return the limit of the general loss and what it is made of; empty where there is none."""
    if plan.general_loss_limit is None:
        return ""
    over = f"base {plan.base_loss:.4f}"
    if plan.asked.rise_over == "replay":
        over = f"pure replay {plan.replay_loss:.4f}"
    return f", limit {plan.general_loss_limit:.4f} = {over} + {plan.max_general_rise}"


def binding_text(plan: Plan) -> str:
    """Return in words what keeps the ratio from going further."""
    ratios = {c.name: c.ratio_without for c in plan.constraints}
    without = f"without it {ratios.get(plan.binding, plan.unconstrained_domain_ratio):.3f}"
    over = " over pure replay" if plan.asked.rise_over == "replay" else ""
    return {
        "tolerance": f"tolerance: the general loss may rise by {plan.max_general_rise}{over} ({without})",
        "turning_point": f"turning_point: beyond it the objective has not turned in time ({without})",
        "domain_tokens": f"domain_tokens: more would repeat the domain data too often ({without})",
        "ratio_floor": f"ratio_floor: less domain data was not wanted ({without})",
        "ratio_ceiling": f"ratio_ceiling: more domain data was not wanted ({without})",
        "compute": "compute: it cuts the tokens; no limit holds the ratio back",
        "none": "none: no limit holds the ratio back",
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
    """
    name, unit, at = constraint.name, constraint.unit, constraint.breakpoint
    text = f"{name} {shown(constraint.setting, unit)}"
    if name == "compute":
        text += " cuts the tokens" if constraint.is_binding else ""
        return text + ("" if at is None else f"; matters below {shown(at, unit)}")
    is_up = name in TIGHTER_UPWARD
    text += f" allows {'down' if name == 'ratio_floor' else 'up'} to {constraint.allows:.3f}; "
    if not constraint.is_binding:
        if at is None:
            return text + "never binds here"
        return text + f"would bind {'above' if is_up else 'below'} {shown(at, unit)}"
    if at is None:
        return text + "binds"
    side = f"below {shown(at, unit)}" if is_up else f"from {shown(at, unit)} on"
    return text + f"binds, stops to matter {side} (ratio {constraint.ratio_without:.3f})"


def shown(value: float, unit: str) -> str:
    """Return a setting as a person would write it."""
    if unit in ("nats", "fraction", "perplexity_fraction", "perplexity"):
        return str(Tolerance(float(f"{value:.3g}"), unit))  # type: ignore[arg-type]
    return f"{value:.4g}" if unit in ("tokens", "FLOPs", "lambda") else f"{value:.3f}"
