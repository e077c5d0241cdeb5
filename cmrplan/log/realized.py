"""The share of domain tokens that runs saw, where it is not the share that was asked for.

A sampler that draws documents by their weight gives another share of tokens than its weight. Where the log has both, in
``domain_ratio`` and ``realized_domain_ratio``, the laws are fitted to the second.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.log.columns import Flags

REALIZED = "realized_domain_ratio"
_DIFFERENT = 0.02  # of the larger of the two
_DRAWN = 2e-3  # a share of tokens; short runs draw so far beside a ratio by chance


def with_token_share(log: pd.DataFrame) -> tuple[pd.DataFrame, list[Finding]]:
    """Return a log with the realized share in ``domain_ratio``, and a finding, where the two disagree.

    A run has the share of its largest budget in all its rows. Runs that were asked for one ratio and realized about the
    same share the median of theirs, so that they stay one level; runs without a realized share have that of the runs
    that were asked for the same, or keep what they have.

    Parameters
    ----------
    log : DataFrame
        A checked log.
    """
    if "domain_ratio" not in log or REALIZED not in log:
        return log, []
    runs = _runs(log)
    asked, realized = (runs[name].to_numpy(dtype=float) for name in ("domain_ratio", REALIZED))
    is_different = _differ(asked, realized)
    if not is_different.any():
        return log, []
    by_ratio = runs.groupby("domain_ratio")[REALIZED]
    typical = by_ratio.transform("median").to_numpy(dtype=float)
    is_apart = np.isfinite(realized) & _differ(typical, realized)
    share = np.where(is_apart, realized, np.where(np.isfinite(typical), typical, asked))
    shares = dict(zip(runs["run_id"], share.tolist(), strict=True))
    ratio = log["run_id"].map(shares).astype(float).fillna(log["domain_ratio"])  # base runs
    return log.assign(domain_ratio=ratio), [_finding(asked, realized, is_different)]


def _runs(log: pd.DataFrame) -> pd.DataFrame:
    """Return the last realized share of each run that trains, with its ratio; NaN where none in [0, 1] was logged."""
    training = log[log["train_tokens"] > 0]
    realized = pd.to_numeric(training[REALIZED], errors="coerce")
    rows = training[["run_id", "train_tokens", "domain_ratio"]].assign(
        **{REALIZED: realized.where(realized.between(0, 1))}
    )
    return (
        rows.sort_values("train_tokens", kind="stable")
        .groupby("run_id", sort=False)[["domain_ratio", REALIZED]]
        .last()
        .reset_index()
    )


def _differ(first: Array, second: Array) -> Flags:
    gap = np.abs(first - second)
    return np.asarray((gap > _DIFFERENT * np.maximum(first, second)) & (gap > _DRAWN))


def _finding(asked: Array, realized: Array, is_different: Flags) -> Finding:
    gap = np.where(is_different, np.abs(realized - asked), 0)
    worst = int(np.argmax(gap))
    unknown = int(np.isnan(realized).sum())
    rest = (
        f"; {unknown} of the runs have none and take that of the others at their ratio"
        if unknown
        else ""
    )
    return Finding(
        Code.DOCUMENT_SHARE,
        f"domain_ratio differs from {REALIZED} in {int(is_different.sum())} of {len(asked)} runs (at {asked[worst]:g} "
        f"the domain had {realized[worst]:.4g} of the tokens), as where it is a share of documents or a sampler's "
        "weight; the laws are fitted to the realized share, and every ratio of the fit and its plans is a share of "
        f"tokens{rest}",
    )
