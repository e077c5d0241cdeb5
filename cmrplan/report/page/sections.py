"""The parts of a report on two corpora that do not move with its sliders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from cmrplan.design.next_probes import next_probes
from cmrplan.errors import CmrplanError
from cmrplan.fit.fit import Fit
from cmrplan.numbers import GPU_FLOPS, SECONDS_PER_HOUR, compact, training_flops
from cmrplan.plan.loss_curves import survey
from cmrplan.plan.plan import Plan
from cmrplan.plan.questions.critical_curve import (
    Axis,
    curve_along,
    default_values,
    measured_critical,
)
from cmrplan.plan.questions.frontier import frontier_of
from cmrplan.plan.request import PlanRequest
from cmrplan.plots.residuals import residuals_data
from cmrplan.plots.wording import percent, rise_label
from cmrplan.report.page.content import (
    ChartAxis,
    ChartSeries,
    ReportChart,
    ReportSection,
    band,
    frame_table,
    line,
    plain_numbers,
    points,
    shown_text,
)
from cmrplan.validate.backtest import backtest

NUM_FRONTIER_POINTS = 101
NUM_CRITICAL_POINTS = 13
RATIO_AXIS = ChartAxis("domain ratio (share of training tokens)", "percent")

PANEL_NAMES = {
    "law": "law",
    "domain_ratio": "recommended ratio",
    "point_domain_ratio": "best ratio",
    "domain_ratio_low": "its interval from",
    "domain_ratio_high": "to",
    "general_loss": "general loss",
    "domain_loss": "domain loss",
    "held_out_error": "held-out error",
    "agrees": "agrees",
}

Say = Callable[[str], None]


def fit_section(fit: Fit) -> ReportSection:
    """Return measured against fitted losses, and what the fit leaves over."""
    charts = []
    for corpus in fit.models:
        data = residuals_data(fit, corpus)
        rows = fit.rows(corpus)
        loss = rows["loss"].to_numpy(dtype=float)
        fitted = fit.without_resamples().models[corpus].fitted_loss(rows)
        ends = np.array([np.min(loss), np.max(loss)])
        charts += [
            ReportChart(
                f"{corpus.capitalize()} loss, measured against fitted",
                f"{len(loss)} evaluations; a perfect fit would put every point on the line.",
                ChartAxis("measured loss (nats per token)"),
                ChartAxis("fitted loss (nats per token)"),
                (line("equal", ends, ends, color=3), points("evaluations", loss, fitted)),
            ),
            ReportChart(
                f"{corpus.capitalize()} loss, what the fit leaves over",
                f"Measured over fitted loss less one, in percent; half of the {len(data.residual)} lie within "
                f"{np.median(np.abs(data.residual)):.2g} percent of 0.",
                RATIO_AXIS,
                ChartAxis("left over (percent)"),
                (points("evaluations", data.domain_ratio, data.residual),),
                ({"axis": "y", "at": 0.0, "name": ""},),
            ),
        ]
    probed = fit.probed
    texts = [
        f"Probes were run at {_range_text(probed.size_range)} parameters, {_range_text(probed.token_range)} tokens and "
        f"domain ratios from {probed.ratio_range[0]:g} to {probed.ratio_range[1]:g}. Everything beyond these is "
        "extrapolated.",
    ]
    return ReportSection(
        "Measured against fitted",
        tuple(texts),
        tuple(charts),
        (frame_table("Parameters of the fitted laws", fit.table()),),
    )


def _range_text(ends: tuple[float, float]) -> str:
    low, high = (compact(end) for end in ends)
    return low if low == high else f"{low} to {high}"


def frontier_section(fit: Fit, request: PlanRequest) -> ReportSection:
    """Return what each tolerance allows."""
    fit.model_of("general")
    curves = survey(fit, request, num_grid=NUM_FRONTIER_POINTS)
    frontier = frontier_of(curves, request.confidence)
    scale = 100.0 if frontier.unit in ("fraction", "perplexity_fraction") else 1.0
    rules: tuple[dict[str, object], ...] = ()
    if request.tolerance is not None:
        rules = ({"axis": "x", "at": scale * request.tolerance.value, "name": "your tolerance"},)
    needed = scale * frontier.needed_rise
    chart = ReportChart(
        "What each tolerance allows",
        "The rise that each domain ratio needs; the largest ratio on a curve at your tolerance is what it allows.",
        ChartAxis(rise_label(frontier.unit, request.rise_over)),
        ChartAxis("domain ratio", "percent"),
        (
            line("best estimate", scale * frontier.rise, frontier.domain_ratio, color=3),
            line(
                f"holds with {percent(request.confidence)} confidence",
                *(needed, frontier.domain_ratio),
            ),
        ),
        rules,
    )
    losses = ReportChart(
        "What it costs and what it gains",
        "The domain loss against the rise of the general loss, from the smallest probed ratio to the largest.",
        ChartAxis(rise_label(frontier.unit, request.rise_over)),
        ChartAxis("domain loss (nats per token)"),
        (
            band("interval", needed, frontier.domain_loss_low, frontier.domain_loss_high),
            line("domain loss", needed, frontier.domain_loss),
        ),
        rules,
    )
    return ReportSection("Frontier", charts=(chart, losses))


def critical_section(fit: Fit, request: PlanRequest) -> ReportSection:
    """Return the recommended ratio over tokens and over sizes."""
    axes: tuple[Axis, ...] = ("train_tokens", "model_params")
    charts = [_critical_chart(fit, request, axis) for axis in axes]
    shown = tuple(chart for chart in charts if chart is not None)
    texts = () if shown else ("No run has a ratio that keeps the limit, at any budget or size.",)
    return ReportSection("Critical ratio over budgets and sizes", texts, shown)


def _critical_chart(fit: Fit, request: PlanRequest, axis: Axis) -> ReportChart | None:
    fixed = request.size if axis == "train_tokens" else request.tokens
    here = request.tokens if axis == "train_tokens" else request.size
    values = default_values(fit, axis, here)
    step = max(1, len(values) // NUM_CRITICAL_POINTS)
    values = np.union1d(values[::step], [values[-1], here])
    try:
        curve = curve_along(fit, request, axis, values, fixed)
        measured = measured_critical(fit, request, axis, fixed)
    except CmrplanError:
        return None
    what, largest = "tokens", fit.probed.token_range[1]
    if axis == "model_params":
        what, largest = "parameters", fit.probed.size_range[1]
    has_gaps = bool(np.isnan(np.asarray(curve.domain_ratio, dtype=float)).any())
    return ReportChart(
        f"Recommended ratio against {what}",
        f"The recommended domain ratio with its interval; beyond {compact(largest)} {what} it is extrapolated."
        + (" Where it is missing, no ratio keeps the limit." if has_gaps else ""),
        ChartAxis(what, "count"),
        ChartAxis("domain ratio", "percent"),
        (
            band(f"{percent(request.confidence)} interval", curve.values, curve.low, curve.high),
            line("recommended", curve.values, curve.domain_ratio),
            points("by the measured losses alone", *measured, color=2),
        ),
        ({"axis": "x", "at": largest, "name": "largest probed"},),
    )


def panel_section(fit: Fit, plan: Plan, say: Say) -> ReportSection:
    """Return every law's answer; each is fitted anew."""
    from cmrplan.plan.questions.law_panel import law_panel  # fits anew, so it brings all of fit/

    panel = law_panel(fit, plan, progress=say)
    answers = [one for one in panel.answers if not one.reason]
    rank = np.arange(len(answers), dtype=float)
    ratio = plain_numbers([one.domain_ratio for one in answers])
    low = plain_numbers([one.domain_ratio_low for one in answers])
    high = plain_numbers([one.domain_ratio_high for one in answers])
    chart = ReportChart(
        "The ratio that every law recommends",
        "Each law's recommended ratio, and the interval of its best ratio, for the same question.",
        RATIO_AXIS,
        ChartAxis("law", names=tuple(one.law for one in answers)),
        (
            ChartSeries(
                "interval of the best ratio", "bars", ratio, plain_numbers(rank), low, high
            ),
            ChartSeries("recommended", "points", ratio, plain_numbers(rank), color=1),
        ),
        ({"axis": "x", "at": plan.domain_ratio, "name": "this report"},)
        if plan.is_feasible
        else (),
    )
    texts = tuple(shown_text(finding.message) for finding in panel.warnings)
    table = panel.table()
    has_answer = (table["reason"].fillna("") == "").to_numpy()
    shown = table.rename(columns=PANEL_NAMES)[list(PANEL_NAMES.values())]
    tables = [frame_table("Laws", shown[has_answer])] if answers else []
    if not has_answer.all():
        tables.append(
            frame_table("Laws without an answer", table.loc[~has_answer, ["law", "reason"]])
        )
    return ReportSection("Law panel", texts, (chart,) if answers else (), tuple(tables))


def backtest_section(fit: Fit, request: PlanRequest, say: Say) -> ReportSection:
    """Return what a plan from a part of the log would have cost."""
    table = backtest(
        fit.log,
        max_general_rise=str(request.tolerance or "3%"),
        min_train_tokens=fit.settings.min_train_tokens,
        progress=say,
    )
    text = (
        "Budgets and sizes were hidden, and the largest model at its largest budget predicted from the rest; errors in "
        "nats per token. The regret is the domain loss above that of the best feasible ratio."
    )
    return ReportSection(
        "Backtest", (text,), tables=(frame_table("Hidden budgets and sizes", table),)
    )


def next_section(fit: Fit, request: PlanRequest) -> ReportSection:
    """Return the probes that would narrow the answer most for as much compute again as the log took."""
    flops = sweep_flops(fit)
    answer = next_probes(fit, request, budget=f"{flops:.6g}flops")
    paid = f"For as much compute again as the probes took ({flops:.3g} FLOPs)"
    narrowed = (
        f"these would narrow the interval of the best ratio from {answer.width:.3f} to about "
        f"{answer.expected_width:.3f}."
    )
    gain = f"{paid}, {'this one would test the answer.' if answer.is_trial else narrowed}"
    texts = [
        gain if answer.probes else "No probe is worth its cost.",
        shown_text(answer.stop_reason[:1].upper() + answer.stop_reason[1:] + "."),
    ]
    tables = (frame_table("Probes, the most useful first", answer.table()),)
    return ReportSection("Next probes", tuple(texts), tables=tables if answer.probes else ())


def sweep_flops(fit: Fit) -> float:
    """Return what the runs of a log took, at 6 FLOPs a parameter and token."""
    longest = fit.log.groupby("run_id")[["model_params", "train_tokens"]].max()
    return float(np.sum(training_flops(1, 1) * longest.prod(axis=1)))


def cost_section(fit: Fit, request: PlanRequest) -> ReportSection:
    """Return what the run and the probes cost."""
    rows = [
        ("the run", training_flops(request.size, request.tokens)),
        (f"the {fit.num_runs} runs of the log", sweep_flops(fit)),
    ]
    table = pd.DataFrame(
        {
            "what": [name for name, _ in rows],
            "FLOPs": [flops for _, flops in rows],
            "GPU-hours": [flops / GPU_FLOPS / SECONDS_PER_HOUR for _, flops in rows],
        }
    )
    text = (
        f"At 6 FLOPs a parameter and token. GPU-hours are those of a GPU that does {GPU_FLOPS:.0e} FLOP/s, an H100 in "
        "bf16 at 40 %; small probes reach far less. The base checkpoints are not counted."
    )
    return ReportSection("Costs", (text,), tables=(frame_table("Costs", table),))
