"""Training corpora of a mixture that probes passed over more than once: what their repeats are worth.

The loss on such a corpus is a law of the tokens that a run is worth to it, not of those that it saw: its own tokens
past one pass count by the discount for repeated data (:func:`~cmrplan.fit.supply.discounted_tokens`). R* is the value
that the log makes most likely, the published one and its spread being known before. Losses on other corpora count all
tokens: what the repeats of one corpus do to them is part of what its share does, in probes of the same supply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.corpus_model import Columns, CorpusModel
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.steps import LawChoice, fitted_laws
from cmrplan.fit.supply import (
    ASSUMED_REPEATS,
    ONE_PASS,
    Supply,
    discounted_tokens,
    supply_from,
)
from cmrplan.laws.repetition import REPEAT_SCALE, REPEAT_SCALE_SD
from cmrplan.log.columns import SHARE_PREFIX, WORTH, share_columns, unique_tokens_column

FEWEST_TOKEN_LEVELS = 2  # of one budget no law reads the tokens
_DEVIATIONS = np.linspace(-2, 2, 9)
_SCALES = REPEAT_SCALE * np.exp(REPEAT_SCALE_SD * _DEVIATIONS)
_EXACT = 1e-6  # nats; smaller misses are those of rounding


@dataclass(frozen=True)
class RepeatedCorpus:
    """A training corpus that the probes repeat.

    Parameters
    ----------
    supply : Supply
    repeat_scale : float
        R*, in repeats.
    """

    supply: Supply
    repeat_scale: float

    @classmethod
    def of(cls, log: pd.DataFrame, corpus: str, repeat_scale: float) -> RepeatedCorpus:
        """Return a corpus that the probes of a log repeat.

        Raises
        ------
        ValueError
            If they do not, or the scale is not one.
        """
        supply = supply_from(log, SHARE_PREFIX + corpus, unique_tokens_column(corpus))
        if supply is None or not repeat_scale > 0:
            raise ValueError(
                f"repeats of {corpus!r} by R* = {repeat_scale:g}, which the log does not have"
            )
        return cls(supply, repeat_scale)


def with_worth(rows: pd.DataFrame, corpus: str, repeat_scale: float) -> pd.DataFrame:
    """Return rows of a log with the tokens that each run is worth to the loss on a corpus, at a scale R*."""
    unique = rows[unique_tokens_column(corpus)].to_numpy(dtype=float)
    worth = discounted_tokens(
        rows["train_tokens"].to_numpy(dtype=float),
        rows[SHARE_PREFIX + corpus].to_numpy(dtype=float),
        np.where(np.isnan(unique), np.inf, unique),
        repeat_scale,
    )
    return rows.assign(**{WORTH: worth})


def likeliest_scale(rows: pd.DataFrame, corpus: str, choice: LawChoice) -> float:
    """Return the R* at which a law of the mixture fits the rows of a corpus best, the published value kept in mind.

    Parameters
    ----------
    rows : DataFrame
        Of its own loss.
    corpus : str
    choice : LawChoice
        The laws of the fit.

    Notes
    -----
    Of nine values over two standard deviations of ``ln R*`` to both sides of the published one, the one with the
    highest posterior density under the law that misses the rows least at the published value; each run counts once,
    since what a law leaves of its evaluations goes together.
    """
    loss, runs = rows["loss"].to_numpy(dtype=float), rows["run_id"].nunique()

    def missed(law: LawModel, counted: pd.DataFrame) -> float:
        left = np.log(loss / law.fitted_loss(counted))
        return max(float(np.sqrt(np.mean(left**2))), _EXACT)

    published = with_worth(rows, corpus, REPEAT_SCALE)
    laws = fitted_laws(choice, corpus, published)
    nearest = min(laws, key=lambda law: missed(law, published))
    misfit = []
    for scale in _SCALES:
        counted = with_worth(rows, corpus, float(scale))
        misfit.append(runs * np.log(missed(choice.fit(nearest.law, corpus, counted), counted)))
    return float(_SCALES[np.argmin(np.array(misfit) + _DEVIATIONS**2 / 2)])


def repeated_corpora(
    rows: Mapping[str, pd.DataFrame], choice: LawChoice
) -> dict[str, RepeatedCorpus]:
    """Return the corpora whose repeats laws of several budgets can count, with what these repeats are worth.

    Parameters
    ----------
    rows : mapping of str to DataFrame
        By validation corpus.
    choice : LawChoice
        The laws of the fit.
    """
    repeated = {}
    for corpus, own in rows.items():
        supply = supply_from(own, SHARE_PREFIX + corpus, unique_tokens_column(corpus))
        if supply is not None and own["train_tokens"].nunique() >= FEWEST_TOKEN_LEVELS:
            scale = likeliest_scale(own, corpus, choice)
            repeated[corpus] = RepeatedCorpus(supply, scale)
    return repeated


def counted_log(log: pd.DataFrame, repeated: Mapping[str, RepeatedCorpus]) -> pd.DataFrame:
    """Return a log whose rows on corpora that repeat say what their tokens are worth; the same log where none do."""
    if not repeated:
        return log
    worth = np.full(len(log), np.nan)
    for corpus, repeats in repeated.items():
        is_own = (log["eval_corpus"] == corpus).to_numpy()
        worth[is_own] = with_worth(log[is_own], corpus, repeats.repeat_scale)[WORTH]
    return log.assign(**{WORTH: worth})


def columns_of_repeats(
    model: CorpusModel, columns: Columns, unique_tokens: float, repeat_scale: float | None
) -> list[tuple[Columns, Array | float]]:
    """Return what the laws of a training corpus that holds so many tokens are to read, and a factor of the loss.

    One pair where R* is known; else that of the published value first, and those of its spread behind it.

    Parameters
    ----------
    model : CorpusModel
    columns : mapping of str to array (G,)
        Sizes, tokens and shares.
    unique_tokens : float
    repeat_scale : float, optional
        R*, as the probes say it; without it the published value with its spread, and what repeats may harm.
    """
    tokens, share = columns["train_tokens"], columns.get(SHARE_PREFIX + model.corpus)
    if share is None or not counts_tokens(model):
        return [(columns, 1.0)]
    passes = np.maximum(tokens * share / unique_tokens, 1.0)
    if passes.max() <= ONE_PASS:
        return [(columns, 1.0)]
    return [
        (
            {**columns, WORTH: discounted_tokens(tokens, share, unique_tokens, scale)},
            np.exp(harm * np.log(passes) ** 2),
        )
        for scale, harm in (ASSUMED_REPEATS if repeat_scale is None else [(repeat_scale, 0.0)])
    ]


def counts_tokens(model: CorpusModel) -> bool:
    """Tell whether all laws of a model read the tokens of a run, so that repeats can be worth less."""
    return all("train_tokens" in law.fit.law.inputs for law in model.components)


def repeated_corpora_findings(
    rows: pd.DataFrame, repeated: Mapping[str, RepeatedCorpus]
) -> list[Finding]:
    """Return a finding for each training corpus that the probes repeat."""
    findings = []
    for corpus in sorted({name.removeprefix(SHARE_PREFIX) for name in share_columns(rows)}):
        supply = supply_from(rows, SHARE_PREFIX + corpus, unique_tokens_column(corpus))
        if supply is None:
            continue
        text = f"probes pass over {corpus} up to {supply.most_passes:.3g} times ({unique_tokens_column(corpus)}: "
        text += f"{'' if supply.is_one else 'at most '}{supply.unique_tokens:.4g})"
        if corpus in repeated:
            text += (
                f"; its own loss counts repeats by R* = {repeated[corpus].repeat_scale:.3g}, other losses contain what "
                "they do; a plan draws from as many, unless --available says what the run has"
            )
        else:
            text += (
                "; losses contain what repeats cost, and no law counts them: they hold for as many tokens of it as the "
                "probes had"
            )
        findings.append(Finding(Code.PROBES_REPEAT, text))
    return findings
