"""The options of a question to the planner, which several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cmrplan.cli.parameters import COUNT, FRACTION, RISE, confidence, nats

_LIMITS = (
    click.option(
        "--max-general-rise",
        type=RISE,
        help="Allowed rise of the general loss: 0.05 (nats per token), 3% (of the loss) or 5%ppl (of the perplexity).",
    ),
    nats,
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
        help="Seek the lowest domain loss + this weight times the general loss; 0 for the domain loss alone.",
    ),
)


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that bound the answer to a :class:`~cmrplan.plan.request.PlanRequest`."""
    return confidence(tolerance_options(command))


def tolerance_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of :func:`limit_options` but the confidence."""
    for option in reversed(_LIMITS):
        command = option(command)
    return command
