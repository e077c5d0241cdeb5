"""The options that say the learning rate of the full run, and the fit under it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cmrplan.cli.parameters import COUNT
from cmrplan.fit.file import read_fit
from cmrplan.fit.fit import Fit
from cmrplan.fit.planned_schedule import COURSES, under_schedule


def schedule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the learning rate of the full run."""
    command = click.option(
        "--peak-rate",
        type=COUNT,
        help="Its largest rate: 3e-4.  [default: the log's]",
    )(command)
    return click.option(
        "--schedule",
        type=click.Choice(COURSES),
        default="log",
        show_default=True,
        help="Learning rate of the run, for logs whose learning_rate falls or differs: as in the log, stretched to the "
        "run; constant; cosine (to a tenth); linear (to zero); or wsd (to zero over the last fifth).",
    )(command)


def read_fit_under(path: str, schedule: str, peak_rate: float | None) -> tuple[Fit, Fit]:
    """Return the fit of a file, and the same for runs with the asked learning rate."""
    is_asked = bool(schedule_record(schedule, peak_rate))
    fit = read_fit(path)
    if not is_asked:
        return fit, fit
    return fit, under_schedule(fit, schedule, peak_rate=peak_rate)


def schedule_record(schedule: str, peak_rate: float | None) -> dict[str, Any]:
    """Return what JSON says of the asked learning rate: nothing where it is the log's."""
    if schedule == "log" and peak_rate is None:
        return {}
    return {"schedule": schedule, "peak_rate": peak_rate}
