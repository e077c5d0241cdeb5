"""The command ``cmrplan profile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import numpy as np

from cmrplan.cli.output import print_findings, print_json, show, working
from cmrplan.cli.parameters import COUNT, FRACTION, as_json, confidence
from cmrplan.errors import Finding, InputError
from cmrplan.fit.file import read_fit
from cmrplan.fit.fit import Fit
from cmrplan.fit.intervals import (
    critical_ratio_interval,
    free_parameters,
    loss_interval,
    parameter_interval,
    profiled_law,
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
    follows curved valleys and says which side the log leaves open. One law of each loss is profiled: where the fit
    predicts by several, or by a residual above them, the first of the laws, and that is said.
    """
    fitted = read_fit(fit)
    findings: list[Finding] = []
    with working() as say:
        if domain_ratio is not None or general_loss_limit is not None:
            if model_params is None or train_tokens is None:
                raise InputError(
                    "--domain-ratio and --general-loss-limit need --model-params and --train-tokens"
                )
            setting = {"model_params": model_params, "train_tokens": train_tokens}
            intervals = _at_setting(fitted, setting, domain_ratio, general_loss_limit, confidence)
            findings = fitted.probed.extrapolation_findings(
                **setting, domain_ratio=domain_ratio, by_laws=True
            )
        else:
            intervals = _of_parameters(fitted, names, confidence, say)
    laws = {corpus: profiled_law(fitted, corpus) for corpus, _ in intervals}
    if as_json:
        rows = [_interval_record(corpus, laws[corpus], interval) for corpus, interval in intervals]
        record = {"confidence": confidence, "law": fitted.law, "intervals": rows}
        print_json(record | {"warnings": [finding.as_dict() for finding in findings]})
        return
    show(f"{100 * confidence:g} % profile intervals; < or > marks a side that the log leaves open")
    for corpus, interval in intervals:
        low = f"{'<' if interval.is_open[0] else ''}{interval.low:.5g}"
        high = f"{'>' if interval.is_open[1] else ''}{interval.high:.5g}"
        show(f"  {corpus:<8} {interval.name:<15}{interval.estimate:>12.5g}   {low} to {high}")
    for corpus, law in laws.items():
        if law != fitted.models[corpus].law:
            show(
                f"the {corpus} loss is that of the law {law} alone, while predict and plan take "
                f"{fitted.models[corpus].law}: their numbers differ"
            )
    print_findings(findings)


def _at_setting(
    fit: Fit,
    setting: dict[str, float],
    domain_ratio: float | None,
    general_loss_limit: float | None,
    confidence: float,
) -> list[tuple[str, ProfileInterval]]:
    """Return the intervals of both losses at a ratio, and of the ratio at which the general loss reaches its limit."""
    intervals = []
    if domain_ratio is not None:
        for corpus in fit.models:
            loss = loss_interval(
                fit, corpus, **setting, domain_ratio=domain_ratio, confidence=confidence
            )
            intervals.append((corpus, loss))
    if general_loss_limit is not None:
        ratio = critical_ratio_interval(
            fit, **setting, general_loss_limit=general_loss_limit, confidence=confidence
        )
        intervals.append(("general", ratio))
    return intervals


def _of_parameters(
    fit: Fit, names: tuple[str, ...], confidence: float, say: Callable[[str], None]
) -> list[tuple[str, ProfileInterval]]:
    """Return the intervals of the named parameters, of every free one where none is named.

    Raises
    ------
    InputError
        If a name is no free parameter of any fitted law.
    """
    free = {corpus: free_parameters(fit, corpus) for corpus in fit.models}
    known = {name for own in free.values() for name in own}
    unknown = set(names) - known
    if unknown:
        raise InputError(
            f"--parameter {min(unknown)}: no fitted law has this free parameter; there are "
            + ", ".join(sorted(known))
        )
    intervals = []
    for corpus, own in free.items():
        for name in [n for n in names if n in own] if names else own:
            say(f"{corpus} {name}")
            intervals.append((corpus, parameter_interval(fit, corpus, name, confidence=confidence)))
    return intervals


def _interval_record(corpus: str, law: str, interval: ProfileInterval) -> dict[str, Any]:
    """Return an interval as plain values, with null for an end without bound."""
    return {
        "corpus": corpus,
        "law": law,
        "name": interval.name,
        "estimate": interval.estimate,
        "low": interval.low if np.isfinite(interval.low) else None,
        "high": interval.high if np.isfinite(interval.high) else None,
        "is_open": list(interval.is_open),
    }
