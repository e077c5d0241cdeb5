"""Predicted losses and ratios beside what was measured afterwards."""

from __future__ import annotations

import numpy as np
import pandas as pd
from targets import Target

from cmrplan.errors import CmrplanError
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.log import CORPORA
from cmrplan.validate.backtest import Truth


def compare(
    log: pd.DataFrame, target: Target, losses: pd.DataFrame, ratios: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return how far each method was off, from the rows of the target in a log.

    Parameters
    ----------
    log : DataFrame
        A probe log with the target's size.
    target : Target
    losses, ratios : DataFrame
        See :func:`preregister.predict`.

    Returns
    -------
    errors : DataFrame
        By method and corpus: mean absolute and mean error in nats per token over the runs at each budget and ratio, and
        the share of them inside the interval (``held``, NaN without one).
    decisions : DataFrame
        By method and question: ``domain_ratio``, the ratio that the measured losses allow (``best``, NaN where none),
        ``ratio_error``, ``regret`` (domain loss above that of the best ratio) and ``excess`` (general loss above the
        limit).
    """
    rows = {corpus: fitted_rows(log, corpus, 0.0) for corpus in CORPORA}
    truth = Truth.of(rows, target.model_params, target.train_tokens[-1])
    return _errors(rows, target, losses), _decisions(truth, target, ratios)


def _errors(rows: dict[str, pd.DataFrame], target: Target, losses: pd.DataFrame) -> pd.DataFrame:
    keys = ["train_tokens", "domain_ratio"]
    own = {
        name: table[table["model_params"] == target.model_params] for name, table in rows.items()
    }
    measured = pd.concat(own[name][[*keys, "loss"]].assign(eval_corpus=name) for name in CORPORA)
    both = losses.merge(measured, on=["eval_corpus", *keys], suffixes=("", "_measured"))
    if both.empty:
        raise CmrplanError("the log has no run at the budgets and ratios that were predicted")
    miss = both["loss"] - both["loss_measured"]
    held = (both["low"] <= both["loss_measured"]) & (both["loss_measured"] <= both["high"])
    both = both.assign(miss=miss, size=miss.abs(), held=held.where(both["low"].notna()))
    grouped = both.groupby(["method", "eval_corpus"], sort=False)
    return grouped.agg(
        mae=("size", "mean"), bias=("miss", "mean"), held=("held", "mean"), runs=("miss", "count")
    ).reset_index()


def _decisions(truth: Truth, target: Target, ratios: pd.DataFrame) -> pd.DataFrame:
    replay = float(truth.general[0])
    table = []
    for row in ratios.itertuples():
        limit = target.limit(row.tolerance, row.rise_over, replay)
        best = truth.best_ratio(truth.general, truth.domain, limit)
        excess = truth.general_at(row.domain_ratio) - limit
        table.append(
            {
                "method": row.method,
                "tolerance": row.tolerance,
                "rise_over": row.rise_over,
                "domain_ratio": row.domain_ratio,
                "best": best,
                "ratio_error": row.domain_ratio - best,
                "regret": truth.domain_at(row.domain_ratio) - truth.domain_at(best),
                "excess": max(excess, 0.0) if np.isfinite(excess) else np.nan,
            }
        )
    return pd.DataFrame(table)


def summary(decisions: pd.DataFrame) -> pd.DataFrame:
    """Return for each method: questions answered, limits broken, by how much at most, and mean regret where kept.

    Questions whose measured answer is that no ratio keeps the limit count for nobody.
    """
    asked = decisions[decisions["best"].notna()]
    rows = []
    for method, own in asked.groupby("method", sort=False):
        answered = own[own["domain_ratio"].notna()]
        kept = answered[answered["excess"] <= 0]
        rows.append(
            {
                "method": method,
                "questions": len(own),
                "answered": len(answered),
                "broken": len(answered) - len(kept),
                "largest_excess": answered["excess"].max(),
                "regret_where_kept": kept["regret"].mean(),
                "ratio_error": answered["ratio_error"].abs().mean(),
            }
        )
    return pd.DataFrame(rows)
