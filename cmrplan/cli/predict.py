"""The command ``cmrplan predict``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click
import numpy as np

from cmrplan.cli.output import print_findings, print_json, show, verbosity_options
from cmrplan.cli.parameters import (
    COUNT,
    FRACTION,
    as_json,
    confidence,
    model_params,
    with_parts,
)
from cmrplan.cli.schedule import read_fit_under, schedule_options, schedule_record
from cmrplan.errors import CmrplanError, Finding
from cmrplan.fit.corpus_model import Prediction
from cmrplan.fit.fit import Fit
from cmrplan.plan.repeated_data import losses_with_repeats, repetition_findings
from cmrplan.plan.request import PlanRequest


@click.command()
@click.argument("fit", type=click.Path())
@model_params
@click.option("--train-tokens", type=COUNT, required=True, help="Budget D in tokens: 10B.")
@click.option(
    "--domain-ratio",
    type=FRACTION,
    help="Share of domain tokens: 0.3; may be left out where the log has one, or no law reads it.",
)
@click.option(
    "--unique-domain-tokens",
    type=COUNT,
    help="Tokens the domain corpus holds before it repeats; repeats count as in a plan.  [default: it never does, or "
    "as in the probes]",
)
@click.option(
    "--new-run",
    is_flag=True,
    help="Widen the intervals by the noise of a run: what one new run would measure.",
)
@with_parts
@schedule_options
@confidence
@verbosity_options
@as_json
def predict(
    fit: str,
    model_params: float,
    train_tokens: float,
    domain_ratio: float | None,
    unique_domain_tokens: float | None,
    new_run: bool,
    with_parts: bool,
    confidence: float,
    as_json: bool,
    **rates: Any,
) -> None:
    """Predict both losses of one run, with intervals."""
    read, fitted = read_fit_under(fit, **rates)
    domain_ratio = float(np.asarray(fitted.ratio_or_only(domain_ratio)))
    at: dict[str, Any] = {
        "model_params": model_params,
        "train_tokens": train_tokens,
        "domain_ratio": domain_ratio,
        "unique_domain_tokens": unique_domain_tokens,
    }
    result: dict[str, Any] = {}
    predictions, findings = _predictions(fitted, **at, new_run=new_run)
    for corpus in ("general", "domain"):
        values: tuple[float | None, float | None, float | None] = (None, None, None)
        if corpus in predictions:
            values = _with_bounds(predictions[corpus], confidence)
            if not np.isfinite([value for value in values if value is not None]).all():
                raise CmrplanError(
                    f"the law of the {corpus} loss has no finite value at model_params = {model_params:.4g}, "
                    f"train_tokens = {train_tokens:.4g}, domain_ratio = {domain_ratio:g}; ask nearer to the probes"
                )
        names = (f"{corpus}_loss", f"{corpus}_loss_low", f"{corpus}_loss_high")
        result |= dict(zip(names, values, strict=True))
    parts = {corpus: fitted.parts(corpus, **at) for corpus in fitted.models if with_parts}
    for corpus, two in parts.items():
        result |= dict(zip((f"{corpus}_law", f"{corpus}_residual"), two, strict=True))
        if unique_domain_tokens is not None:
            result[f"{corpus}_repeats"] = result[f"{corpus}_loss"] - sum(two)
    findings = [
        *fitted.warnings,
        *fitted.probed.extrapolation_findings(
            model_params=model_params, train_tokens=train_tokens, domain_ratio=domain_ratio
        ),
        *findings,
    ]
    if as_json:
        where = {name: at[name] for name in ("model_params", "train_tokens", "domain_ratio")}
        settings = where | {"confidence": confidence, "law": fitted.law} | schedule_record(**rates)
        print_json(result | settings | {"warnings": [finding.as_dict() for finding in findings]})
        return
    for corpus in fitted.models:
        loss, low, high = (result[f"{corpus}_loss{end}"] for end in ("", "_low", "_high"))
        band = "" if low is None else f"  ({100 * confidence:g} % interval {low:.4f} to {high:.4f})"
        show(f"{corpus:<8} loss {loss:.4f} nats per token{band}")
        for law, residual in [parts[corpus]] if with_parts else []:
            repeats = result.get(f"{corpus}_repeats")
            more = "" if repeats is None else f", repeats {repeats:+.4f}"
            show(f"{'':<8} laws {law:.4f}, residual {residual:+.4f}{more}")
    print_findings(findings, said=read.warnings, again="cmrplan predict …")


def _predictions(
    fit: Fit,
    *,
    model_params: float,
    train_tokens: float,
    domain_ratio: float,
    unique_domain_tokens: float | None,
    new_run: bool,
) -> tuple[dict[str, Prediction], list[Finding]]:
    """Return each fitted loss, and what is to be said of repeats where the domain tokens were given."""
    if unique_domain_tokens is None:
        fresh = {
            corpus: fit.predict(
                corpus,
                model_params=model_params,
                train_tokens=train_tokens,
                domain_ratio=domain_ratio,
                new_run=new_run,
            )
            for corpus in fit.models
        }
        return fresh, []
    request = PlanRequest(
        model_params=model_params,
        train_tokens=train_tokens,
        domain_tokens=unique_domain_tokens,
        max_epochs=1 + train_tokens / unique_domain_tokens,
        general_weight=0.0,
    )
    losses = losses_with_repeats(fit, request, np.array([domain_ratio]))
    if new_run:
        losses = {c: replace(p, draws=fit.of_new_run(c, p.draws)) for c, p in losses.items()}
    return losses, repetition_findings(fit, request, domain_ratio)


def _with_bounds(
    prediction: Prediction, confidence: float
) -> tuple[float, float | None, float | None]:
    loss = float(prediction.loss[0])
    if not len(prediction.draws):
        return loss, None, None
    low, high = prediction.interval(confidence)
    return loss, float(low[0]), float(high[0])
