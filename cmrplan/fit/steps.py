"""The steps of a fit that are the same for two corpora and for many: laws, their average, their resamples.

Two corpora are the case of one mixture coordinate. What differs, which laws there are, what a log must have for them
and what is hidden to judge them, stands in a :class:`LawChoice`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.law_model import AveragedModel, LawModel, averaged
from cmrplan.fit.model_averaging import Score, averaging_weights
from cmrplan.fit.noise import Noise, Residuals, run_noise, spare_runs


@dataclass(frozen=True)
class LawChoice:
    """Which laws a kind of log can be fitted by, and how.

    Parameters
    ----------
    names : tuple of str
        The laws to fit and, where there are several, to average.
    fit : callable
        Takes the name of a law, the corpus and its rows, and returns the fitted law; raises
        :class:`~cmrplan.errors.CmrplanError` where the rows cannot support it.
    score : callable
        Takes a fitted law and its rows and returns its errors on hidden rows.
    """

    names: tuple[str, ...]
    fit: Callable[[str, str, pd.DataFrame], LawModel]
    score: Callable[[LawModel, pd.DataFrame], Score]


def fit_corpus(choice: LawChoice, corpus: str, rows: pd.DataFrame) -> LawModel | AveragedModel:
    """Fit the laws of a choice to the rows of one corpus, and average them by how they predict hidden rows.

    Raises
    ------
    CmrplanError
        If the rows support none of them; the message of the first law that was tried.
    """
    models = fitted_laws(choice, corpus, rows)
    if len(models) == 1:
        return models[0]
    return averaged(models, averaging_weights([choice.score(model, rows) for model in models]))


def fitted_laws(choice: LawChoice, corpus: str, rows: pd.DataFrame) -> list[LawModel]:
    """Return every law of a choice that the rows of one corpus support, fitted.

    Raises
    ------
    CmrplanError
        If the rows support none of them; the message of the first law that was tried.
    """
    models: list[LawModel] = []
    refusal: CmrplanError | None = None
    for name in choice.names:
        try:
            model = choice.fit(name, corpus, rows)
        except CmrplanError as error:
            refusal = refusal or error
            continue
        # With few levels two laws can come down to the same formula.
        if model.fit.law.formula not in {other.fit.law.formula for other in models}:
            models.append(model)
    if not models:
        assert refusal is not None
        raise refusal
    return models


def with_resamples(
    models: Mapping[str, CorpusModel],
    rows: Mapping[str, pd.DataFrame],
    resamples: Resamples,
) -> dict[str, CorpusModel]:
    """Return the models with one optimum per resample; the noise is that of all corpora together."""
    noise = noise_of(models, rows)
    return {c: model.resampled(rows[c], resamples, noise) for c, model in models.items()}


def drawn_models(
    models: Mapping[str, CorpusModel],
    rows: Mapping[str, pd.DataFrame],
    resamples: Resamples | None,
) -> tuple[dict[str, CorpusModel], list[Finding]]:
    """Return the models with resamples; without, and a finding, where laws go through every row and all are alike."""
    if resamples is None:
        return dict(models), []
    alone = len(top_weighted_laws(models)) == len(models)
    is_single = all(part["run_id"].is_unique for part in rows.values())
    if not (alone and is_single) or shows_noise(models, rows):
        return with_resamples(models, rows, resamples), []
    runs = max(len(part) for part in rows.values())
    text = (
        f"the fitted laws go through all {runs} runs, so nothing shows how far another run would scatter and there are "
        "no intervals: every answer is the estimate alone; add runs at other ratios, or repeat some with another seed"
    )
    return dict(models), [Finding(Code.NO_SPARE_RUNS, text)]


def noise_of(models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]) -> Noise:
    """Return the noise that the models know, or that the top-weighted laws of all corpora show; CMR laws show none."""
    known = [noise for model in models.values() if (noise := model.noise) is not None]
    if known:
        return Noise(
            run=float(np.sqrt(np.mean([noise.run**2 for noise in known]))),
            checkpoint=float(np.sqrt(np.mean([noise.checkpoint**2 for noise in known]))),
            degrees_of_freedom=min(noise.degrees_of_freedom for noise in known),
        )
    return run_noise(_left(models, rows))


def shows_noise(models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]) -> bool:
    """Tell whether the top-weighted laws leave something of the runs, to see by how far another one would scatter."""
    return spare_runs(_left(models, rows)) > 0


def _left(models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]) -> list[Residuals]:
    """Return what the top-weighted law of each corpus leaves of its rows."""
    return [law.residuals(rows[c]) for c, law in top_weighted_laws(models).items()]
