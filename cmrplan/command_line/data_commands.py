"""Commands that start from a log: logs, fit, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmrplan.command_line.parameters import (
    COUNT,
    FRACTION,
    as_json,
    confidence,
    model_params,
    out_option,
    print_findings,
    print_json,
)
from cmrplan.files import atomic_write
from cmrplan.fitfile import fit_report, read_fit, write_fit
from cmrplan.fits import LAWS, Prediction
from cmrplan.fits import fit as fit_laws
from cmrplan.planning.extrapolation import extrapolation_findings
from cmrplan.records import check_log, read_log, write_log
from cmrplan.report.text import fit_text


@click.group()
def logs() -> None:
    """Make and check probe logs."""


@logs.command()
@click.argument("runs", type=click.Path())
@out_option("the log (.csv, .jsonl or .parquet)", required=True)
@as_json
def collect(runs: str, out: str, as_json: bool) -> None:
    """Turn the run folders of a sweep into one probe log.

    Failed and unfinished runs have no rows: they stand, with their reason, in the run ledger
    beside the log.
    """
    from cmrplan.command_line.probe_commands import require_probes

    require_probes()
    from probes.collect import collect as collect_runs

    log, ledger = collect_runs(runs)
    write_log(log, out)
    ledger_path = Path(out).with_name(Path(out).stem + ".runs.csv")
    with atomic_write(ledger_path) as temporary:
        ledger.to_csv(temporary, index=False)
    finished = int((ledger["state"] == "finished").sum())
    if as_json:
        print_json(
            {"log": out, "ledger": str(ledger_path), "n_rows": len(log), "n_finished": finished}
        )
    else:
        click.echo(
            f"{len(log)} rows of {log['run_id'].nunique()} runs -> {out}; "
            f"ledger of {len(ledger)} runs -> {ledger_path}"
        )


@logs.command()
@click.argument("log", type=click.Path())
@as_json
def check(log: str, as_json: bool) -> int:
    """Check a probe log: every finding with its code, row and column."""
    findings = check_log(log)
    errors = [finding for finding in findings if finding.severity == "error"]
    if as_json:
        print_json({"log": log, "findings": [finding.as_dict() for finding in findings]})
    else:
        for finding in findings:
            click.echo(f"{finding.severity} [{finding.code}]: {finding.message}")
        click.echo(f"{log}: {len(errors)} error(s), {len(findings) - len(errors)} warning(s)")
    return 2 if errors else 0


@click.command()
@click.argument("log", type=click.Path())
@out_option("the fit (JSON)")
@click.option("--law", type=click.Choice(LAWS), default="auto", show_default=True)
@click.option(
    "--bootstrap",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Resamples of whole runs; 0 for no intervals.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--delta",
    type=click.FloatRange(0, min_open=True),
    help="Knee of the Huber loss on log losses.  [default: from the noise]",
)
@click.option(
    "--min-train-tokens", type=COUNT, help="Leave out evaluations before this many tokens."
)
@click.option(
    "--model-params", type=COUNT, help="Fit only the runs of this size.  [default: all sizes]"
)
@confidence
@as_json
def fit(
    log: str,
    out: str | None,
    law: str,
    bootstrap: int,
    seed: int,
    delta: float | None,
    min_train_tokens: float | None,
    model_params: float | None,
    confidence: float,
    as_json: bool,
) -> None:
    """Fit the laws of the general and the domain loss to a probe log."""
    fitted = fit_laws(
        read_log(log),
        law,
        bootstrap=bootstrap,
        seed=seed,
        delta=delta,
        min_train_tokens=min_train_tokens or 0.0,
        confidence=confidence,
        model_params=model_params,
    )
    if out:
        write_fit(fitted, out)
    if as_json:
        print_json(fit_report(fitted))
        return
    click.echo(fit_text(fitted))
    print_findings(fitted.warnings)
    if out:
        click.echo(f"fit -> {out}")


@click.command()
@click.argument("fit", type=click.Path())
@model_params
@click.option("--train-tokens", type=COUNT, required=True, help="Budget D in tokens: 10B.")
@click.option("--domain-ratio", type=FRACTION, required=True, help="Share of domain tokens: 0.3.")
@confidence
@as_json
def predict(
    fit: str,
    model_params: float,
    train_tokens: float,
    domain_ratio: float,
    confidence: float,
    as_json: bool,
) -> None:
    """Predict both losses of one run, with intervals."""
    fitted = read_fit(fit)
    result: dict[str, Any] = {}
    for corpus in ("general", "domain"):
        values: tuple[float | None, float | None, float | None] = (None, None, None)
        if corpus in fitted.models:
            prediction = fitted.predict(
                corpus,
                model_params=model_params,
                train_tokens=train_tokens,
                domain_ratio=domain_ratio,
            )
            values = _with_bounds(prediction, confidence)
        names = (f"{corpus}_loss", f"{corpus}_loss_low", f"{corpus}_loss_high")
        result |= dict(zip(names, values, strict=True))
    findings = [
        *fitted.warnings,
        *extrapolation_findings(
            fitted, model_params=model_params, train_tokens=train_tokens, domain_ratio=domain_ratio
        ),
    ]
    if as_json:
        settings = {
            "model_params": model_params,
            "train_tokens": train_tokens,
            "domain_ratio": domain_ratio,
            "confidence": confidence,
            "law": fitted.law,
        }
        print_json(result | settings | {"warnings": [finding.as_dict() for finding in findings]})
        return
    for corpus in fitted.models:
        loss, low, high = (result[f"{corpus}_loss{end}"] for end in ("", "_low", "_high"))
        band = "" if low is None else f"  ({100 * confidence:g} % interval {low:.4f} to {high:.4f})"
        click.echo(f"{corpus:<8} loss {loss:.4f} nats per token{band}")
    print_findings(findings)


def _with_bounds(
    prediction: Prediction, confidence: float
) -> tuple[float, float | None, float | None]:
    loss = float(prediction.loss[0])
    if not len(prediction.draws):
        return loss, None, None
    low, high = prediction.interval(confidence)
    return loss, float(low[0]), float(high[0])
