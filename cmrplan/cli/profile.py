"""The command ``cmrplan profile``."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from cmrplan.cli.output import print_json, working
from cmrplan.cli.parameters import COUNT, FRACTION, as_json, confidence
from cmrplan.errors import InputError
from cmrplan.fit.file import read_fit
from cmrplan.fit.intervals import (
    critical_ratio_interval,
    free_parameters,
    loss_interval,
    parameter_interval,
)
from cmrplan.solve.profile import ProfileInterval


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
