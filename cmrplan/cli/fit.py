"""The command ``cmrplan fit``."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import click

from cmrplan.cli.output import print_findings, print_json, show, verbosity_options
from cmrplan.cli.outputs import FIT_FILE, force_option, out_option
from cmrplan.cli.parameters import (
    COUNT,
    as_json,
    confidence,
    first_tokens,
    resamples,
    seed,
)
from cmrplan.fit.file import fit_report, write_fit
from cmrplan.fit.fit_log import fit as fit_laws
from cmrplan.fit.row_weights import WEIGHTS, Weights
from cmrplan.fit.settings import (
    OBJECTIVES,
    RESIDUAL_KINDS,
    RESIDUAL_MODELS,
    Objective,
    ResidualKind,
    ResidualModel,
)
from cmrplan.laws.registry import AUTO, FitKind, names_for
from cmrplan.log.cut_off import cut_off_findings_of
from cmrplan.log.files import read_log_to_fit
from cmrplan.report.text import fit_text

TAKEN_KINDS = (FitKind.RUNS, FitKind.BUDGETS)


@click.command()
@click.argument("log", type=click.Path())
@out_option("the fit (JSON)", FIT_FILE)
@click.option(
    "--law",
    default=AUTO,
    show_default=True,
    metavar="LAW",
    help=f"auto averages laws of the ratio; or one of {', '.join(names_for(*TAKEN_KINDS))}.",
)
@resamples
@seed
@click.option(
    "--delta",
    type=click.FloatRange(0, min_open=True),
    help="Delta of the Huber loss, in units of the residuals.  [default: from the noise]",
)
@click.option(
    "--objective",
    type=click.Choice([name.replace("_", "-") for name in OBJECTIVES]),
    default="huber",
    show_default=True,
    help="What is summed over the evaluations.",
)
@click.option(
    "--residuals",
    type=click.Choice(RESIDUAL_KINDS),
    default="log",
    show_default=True,
    help="Differences of log losses, or of losses; raw leaves no residual above the laws.",
)
@click.option(
    "--residual",
    type=click.Choice(RESIDUAL_MODELS),
    default="auto",
    show_default=True,
    help="gp: a Gaussian process above the laws, for what they miss; none: the laws alone; auto: gp where the laws "
    "are chosen and the rows are enough for it.",
)
@click.option(
    "--weights",
    type=click.Choice(WEIGHTS),
    default="equal",
    show_default=True,
    help="Weigh evaluations by the column loss_stderr, or by the spread between repeated seeds; both leave no "
    "residual above the laws, unless every loss_stderr is the same.",
)
@first_tokens
@click.option(
    "--model-params", type=COUNT, help="Fit only the runs of this size.  [default: all sizes]"
)
@confidence
@verbosity_options
@as_json
@force_option
def fit(
    log: str,
    out: str | None,
    law: str,
    bootstrap: int,
    seed: int,
    delta: float | None,
    objective: str,
    residuals: ResidualKind,
    weights: Weights,
    residual: ResidualModel,
    min_train_tokens: float | Literal["auto"] | None,
    model_params: float | None,
    confidence: float,
    as_json: bool,
) -> None:
    """Fit the laws of the general and the domain loss to a probe log."""
    rows = read_log_to_fit(log)
    fitted = fit_laws(
        rows,
        law,
        bootstrap=bootstrap,
        seed=seed,
        delta=delta,
        min_train_tokens=min_train_tokens or 0.0,
        confidence=confidence,
        model_params=model_params,
        objective=cast(Objective, objective.replace("-", "_")),
        residuals=residuals,
        weights=weights,
        residual=residual,
    )
    fitted = replace(fitted, warnings=(*cut_off_findings_of(log), *fitted.warnings))
    if out:
        write_fit(fitted, out)
    if as_json:
        print_json(fit_report(fitted))
        return
    show(fit_text(fitted))
    findings = [*fitted.parameter_findings(), *fitted.warnings]
    print_findings(findings, again="cmrplan fit …")
    if out:
        show(f"fit -> {out}")
