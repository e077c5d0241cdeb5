"""Commands that decide from a fit: plan and plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import pandas as pd

from cmrplan.cli.parameters import (
    COUNT,
    FRACTION,
    RISE,
    SIZES,
    as_json,
    confidence,
    out_option,
    print_findings,
    print_json,
    working,
)
from cmrplan.cli.questions import TABLES, answer_of
from cmrplan.errors import InputError
from cmrplan.files import write_json
from cmrplan.fit.file import read_fit
from cmrplan.plan.plan import plan as make_plan
from cmrplan.report.tables import plain_rows, table_text
from cmrplan.report.text import plan_text

_LIMITS = (
    click.option(
        "--max-general-rise",
        type=RISE,
        help="Allowed rise of the general loss: 0.05 (nats per token), 3% (of the loss) or 5%ppl (of the perplexity).",
    ),
    click.option(
        "--rise-over",
        type=click.Choice(["base", "replay"]),
        default="base",
        show_default=True,
        help="Measure it over the base checkpoint, or over a run of the same tokens on general data alone.",
    ),
    click.option("--base-loss", type=COUNT, help="General loss of the base.  [default: the log's]"),
    click.option("--domain-tokens", type=COUNT, help="Unique tokens of the domain corpus."),
    click.option(
        "--max-epochs", type=COUNT, default=1.0, show_default=True, help="Passes allowed over them."
    ),
    click.option("--min-ratio", type=FRACTION, help="Floor of the domain ratio."),
    click.option("--max-ratio", type=FRACTION, help="Ceiling of the domain ratio."),
    click.option(
        "--turning-point",
        type=float,
        metavar="LAMBDA",
        help="Also ask that the objective with this weight turns down in time (inf: the general loss "
        "itself); needs a fit with --law cmr.",
    ),
    click.option(
        "--general-weight",
        type=click.FloatRange(min=0),
        default=0.0,
        show_default=True,
        help="Seek the lowest domain loss + this weight times the general loss.",
    ),
    confidence,
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that are the fields of :class:`~cmrplan.plan.request.Limits`."""
    for option in reversed(_LIMITS):
        command = option(command)
    return command


@click.command()
@click.argument("fit", type=click.Path())
@click.option("--model-params", type=COUNT, help="Parameters N, counted as in the log: 1.8B.")
@click.option(
    "--sizes",
    type=SIZES,
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
    made = answer.plan
    shown: dict[str, pd.DataFrame] = {}
    with working() as say:
        for name in tables:
            shown[name], findings = TABLES[name](fitted, made, say)
            made = made.with_findings(findings)
    result = made.as_dict() | answer.found
    if shown:
        result["tables"] = {name: plain_rows(table) for name, table in shown.items()}
    if out:
        write_json(out, result)
    if as_json:
        print_json(result)
        return
    click.echo("\n".join([*answer.lines, plan_text(made)]))
    for name, table in shown.items():
        click.echo(f"\n{name}\n{table_text(table)}")
    print_findings(made.warnings)
    if out:
        click.echo(f"plan -> {out}")


@click.command()
@click.argument("fit", type=click.Path())
@click.argument("kind")
@out_option("the picture (.png, .svg or .pdf)", required=True)
@click.option("--model-params", type=COUNT, help="Parameters N.  [default: the largest probed]")
@click.option("--train-tokens", type=COUNT, help="Budget D.  [default: the largest probed]")
@limit_options
@as_json
def plot(
    fit: str,
    kind: str,
    out: str,
    model_params: float | None,
    train_tokens: float | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Draw a picture of a fit, with a plan where a limit is given.

    \b
    ratio       losses against the domain ratio
    curves      losses against tokens
    tradeoff    domain loss against the rise of the general loss
    residuals   what the fit leaves over
    frontier    what each tolerance allows
    critical    the recommended ratio against tokens and size
    risk        the chance to break the tolerance
    panel       every law's answer to the same question
    next        what one more probe would bring
    """  # noqa: D301 (click reads the \b)
    from cmrplan import plots

    if kind not in plots.KINDS:
        raise InputError(f"KIND must be one of {', '.join(plots.KINDS)}, got {kind!r}")
    fitted = read_fit(fit)
    made = None
    if asked["max_general_rise"] is not None:
        rows = fitted.log
        made = make_plan(
            fitted,
            model_params=model_params or float(rows["model_params"].max()),
            train_tokens=train_tokens or float(rows["train_tokens"].max()),
            **asked,
        )
    where = {
        "model_params": model_params,
        "train_tokens": train_tokens,
        "confidence": asked["confidence"],
    }
    if made is not None or kind not in ("ratio", "curves", "tradeoff", "frontier"):
        where = {}
    picture = plots.figure(kind, fitted, plan=made, **where)
    plots.write_figure(picture, out)
    if as_json:
        print_json({"kind": kind, "file": out})
    else:
        click.echo(f"{kind} plot -> {out}")
