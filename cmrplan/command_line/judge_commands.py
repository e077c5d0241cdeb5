"""Commands that judge the laws on a log: compare and backtest."""

from __future__ import annotations

from typing import Any

import click
import pandas as pd

from cmrplan.backtest import backtest as run_backtest
from cmrplan.command_line.parameters import COUNT, RISE, as_json, print_json, working
from cmrplan.compare import compare as run_compare
from cmrplan.records import read_log

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


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as plain values, with null for what is not a number."""
    plain = table.astype(object)
    rows = plain.where(plain.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _table(table: pd.DataFrame) -> str:
    shown = table.drop(columns="is_law")
    return shown.to_string(index=False, float_format=lambda value: f"{value:.4f}", na_rep="-")
