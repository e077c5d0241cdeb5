"""Every applicable law on the same log, ranked by how it predicts what it has not seen.

Each holdout of the log is hidden from every predictor in turn; simple baselines stand in the same
table, so that a law which loses to them is seen to lose. The winner's margin comes with its standard error, taken
over hidden runs, since the evaluations of one run share its noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.fit.hold_outs import Holdout, holdouts
from cmrplan.fit.law_columns import with_law_columns
from cmrplan.laws.registry import AUTO
from cmrplan.log import CORPORA
from cmrplan.log.files import LogOrPath, base_losses, eval_corpora, is_of_two, log_of
from cmrplan.log.realized import with_token_share
from cmrplan.numbers import CountOrText, parse_first_tokens
from cmrplan.validate.baselines import SIMPLE_NAMES
from cmrplan.validate.predictors import Predictor, mixture_predictors, predictors

CLEAR = 2.0  # standard errors by which a winner must be ahead to be called clear


@dataclass(frozen=True)
class Comparison:
    """How the predictors did.

    Parameters
    ----------
    errors : DataFrame
        One row for each corpus, predictor and holdout: ``corpus``, ``predictor``, ``is_law``, ``kind``, ``holdout``,
        ``mae`` in nats per token, ``num_rows``.
    ranking : DataFrame
        One row for each corpus and predictor that could answer every holdout, best first: ``corpus``,
        ``predictor``, ``is_law``, ``mae`` (mean over the kinds of holdout), and one column a kind.
    verdicts : dict of str to Verdict
        By corpus.
    skipped : dict of str to str
        Why a predictor is missing, by ``corpus/predictor``.
    """

    errors: pd.DataFrame
    ranking: pd.DataFrame
    verdicts: dict[str, Verdict]
    skipped: dict[str, str]


@dataclass(frozen=True)
class Verdict:
    """Who predicts best, and how sure that is.

    Parameters
    ----------
    winner, runner_up : str
    margin : float
        Difference of their mean absolute errors over all hidden rows, nats per token.
    margin_stderr : float
        Its standard error over hidden runs.
    best_law : str
        The best among the laws.
    """

    winner: str
    runner_up: str
    margin: float
    margin_stderr: float
    best_law: str

    @property
    def is_clear(self) -> bool:
        """Whether the margin is more than two standard errors."""
        return self.margin > CLEAR * self.margin_stderr


@named_arguments
def compare(
    log: LogOrPath,
    *,
    min_train_tokens: CountOrText = 0.0,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    """Rank laws and baselines by out-of-sample error.

    Parameters
    ----------
    log : DataFrame or path
        A probe log of two corpora or of several, or its file.
    min_train_tokens : float or str
        Leave out rows with fewer tokens, ``1.6e6`` or ``"1.6M"``.
    progress : callable, optional
        Takes a word on what is being done.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If nothing can be held out.
    """
    log = with_law_columns(with_token_share(log_of(log))[0], AUTO)[0]
    first = parse_first_tokens(min_train_tokens)
    say = progress or (lambda line: None)
    corpora, known = _asked(log)
    answers: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    for corpus in corpora:
        rows = fitted_rows(log, corpus, first)
        questions = holdouts(rows) if len(rows) else []
        for name, predictor in known.items():
            say(f"{corpus} {name}")
            try:
                answers += [_answer(rows, corpus, name, predictor, h) for h in questions]
            except CmrplanError as error:
                skipped[f"{corpus}/{name}"] = str(error)
                answers = [a for a in answers if not _is(a, corpus, name)]
    if not answers:
        raise CmrplanError(
            "nothing can be held out of this log: it needs four ratios, or budgets that span a factor of four, or of "
            "several corpora more mixtures than a law has parameters; add probes"
        )
    misses = pd.concat(answers, ignore_index=True)
    keys = ["corpus", "predictor", "is_law", "kind", "holdout"]
    errors = misses.groupby(keys, sort=False)["miss"].agg(mae="mean", num_rows="size").reset_index()
    ranking = _ranking(errors)
    return Comparison(errors, ranking, _verdicts(misses, ranking), skipped)


def _asked(log: pd.DataFrame) -> tuple[tuple[str, ...], dict[str, Predictor]]:
    """Return the validation corpora of a log and who is asked for their losses."""
    if not is_of_two(log):
        return eval_corpora(log), mixture_predictors()
    return CORPORA, predictors({corpus: base_losses(log, corpus) for corpus in CORPORA})


def _is(frame: pd.DataFrame, corpus: str, name: str) -> bool:
    return bool(frame["corpus"].iloc[0] == corpus and frame["predictor"].iloc[0] == name)


def _answer(
    rows: pd.DataFrame, corpus: str, name: str, predictor: Predictor, holdout: Holdout
) -> pd.DataFrame:
    seen = rows[~holdout.hidden].reset_index(drop=True)
    wanted = rows[holdout.hidden].reset_index(drop=True)
    predicted = predictor(seen, wanted, corpus)
    return pd.DataFrame(
        {
            "corpus": corpus,
            "predictor": name,
            "is_law": name not in SIMPLE_NAMES,
            "kind": holdout.kind,
            "holdout": holdout.name,
            "run_id": wanted["run_id"],
            "miss": np.abs(predicted - wanted["loss"].to_numpy(dtype=float)),
        }
    )


def _ranking(errors: pd.DataFrame) -> pd.DataFrame:
    keys = ["corpus", "predictor", "is_law"]
    kinds = errors.groupby([*keys, "kind"], sort=False)["mae"].mean().unstack("kind")
    table = kinds.assign(mae=kinds.mean(axis=1)).reset_index()
    order = {corpus: k for k, corpus in enumerate(errors["corpus"].unique())}
    table = table.sort_values(
        ["corpus", "mae"], key=lambda c: c.map(order) if c.name == "corpus" else c
    )
    return table[[*keys, "mae", *kinds.columns]].reset_index(drop=True)


def _verdicts(misses: pd.DataFrame, ranking: pd.DataFrame) -> dict[str, Verdict]:
    verdicts = {}
    for corpus, table in ranking.groupby("corpus", sort=False):
        names = table["predictor"].tolist()
        if len(names) < 2:
            continue
        own = misses[misses["corpus"] == corpus]
        by_run = own.groupby(["predictor", "run_id"])["miss"].mean().unstack("predictor")
        margin = by_run[names[1]] - by_run[names[0]]
        laws = table.loc[table["is_law"], "predictor"].tolist()
        verdicts[str(corpus)] = Verdict(
            winner=names[0],
            runner_up=names[1],
            margin=float(margin.mean()),
            margin_stderr=float(margin.std(ddof=1) / np.sqrt(len(margin))),
            best_law=laws[0] if laws else "",
        )
    return verdicts
