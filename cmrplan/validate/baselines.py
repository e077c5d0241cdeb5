"""Simple predictors that a law has to beat.

Each takes the rows it may see and the rows to predict, both of one corpus, and returns losses in nats
per token. None knows anything of laws.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.log.columns import share_columns

Baseline = Callable[[pd.DataFrame, pd.DataFrame], Array]


def carry_forward(seen: pd.DataFrame, wanted: pd.DataFrame) -> Array:
    """Return the last loss seen of each ratio, straight lines between ratios, nearest size."""
    return _by_ratio(seen, wanted, _last)


def interpolation(seen: pd.DataFrame, wanted: pd.DataFrame) -> Array:
    """Return straight lines in log tokens, then in the ratio, at the nearest size.

    Beyond the last budget the line through the last two goes on.
    """
    return _by_ratio(seen, wanted, _line_in_log_tokens)


def linear(seen: pd.DataFrame, wanted: pd.DataFrame) -> Array:
    """Return a linear regression of the log loss on log N, log D, the ratio or the shares, and these x log D."""
    solution, *_ = np.linalg.lstsq(_features(seen), np.log(_column(seen, "loss")), rcond=None)
    return np.asarray(np.exp(_features(wanted) @ solution))


def gradient_boosting(seen: pd.DataFrame, wanted: pd.DataFrame) -> Array:
    """Return scikit-learn's gradient boosting on log N, log D and the ratio or the shares, default settings.

    Raises
    ------
    CmrplanError
        If scikit-learn is not installed.
    """
    if not importlib.util.find_spec("sklearn"):
        raise CmrplanError("gradient boosting needs scikit-learn: pip install 'cmrplan[baselines]'")
    from sklearn.ensemble import GradientBoostingRegressor

    model = GradientBoostingRegressor(random_state=0)
    model.fit(_inputs(seen), _column(seen, "loss"))
    return np.asarray(model.predict(_inputs(wanted)), dtype=float)


def nearest_mixture(seen: pd.DataFrame, wanted: pd.DataFrame) -> Array:
    """Return the loss of the nearest mixture seen at the nearest size, along straight lines in log tokens.

    Nearest in the part of the tokens that would have to move. Beyond the last budget the line through the last two
    goes on.
    """
    shares = share_columns(seen)
    mean = seen.groupby(["model_params", *shares, "train_tokens"])["loss"].mean()
    runs = [part for _, part in mean.reset_index().groupby(["model_params", *shares], sort=True)]
    sizes = np.array([_column(run, "model_params")[0] for run in runs])
    mixtures = np.stack([run[shares].to_numpy(dtype=float)[0] for run in runs])
    predicted = np.empty(len(wanted))
    rows = wanted[["model_params", "train_tokens", *shares]].to_numpy(dtype=float)
    for k, (size, tokens, *mixture) in enumerate(rows):
        apart = np.abs(np.log(sizes / size))
        moved = np.where(apart > apart.min(), np.inf, np.abs(mixtures - mixture).sum(axis=1))
        run = runs[int(np.argmin(moved))]
        losses = _column(run, "train_tokens"), _column(run, "loss")
        predicted[k] = _line_in_log_tokens(*losses, tokens)
    return predicted


BASELINES: dict[str, Baseline] = {
    "interpolation": interpolation,
    "carry_forward": carry_forward,
    "linear": linear,
    "gradient_boosting": gradient_boosting,
}
MIXTURE_BASELINES: dict[str, Baseline] = {
    "nearest_mixture": nearest_mixture,
    "linear": linear,
    "gradient_boosting": gradient_boosting,
}
SIMPLE_NAMES = frozenset({*BASELINES, *MIXTURE_BASELINES})


def _column(rows: pd.DataFrame, name: str) -> Array:
    return rows[name].to_numpy(dtype=float)


def _mixture(rows: pd.DataFrame) -> Array:
    """Return the ratio, or the shares, as columns."""
    names = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    return rows[names].to_numpy(dtype=float)


def _inputs(rows: pd.DataFrame) -> Array:
    levels = np.log(rows[["model_params", "train_tokens"]].to_numpy(dtype=float))
    return np.hstack([levels, _mixture(rows)])


def _features(rows: pd.DataFrame) -> Array:
    tokens = np.log(_column(rows, "train_tokens"))[:, None]
    return np.hstack([np.ones((len(rows), 1)), _inputs(rows), _mixture(rows) * tokens])


def _last(tokens: Array, loss: Array, wanted: float) -> float:
    before = np.flatnonzero(tokens <= wanted)
    return float(loss[before[-1] if len(before) else 0])


def _line_in_log_tokens(tokens: Array, loss: Array, wanted: float) -> float:
    x, at = np.log(tokens), np.log(wanted)
    if len(x) == 1 or at <= x[0]:
        return float(loss[0])
    if at <= x[-1]:
        return float(np.interp(at, x, loss))
    return float(loss[-1] + (loss[-1] - loss[-2]) / (x[-1] - x[-2]) * (at - x[-1]))


def _by_ratio(
    seen: pd.DataFrame, wanted: pd.DataFrame, along: Callable[[Array, Array, float], float]
) -> Array:
    """Predict each ratio seen at each wanted size and budget, then interpolate in the ratio."""
    mean = seen.groupby(["model_params", "domain_ratio", "train_tokens"])["loss"].mean()
    sizes = np.unique(_column(seen, "model_params"))
    curves: dict[float, list[tuple[float, Array, Array]]] = {}
    for size in sizes:
        part = mean.loc[size].reset_index()
        curves[float(size)] = [
            (float(ratio), _column(group, "train_tokens"), _column(group, "loss"))
            for ratio, group in part.groupby("domain_ratio", sort=True)
        ]
    predicted = np.empty(len(wanted))
    settings = wanted[["model_params", "train_tokens"]].to_numpy(dtype=float)
    ratio = _column(wanted, "domain_ratio")
    for size, tokens in np.unique(settings, axis=0):
        rows = (settings[:, 0] == size) & (settings[:, 1] == tokens)
        nearest = float(sizes[np.argmin(np.abs(np.log(sizes / size)))])
        known = curves[nearest]
        losses = [along(t, loss, float(tokens)) for _, t, loss in known]
        predicted[rows] = np.interp(ratio[rows], [r for r, _, _ in known], losses)
    return predicted
