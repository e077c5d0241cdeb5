"""The learning-rate areas S1 and S2 of the runs of a log, for the learning-rate-aware law.

A row says the rate of the last step before it. Between two rows of a run the rate is taken to change linearly from step
to step, before the first row to be that of the first, and beyond the last to stay as it is. The areas are then those of
:func:`cmrplan.laws.learning_rate.schedule_areas`, in units of the rate times steps. Where the log has no ``step``, a
step is taken to be 2**20 tokens. A run that begins with rising rates warms up, which S1 counts and S2 does not: else a
log with an evaluation in the warm-up would have other areas than one that begins after it.

A prediction by a learning-rate-aware law follows the schedule of the log's longest run, its last rate going on. By the
default it is of a finished run: that schedule, stretched to the tokens of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding, InputError
from cmrplan.laws.learning_rate import ANNEALING_DECAY, schedule_areas
from cmrplan.log.schedules import SAME_RATE

ASSUMED_STEP_TOKENS = 2.0**20
AREA_COLUMNS = ("s1_cpt", "s2_cpt")
COOLED = "cooled"  # by what part of the largest rate of its run so far the rate has fallen
MOST_STEPS = 10**7  # an array of them is 80 MB
NUM_PARTS = 4000  # of a stretched schedule
PEAKS_APART = 1.5  # runs of one schedule whose first evaluations are as early differ by less
EARLY = 0.25  # of a run, by which a rate has hardly fallen


@dataclass(frozen=True)
class RunSchedule:
    """The learning rate of one run where it was logged.

    Parameters
    ----------
    train_tokens, step, learning_rate : array (k,)
        Ascending, all tokens above 0.
    """

    train_tokens: Array
    step: Array
    learning_rate: Array

    def areas(self, train_tokens: Array) -> tuple[Array, Array]:
        """Return S1 and S2 at token counts, each ``(n,)``."""
        known_tokens = np.concatenate([[0.0], self.train_tokens])
        known_step = np.concatenate([[0.0], self.step])
        beyond = self.step[-1] * train_tokens / self.train_tokens[-1]
        within = np.interp(train_tokens, known_tokens, known_step)
        step = np.where(train_tokens > self.train_tokens[-1], beyond, within)
        last = int(np.ceil(step.max()))
        if last > MOST_STEPS:
            raise InputError(f"a schedule may have {MOST_STEPS} steps at most, got {last}")
        steps = np.arange(max(last, 1) + 1.0)
        s1 = np.cumsum(np.interp(steps[1:], self.step, self.learning_rate))
        _, s2 = schedule_areas(np.interp(steps[1:], self.step, self._warmed_up))
        return (
            np.interp(step, steps, np.concatenate([[0.0], s1])),
            np.interp(step, steps, np.concatenate([[0.0], s2])),
        )

    @property
    def _warmed_up(self) -> Array:
        """The rates with those of a warm-up at its end, ``(k,)``."""
        falls = np.flatnonzero(np.diff(self.learning_rate) < 0)
        end = int(falls[0]) if len(falls) else len(self.learning_rate) - 1
        rates = self.learning_rate.copy()
        rates[:end] = rates[end]
        return rates

    def times(self, factor: float) -> RunSchedule:
        """Return the schedule with all rates multiplied."""
        return replace(self, learning_rate=factor * self.learning_rate)

    def at(self, train_tokens: Array, is_finished: bool) -> dict[str, Array]:
        """Return the areas by column: of runs that end there, or of an evaluation within this run."""
        if is_finished:
            return self.finished(train_tokens)
        return dict(zip(AREA_COLUMNS, self.areas(train_tokens), strict=True))

    def finished(self, train_tokens: Array) -> dict[str, Array]:
        """Return S1, S2 and how far the rate has fallen at the end of runs with these tokens, each ``(n,)``.

        The schedule is stretched to them.
        """
        part = (np.arange(NUM_PARTS) + 0.5) / NUM_PARTS
        rate, warm = (
            np.interp(part * self.step[-1], self.step, rates)
            for rates in (self.learning_rate, self._warmed_up)
        )
        steps = self.step[-1] * train_tokens / self.train_tokens[-1]
        # A drop by d at step k adds d (1 - decay^(n - k)) / (1 - decay) to S2 after step n.
        left = (1 - part[1:]) * steps[:, None]
        lasting = -np.expm1(np.log(ANNEALING_DECAY) * left) / (1 - ANNEALING_DECAY)
        fallen = 1 - self.learning_rate[-1] / np.max(self.learning_rate)
        areas = steps * np.mean(rate), lasting @ -np.diff(warm)
        return {**dict(zip(AREA_COLUMNS, areas, strict=True)), COOLED: np.full_like(steps, fallen)}


@dataclass(frozen=True)
class RateScales:
    """What the areas of the learning rate are counted in, by size: rates and batches mostly go by size.

    Parameters
    ----------
    model_params : tuple of float
        The probed sizes.
    tokens_per_rate : tuple of float
        Tokens per unit of S1 at the ends of its runs.
    largest_area : tuple of float
        The largest S2, in magnitude.
    """

    model_params: tuple[float, ...]
    tokens_per_rate: tuple[float, ...]
    largest_area: tuple[float, ...]

    def tokens(self, model_params: Array, s1: Array) -> Array:
        """Return the tokens that are trained on at the usual rates of a size for these S1, ``(n,)``."""
        return np.asarray(s1 * np.array(self.tokens_per_rate)[self._nearest(model_params)])

    def annealed(self, model_params: Array, s2: Array) -> Array:
        """Return S2 over the largest of the size, ``(n,)``."""
        return np.asarray(s2 / np.array(self.largest_area)[self._nearest(model_params)])

    def _nearest(self, model_params: Array) -> NDArray[np.intp]:
        sizes = np.log(self.model_params)
        away = np.abs(np.log(np.asarray(model_params))[:, None] - sizes)
        return np.asarray(np.argmin(away, axis=1), dtype=np.intp)


def with_cooled(log: pd.DataFrame) -> pd.DataFrame:
    """Return the log with the column ``cooled``, 0 at the base checkpoint."""
    rate = log["learning_rate"].where(log["train_tokens"] > 0)
    return log.assign(**{COOLED: (1 - rate / _largest_so_far(log)).fillna(0.0)})


def _largest_so_far(log: pd.DataFrame) -> Array:
    """Return the largest rate of its run up to each row, ``(n,)``: what rises in a warm-up has not fallen."""
    order = np.argsort(log["train_tokens"].to_numpy(dtype=float), kind="stable")
    rows = log.iloc[order]
    rate = rows["learning_rate"].where(rows["train_tokens"] > 0)
    largest = np.empty(len(log))
    largest[order] = rate.groupby(rows["run_id"]).cummax().to_numpy(dtype=float)
    return largest


def has_known_decay(log: pd.DataFrame) -> bool:
    """Tell whether every row says its rate, and it falls within runs or differs between those of one size.

    A warm-up is no fall. Another rate at another size is usual and says nothing of schedules. Rows of cooldown branches
    are ends of runs of their own, which the rates between them do not show.
    """
    rows = log[log["train_tokens"] > 0]
    if "learning_rate" not in rows or rows["learning_rate"].isna().any() or not len(rows):
        return False
    if not (peak_rates(rows) > 0).all():
        return False
    if "schedule" in rows and rows["schedule"].astype(str).str.contains("branch").any():
        return False
    peaks = peak_rates(rows).groupby(level=0)
    return rates_fall(rows) or bool((peaks.min() < SAME_RATE * peaks.max()).any())


def rates_fall(log: pd.DataFrame) -> bool:
    """Tell whether the rate falls within a run of the log; a warm-up is no fall."""
    rows = log[log["train_tokens"] > 0]
    return bool((rows["learning_rate"] < SAME_RATE * _largest_so_far(rows)).any())


def peak_rates(log: pd.DataFrame) -> pd.Series:
    """Return the largest rate of each run, by ``model_params`` and ``run_id``."""
    rows = log[log["train_tokens"] > 0]
    return rows.groupby(["model_params", "run_id"])["learning_rate"].max()


def peak_findings(log: pd.DataFrame, law: str) -> list[Finding]:
    """Return a remark for each size whose runs had different peaks: an answer is of one of them.

    Compared are runs that were first evaluated after the same part of their length, or early: after more of a decay,
    the largest rate that was evaluated is lower.
    """
    findings = []
    tokens = log[log["train_tokens"] > 0].groupby(["model_params", "run_id"])["train_tokens"]
    part = (tokens.min() / tokens.max()).clip(lower=EARLY).round(2).rename("part")
    alike = peak_rates(log).groupby([pd.Grouper(level="model_params"), part]).agg(["min", "max"])
    apart = alike[alike["max"] > PEAKS_APART * alike["min"]].groupby(level="model_params").first()
    for size, low, high in apart.itertuples():
        taken = np.max(longest_schedule(log, law, size).learning_rate)
        findings.append(
            Finding(
                Code.SEVERAL_PEAKS,
                f"runs of {size:.4g} parameters had peak rates from {low:.3g} to {high:.3g}; an answer is "
                f"of a run with {taken:.3g}, the lowest of the longest runs: give --peak-rate for another",
            )
        )
    return findings


def run_schedules(log: pd.DataFrame, law: str) -> dict[str, RunSchedule]:
    """Return the schedule of each run of a log, by ``run_id``.

    Raises
    ------
    InputError
        If a row after the base checkpoint has no learning rate.
    """
    rows = _rated_rows(log, law)
    has_steps = "step" in rows and bool(rows["step"].notna().all())
    schedules = {}
    for run, group in rows.groupby("run_id", sort=False):
        ordered = group.drop_duplicates("train_tokens").sort_values("train_tokens")
        tokens = ordered["train_tokens"].to_numpy(dtype=float)
        step = ordered["step"].to_numpy(dtype=float) if has_steps else tokens / ASSUMED_STEP_TOKENS
        rate = ordered["learning_rate"].to_numpy(dtype=float)
        schedules[str(run)] = RunSchedule(tokens, step, rate)
    return schedules


def _rated_rows(log: pd.DataFrame, law: str) -> pd.DataFrame:
    """Return the rows after the base checkpoint; refuse those of which one has no learning rate."""
    rows = log[log["train_tokens"] > 0]
    if "learning_rate" not in rows or rows["learning_rate"].isna().any():
        raise InputError(
            f"the law {law} reads the column learning_rate, which every row after the base checkpoint needs: the rate "
            "of the last step before it"
        )
    return rows


def with_areas(log: pd.DataFrame, law: str) -> pd.DataFrame:
    """Return the log with the columns ``s1_cpt`` and ``s2_cpt``, 0 at the base checkpoint."""
    areas = np.zeros((2, len(log)))
    tokens = log["train_tokens"].to_numpy(dtype=float)
    runs = log["run_id"].astype(str).to_numpy()
    for run, schedule in run_schedules(log, law).items():
        mine = (runs == run) & (tokens > 0)
        areas[:, mine] = schedule.areas(tokens[mine])
    return log.assign(s1_cpt=areas[0], s2_cpt=areas[1])


def longest_schedule(log: pd.DataFrame, law: str, model_params: float) -> RunSchedule:
    """Return the schedule that predictions of a size follow: the longest, and of several that with the lowest rates.

    Of the runs of the probed size that is nearest, since rates and batches mostly go by size.
    """
    away = np.abs(np.log(log["model_params"].to_numpy(dtype=float) / model_params))
    rows = _rated_rows(log[away <= away.min() + SAME_SIZE], law)
    runs = rows.drop_duplicates(["run_id", "train_tokens"]).groupby("run_id", sort=False)
    longest = runs["train_tokens"].max() == rows["train_tokens"].max()
    chosen = runs["learning_rate"].sum()[longest].idxmin()
    (schedule,) = run_schedules(rows[rows["run_id"] == chosen], law).values()
    return schedule
