"""Laws and baselines behind one call: rows that may be seen in, losses of other rows out."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.cmr_model import fit_cmr_model
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.fit_log import fit_rows
from cmrplan.fit.hold_outs import require_levels
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import row_inputs
from cmrplan.fit.mixture_laws import (
    fit_mixture_law,
    mixture_law_choice,
    ordered_corpora,
    varied_corpora,
    with_mixture_residual,
)
from cmrplan.fit.mixture_repeats import counted_log, repeated_corpora
from cmrplan.fit.schedule_areas import AREA_COLUMNS, COOLED
from cmrplan.fit.settings import FitSettings
from cmrplan.fit.steps import LawChoice, fit_corpus
from cmrplan.laws.registry import AUTO, REGISTRY, FitKind, names_for, plain_ratio_laws
from cmrplan.validate.baselines import BASELINES, MIXTURE_BASELINES, Baseline

# What a log can say of its rows beside size, tokens and ratio: areas of the learning rate, and the age of the base.
SAID_OF_ROWS = (*AREA_COLUMNS, COOLED, "base_tokens")
ANSWERS_IN_PART = frozenset({"cmr"})  # compared on the hidden rows for which it has a loss
Predictor = Callable[[pd.DataFrame, pd.DataFrame, str], Array]


def predictors(base_loss: Mapping[str, Mapping[float, float]]) -> dict[str, Predictor]:
    """Return what ``fit`` does by default, every law and every baseline by name.

    Each takes the rows to fit and the rows to predict, both of one corpus, and the corpus's name; it returns
    losses in nats per token, ``(n,)``, NaN where it has none for a row, or raises :class:`CmrplanError` where it does
    not apply.

    Parameters
    ----------
    base_loss : mapping of str to mapping of float to float
        By corpus and size, nats per token. The base loss of a size is known before any of its probes is run, so that of
        hidden sizes may be given.
    """
    chosen: dict[str, Predictor] = {AUTO: _default(base_loss)}
    laws = {name: _ratio_law(name) for name in plain_ratio_laws()}
    simple = {name: _baseline(call) for name, call in BASELINES.items()}
    return chosen | laws | {"cmr": _cmr} | simple


def predictors_of_one_ratio() -> dict[str, Predictor]:
    """Return the laws and baselines for a log with one ratio, to which neither the default nor a law of ratios fits."""
    simple = {name: _baseline(call) for name, call in BASELINES.items()}
    return {"chinchilla": _ratio_law("chinchilla")} | simple


def _default(base_loss: Mapping[str, Mapping[float, float]]) -> Predictor:
    def predict(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
        model = fit_rows(seen, corpus, base_loss.get(corpus, {}), FitSettings(bootstrap=0))
        return losses_by(model, wanted)

    return predict


def losses_by(model: CorpusModel, wanted: pd.DataFrame) -> Array:
    """Return the losses of rows by a model, with what a log says of its rows, ``(n,)``."""
    said = {name: wanted[name].to_numpy(dtype=float) for name in SAID_OF_ROWS if name in wanted}
    return model.predict(_mixture_columns(wanted) | said).loss


def mixture_predictors() -> dict[str, Predictor]:
    """Return what ``fit_mixture`` does by default, and every law and baseline of several corpora by name.

    They are called as those of :func:`predictors`.
    """
    chosen: dict[str, Predictor] = {AUTO: _default_mixture}
    laws: dict[str, Predictor] = {
        name: _mixture_law(name) for name in names_for(FitKind.CORPORA) if REGISTRY[name].is_ranked
    }
    return chosen | laws | {name: _baseline(call) for name, call in MIXTURE_BASELINES.items()}


def says_the_same(name: str, rows: pd.DataFrame) -> str:
    """Return why a law says on such rows what another does; empty where it does not."""
    if name not in REGISTRY:
        return ""
    entry = REGISTRY[name]
    for levels, fewest, what in (
        (rows["model_params"].nunique(), entry.fewest_sizes, "model size"),
        (rows["train_tokens"].nunique(), entry.fewest_budgets, "token count"),
    ):
        if levels < fewest:
            return f"at {levels} {what} the law {name} says the same as another; add probes at {fewest} or more"
    return ""


def _default_mixture(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
    choice = mixture_law_choice(AUTO, seen, varied_corpora(seen, ordered_corpora(seen)))
    seen, wanted = _counted(seen, wanted, corpus, choice)
    laws = fit_corpus(choice, corpus, seen)
    return with_mixture_residual(laws, seen, FitSettings(bootstrap=0)).fitted_loss(wanted)


def _counted(
    seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str, choice: LawChoice
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of a mixture with what their repeated tokens are worth, as those that may be seen say it."""
    repeated = repeated_corpora({corpus: seen}, choice)
    return counted_log(seen, repeated), counted_log(wanted, repeated)


def _mixture_law(name: str) -> Predictor:
    def predict(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
        varied = varied_corpora(seen, ordered_corpora(seen))
        seen, wanted = _counted(seen, wanted, corpus, mixture_law_choice(name, seen, varied))
        model = fit_mixture_law(name, corpus, seen, varied)
        require_levels(model.fit.law, row_inputs(corpus, seen))
        predicted = model.fit.predict(row_inputs(corpus, wanted))
        if not np.isfinite(predicted).all():
            raise CmrplanError(
                f"the law {name} has no finite value at some hidden mixtures, as where a corpus has no share"
            )
        return predicted

    return predict


def _ratio_law(name: str) -> Predictor:
    def predict(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
        model = fit_law_model(seen, corpus, law_name=name)
        require_levels(model.fit.law, row_inputs(corpus, seen))
        return model.fit.predict(row_inputs(corpus, wanted))

    return predict


def _cmr(seen: pd.DataFrame, wanted: pd.DataFrame, corpus: str) -> Array:
    """Return losses where the CMR laws have one, and NaN elsewhere.

    The ratio law holds strictly between 0 and 1, at sizes that were seen, and at budgets that were or that the token
    laws of the runs reach.
    """
    model = fit_cmr_model(seen, corpus, None)
    ratio = wanted["domain_ratio"].to_numpy(dtype=float)
    is_inside = (ratio > 0) & ((ratio < 1) | (corpus == "domain"))
    at = wanted[["model_params", "train_tokens"]].to_numpy(dtype=float)
    loss, refusal = np.full(ratio.shape, np.nan), "the CMR ratio law holds strictly between 0 and 1"
    for here in np.unique(at[is_inside], axis=0):
        rows = is_inside & (at == here).all(axis=1)
        try:
            loss[rows] = model.predict(_mixture_columns(wanted[rows])).loss
        except CmrplanError as error:
            refusal = str(error)
    if not np.isfinite(loss).any():
        raise CmrplanError(refusal)
    return loss


def _mixture_columns(rows: pd.DataFrame) -> dict[str, Array]:
    names = ("model_params", "train_tokens", "domain_ratio")
    return {name: rows[name].to_numpy(dtype=float) for name in names}


def _baseline(call: Baseline) -> Predictor:
    return lambda seen, wanted, corpus: call(seen, wanted)
