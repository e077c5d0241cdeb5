"""Fit a law of the mixture, reduced to what the log supports, to the rows of one validation corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.hold_outs import holdouts, levels_needed
from cmrplan.fit.law_fitting import level_options, require_one_size
from cmrplan.fit.law_model import LawModel, law_model, row_inputs
from cmrplan.fit.model_averaging import Score, held_out_score
from cmrplan.fit.settings import FitSettings
from cmrplan.fit.steps import LawChoice
from cmrplan.laws import build_law
from cmrplan.laws.bilinear import FREE_TOKEN_LEVELS
from cmrplan.laws.law import Law
from cmrplan.laws.registry import AUTO, REGISTRY, FitKind, averaged_names
from cmrplan.log.columns import SHARE_PREFIX, share_columns
from cmrplan.solve.law_fit import fit_law

# How many budgets, over which factor, show how a loss bends over tokens.
BUDGETS_THAT_BEND, WIDE_BUDGETS = 3, 4.0


def run_shares(rows: pd.DataFrame, corpora: Sequence[str]) -> Array:
    """Return the shares of each run, runs in the order of the log, ``(R, m)``."""
    runs = rows.drop_duplicates("run_id")
    return runs[[SHARE_PREFIX + name for name in corpora]].to_numpy(dtype=float)


def ordered_corpora(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the training corpora, the largest mean share first."""
    names = [column.removeprefix(SHARE_PREFIX) for column in share_columns(rows)]
    shares = dict(zip(names, run_shares(rows, names).T, strict=True))
    return tuple(sorted(names, key=lambda n: (-shares[n].mean(), shares[n].tolist())))


def varied_corpora(rows: pd.DataFrame, corpora: Sequence[str]) -> tuple[str, ...]:
    """Return the corpora whose share differs between runs: laws read these, the rest is a constant.

    Raises
    ------
    CmrplanError
        If there are fewer than two.
    """
    shares = run_shares(rows, corpora)
    varied = tuple(name for name, column in zip(corpora, shares.T, strict=True) if np.ptp(column))
    if len(varied) < 2:
        raise CmrplanError(
            "every run has the same mixture, which shows nothing of mixing; add runs with other shares"
        )
    return varied


def mixture_law_choice(law: str, rows: pd.DataFrame, varied: Sequence[str]) -> LawChoice:
    """Return the laws to fit: the one that was asked for, or those that ``auto`` averages on such rows."""
    has_late = any(question.kind == "tokens" for question in holdouts(rows))
    is_straight = law == AUTO and not (has_late or _are_far_apart(rows["train_tokens"]))

    def fit_one(name: str, corpus: str, rows: pd.DataFrame) -> LawModel:
        return fit_mixture_law(name, corpus, rows, varied, is_straight=is_straight)

    num_sizes, num_budgets = rows["model_params"].nunique(), rows["train_tokens"].nunique()
    averaged = (REGISTRY[name] for name in averaged_names(FitKind.CORPORA))
    names = tuple(
        entry.name
        for entry in averaged
        if (num_budgets > 1 or not entry.needs_budgets) and num_sizes >= entry.fewest_sizes
    )
    return LawChoice(names if law == AUTO else (law,), fit_one, mixture_score)


def _are_far_apart(tokens: pd.Series) -> bool:
    """Tell whether three budgets or more span what shows how a loss bends over tokens."""
    return bool(
        tokens.nunique() >= BUDGETS_THAT_BEND and tokens.max() >= WIDE_BUDGETS * tokens.min()
    )


def fit_mixture_law(
    name: str, corpus: str, rows: pd.DataFrame, varied: Sequence[str], *, is_straight: bool = False
) -> LawModel:
    """Fit a law of the mixture to the rows of one validation corpus.

    Parameters
    ----------
    name : str
        A law that the registry gives to fits of several corpora.
    corpus : str
    rows : DataFrame
        Rows of one ``eval_corpus`` with ``train_tokens`` above 0.
    varied : sequence of str
        The training corpora that the law reads.
    is_straight : bool
        Whether what the mixture does goes along a line in ln D, in a law in which it may change with tokens: budgets
        near each other show its slope and not its bend.

    Raises
    ------
    CmrplanError
        If the rows cannot support the law.
    """
    if REGISTRY[name].is_of_one_size:
        require_one_size(rows, corpus, name)
    law = _declare(name, corpus, rows, varied, is_straight)
    _require_mixtures(law, corpus, rows, varied)
    return law_model(corpus, fit_law(law, row_inputs(corpus, rows), _losses(rows)), rows)


def mixture_score(model: LawModel, rows: pd.DataFrame) -> Score:
    """Return how a law of the mixture predicts hidden mixtures, the largest budgets and the largest size."""
    return held_out_score(model, rows, mixture_redeclared)


def mixture_redeclared(model: LawModel, rows: pd.DataFrame) -> Law:
    """Return the law of a model as some of its rows support it, with the corpora in the same order."""
    options = dict(model.fit.law.options)
    levels = level_options(model.law, model.corpus, rows)
    if "token_levels" in levels:  # what was held for all of the rows is held for some
        levels["token_levels"] = min(levels["token_levels"], options["token_levels"])
    return build_law(model.law, options | levels)


def with_mixture_residual(
    laws: CorpusModel, rows: pd.DataFrame, settings: FitSettings, number: int = 0
) -> CorpusModel:
    """Return laws with a process above them where the settings ask for one, and where by default it serves.

    Parameters
    ----------
    laws : CorpusModel
    rows : DataFrame
        Of its corpus.
    settings : FitSettings
    number : int
        Of the corpus among those of the fit.

    Raises
    ------
    CmrplanError
        If a process is asked for by name, and there are too few runs.
    """
    if not settings.may_have_residual:
        return laws
    # Its modules take a tenth of a second to import.
    from cmrplan.fit.residual.mixture_model import FEWEST_PROCESS_RUNS, with_process

    runs = rows["run_id"].nunique()
    if settings.residual == "gp" and runs < FEWEST_PROCESS_RUNS:
        raise CmrplanError(
            f"the loss on {laws.corpus} has {runs} runs, too few for a residual; add probes, at least "
            f"{FEWEST_PROCESS_RUNS} runs, or leave out --residual"
        )
    model = with_process(laws, rows, settings.seed, number)
    if model is None or (settings.residual == "auto" and model.is_worse_than_laws):
        return laws
    return model


def _losses(rows: pd.DataFrame) -> Array:
    return rows["loss"].to_numpy(dtype=float)


def _declare(
    name: str, corpus: str, rows: pd.DataFrame, varied: Sequence[str], is_straight: bool
) -> Law:
    """Return a law with the terms that the levels of the rows support, the corpus that matters most first."""
    first = corpus
    if corpus not in varied:
        loss = rows["loss"].rank().to_numpy(dtype=float)
        pull = [np.corrcoef(rows[SHARE_PREFIX + name], loss)[0, 1] for name in varied]
        first = varied[int(np.argmin(pull))]
    options = level_options(name, corpus, rows)
    if is_straight and REGISTRY[name].needs_budgets:
        options["token_levels"] = min(options["token_levels"], FREE_TOKEN_LEVELS - 1)
    if "corpora" in REGISTRY[name].options:
        options["corpora"] = [first, *(name for name in varied if name != first)]
    return build_law(name, options)


def _require_mixtures(law: Law, corpus: str, rows: pd.DataFrame, varied: Sequence[str]) -> None:
    """Refuse rows with fewer mixtures than the law has parameters for them."""
    number = len(np.unique(run_shares(rows, varied), axis=0))
    needed = mixtures_needed(law)
    if number < needed:
        raise CmrplanError(
            f"the loss on {corpus} was measured at {number} mixtures; the law {law.name} of {len(varied)} corpora "
            f"needs at least {needed}: add runs with other shares, or merge corpora"
        )


def mixtures_needed(law: Law) -> int:
    """Return at how many mixtures a law must be seen to be determined."""
    return levels_needed(law, [name for name in law.inputs if name.startswith(SHARE_PREFIX)])
