"""A probe that could be run next has a probed or a given size, a new ratio and one of several lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.fit import Fit
from cmrplan.fit.probed import is_among

RATIO_STEP = 0.05
NUM_AROUND = (
    12  # ratios over the interval of the best one, so that runs can stand where it is decided
)
FEWEST_STEPS = 10  # a narrower range of ratios is divided more finely
LONGEST_FACTOR = 4.0  # a probe may be this many times as long as the longest of its size
LENGTH_SHARES = (1.0, 0.5, 0.25, 0.125, 0.0625)  # lengths, of the longest probe worth running
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


def candidates_of(
    fit: Fit,
    train_tokens: float,
    more_sizes: Sequence[float] = (),
    around: tuple[float, float] | None = None,
) -> Candidates:
    """Return the runs worth considering: new ratios within the probed range, and several lengths, at each size.

    The longest is no longer than the target, and at most four times as long as the longest so far of its size, or of
    all where the size was not probed. All are evaluated equally often, from the first evaluation of the log on: a fit
    counts rows, so each run then counts alike.

    Parameters
    ----------
    fit : Fit
    train_tokens : float
        Of the full-scale run.
    more_sizes : sequence of float
        Sizes that could be probed beside those that were.
    around : tuple of float, optional
        Interval of the best ratio, over which ratios are more closely spaced.
    """
    tokens = fit.log["train_tokens"]
    rows = fit.log[(tokens > 0) & (tokens >= fit.settings.min_train_tokens)]
    evaluations = rows.groupby("run_id")["train_tokens"].nunique()
    count = max(int(evaluations.median()), FEWEST_EVALUATIONS)
    runs, evaluated = [], []
    sizes = np.unique(rows["model_params"].to_numpy(dtype=float))
    others = [size for size in more_sizes if not is_among(sizes, size)]
    for size in np.unique([*sizes, *others]):
        own = rows[rows["model_params"] == size]
        group = own if len(own) else rows
        first, last = float(group["train_tokens"].min()), float(group["train_tokens"].max())
        longest = min(LONGEST_FACTOR * last, train_tokens)
        lengths = [share * longest for share in LENGTH_SHARES if share * longest > first]
        used = own["domain_ratio"].to_numpy(dtype=float)
        for ratio in _new_ratios(*fit.probed.ratio_range, used, around):
            for length in lengths or [longest]:
                runs.append((size, ratio, length))
                evaluated.append(np.geomspace(min(first, length / 2), length, count))
    model_params, ratios, ends = np.array(runs).T
    return Candidates(model_params, ratios, ends, np.array(evaluated))


def _new_ratios(
    low: float, high: float, used: Array, around: tuple[float, float] | None
) -> list[float]:
    """Return evenly spaced ratios that were not probed, more closely spaced where most were, and others ``around``."""
    steps = max(round((high - low) / RATIO_STEP), FEWEST_STEPS)
    while len(even := _apart_from(used, np.linspace(low, high, steps + 1), 6)) < steps / 2:
        steps *= 2
    if around is None:
        return [float(ratio) for ratio in even]
    fine = np.clip(np.round(np.linspace(*around, NUM_AROUND), 3), low, high)
    close = _apart_from(np.concatenate([used, even]), fine, 3)
    return [float(ratio) for ratio in np.unique(np.concatenate([even, close]))]


def _apart_from(used: Array, ratios: Array, decimals: int) -> Array:
    """Return the ratios, rounded, that are none of those used."""
    rounded = np.unique(np.round(ratios, decimals))
    apart = np.min(np.abs(rounded[:, None] - used[None, :]), axis=1, initial=np.inf)
    return np.asarray(rounded[apart > RATIO_ROUNDING])
