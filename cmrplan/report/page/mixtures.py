"""A report on a fit of several corpora."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import DAMAGE
from cmrplan.fit.corpus_model import Interval
from cmrplan.mixture.levels import levels_beside
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import MixturePlan
from cmrplan.mixture.plan import mixture_plan_for
from cmrplan.mixture.remedies import mixture_remedy
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.numbers import GPU_FLOPS, SECONDS_PER_HOUR, compact, training_flops
from cmrplan.plots.mixture import mixture_data
from cmrplan.plots.wording import percent
from cmrplan.report.mixture import (
    level_rows,
    mixture_ways_text,
    no_mixture_sentence,
)
from cmrplan.report.page.answer import cautions_of
from cmrplan.report.page.content import (
    ChartAxis,
    ChartSeries,
    ReportChart,
    ReportContent,
    ReportSection,
    ReportTable,
    frame_table,
    line,
    plain_numbers,
    points,
    shown_rows,
    shown_text,
)
from cmrplan.report.page.two_corpora import (
    REMAKE,
    findings_section,
    plan_content,
    provenance_section,
)

MOST_LISTED_SHARES = 4
HELD_BY = {
    "tolerance": "the loss on {} may not rise further",
    "available": "more of {} would repeat it too often",
    "ceiling": "the ceiling of {}",
    "floor": "the floor of {}",
    "probed_high": "no larger share of {} was probed",
    "probed_low": "no smaller share of {} was probed",
}
SHARE_NAMES = {
    "share_low": "interval from",
    "share_high": "to",
    "epochs": "passes",
    "binding": "what binds",
}
LOSS_NAMES = {
    "loss_low": "from",
    "loss_high": "to",
    "rise_low": "rise from",
    "rise_high": "rise to",
}
MIXTURE_NAMES = {"point": "best estimate", "unconstrained": "without limits"}


def report_on_mixture(fit: MixtureFit, request: MixturePlanRequest | None = None) -> ReportContent:
    """Return a report on a fit of several corpora and a question.

    Parameters
    ----------
    fit : MixtureFit
    request : MixturePlanRequest, optional
        By default the largest probed run, with every validation corpus as important as another.
    """
    asked = request or MixturePlanRequest(train_tokens=float(fit.log["train_tokens"].max()))
    meaning: tuple[str, ...] = ()
    if request is None:
        meaning = (
            "No plan was given, so this is the mixture with the lowest sum of losses at the largest probed run; "
            "cmrplan mix plan asks for limits and weights.",
        )
    try:
        plan = mixture_plan_for(fit, asked)
    except CmrplanError as error:
        return ReportContent(
            title="Mixture of training corpora",
            answer=f"There is no answer yet: {shown_text(str(error))}.",
            meaning=meaning,
            cautions=cautions_of(fit.warnings, fit.warnings),
            summary=(),
            sections=(_fit_section(fit), findings_section(fit.warnings), provenance_section(fit)),
            explorer=None,
            plan=None,
            rows=shown_rows(fit.log),
        )
    return ReportContent(
        title=f"Mixture of {len(plan.evaluated_shares)} corpora for {compact(plan.model_params)} parameters trained on "
        f"{compact(plan.train_tokens)} tokens",
        answer=_answer(plan),
        meaning=(*meaning, *_meaning(plan)),
        cautions=cautions_of(plan.warnings, fit.warnings),
        summary=(*_ways_out(fit, plan), *_tables(plan)),
        sections=tuple(_sections(fit, plan)),
        explorer=None,
        plan=plan.as_dict(),
        rows=shown_rows(fit.log),
    )


def read_mixture_request(path: str | os.PathLike[str], fit: MixtureFit) -> MixturePlanRequest:
    """Return the question of a mixture plan's file.

    Raises
    ------
    InputError
        If the file is no plan of a mixture, or of another fit.
    """
    content = plan_content(path, "shares", fit.provenance)
    try:
        return MixturePlanRequest(
            model_params=content["model_params"],
            train_tokens=content["train_tokens"],
            **content["asked"],
        )
    except DAMAGE as error:
        raise InputError(f"{path} is not a plan that can be read ({error}); {REMAKE}") from None


def _answer(plan: MixturePlan) -> str:
    if not plan.is_feasible:
        return shown_text(no_mixture_sentence(plan))
    names = plan.largest_first()
    most = len(names) if len(names) <= MOST_LISTED_SHARES + 1 else MOST_LISTED_SHARES
    listed = [f"{percent(plan.shares[name])} {shown_text(name)}" for name in names[:most]]
    if len(names) > most:
        rest = sum(plan.shares[name] for name in names[most:])
        listed.append(f"{percent(rest)} of the other {len(names) - most}")
    kept = ""
    if plan.asked.protected:
        kept = " that keeps every protected loss within its limit"
        if plan.num_resamples:
            kept += f" with {percent(plan.confidence)} confidence"
    return f"Train on {', '.join(listed)}: the mixture with the lowest weighted loss{kept}."


def _meaning(plan: MixturePlan) -> tuple[str, ...]:
    sentences = [
        f"The weighted loss is then predicted to be {plan.objective.text(4)} nats per token, "
        f"{_beside_natural(plan.gain)} that of the natural mixture{_broken_by_natural(plan)}.",
    ]
    if plan.violation_probability is not None:
        sentences.append(
            f"The chance that a protected loss breaks its limit is {percent(plan.violation_probability)}."
        )
    held = [HELD_BY[b.kind].format(shown_text(b.corpus)) for b in plan.binding]
    sentences.append(f"What holds the mixture: {'; '.join(held) or 'no limit holds it back'}.")
    return tuple(sentences)


def _ways_out(fit: MixtureFit, plan: MixturePlan) -> tuple[ReportTable, ...]:
    """Return what would do, where no mixture is recommended: at each confidence, and what to change."""
    if plan.is_feasible:
        return ()
    ways = shown_text(mixture_ways_text(plan, mixture_remedy(fit, plan)))
    change = ReportTable("What would change it", ("what to do",), ((ways,),))
    rows = [
        (level, shown_text(told.rstrip(":")), shown_text(mixture))
        for level, told, mixture in level_rows(levels_beside(fit, plan), plan.num_resamples)
    ]
    columns = ("confidence", "what holds", "mixture")
    what = "What each confidence allows" if plan.num_resamples else "What the estimates allow"
    return (ReportTable(what, columns, tuple(rows)), change)


def _beside_natural(gain: Interval) -> str:
    """Return by how much a mixture lies below the natural one, or above it."""
    if gain.estimate >= 0:
        return f"{gain.text(4)} below"
    low, high = (None if end is None else -end for end in (gain.high, gain.low))
    return f"{Interval(low, -gain.estimate, high).text(4)} above"


def _broken_by_natural(plan: MixturePlan) -> str:
    """Return which limits the natural mixture breaks; nothing where it keeps all."""
    broken = plan.broken_text("natural")
    return f", which {shown_text(broken)}" if broken else ""


def _tables(plan: MixturePlan) -> tuple[ReportTable, ...]:
    return (
        frame_table(
            f"Shares, and the {percent(plan.confidence)} interval of the best ones",
            plan.table().rename(columns=SHARE_NAMES),
        ),
        frame_table(
            "Predicted losses (nats per token)", plan.loss_table().rename(columns=LOSS_NAMES)
        ),
    )


def _sections(fit: MixtureFit, plan: MixturePlan) -> Iterator[ReportSection]:
    data = mixture_data(plan)
    rank = np.arange(len(data.corpora), dtype=float)
    shares = plain_numbers(data.shares)
    chart = ReportChart(
        "Recommended and natural shares"
        if plan.is_feasible
        else "Shares of a mixture that comes near",
        f"The share of each training corpus in the {plan.evaluated_name} with the interval of the best one, and the "
        "natural share.",
        ChartAxis("share of training tokens", "percent"),
        ChartAxis("corpus", names=tuple(shown_text(name) for name in data.corpora)),
        (
            ChartSeries(
                *("where the best share lies", "bars", shares, plain_numbers(rank)),
                *(plain_numbers(data.low), plain_numbers(data.high)),
            ),
            points("natural", data.natural, rank, color=3),
            points(data.label, data.shares, rank),
        ),
    )
    yield ReportSection("Mixture", charts=(chart,))
    yield ReportSection("Other mixtures", tables=(_alternatives(plan),))
    yield _fit_section(fit)
    flops = training_flops(plan.model_params, plan.train_tokens)
    hours = flops / GPU_FLOPS / SECONDS_PER_HOUR
    text = (
        f"The run takes {flops:.3g} FLOPs at 6 a parameter and token, {hours:.3g} GPU-hours of a GPU that does "
        f"{GPU_FLOPS:.0e} FLOP/s."
    )
    yield ReportSection("Costs", (text,))
    yield findings_section(plan.warnings)
    yield provenance_section(fit)


def _alternatives(plan: MixturePlan) -> ReportTable:
    names = plan.largest_first()
    rows = [
        (
            MIXTURE_NAMES.get(name, name.replace("_", " ")),
            f"{mixture.objective:.4f}",
            *(f"{mixture.shares.get(corpus, 0.0):.3f}" for corpus in names),
            *([_broken_cell(plan, name)] if plan.asked.protected else []),
        )
        for name, mixture in plan.candidates.items()
    ]
    broken = ["breaks the limit of"] if plan.asked.protected else []
    columns = ("mixture", "weighted loss", *(shown_text(name) for name in names), *broken)
    return ReportTable("Other mixtures, and what they reach", columns, tuple(rows))


def _broken_cell(plan: MixturePlan, name: str) -> str:
    breaks = plan.candidates[name].breaks
    told = "all together" if plan.broken_text(name) else "none"
    return ", ".join(map(shown_text, breaks)) or told


def _fit_section(fit: MixtureFit) -> ReportSection:
    series = []
    measured, rows = [], fit.fitted()
    for k, (corpus, model) in enumerate(sorted(fit.models.items())):
        own = rows[rows["eval_corpus"] == corpus]
        loss = own["loss"].to_numpy(dtype=float)
        measured.append(loss)
        series.append(points(shown_text(corpus), loss, model.fitted_loss(own), color=1 + k % 6))
    every = np.concatenate(measured)
    ends = np.array([np.min(every), np.max(every)])
    chart = ReportChart(
        "Measured against fitted losses",
        f"{len(every)} evaluations; a perfect fit would put every point on the line.",
        ChartAxis("measured loss (nats per token)"),
        ChartAxis("fitted loss (nats per token)"),
        (line("equal", ends, ends, color=3), *series),
    )
    parameters = frame_table("Parameters of the fitted laws", fit.table())
    return ReportSection("Measured against fitted", charts=(chart,), tables=(parameters,))
