"""Which way round the ratio stands: a replay share in the column of the domain share.

Within a slice of one size and token count more domain data lower the domain loss and raise the general one. Where both
go the other way in nearly every slice, the column holds the share of replay, or the two corpora are interchanged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code
from cmrplan.log import CORPORA
from cmrplan.log.cells import LogFinding

_FEWEST_RATIOS = 3  # two ratios lie the wrong way round by chance one time in four
_MOST_SLICES = 0.9  # of the slices of a corpus
_ONE_WAY = 0.7  # of all differences between the ratios of a slice, by their size
_MOST = 200  # slices that are looked at, and ratios of one
_SMALLEST_CHANGE = (
    5e-3  # of the loss, from the smallest ratio to the largest; less may be noise between runs
)


def orientation_findings(
    log: pd.DataFrame, source: str, ratio_column: str = "domain_ratio"
) -> list[LogFinding]:
    """Return an error where the general loss falls and the domain loss rises with the ratio in nearly every slice.

    Parameters
    ----------
    log : DataFrame
        A log in canonical types.
    source : str
        What the message calls it.
    ratio_column : str
        The name that the column of the ratio had in the file.
    """
    if "domain_ratio" not in log:
        return []
    training = log[log["train_tokens"] > 0]
    trends = {corpus: _trends(training[training["eval_corpus"] == corpus]) for corpus in CORPORA}
    general, domain = trends["general"], trends["domain"]
    if not (_go_one_way(-general) and _go_one_way(domain)):
        return []
    message = (
        f"{source}: the general loss falls and the domain loss rises with domain_ratio in {_slices(general, domain)}, "
        f"so the column {ratio_column} seems to hold the share of replay; name it replay_ratio (--map "
        f"{ratio_column}=replay_ratio of cmrplan logs import table) and its complement is read, or interchange general "
        "and domain in eval_corpus if those are the wrong way round"
    )
    return [
        LogFinding(Code.REPLAY_AS_DOMAIN, message, source, column="domain_ratio", num_rows=len(log))
    ]


def _trends(rows: pd.DataFrame) -> Array:
    """Return for each slice with enough ratios which way its loss goes, ``(slices, 2)``.

    First the sum of the differences between all pairs of ratios over the sum of their sizes, from -1 (always falls) to
    1, then the change from the smallest ratio to the largest over the mean loss.
    """
    means = rows.groupby(["model_params", "train_tokens", "domain_ratio"])["loss"].mean()
    num_ratios = means.groupby(level=[0, 1]).size()
    trends = []
    for cell in _spread(num_ratios.index[num_ratios >= _FEWEST_RATIOS]):
        losses = _spread(means.loc[cell].to_numpy(dtype=float))
        differences = np.subtract.outer(losses, losses)[np.tril_indices(len(losses), -1)]
        size = float(np.abs(differences).sum())
        if 0 < size < np.inf:
            change = (losses[-1] - losses[0]) / losses.mean()
            trends.append((differences.sum() / size, change))
    return np.array(trends, dtype=float).reshape(-1, 2)


def _spread(values: Any) -> Any:
    """Return at most ``_MOST`` values of many, evenly spread, the first and the last among them."""
    if len(values) <= _MOST:
        return values
    return values[np.linspace(0, len(values) - 1, _MOST).astype(int)]


def _go_one_way(trends: Array) -> bool:
    """Return whether a loss rises with the ratio in nearly all slices, and by more than noise."""
    if not len(trends):
        return False
    steadiness, change = trends.T
    return bool(
        np.mean(steadiness > 0) >= _MOST_SLICES
        and np.median(steadiness) >= _ONE_WAY
        and np.median(change) >= _SMALLEST_CHANGE
    )


def _slices(general: Array, domain: Array) -> str:
    wrong = min(int((general[:, 0] < 0).sum()), int((domain[:, 0] > 0).sum()))
    number = min(len(general), len(domain))
    if wrong == number:
        return (
            "the one slice of one size and token count"
            if number == 1
            else f"all {number} slices of one size and token count"
        )
    return f"{wrong} of {number} slices of one size and token count"
