"""What a fit of two corpora and a fit of many have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import SAME_SIZE
from cmrplan.errors import Finding, InputError
from cmrplan.fit.bootstrap import Resamples, resample_runs
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.noise import Noise
from cmrplan.fit.parameter_table import parameter_table
from cmrplan.fit.settings import FitSettings
from cmrplan.fit.steps import noise_of
from cmrplan.log import CORPORA
from cmrplan.log.files import training_rows
from cmrplan.numbers import require_positive

MOST_SHOWN = 10  # corpora in a short text


@dataclass(frozen=True, repr=False)
class FittedLog:
    """A log with one fitted model for each validation corpus.

    Parameters
    ----------
    settings : FitSettings
    corpora : tuple of m str
        The training corpora, in the order of the shares of a mixture.
    log : DataFrame
        The rows of the log, base rows included, in the columns the fit needs.
    models : mapping of str to CorpusModel
        By validation corpus; a corpus that the log lacks is absent.
    base_loss : dict of str to dict of float to float
        By corpus and ``model_params``: the loss before continual pre-training, nats per token.
    warnings : tuple of Finding
    provenance : dict
        Fingerprint of the log and version of the code.
    """

    settings: FitSettings
    corpora: tuple[str, ...]
    log: pd.DataFrame
    models: Mapping[str, CorpusModel]
    base_loss: dict[str, dict[float, float]]
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    def table(self) -> pd.DataFrame:
        """Return one row a corpus and parameter: estimate, standard error and interval.

        Of laws that were averaged, the top-weighted one is shown.
        """
        confidence = self.settings.confidence
        return parameter_table({c: m.summary(confidence) for c, m in self.models.items()})

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} of {self.log['run_id'].nunique()} runs"]
        for corpus, model in list(self.models.items())[:MOST_SHOWN]:
            figures = model.summary(self.settings.confidence)
            error = f"mean absolute error {figures['mae']:.4f} nats"
            r2 = "not defined" if figures["r2"] is None else f"{figures['r2']:.4f}"
            lines.append(f"  {corpus:<10} {model.law}, R² {r2}, {error}")
        if len(self.models) > MOST_SHOWN:
            lines.append(f"  and {len(self.models) - MOST_SHOWN} more")
        codes = sorted({str(finding.code) for finding in self.warnings})
        return "\n".join([*lines, f"  warnings   {', '.join(codes) or 'none'}"])

    def _repr_html_(self) -> str:
        return str(self.table().to_html(index=False, float_format="{:.4g}".format, na_rep=""))

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return self.settings.bootstrap

    @property
    def noise(self) -> Noise:
        """Noise that the residuals of the fitted laws show, the misfit included; see :mod:`cmrplan.fit.noise`."""
        return noise_of(self.models, {corpus: self.rows(corpus) for corpus in self.models})

    def rows(self, corpus: str) -> pd.DataFrame:
        """Return the rows of a corpus that were fitted."""
        return fitted_rows(self.log, corpus, self.settings.min_train_tokens)


def fitted_rows(log: pd.DataFrame, corpus: str, min_train_tokens: float) -> pd.DataFrame:
    """Return the rows of a corpus after the base checkpoint and from ``min_train_tokens`` on."""
    rows = training_rows(log, corpus)
    return rows[rows["train_tokens"] >= min_train_tokens].reset_index(drop=True)


def resamples_of(log: pd.DataFrame, settings: FitSettings) -> Resamples | None:
    """Return the resamples that the settings ask for; always the same for the same log."""
    if not settings.bootstrap:
        return None
    rows = [fitted_rows(log, corpus, settings.min_train_tokens) for corpus in CORPORA]
    runs = pd.concat(rows)["run_id"].tolist()
    return resample_runs(runs, count=settings.bootstrap, seed=settings.seed, method=settings.method)


def rows_of_size(log: pd.DataFrame, model_params: float) -> pd.DataFrame:
    """Return the rows of one model size, given to within one percent.

    Raises
    ------
    InputError
        If the log has no such size.
    """
    require_positive("model_params", model_params)
    sizes = log["model_params"].to_numpy(dtype=float)
    near = np.abs(sizes / model_params - 1) <= SAME_SIZE
    if not near.any():
        known = ", ".join(f"{size:.6g}" for size in np.unique(sizes))
        raise InputError(f"model_params = {model_params:.6g} is not in the log; its sizes: {known}")
    return log[near].reset_index(drop=True)
