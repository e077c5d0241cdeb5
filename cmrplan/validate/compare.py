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
from cmrplan.log.corpora import require_a_corpus_to_fit
from cmrplan.log.files import (
    LogOrPath,
    base_losses,
    eval_corpora,
    is_of_two,
    log_of,
    source_of,
)
from cmrplan.log.realized import with_token_share
from cmrplan.numbers import CountOrText, parse_first_tokens
from cmrplan.validate.baselines import SIMPLE_NAMES
from cmrplan.validate.predictors import (
    ANSWERS_IN_PART,
    Predictor,
    mixture_predictors,
    predictors,
    predictors_of_one_ratio,
    says_the_same,
)

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
        ``predictor``, ``is_law``, ``is_whole``, ``mae`` (mean over the kinds of holdout), and one column a kind. Last
        those that are not whole, which have no loss for some rows, as the CMR laws at the ratios 0 and 1 and at
        sizes and budgets that they did not see: their figures are of the other rows, and no verdict counts them.
    verdicts : dict of str to Verdict
        By corpus.
    skipped : dict of str to str
        Why a predictor is missing, by ``corpus/predictor``.
    """

    errors: pd.DataFrame
    ranking: pd.DataFrame
    verdicts: dict[str, Verdict]
    skipped: dict[str, str]

    @property
    def sentence(self) -> str:
        """Whether to fit as by default, in a sentence."""
        beaten = [
            f"on the {corpus} loss {one.winner} is closer by {one.default_margin:.4f} ± "
            f"{one.default_margin_stderr:.4f} nats"
            for corpus, one in self.verdicts.items()
            if one.beats_default
        ]
        if not self.verdicts:
            return "too few predictors could answer to compare them"
        alone = {c: one.winner for c, one in self.verdicts.items() if np.isnan(one.default_margin)}
        apart = ", ".join(f"{winner} ({corpus})" for corpus, winner in alone.items())
        apart = f"the default (auto) could not answer; closest of what could: {apart}"
        if len(alone) == len(self.verdicts):
            return apart
        sentence = "nothing is clearly closer than the default (auto): fit without --law"
        if beaten:
            sentence = f"the default (auto) is clearly beaten: {'; '.join(beaten)}; see what --law would change"
        return f"{sentence}; elsewhere {apart}" if alone else sentence

    @property
    def left_out(self) -> list[tuple[str, list[str], str]]:
        """The predictors that are missing, each with the corpora for which one reason holds, and that reason."""
        corpora: dict[tuple[str, str], list[str]] = {}
        for key, reason in self.skipped.items():
            corpus, name = key.rsplit("/", 1)
            plain = reason.replace(f"the loss on {corpus} ", "the loss ")
            plain = plain.replace(f"the {corpus} loss ", "the loss ")
            corpora.setdefault((name, plain), []).append(corpus)
        return [(name, alike, reason) for (name, reason), alike in corpora.items()]


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
    default_margin, default_margin_stderr : float
        How much farther off the default predictor is than the winner, and its standard error; NaN where it could not
        answer.
    """

    winner: str
    runner_up: str
    margin: float
    margin_stderr: float
    best_law: str
    default_margin: float
    default_margin_stderr: float

    @property
    def beats_default(self) -> bool:
        """Whether the winner is ahead of the default predictor by more than two standard errors."""
        return self.default_margin > CLEAR * self.default_margin_stderr

    @property
    def is_clear(self) -> bool:
        """Whether the margin is more than two standard errors."""
        return self.margin > CLEAR * self.margin_stderr

    @property
    def sentence(self) -> str:
        """Who leads, by how much and how surely; or that nobody does."""
        margin, stderr = round(self.margin, 4), f"± {self.margin_stderr:.4f}"
        if margin > 0:
            sure = "clear" if self.is_clear else "not clear"
            return f"{self.winner} leads {self.runner_up} by {margin:.4f} {stderr} ({sure})"
        if margin == 0:
            return f"{self.winner} and {self.runner_up} are equally close, 0.0000 {stderr} apart"
        return (
            f"{self.winner} is first by the mean over what was hidden, {self.runner_up} closer over the runs by "
            f"{-margin:.4f} {stderr}"
        )


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
    rows = log_of(log)
    require_a_corpus_to_fit(rows, source_of(log))
    log = with_law_columns(with_token_share(rows)[0], AUTO)[0]
    first = parse_first_tokens(min_train_tokens)
    say = progress or (lambda line: None)
    corpora, known = _asked(log)
    answers: list[pd.DataFrame] = []
    skipped: dict[str, str] = {}
    for corpus in corpora:
        rows = fitted_rows(log, corpus, first)
        questions = holdouts(rows) if len(rows) else []
        for name, predictor in known.items():
            if same := says_the_same(name, rows):
                skipped[f"{corpus}/{name}"] = same
                continue
            say(f"{corpus} {name}")
            given, refusal = _answers(rows, corpus, name, predictor, questions)
            answers += given
            if refusal:
                skipped[f"{corpus}/{name}"] = refusal
    if not answers:
        raise CmrplanError(
            "nothing can be held out of this log: it needs four ratios, or budgets that span a factor of four, or of "
            "several corpora more mixtures than a law has parameters; add probes"
        )
    misses = pd.concat(answers, ignore_index=True)
    keys = ["corpus", "predictor", "is_law", "kind", "holdout"]
    errors = misses.groupby(keys, sort=False)["miss"].agg(mae="mean", num_rows="size").reset_index()
    whole = misses.groupby(["corpus", "predictor"], sort=False)["is_whole"].all()
    ranking = _ranking(errors, whole.reset_index())
    return Comparison(errors, ranking, _verdicts(misses, ranking), skipped)


def _asked(log: pd.DataFrame) -> tuple[tuple[str, ...], dict[str, Predictor]]:
    """Return the validation corpora of a log and who is asked for their losses."""
    if not is_of_two(log):
        return eval_corpora(log), mixture_predictors()
    if log.loc[log["train_tokens"] > 0, "domain_ratio"].nunique() == 1:
        return CORPORA, predictors_of_one_ratio()
    return CORPORA, predictors({corpus: base_losses(log, corpus) for corpus in CORPORA})


def _answers(
    rows: pd.DataFrame, corpus: str, name: str, predictor: Predictor, questions: list[Holdout]
) -> tuple[list[pd.DataFrame], str]:
    """Return the misses of a predictor at each holdout, or why it has none.

    One that answers in part is left out where it has no loss for any hidden row.
    """
    answers, refusal = [], ""
    for holdout in questions:
        try:
            answers.append(_answer(rows, corpus, name, predictor, holdout))
        except CmrplanError as error:
            refusal = refusal or str(error)
            if name not in ANSWERS_IN_PART:
                return [], refusal
    if refusal:
        answers = [answer.assign(is_whole=False) for answer in answers]
    return answers, "" if answers else refusal


def _answer(
    rows: pd.DataFrame, corpus: str, name: str, predictor: Predictor, holdout: Holdout
) -> pd.DataFrame:
    seen = rows[~holdout.hidden].reset_index(drop=True)
    wanted = rows[holdout.hidden].reset_index(drop=True)
    predicted = predictor(seen, wanted, corpus)
    known = np.isfinite(predicted)
    wanted, predicted = wanted[known], predicted[known]
    return pd.DataFrame(
        {
            "corpus": corpus,
            "predictor": name,
            "is_law": name not in SIMPLE_NAMES,
            "kind": holdout.kind,
            "holdout": holdout.name,
            "run_id": wanted["run_id"],
            "is_whole": bool(known.all()),
            "miss": np.abs(predicted - wanted["loss"].to_numpy(dtype=float)),
        }
    )


def _ranking(errors: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    keys = ["corpus", "predictor", "is_law"]
    kinds = errors.groupby([*keys, "kind"], sort=False)["mae"].mean().unstack("kind")
    table = kinds.assign(mae=kinds.mean(axis=1)).reset_index().merge(whole)
    order = {corpus: k for k, corpus in enumerate(errors["corpus"].unique())}
    table = table.assign(place=table["corpus"].map(order), is_part=~table["is_whole"])
    table = table.sort_values(["place", "is_part", "mae"])
    return table[[*keys, "is_whole", "mae", *kinds.columns]].reset_index(drop=True)


def _verdicts(misses: pd.DataFrame, ranking: pd.DataFrame) -> dict[str, Verdict]:
    verdicts = {}
    for corpus, table in ranking.groupby("corpus", sort=False):
        table = table[table["is_whole"]]
        names = table["predictor"].tolist()
        if len(names) < 2:
            continue
        own = misses[misses["corpus"] == corpus]
        by_run = own.groupby(["predictor", "run_id"])["miss"].mean().unstack("predictor")
        margin = by_run[names[1]] - by_run[names[0]]
        behind = by_run[AUTO] - by_run[names[0]] if AUTO in names else np.nan * margin
        laws = table.loc[table["is_law"], "predictor"].tolist()
        verdicts[str(corpus)] = Verdict(
            winner=names[0],
            runner_up=names[1],
            margin=float(margin.mean()),
            margin_stderr=float(margin.std(ddof=1) / np.sqrt(len(margin))),
            best_law=laws[0] if laws else "",
            default_margin=float(behind.mean()),
            default_margin_stderr=float(behind.std(ddof=1) / np.sqrt(len(behind))),
        )
    return verdicts
