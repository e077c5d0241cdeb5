"""How much each evaluation counts in a fit.

Inverse to a variance of its log loss: that of the evaluation itself, as the log states it, or that between runs which
differ in nothing but their seed. Weights have mean one, so objectives stay comparable.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.evaluation_bins import EVALUATION_COUNT, evaluation_counts

Weights = Literal["equal", "stderr", "seeds"]
WEIGHTS: tuple[Weights, ...] = ("equal", "stderr", "seeds")
# A variance from few seeds is drawn toward that of its model size, as if that were this many more degrees of freedom.
PRIOR_DEGREES_OF_FREEDOM = 4.0


def row_weights(rows: pd.DataFrame, kind: Weights) -> Array | None:
    """Return the weight of each row of one corpus, ``(n,)``; None for equal weights.

    Weights have mean one, times the number of evaluations that the row is the mean of.

    Parameters
    ----------
    rows : DataFrame
        Rows of one corpus after the base checkpoint.
    kind : {"equal", "stderr", "seeds"}
        ``stderr``: from the column ``loss_stderr``. ``seeds``: from the spread between seeds at each model size and
        token count, over all ratios, each drawn toward the spread at its size.

    Raises
    ------
    InputError
        If a row has no ``loss_stderr`` above 0.
    CmrplanError
        If no setting was run with two seeds.
    """
    counts = evaluation_counts(rows) if EVALUATION_COUNT in rows else None
    if kind == "equal":
        return counts
    variance = _stated_variance(rows) if kind == "stderr" else _seed_variance(rows)
    weights = 1 / variance
    weights = weights / np.mean(weights)
    return np.asarray(weights if counts is None else counts * weights)


def states_no_weights(rows: pd.DataFrame) -> bool:
    """Tell whether ``loss_stderr`` is the same in all rows of one corpus, so that it weighs none above another."""
    if "loss_stderr" not in rows:
        return False
    stderr = pd.to_numeric(rows["loss_stderr"], errors="coerce")
    return bool(stderr.notna().all() and stderr.gt(0).all() and stderr.nunique() == 1)


def _stated_variance(rows: pd.DataFrame) -> Array:
    if "loss_stderr" not in rows:
        raise InputError("weights = stderr needs the column loss_stderr; the log has none")
    stderr = pd.to_numeric(rows["loss_stderr"], errors="coerce").to_numpy(dtype=float)
    bad = np.flatnonzero(~(np.isfinite(stderr) & (stderr > 0)))
    if len(bad):
        row = rows.iloc[bad[0]]
        raise InputError(
            f"weights = stderr needs loss_stderr above 0 in every row; run {row['run_id']} has "
            f"{row['loss_stderr']} at {row['train_tokens']:g} train_tokens ({row['eval_corpus']}); {len(bad)} such"
        )
    return np.asarray((stderr / rows["loss"].to_numpy(dtype=float)) ** 2)


def _seed_variance(rows: pd.DataFrame) -> Array:
    frame = rows[["model_params", "domain_ratio", "train_tokens"]].assign(y=np.log(rows["loss"]))
    by_setting = frame.groupby(["model_params", "domain_ratio", "train_tokens"])["y"]
    frame["square"] = (frame["y"] - by_setting.transform("mean")) ** 2
    frame["degrees"] = 1 - 1 / by_setting.transform("size")  # sums to seeds - 1 over a setting
    by_size = frame.groupby("model_params")[["square", "degrees"]].transform("sum")
    if not (by_size["degrees"] > 0).all():
        alone = frame.loc[by_size["degrees"] <= 0, "model_params"].iloc[0]
        raise CmrplanError(
            f"weights = seeds needs a ratio that was run with two seeds at every model size; there is none at "
            f"model_params = {alone:.6g}"
        )
    at_size = by_size["square"] / by_size["degrees"]
    if not (at_size > 0).all():
        raise CmrplanError("weights = seeds: the seeds have equal losses, so they show no noise")
    cell = frame.groupby(["model_params", "train_tokens"])[["square", "degrees"]].transform("sum")
    variance = (cell["square"] + PRIOR_DEGREES_OF_FREEDOM * at_size) / (
        cell["degrees"] + PRIOR_DEGREES_OF_FREEDOM
    )
    return variance.to_numpy(dtype=float)
