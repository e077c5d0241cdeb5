"""Neighboring evaluations of a run as one row, where a log has so many that a fit gains nothing from each.

A row is the mean of the log losses of the evaluations of one run in an eighth of a unit of ln tokens, at the mean of
their log tokens, and counts as often as it has evaluations. A mean at the mean place misses a curve only by its bend:
``f'' h^2 / 24``, which for the token term ``B/D^beta`` at one nat and ``beta = 0.5`` is 1.6e-4 nats, and the noise of
runs is some 3e-3. The last evaluation of a run stays a row of its own, so that budgets stay what they are. One loss far
from the others of its bin, as of a spike, counts no further than three robust standard deviations from their median.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding, InputError
from cmrplan.fit.schedule_areas import AREA_COLUMNS

EVALUATION_COUNT = "averaged_evaluations"
BINS_PER_UNIT = 8  # of ln tokens
MOST_PLAIN_ROWS = 8000  # of a log; with more, neighboring evaluations are averaged
WORTH_IT = 0.5  # the share of the rows that may stay
MOST_DEVIATIONS = 3.0  # robust standard deviations from the median of a bin
_MAD_TO_SIGMA = 1.4826


def evaluation_counts(rows: pd.DataFrame) -> Array:
    """Return how many evaluations each row is the mean of, ``(n,)``; one each where nothing was averaged.

    Raises
    ------
    InputError
        If the log's own column of that name holds anything but numbers of 1 or more.
    """
    if EVALUATION_COUNT not in rows:
        return np.ones(len(rows))
    counts = pd.to_numeric(rows[EVALUATION_COUNT], errors="coerce").to_numpy(dtype=float)
    if not (np.isfinite(counts) & (counts >= 1)).all():
        raise InputError(
            f"{EVALUATION_COUNT} is the column in which a fit counts the evaluations behind a row, each 1 or more; "
            "rename or correct it"
        )
    return counts


def averaged_neighbors(
    log: pd.DataFrame, first_tokens: float
) -> tuple[pd.DataFrame, tuple[Finding, ...]]:
    """Return a log with neighboring evaluations averaged where it is long, and a finding that says so.

    Parameters
    ----------
    log : DataFrame
        A checked log. Rows at 0 tokens stay as they are, as does a log that would keep more than half of its rows, and
        one with the areas of a learning rate, which are sums over steps.
    first_tokens : float
        Evaluations before and from here on are not averaged with each other.
    """
    if len(log) <= MOST_PLAIN_ROWS or EVALUATION_COUNT in log or AREA_COLUMNS[0] in log:
        return log, ()
    tokens = log["train_tokens"].to_numpy(dtype=float)
    bins = _bins(log, tokens, first_tokens)
    number = int(bins.max()) + 1
    if number > WORTH_IT * len(log):
        return log, ()
    log_loss = _without_spikes(np.log(log["loss"].to_numpy(dtype=float)), bins)
    counts = np.bincount(bins).astype(float)

    def means(values: Array) -> Array:
        return np.asarray(np.bincount(bins, weights=values, minlength=number) / counts)

    last = pd.Series(np.arange(len(log))).groupby(bins).last().to_numpy()
    short = log.iloc[last].reset_index(drop=True)
    is_mean = counts > 1
    with np.errstate(divide="ignore"):
        log_tokens = means(np.log(tokens))
    averages = {
        "loss": np.exp(means(log_loss)),
        "train_tokens": np.round(np.exp(log_tokens)),
    }
    if "loss_stderr" in log:
        squares = pd.to_numeric(log["loss_stderr"], errors="coerce").to_numpy(dtype=float) ** 2
        averages["loss_stderr"] = np.sqrt(means(squares))
    for name, values in averages.items():
        short[name] = np.where(is_mean, values, short[name].to_numpy(dtype=float))
    short[EVALUATION_COUNT] = counts
    said = (
        f"{len(log):,} rows of {log['run_id'].nunique():,} runs are many for a fit: neighboring evaluations of a run "
        f"were averaged, and {number:,} rows count as often as they have evaluations"
    )
    return short, (Finding(Code.AVERAGED_EVALUATIONS, said),)


def _bins(log: pd.DataFrame, tokens: Array, first_tokens: float) -> np.ndarray:
    """Return the number of the bin of each row, ``(n,)``, counted in the order of the rows."""
    run = pd.factorize(log["run_id"])[0].astype(np.int64)
    corpus = pd.factorize(log["eval_corpus"])[0].astype(np.int64)
    curve = run * (corpus.max() + 1) + corpus
    is_last = tokens == pd.Series(tokens).groupby(curve).transform("max").to_numpy()
    stretch = np.floor(BINS_PER_UNIT * np.log(np.maximum(tokens, 0.5))).astype(np.int64)
    alone = stretch.max() + 1
    stretch = np.where(is_last, alone, np.where(tokens > 0, stretch, -stretch.max() - 2))
    keys = pd.DataFrame({"curve": curve, "stretch": stretch, "late": tokens >= first_tokens})
    return keys.groupby(["curve", "stretch", "late"], sort=False).ngroup().to_numpy()


def _without_spikes(values: Array, bins: np.ndarray) -> Array:
    """Return values drawn to within some robust standard deviations of the median of their bin."""
    center = pd.Series(values).groupby(bins).transform("median").to_numpy()
    apart = np.abs(values - center)
    spread = _MAD_TO_SIGMA * pd.Series(apart).groupby(bins).transform("median").to_numpy()
    reach = np.where(spread > 0, MOST_DEVIATIONS * spread, np.inf)
    return np.asarray(np.clip(values, center - reach, center + reach))
