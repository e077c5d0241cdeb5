"""The command ``cmrplan backtest``."""

from __future__ import annotations

from typing import Any

import click

from cmrplan.cli.output import line_width, print_findings, print_json, show, working
from cmrplan.cli.parameters import COUNT, RISE, as_json, min_train_tokens
from cmrplan.log.cut_off import cut_off_findings_of
from cmrplan.log.files import read_log_to_fit
from cmrplan.report.tables import errors_text, plain_rows
from cmrplan.validate.backtest import backtested
from cmrplan.validate.backtest_words import backtest_verdict, left_out_lines


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
    rows = read_log_to_fit(log, both=True)
    with working() as say:
        whole = backtested(rows, min_train_tokens=min_train_tokens or 0.0, progress=say, **asked)
    table = whole.table
    if as_json:
        skipped = {f"{window}/{name}": reason for (window, name), reason in whole.skipped.items()}
        print_json(
            {"rows": plain_rows(table), "verdict": backtest_verdict(table), "skipped": skipped}
        )
    else:
        show("target: the largest model at its largest budget; errors in nats per token")
        show(errors_text(table, line_width(err=False)), is_table=True)
        show(f"verdict: {backtest_verdict(table)}")
        for line in left_out_lines(whole.skipped, whole.num_windows):
            show(line, err=True)
    print_findings(cut_off_findings_of(log))
