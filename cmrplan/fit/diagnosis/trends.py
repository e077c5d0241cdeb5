"""Whether what a fit leaves over depends on something: size, tokens, ratio or seed.

A law that follows the data leaves residuals that know nothing of its inputs. The evaluations of one run share
its noise, so runs are what is counted. Against size, ratio and seed, the mean residual of each run is regressed
on one level each, or, where levels are not repeated, on the rank and its square (a law has taken out what is straight);
the variance explained is compared with that after shuffling the runs. Against tokens, the residuals of each run, less
their mean, are regressed on log D and its square; the mean course over runs is compared with that after flipping the
signs of whole runs. The straight part of each run's course is looked at against size and ratio as the run means are:
courses that fan out say that the law ties tokens to size or ratio in the wrong way. Where runs have fewer than three
token counts, tokens are looked at between runs, as size and ratio are. Shuffles are always the same
ones. The tests of a corpus are corrected together by Holm's method.

The noise between runs bends the law, and with it every course, by about as much as it is. Courses of less than twice
that noise therefore do not count, however regular they are.

What the law bends toward makes residuals smaller in smooth directions, so the tests say too little rather than too
much. The order of the rows in a log says nothing, so it is not looked at.

References
----------
Winkler et al. 2014 (permutation and sign flipping by exchangeable blocks); Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.diagnosis.thresholds import ALPHA, FEWEST_RUNS, ROUNDING_OF_LOSS

NUM_SHUFFLES = 1999  # the smallest p-value is 1/2000, or 7/2000 when corrected for seven tests
FEWEST_COURSE_TOKENS = 3  # of each run, for its course
LEAST_COURSE = 2.0  # times the noise between runs

Variable = Literal[
    "model_params",
    "domain_ratio",
    "seed",
    "train_tokens",
    "train_tokens by model_params",
    "train_tokens by domain_ratio",
]
_REMEDIES: dict[Variable, str] = {
    "model_params": "the law does not follow the sizes: fit the plan's size alone (--model-params), or compare laws",
    "domain_ratio": "the law does not follow the ratios: compare laws",
    "seed": "runs of one seed share noise, which makes the intervals too narrow: add seeds",
    "train_tokens": "the law does not follow the course of training: look at early evaluations and a decaying "
    "schedule, or compare laws",
    "train_tokens by model_params": "the course of training differs between sizes as the law does not: fit the plan's "
    "size alone (--model-params), and do not trust larger budgets",
    "train_tokens by domain_ratio": "the course of training differs between ratios as the law does not: compare laws, "
    "and do not trust larger budgets",
}
_FANS: dict[Variable, Variable] = {
    "train_tokens by model_params": "model_params",
    "train_tokens by domain_ratio": "domain_ratio",
}


@dataclass(frozen=True)
class Trend:
    """How residuals depend on one variable.

    Parameters
    ----------
    variable : str
    size : float
        Span of the fitted course over the runs or tokens, nats per token.
    p_value : float
        Corrected for the other variables of the corpus.
    """

    variable: Variable
    size: float
    p_value: float


def residual_trends(rows: pd.DataFrame, residual: Array) -> list[Trend]:
    """Return how residuals depend on each variable that can be looked at.

    Parameters
    ----------
    rows : DataFrame
        Rows of one corpus; ``seed`` is optional.
    residual : array (n,)
        Observed less fitted loss, nats per token.
    """
    run_of, names = pd.factorize(rows["run_id"])
    if (
        len(names) < FEWEST_RUNS
        or np.max(np.abs(residual)) < ROUNDING_OF_LOSS * rows["loss"].mean()
    ):
        return []
    unit = float(np.max(np.abs(residual)))
    residual = residual / unit
    tokens = np.log(rows["train_tokens"].to_numpy(dtype=float))
    has_courses = _varies_in_each(tokens, run_of)
    variables: tuple[Variable, ...] = ("model_params", "domain_ratio")
    if not has_courses:
        variables = (*variables, "train_tokens")
    designs = _designs(rows.drop_duplicates("run_id"), variables)
    means = np.bincount(run_of, residual) / np.bincount(run_of)
    trends = _between_runs(designs, means)
    if has_courses:
        within = residual - means[run_of]
        slopes, span = _slopes(tokens, run_of, within), float(np.ptp(tokens))
        fans = {fan: designs[name] for fan, name in _FANS.items() if name in designs}
        courses = [_course(tokens, run_of, within), *_between_runs(fans, slopes * span)]
        least = LEAST_COURSE * float(np.std(means))
        trends += [c if c.size > least else replace(c, p_value=1.0) for c in courses]
    return _holm([replace(trend, size=trend.size * unit) for trend in trends])


def trend_findings(corpus: str, trends: list[Trend]) -> list[Finding]:
    """Return a finding for each trend that is improbable without one."""
    return [
        Finding(
            Code.RESIDUAL_TREND,
            f"what the fit of the {corpus} loss leaves over depends on {trend.variable}, by {trend.size:.2g} nats over "
            f"the log (p = {trend.p_value:.1g}): {_REMEDIES[trend.variable]}",
        )
        for trend in trends
        if trend.p_value < ALPHA
    ]


def _generator() -> np.random.Generator:
    return np.random.Generator(np.random.Philox(0))


def _designs(runs: pd.DataFrame, variables: Sequence[Variable]) -> dict[Variable, Array]:
    """Return the columns to regress run means on, by variable, each ``(R, m)``."""
    designs: dict[Variable, Array] = {}
    for variable in variables:
        level, levels = pd.factorize(runs[variable], sort=True)
        if len(levels) > 1:
            designs[variable] = _levels_or_bend(level)
    if "seed" in runs and runs["seed"].notna().all():
        level, seeds = pd.factorize(runs["seed"])
        if len(seeds) > 1 and np.bincount(level).min() > 1:
            designs["seed"] = _levels_or_bend(level)
    return designs


def _levels_or_bend(level: NDArray[np.intp]) -> Array:
    """Return one column for each level, or a parabola where some level has one run."""
    if np.bincount(level).min() == 1:
        return _bend(level.astype(float))
    return np.asarray(level[:, None] == np.arange(level.max() + 1), dtype=float)


def _bend(values: Array) -> Array:
    """Return a variable, centered, and its square: columns of a parabola."""
    centered = (values - values.mean()) / values.std()
    return np.stack([centered, centered**2], axis=1)


def _between_runs(designs: dict[Variable, Array], values: Array) -> list[Trend]:
    """Test one value a run, ``(R,)``, against the columns of each design by shuffling the runs."""
    centered = values - values.mean()
    shuffled = _generator().permuted(np.tile(centered, (NUM_SHUFFLES, 1)), axis=1)
    trends = []
    for variable, design in designs.items():
        basis = _basis(design - design.mean(axis=0))
        course = basis @ (basis.T @ centered)
        explained = np.sum((shuffled @ basis) ** 2, axis=1)
        p_value = _p_value(float(course @ course), explained)
        trends.append(Trend(variable, float(np.ptp(course)), p_value))
    return trends


def _varies_in_each(values: Array, run_of: NDArray[np.intp]) -> bool:
    """Return whether every run has three values or more."""
    return bool(pd.Series(values).groupby(run_of).nunique().min() >= FEWEST_COURSE_TOKENS)


def _slopes(tokens: Array, run_of: NDArray[np.intp], residual: Array) -> Array:
    """Return the slope of each run's residuals over its log tokens, ``(R,)``."""
    centered = _within(tokens[:, None], run_of)[:, 0]
    return np.bincount(run_of, centered * residual) / np.bincount(run_of, centered**2)


def _course(tokens: Array, run_of: NDArray[np.intp], residual: Array) -> Trend:
    """Test the mean course of the residuals within runs by flipping the signs of runs."""
    basis = _basis(_within(_bend(tokens), run_of))
    pulls = np.stack([np.bincount(run_of, residual * column) for column in basis.T], axis=1)
    signs = _generator().choice([-1.0, 1.0], size=(NUM_SHUFFLES, len(pulls)))
    total = pulls.sum(axis=0)
    flipped = np.sum((signs @ pulls) ** 2, axis=1)
    p_value = _p_value(float(total @ total), flipped)
    return Trend("train_tokens", float(np.ptp(basis @ total)), p_value)


def _within(columns: Array, run_of: NDArray[np.intp]) -> Array:
    """Return columns less their mean in each run."""
    count = np.bincount(run_of)
    means = np.stack([np.bincount(run_of, column) / count for column in columns.T], axis=1)
    return np.asarray(columns - means[run_of])


def _basis(columns: Array) -> Array:
    """Return an orthonormal basis of what columns span; two levels make a parabola a line."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > 1e-9 * singular[0]])


def _p_value(effect: float, shuffled: Array) -> float:
    # Rounding must not tell apart shuffles that leave the statistic as it is.
    return float((1 + np.sum(shuffled >= effect * (1 - 1e-9))) / (1 + len(shuffled)))


def _holm(trends: list[Trend]) -> list[Trend]:
    """Return the trends with p-values corrected for their number."""
    order = np.argsort([trend.p_value for trend in trends], kind="stable")
    corrected = np.ones(len(trends))
    largest = 0.0
    for rank, k in enumerate(order):
        largest = max(largest, min((len(trends) - rank) * trends[k].p_value, 1.0))
        corrected[k] = largest
    return [replace(trend, p_value=float(p)) for trend, p in zip(trends, corrected, strict=True)]
