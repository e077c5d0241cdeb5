"""A probe that could be run next has a probed size, a new ratio and one of several lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.fit import Fit

RATIO_STEP = 0.02
FEWEST_STEPS = 10  # a narrower range of ratios is divided more finely
LONGEST_FACTOR = 2.0  # a probe may be this many times as long as the longest of its size
LENGTH_SHARES = (1.0, 0.5, 0.25, 0.125)  # lengths, of the longest probe worth running
FEWEST_EVALUATIONS = 3
RATIO_ROUNDING = 1e-9  # difference below which two ratios are the same


@dataclass(frozen=True)
class Candidates:
    """Runs that could be made, ``c`` of them, each evaluated ``m`` times, at last at its end.

    Parameters
    ----------
    model_params, domain_ratio, train_tokens : array (c,)
    evaluated : array (c, m)
        Token counts of the evaluations, ascending.
    """

    model_params: Array
    domain_ratio: Array
    train_tokens: Array
    evaluated: Array


def candidates_of(fit: Fit, train_tokens: float) -> Candidates:
    """Return the runs worth considering: probed sizes, new ratios within the probed range, several lengths.

    The longest is no longer than the target, and at most twice as long as the longest so far. All are evaluated
    equally often, from the first evaluation of the log on: a fit counts rows, so each run then counts alike.

    Parameters
    ----------
    fit : Fit
    train_tokens : float
        Of the full-scale run.
    """
    tokens = fit.log["train_tokens"]
    rows = fit.log[(tokens > 0) & (tokens >= fit.settings.min_train_tokens)]
    evaluations = rows.groupby("run_id")["train_tokens"].nunique()
    count = max(int(evaluations.median()), FEWEST_EVALUATIONS)
    runs, evaluated = [], []
    for size in np.unique(rows["model_params"].to_numpy(dtype=float)):
        group = rows[rows["model_params"] == size]
        first, last = float(group["train_tokens"].min()), float(group["train_tokens"].max())
        longest = min(LONGEST_FACTOR * last, train_tokens)
        lengths = [share * longest for share in LENGTH_SHARES if share * longest > first]
        for ratio in _new_ratios(
            *fit.probed.ratio_range, group["domain_ratio"].to_numpy(dtype=float)
        ):
            for length in lengths or [longest]:
                runs.append((size, ratio, length))
                evaluated.append(np.geomspace(min(first, length / 2), length, count))
    sizes, ratios, ends = np.array(runs).T
    return Candidates(sizes, ratios, ends, np.array(evaluated))


def _new_ratios(low: float, high: float, used: Array) -> list[float]:
    """Return evenly spaced ratios that were not probed, more closely spaced where most were."""
    steps = max(round((high - low) / RATIO_STEP), FEWEST_STEPS)
    while True:
        ratios = np.round(np.linspace(low, high, steps + 1), 6)
        new = ratios[np.min(np.abs(ratios[:, None] - used[None, :]), axis=1) > RATIO_ROUNDING]
        if len(new) >= steps / 2:
            return [float(ratio) for ratio in new]
        steps *= 2
