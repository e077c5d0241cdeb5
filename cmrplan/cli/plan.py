"""The command ``cmrplan plan``."""

from __future__ import annotations

from typing import Any

import click
import pandas as pd

from cmrplan.cli.limits import limit_options
from cmrplan.cli.output import print_findings, print_json, working
from cmrplan.cli.parameters import COUNT, SIZE_LIST, as_json, out_option
from cmrplan.cli.questions import TABLES, answer_of
from cmrplan.files import write_json
from cmrplan.fit.file import read_fit
from cmrplan.report.tables import plain_rows, table_text
from cmrplan.report.text import plan_text


@click.command()
@click.argument("fit", type=click.Path())
@click.option("--model-params", type=COUNT, help="Parameters N, counted as in the log: 1.8B.")
@click.option(
    "--sizes",
    type=SIZE_LIST,
    help="Choose N among these (100M,300M,1B) or between two (100M..1B): the best for --compute, or the "
    "smallest for --target-domain-loss.",
)
@click.option("--train-tokens", type=COUNT, help="Budget D in tokens: 10B.")
@click.option(
    "--compute",
    help="Budget in FLOPs, 6 a parameter and token, or in GPU-hours: 1e21 or 500gpu-hours.",
)
@click.option(
    "--gpu-flops",
    type=COUNT,
    help="FLOP/s that one GPU really does in your training; needed for GPU-hours.",
)
@click.option(
    "--target-domain-loss",
    type=COUNT,
    help="Find the fewest tokens, or the smallest of --sizes, that reach this domain loss.",
)
@limit_options
@click.option(
    "--table",
    "tables",
    type=click.Choice(list(TABLES)),
    multiple=True,
    help="Also print a table; may be given again. panel and sensitivity fit anew and take a while.",
)
@out_option("the plan (JSON)")
@as_json
def plan(fit: str, out: str | None, as_json: bool, tables: tuple[str, ...], **asked: Any) -> None:
    """Recommend the domain ratio of a full-scale run.

    The ratio has the lowest domain loss among those that keep the rise of the general loss within
    the tolerance with the asked confidence, and every other limit. With --domain-tokens and neither
    --train-tokens nor --compute, the run's length follows from the ratio: it uses them up.
    """
    fitted = read_fit(fit)
    answer = answer_of(fitted, **asked)
    recommended = answer.plan
    shown: dict[str, pd.DataFrame] = {}
    with working() as say:
        for name in tables:
            shown[name], findings = TABLES[name](fitted, recommended, say)
            recommended = recommended.with_findings(findings)
    result = recommended.as_dict() | answer.extra
    if shown:
        result["tables"] = {name: plain_rows(table) for name, table in shown.items()}
    if out:
        write_json(out, result)
    if as_json:
        print_json(result)
        return
    click.echo("\n".join([*answer.lines, plan_text(recommended)]))
    for name, table in shown.items():
        click.echo(f"\n{name}\n{table_text(table)}")
    print_findings(recommended.warnings)
    if out:
        click.echo(f"plan -> {out}")
