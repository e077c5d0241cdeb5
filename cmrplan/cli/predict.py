"""The command ``cmrplan predict``."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from cmrplan.cli.output import print_findings, print_json, show
from cmrplan.cli.parameters import (
    COUNT,
    FRACTION,
    as_json,
    confidence,
    model_params,
    with_parts,
)
from cmrplan.cli.schedule import read_fit_under, schedule_options, schedule_record
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import Prediction


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
    help="Tokens the domain corpus holds before it repeats, for laws that read them.  [default: it never does]",
)
@click.option(
    "--new-run",
    is_flag=True,
    help="Widen the intervals by the noise of a run: what one new run would measure.",
)
@with_parts
@schedule_options
@confidence
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
    _, fitted = read_fit_under(fit, **rates)
    domain_ratio = float(np.asarray(fitted.ratio_or_only(domain_ratio)))
    at: dict[str, Any] = {
        "model_params": model_params,
        "train_tokens": train_tokens,
        "domain_ratio": domain_ratio,
        "unique_domain_tokens": unique_domain_tokens,
    }
    result: dict[str, Any] = {}
    for corpus in ("general", "domain"):
        values: tuple[float | None, float | None, float | None] = (None, None, None)
        if corpus in fitted.models:
            prediction = fitted.predict(corpus, **at, new_run=new_run)
            values = _with_bounds(prediction, confidence)
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
    findings = [
        *fitted.warnings,
        *fitted.probed.extrapolation_findings(
            model_params=model_params, train_tokens=train_tokens, domain_ratio=domain_ratio
        ),
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
            show(f"{'':<8} laws {law:.4f}, residual {residual:+.4f}")
    print_findings(findings)


def _with_bounds(
    prediction: Prediction, confidence: float
) -> tuple[float, float | None, float | None]:
    loss = float(prediction.loss[0])
    if not len(prediction.draws):
        return loss, None, None
    low, high = prediction.interval(confidence)
    return loss, float(low[0]), float(high[0])
