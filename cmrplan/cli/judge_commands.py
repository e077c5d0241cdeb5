"""Commands that judge laws: compare, backtest and profile."""

from __future__ import annotations

from typing import Any

import click
import numpy as np
import pandas as pd

from cmrplan.cli.parameters import (
    COUNT,
    FRACTION,
    RISE,
    as_json,
    confidence,
    print_json,
    working,
)
from cmrplan.errors import InputError
from cmrplan.fit.file import read_fit
from cmrplan.fit.intervals import (
    critical_ratio_interval,
    free_parameters,
    loss_interval,
    parameter_interval,
)
from cmrplan.log.files import read_log
from cmrplan.solve.profile import ProfileInterval
from cmrplan.validate.backtest import backtest as run_backtest
from cmrplan.validate.compare import compare as run_compare

min_train_tokens = click.option(
    "--min-train-tokens",
    type=COUNT,
    default=None,
    help="Leave out evaluations before this many tokens.",
)


@click.command()
@click.argument("log", type=click.Path())
@min_train_tokens
@as_json
def compare(log: str, min_train_tokens: float | None, as_json: bool) -> None:
    """Rank every applicable law, and simple baselines, by out-of-sample error.

    Hides each inner ratio, the largest budgets and the largest model in turn.
    """
    with working() as say:
        found = run_compare(read_log(log), min_train_tokens=min_train_tokens or 0.0, progress=say)
    if as_json:
        print_json(
            {
                "ranking": _records(found.ranking),
                "errors": _records(found.errors),
                "verdicts": {
                    corpus: {
                        "winner": v.winner,
                        "runner_up": v.runner_up,
                        "margin": v.margin,
                        "margin_stderr": v.margin_stderr,
                        "is_clear": v.is_clear,
                        "best_law": v.best_law,
                    }
                    for corpus, v in found.verdicts.items()
                },
                "skipped": found.skipped,
            }
        )
        return
    click.echo("mean absolute error on hidden rows, nats per token")
    click.echo(_table(found.ranking))
    for corpus, verdict in found.verdicts.items():
        sure = "clear" if verdict.is_clear else "not clear"
        click.echo(
            f"{corpus}: {verdict.winner} leads {verdict.runner_up} by {verdict.margin:.4f} "
            f"± {verdict.margin_stderr:.4f} ({sure}); best law {verdict.best_law}"
        )
    for name, reason in found.skipped.items():
        click.echo(f"left out {name}: {reason}", err=True)


@click.command()
@click.argument("log", type=click.Path())
@click.option(
    "--max-general-rise",
    type=RISE,
    default="3%",
    show_default=True,
    help="Tolerance that the ratios are planned for: 0.05 (nats per token) or 3%.",
)
@click.option("--base-loss", type=COUNT, help="General loss of the base.  [default: the log's]")
@min_train_tokens
@as_json
def backtest(log: str, as_json: bool, min_train_tokens: float | None, **asked: Any) -> None:
    """Hide the largest budgets and models, plan from the rest, and report the miss.

    In loss, in the recommended ratio, and in what following it would have cost.
    """
    with working() as say:
        table = run_backtest(
            read_log(log), min_train_tokens=min_train_tokens or 0.0, progress=say, **asked
        )
    if as_json:
        print_json({"rows": _records(table)})
    else:
        click.echo("target: the largest model at its largest budget; errors in nats per token")
        click.echo(_table(table))


@click.command()
@click.argument("fit", type=click.Path())
@click.option(
    "--parameter",
    "names",
    multiple=True,
    help="A parameter, such as beta; may be given several times.  [default: every free one]",
)
@click.option("--model-params", type=COUNT, help="With --train-tokens: profile a prediction there.")
@click.option("--train-tokens", type=COUNT, help="Budget D in tokens: 10B.")
@click.option("--domain-ratio", type=FRACTION, help="Profile both losses at this ratio.")
@click.option(
    "--general-loss-limit",
    type=COUNT,
    help="Profile the ratio at which the general loss reaches this many nats per token.",
)
@confidence
@as_json
def profile(
    fit: str,
    names: tuple[str, ...],
    model_params: float | None,
    train_tokens: float | None,
    domain_ratio: float | None,
    general_loss_limit: float | None,
    confidence: float,
    as_json: bool,
) -> None:
    """Profile-likelihood intervals: of parameters, of losses, of the critical ratio.

    A second opinion beside the resamples: every other parameter is fitted again at each value, so the interval
    follows curved valleys and says which side the log leaves open.
    """
    asks_point = domain_ratio is not None or general_loss_limit is not None
    if asks_point and (model_params is None or train_tokens is None):
        raise InputError(
            "--domain-ratio and --general-loss-limit need --model-params and --train-tokens"
        )
    fitted = read_fit(fit)
    found: list[tuple[str, ProfileInterval]] = []
    with working() as say:
        if asks_point:
            assert model_params is not None
            assert train_tokens is not None
            place = {"model_params": model_params, "train_tokens": train_tokens}
            if domain_ratio is not None:
                found += [
                    (
                        c,
                        loss_interval(
                            fitted, c, **place, domain_ratio=domain_ratio, confidence=confidence
                        ),
                    )
                    for c in fitted.models
                ]
            if general_loss_limit is not None:
                interval = critical_ratio_interval(
                    fitted, **place, general_loss_limit=general_loss_limit, confidence=confidence
                )
                found.append(("general", interval))
        else:
            for corpus in fitted.models:
                own = free_parameters(fitted, corpus)
                for name in [n for n in names if n in own] or ([] if names else own):
                    say(f"{corpus} {name}")
                    interval = parameter_interval(fitted, corpus, name, confidence=confidence)
                    found.append((corpus, interval))
            unknown = set(names) - {interval.name for _, interval in found}
            if unknown:
                raise InputError(
                    f"--parameter {min(unknown)}: no fitted law has this free parameter; there are "
                    + ", ".join(
                        sorted({n for c in fitted.models for n in free_parameters(fitted, c)})
                    )
                )
    if as_json:
        rows = [_interval_record(corpus, interval) for corpus, interval in found]
        print_json({"confidence": confidence, "law": fitted.law, "intervals": rows})
        return
    click.echo(
        f"{100 * confidence:g} % profile intervals; < or > marks a side that the log leaves open"
    )
    for corpus, interval in found:
        low = f"{'<' if interval.is_open[0] else ''}{interval.low:.5g}"
        high = f"{'>' if interval.is_open[1] else ''}{interval.high:.5g}"
        click.echo(f"  {corpus:<8} {interval.name:<15}{interval.estimate:>12.5g}   {low} to {high}")


def _interval_record(corpus: str, interval: ProfileInterval) -> dict[str, Any]:
    """Return an interval as plain values, with null for an end without bound."""
    return {
        "corpus": corpus,
        "name": interval.name,
        "estimate": interval.estimate,
        "low": interval.low if np.isfinite(interval.low) else None,
        "high": interval.high if np.isfinite(interval.high) else None,
        "is_open": list(interval.is_open),
    }


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values, with null for what is not a number."""
    plain = table.astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _table(table: pd.DataFrame) -> str:
    shown = table.drop(columns="is_law")
    return shown.to_string(index=False, float_format=lambda value: f"{value:.4f}", na_rep="-")
