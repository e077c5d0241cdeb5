"""Commands that start from a log: logs, fit, predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import click
import numpy as np

from cmrplan.cli.parameters import (
    ASSIGNMENT,
    COUNT,
    COUNT_OR_AUTO,
    FRACTION,
    as_json,
    confidence,
    model_params,
    out_option,
    print_findings,
    print_json,
)
from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import atomic_write
from cmrplan.fit.file import fit_report, read_fit, write_fit
from cmrplan.fit.fit_log import fit as fit_laws
from cmrplan.fit.prediction import Prediction
from cmrplan.fit.row_weights import WEIGHTS, Weights
from cmrplan.fit.settings import LAWS, OBJECTIVES, RESIDUAL_KINDS, Objective, ResidualKind
from cmrplan.log.files import check_log, read_log, write_log
from cmrplan.log.importers import IMPORTERS, import_log
from cmrplan.log.importers.changes import Changes, as_number
from cmrplan.log.validate import listed
from cmrplan.plan.extrapolation import extrapolation_findings
from cmrplan.report.text import fit_text

_IMPORT_HELP = """Turn the log of another trainer into a probe log.

\b
table       a CSV, JSONL or Parquet file: a row for each evaluation with eval_corpus
            and loss, or for each checkpoint with columns loss_<corpus>
mixinglaws  SIZE.txt or their folder: checkpoint, validation file, loss
regmix      SPLIT_mixture_SIZE.csv beside SPLIT_pile_loss_SIZE.csv, or their folder
chinchilla  a CSV file with model size, FLOPs and loss

For example:

\b
cmrplan logs import table runs.csv --out log.csv --set model_params=1.2e8
  --map run=run_id --map tokens_B=train_tokens --scale train_tokens=1e9
  --map code=domain_ratio --map val/wiki=loss_general --map val/code=loss_domain
"""


@click.group()
def logs() -> None:
    """Make, import and check probe logs."""


@logs.command()
@click.argument("runs", type=click.Path())
@out_option("the log (.csv, .jsonl or .parquet)", required=True)
@as_json
def collect(runs: str, out: str, as_json: bool) -> None:
    """Turn the run folders of a sweep, or the files of trainer callbacks, into one probe log.

    Failed and unfinished runs have no rows: they stand, with their reason, in the run ledger
    beside the log.
    """
    from cmrplan.cli.probe import require_probes
    from probes.callbacks.folder import collect_logs, is_log_folder

    if is_log_folder(runs):
        log, ledger = collect_logs(runs)
    else:
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


@logs.command("import", help=_IMPORT_HELP)
@click.argument("format", type=click.Choice(list(IMPORTERS)))
@click.argument("source", type=click.Path())
@out_option("the log (.csv, .jsonl or .parquet)", required=True)
@click.option(
    "--map",
    "names",
    type=ASSIGNMENT,
    metavar="OLD=NEW",
    multiple=True,
    help="Rename a column, or say what a label of the format means: 70M=18915328.",
)
@click.option(
    "--scale",
    "scales",
    type=ASSIGNMENT,
    metavar="COLUMN=FACTOR",
    multiple=True,
    help="Multiply a column: train_tokens=1e9 where tokens are in billions, domain_ratio=0.01 for percent.",
)
@click.option(
    "--set",
    "constants",
    type=ASSIGNMENT,
    metavar="COLUMN=VALUE",
    multiple=True,
    help="Fill a column that is not there: model_params=1.2e8.",
)
@as_json
def import_(
    format: str,
    source: str,
    out: str,
    names: tuple[tuple[str, str], ...],
    scales: tuple[tuple[str, str], ...],
    constants: tuple[tuple[str, str], ...],
    as_json: bool,
) -> None:
    """Turn the log of another trainer into a probe log."""
    changes = Changes(
        names=_once("--map", names),
        scales={k: as_number(v, f"--scale {k}") for k, v in _once("--scale", scales).items()},
        constants=_once("--set", constants),
    )
    log = import_log(format, source, changes)
    write_log(log, out)
    findings = check_log(log, source=out)
    corpora = log["eval_corpus"].unique().tolist()
    if as_json:
        counts = {"n_rows": len(log), "n_runs": int(log["run_id"].nunique())}
        warnings = [finding.as_dict() for finding in findings]
        print_json(
            {"log": out, "format": format, **counts, "eval_corpora": corpora, "warnings": warnings}
        )
        return
    click.echo(
        f"{len(log)} rows of {log['run_id'].nunique()} runs, losses on {listed(corpora)} -> {out}"
    )
    print_findings(tuple(findings))


def _once(option: str, pairs: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """Return pairs as a dict; refuse two for one name."""
    found: dict[str, str] = {}
    for left, right in pairs:
        if left in found:
            raise InputError(f"{option} {left} was given twice: {found[left]!r} and {right!r}")
        found[left] = right
    return found


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
    help="Knee of the Huber loss, in units of the residuals.  [default: from the noise]",
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
    help="Differences of log losses, or of losses.",
)
@click.option(
    "--weights",
    type=click.Choice(WEIGHTS),
    default="equal",
    show_default=True,
    help="Weigh evaluations by the column loss_stderr, or by the spread between repeated seeds.",
)
@click.option(
    "--min-train-tokens",
    type=COUNT_OR_AUTO,
    help="Leave out evaluations before this many tokens; auto: those that lie outside the law.",
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
    objective: str,
    residuals: ResidualKind,
    weights: Weights,
    min_train_tokens: float | Literal["auto"] | None,
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
        objective=cast(Objective, objective.replace("-", "_")),
        residuals=residuals,
        weights=weights,
    )
    if out:
        write_fit(fitted, out)
    if as_json:
        print_json(fit_report(fitted))
        return
    click.echo(fit_text(fitted))
    print_findings([*fitted.parameter_findings(), *fitted.warnings])
    if out:
        click.echo(f"fit -> {out}")


@click.command()
@click.argument("fit", type=click.Path())
@model_params
@click.option("--train-tokens", type=COUNT, required=True, help="Budget D in tokens: 10B.")
@click.option("--domain-ratio", type=FRACTION, required=True, help="Share of domain tokens: 0.3.")
@click.option(
    "--new-run",
    is_flag=True,
    help="Widen the intervals by the noise of a run: what one new run would measure.",
)
@confidence
@as_json
def predict(
    fit: str,
    model_params: float,
    train_tokens: float,
    domain_ratio: float,
    new_run: bool,
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
                new_run=new_run,
            )
            values = _with_bounds(prediction, confidence)
            if not np.isfinite([value for value in values if value is not None]).all():
                raise CmrplanError(
                    f"the law of the {corpus} loss has no finite value at model_params = {model_params:.4g}, "
                    f"train_tokens = {train_tokens:.4g}, domain_ratio = {domain_ratio:g}; ask nearer to the probes"
                )
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
