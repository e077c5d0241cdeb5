"""The learning rate of the full run, where it is to be another than the log's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import nearest_size
from cmrplan.fit.schedule_areas import (
    NUM_PARTS,
    RunSchedule,
    peak_rates,
    rates_fall,
    run_schedules,
)
from cmrplan.numbers import CountOrText, parse_named_count

COSINE_FLOOR = 0.1  # of the peak, where a cosine usually ends
NUM_MOMENTS = 101
SAME_COURSE = 0.1  # of the peak: evaluations stand apart, and the first is after a warm-up
RATE_DIGITS = 0.01  # relative; rates are logged with a few digits
WSD_DECAY = 0.2  # the last part of the steps of warm-up, stable, decay: a fifth, straight to zero

_SHAPES: dict[str, Callable[[Array], Array]] = {
    "constant": np.ones_like,
    "cosine": lambda done: COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + np.cos(np.pi * done)),
    "linear": lambda done: 1 - done,
    "wsd": lambda done: np.minimum(1.0, (1 - done) / WSD_DECAY),
}
COURSES = ("log", *_SHAPES)


@dataclass(frozen=True)
class PlannedSchedule:
    """What is asked of the learning rate of a run.

    Parameters
    ----------
    name : {"log", "constant", "cosine", "linear", "wsd"}
        Its course: that of the log stretched to the run, none, half a cosine to a tenth, straight to zero, or a fifth
        of the steps straight to zero at the end.
    peak_rate : float, optional
        The largest rate; by default that of the log's longest run at the nearest size.
    """

    name: str = "log"
    peak_rate: float | None = None

    def instead_of(self, known: RunSchedule) -> RunSchedule:
        """Return the schedule with the steps of a known one."""
        peak = float(np.max(known.learning_rate))
        planned = known
        if self.name != "log":
            done = (np.arange(NUM_PARTS) + 0.5) / NUM_PARTS
            planned = RunSchedule(
                done * known.train_tokens[-1],
                done * known.step[-1],
                peak * _SHAPES[self.name](done),
            )
        return planned if self.peak_rate is None else planned.times(self.peak_rate / peak)


def under_schedule(fit: Fit, schedule: str = "log", *, peak_rate: CountOrText | None = None) -> Fit:
    """Return a fit whose predictions and plans are of runs with another learning rate.

    Parameters
    ----------
    fit : Fit
        Of a log whose ``learning_rate`` falls within runs or differs between them.
    schedule : {"log", "constant", "cosine", "linear", "wsd"}
        See :class:`PlannedSchedule`.
    peak_rate : float or str, optional
        The largest rate, ``3e-4``.

    Raises
    ------
    InputError
        If there is no such schedule, or the rate is not above 0.
    CmrplanError
        If the fit does not know what the learning rate does, or a decay is asked for and no rate of the log falls.
    """
    if schedule not in COURSES:
        raise InputError(f"schedule must be one of {', '.join(COURSES)}, got {schedule!r}")
    rate = None if peak_rate is None else parse_named_count("peak_rate", peak_rate)
    if schedule == "log" and rate is None:
        return fit
    law = law_of_rates(fit)
    if schedule not in ("log", "constant") and not rates_fall(fit.log):
        raise CmrplanError(
            f"no rate of the log falls within its run, so nothing says what the decay of a {schedule} schedule does; "
            "probe with one, or ask for a constant schedule"
        )
    planned = PlannedSchedule(schedule, rate)
    findings = [f for f in fit.warnings if rate is None or f.code != Code.SEVERAL_PEAKS]
    if rate is not None and not is_probed_peak(fit.log, rate):
        findings.append(_unprobed_peak(fit.log, rate))
    if not any(_is_alike(known, planned) for known in run_schedules(fit.log, law).values()):
        peak = "" if rate else f"; its peak is the log's, {_peaks_text(fit.log)}"
        findings.append(
            Finding(
                Code.EXTRAPOLATES_RATE,
                f"no run of the log had a {schedule} schedule: what it does is carried over from how far and how fast "
                f"the rates of the log fell{peak}; probe with it",
            )
        )
    early = fit.without_early
    if early is not None:  # what it answers stands beside the fit's own answer
        early = replace(early, fit=replace(early.fit, planned=planned.instead_of))
    return replace(fit, planned=planned.instead_of, without_early=early, warnings=tuple(findings))


def _is_alike(known: RunSchedule, planned: PlannedSchedule) -> bool:
    """Tell whether a run had the planned course, whatever its peak."""
    other = planned.instead_of(known)
    at = np.linspace(0, 1, NUM_MOMENTS)
    rates = [
        np.interp(at * s.step[-1], s.step, s.learning_rate) / np.max(s.learning_rate)
        for s in (known, other)
    ]
    return bool(np.max(np.abs(rates[0] - rates[1])) <= SAME_COURSE)


def law_of_rates(fit: Fit) -> str:
    """Return the law of a fit that reads learning rates.

    Raises
    ------
    CmrplanError
        If none does.
    """
    for model in fit.models.values():
        if "s1_cpt" in model.more_columns:
            return model.law
    raise CmrplanError(
        "the fit does not say what another schedule or peak does: the rates of its log neither fall within runs nor "
        "differ between them, or a row has none; probe with one, and log learning_rate"
    )


def is_probed_peak(log: pd.DataFrame, peak_rate: float, model_params: float | None = None) -> bool:
    """Tell whether a peak rate lies among those of the runs of a log, or of the size nearest to one."""
    peaks = peak_rates(log)
    if model_params is not None:
        sizes = peaks.index.get_level_values("model_params")
        peaks = peaks[sizes == nearest_size(np.unique(sizes), model_params)]
    low, high = float(peaks.min()), float(peaks.max())
    return low * (1 - RATE_DIGITS) <= peak_rate <= high * (1 + RATE_DIGITS)


def _unprobed_peak(log: pd.DataFrame, peak_rate: float) -> Finding:
    return Finding(
        Code.EXTRAPOLATES_RATE,
        f"peak_rate = {peak_rate:.3g} lies outside the peaks of the log ({_peaks_text(log)}): a run is taken to get as "
        "far as the sum of its rates says; probe that peak",
    )


def _peaks_text(log: pd.DataFrame) -> str:
    """Return the largest rates of the runs of a log, by their evaluations after the base checkpoint."""
    peaks = peak_rates(log)
    low, high = f"{peaks.min():.3g}", f"{peaks.max():.3g}"
    return low if low == high else f"{low} to {high}"
