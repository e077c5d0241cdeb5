"""What a forecast of several corpora from a part of the log would have been worth, now that the rest is known.

The windows are those of :mod:`cmrplan.validate.backtest`. The target is the largest model at its largest budget, and
the truth the losses that were measured there. For each window and predictor: the error of the predicted losses, how
well the mixtures are put in order, and what taking the mixture that looks best would have cost.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.log.files import LogOrPath, eval_corpora, is_of_two, log_of
from cmrplan.numbers import CountOrText, parse_first_tokens
from cmrplan.validate.backtest import HistoryWindow, windows
from cmrplan.validate.baselines import SIMPLE_NAMES
from cmrplan.validate.predictors import Predictor, mixture_predictors, says_the_same

FEWEST_TO_ORDER = 3  # mixtures at the target


@named_arguments
def backtest_mixtures(
    log: LogOrPath,
    *,
    min_train_tokens: CountOrText = 0.0,
    progress: Callable[[str], None] | None = None,
) -> pd.DataFrame:
    """Replay a log of several corpora: forecast the largest model at its largest budget from a part of the log.

    Parameters
    ----------
    log : DataFrame or path
        A probe log with ``share_<corpus>`` columns, or its file.
    min_train_tokens : float or str
        Leave out rows with fewer tokens, ``1.6e6`` or ``"1.6M"``.
    progress : callable, optional
        Takes a word on what is being done.

    Returns
    -------
    DataFrame
        One row for each window and predictor that could answer: ``kind``, ``window``, ``predictor``, ``is_law``,
        ``mae`` (mean over the validation corpora, nats per token), ``spearman`` (rank correlation of predicted and
        measured losses over the mixtures, mean over the corpora) and ``regret`` (mean loss over the corpora of the
        mixture that was predicted to be best, above that of the best one measured, nats per token).

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If there are no budgets and sizes to hide, or fewer than three mixtures at the target.
    """
    log, first = log_of(log), parse_first_tokens(min_train_tokens)
    if is_of_two(log):
        raise InputError("the log has one domain_ratio; cmrplan backtest (cp.backtest) takes it")
    say = progress or (lambda line: None)
    rows = {corpus: fitted_rows(log, corpus, first) for corpus in eval_corpora(log)}
    growing, truth = windows(pd.concat(rows.values())), _truth(rows)
    table = []
    for window in growing:
        for name, predictor in mixture_predictors().items():
            if all(says_the_same(name, part) for part in rows.values()):
                continue
            say(f"{window.name} {name}")
            try:
                predicted = _predicted(predictor, window, rows, truth)
            except CmrplanError:
                continue
            about = {"kind": window.kind, "window": window.name, "predictor": name}
            table.append(about | {"is_law": name not in SIMPLE_NAMES} | _errors(predicted, truth))
    return pd.DataFrame(table)


def _truth(rows: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows at the target, of the runs whose losses were measured there on every corpus.

    Raises
    ------
    CmrplanError
        If there are fewer than three.
    """
    whole = pd.concat(rows.values())
    largest = whole[whole["model_params"] == whole["model_params"].max()]
    there = largest[largest["train_tokens"] == largest["train_tokens"].max()]
    measured = there.groupby("run_id")["eval_corpus"].transform("nunique")
    whole_runs: pd.DataFrame = there[measured == len(rows)]
    if whole_runs["run_id"].nunique() < FEWEST_TO_ORDER:
        raise CmrplanError(
            "the largest model at its largest budget was measured at fewer than three mixtures, so there is no order "
            "to compare with; add runs there"
        )
    return whole_runs.sort_values(["eval_corpus", "run_id"])


def _predicted(
    predictor: Predictor,
    window: HistoryWindow,
    rows: dict[str, pd.DataFrame],
    truth: pd.DataFrame,
) -> pd.DataFrame:
    """Return the predicted losses at the target, by run and corpus."""
    parts = []
    for corpus, part in truth.groupby("eval_corpus"):
        losses = predictor(window.seen(rows[str(corpus)]), part, str(corpus))
        parts.append(part.assign(loss=losses))
    return _by_run(pd.concat(parts))


def _by_run(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.pivot(index="run_id", columns="eval_corpus", values="loss")


def _errors(predicted: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    measured = _by_run(truth)
    orders = [spearmanr(predicted[c], measured[c]).statistic for c in measured]
    mean = measured.mean(axis=1).to_numpy(dtype=float)
    chosen = int(np.argmin(predicted.mean(axis=1).to_numpy(dtype=float)))
    return {
        "mae": float((predicted - measured).abs().to_numpy().mean()),
        "spearman": float(np.mean(orders)),
        "regret": float(mean[chosen] - mean.min()),
    }
