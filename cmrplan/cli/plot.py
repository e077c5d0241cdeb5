"""The command ``cmrplan plot``."""

from __future__ import annotations

from typing import Any

import click

from cmrplan.cli.limits import limit_options
from cmrplan.cli.output import print_json, show
from cmrplan.cli.outputs import PICTURE, force_option, out_option
from cmrplan.cli.parameters import COUNT, as_json
from cmrplan.cli.schedule import read_fit_under, schedule_options
from cmrplan.errors import InputError
from cmrplan.plan.plan import plan as make_plan

# What each picture shows; the same names as in cmrplan.plots, which takes half a second to import.
PLOT_KINDS = (
    "ratio",
    "curves",
    "tradeoff",
    "residuals",
    "frontier",
    "critical",
    "risk",
    "panel",
    "next",
)


def complete_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the kinds that begin so, for the shell."""
    return [kind for kind in PLOT_KINDS if kind.startswith(incomplete)]


@click.command()
@click.argument("fit", type=click.Path())
@click.argument("kind", shell_complete=complete_kind)
@out_option("the picture (.png, .svg or .pdf)", PICTURE, required=True)
@click.option("--model-params", type=COUNT, help="Parameters N.  [default: the largest probed]")
@click.option("--train-tokens", type=COUNT, help="Budget D.  [default: the largest probed]")
@limit_options
@schedule_options
@as_json
@force_option
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

    if kind not in PLOT_KINDS:
        raise InputError(f"KIND must be one of {', '.join(PLOT_KINDS)}, got {kind!r}")
    _, fitted = read_fit_under(fit, asked.pop("schedule"), asked.pop("peak_rate"))
    recommended = None
    if asked["max_general_rise"] is not None or asked["general_weight"] is not None:
        rows = fitted.log
        recommended = make_plan(
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
    if recommended is not None or kind not in ("ratio", "curves", "tradeoff", "frontier"):
        where = {}
    picture = plots.figure(kind, fitted, plan=recommended, **where)
    plots.write_figure(picture, out)
    if as_json:
        print_json({"kind": kind, "file": out})
    else:
        show(f"{kind} plot -> {out}")
