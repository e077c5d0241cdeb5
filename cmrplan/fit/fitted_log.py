"""What a fit of two corpora and a fit of many have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import Code, Finding, InputError
from cmrplan.fit.bootstrap import Resamples, resample_runs
from cmrplan.fit.corpus_model import CorpusModel
from cmrplan.fit.noise import Noise
from cmrplan.fit.parameter_table import parameter_table, shown_table
from cmrplan.fit.report_text import r2_text, report_text, sizes_text
from cmrplan.fit.settings import FitSettings
from cmrplan.fit.steps import noise_of
from cmrplan.log import CORPORA
from cmrplan.log.files import training_rows
from cmrplan.numbers import require_positive

FIT_FILE_VERSION = 2
MOST_SHOWN = 10  # corpora in a short text
MOST_HTML_ROWS = 60


@dataclass(frozen=True, repr=False)
class FittedLog(ABC):
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

    @abstractmethod
    def figures(self) -> dict[str, Any]:
        """Return the figures of the fit as plain values: what the command line prints with ``--json``."""

    def _common_figures(self) -> dict[str, Any]:
        """Return what the figures of all fits end with: findings, settings and provenance."""
        return {
            "warnings": [finding.as_dict() for finding in self.warnings],
            "settings": asdict(self.settings),
            "provenance": self.provenance,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return all that the file of the fit holds, as plain values: the figures, and the state to predict from."""
        from cmrplan.fit.model_records import dump_state  # takes a tenth of a second to import

        return self.figures() | {"state": dump_state(self)}

    def summaries(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each corpus with the figures of its law; of the CMR laws those of each size."""
        for corpus, model in self.models.items():
            for figures in model.summaries(self.settings.confidence):
                yield corpus, figures

    def table(self) -> pd.DataFrame:
        """Return one row for each corpus and parameter.

        Of laws that were averaged, the top-weighted one is shown; of the CMR laws the ratio law of each size at its
        largest budget.

        Returns
        -------
        DataFrame
            ``corpus``, ``law``, ``model_params`` and ``train_tokens`` (where the law holds at one size and budget, else
            NaN), ``parameter``, ``estimate``, ``stderr``, ``low`` and ``high`` (NaN where not known, and of what is not
            identified), and ``status``: ``free``, ``held``, ``at a bound`` or ``not identified``.
        """
        return parameter_table(self.summaries())

    def report(self) -> str:
        """Return the statistics of the fit and the parameters of each corpus as text, as lmfit's reports have them."""
        return report_text(self)

    def to_latex(self, *, caption: str | None = None, label: str | None = None) -> str:
        """Return :meth:`table` for LaTeX with the package booktabs, columns that hold nothing left out."""
        return str(
            shown_table(self.table()).to_latex(
                index=False,
                escape=True,
                float_format="{:.4g}".format,
                na_rep="",
                caption=caption,
                label=label,
            )
        )

    def __repr__(self) -> str:
        head = f"{type(self).__name__} of {self.num_rows} rows of {self.num_runs} runs, {sizes_text(self.sizes)}"
        lines = [head]
        for corpus, model in list(self.models.items())[:MOST_SHOWN]:
            figures = model.summary(self.settings.confidence)
            error = f"mean absolute error {figures['mae']:.4f} nats"
            status = figures["status"]
            lines.append(f"  {corpus:<10} {model.law}, R² {r2_text(figures)}, {error}, {status}")
        if len(self.models) > MOST_SHOWN:
            lines.append(f"  and {len(self.models) - MOST_SHOWN} more")
        codes = sorted({str(finding.code) for finding in self.warnings})
        return "\n".join([*lines, f"  warnings   {', '.join(codes) or 'none'}"])

    def _repr_html_(self) -> str:
        table = shown_table(self.table()).to_html(
            index=False, float_format="{:.4g}".format, na_rep="", max_rows=MOST_HTML_ROWS
        )
        return f"<pre>{escape(repr(self))}</pre>{table}"

    @property
    def num_rows(self) -> int:
        """Number of evaluations that the laws were fitted to, all corpora together."""
        return sum(int(model.is_fitted(self.rows(c)).sum()) for c, model in self.models.items())

    @property
    def num_runs(self) -> int:
        """Number of runs in the log."""
        return int(self.log["run_id"].nunique())

    @property
    def sizes(self) -> Array:
        """The model sizes in the log, ascending."""
        return np.unique(self.log["model_params"].to_numpy(dtype=float))

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return self.settings.bootstrap

    @cached_property
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


def resamples_remedy(warnings: Sequence[Finding]) -> str:
    """Return what gives a fit without resamples some, by its findings."""
    if any(finding.code == Code.NO_SPARE_RUNS for finding in warnings):
        return "add runs at other ratios, or repeat some with another seed: the laws go through all there are"
    return "fit with --bootstrap 200"


def resamples_of(
    log: pd.DataFrame, settings: FitSettings, *, by_name: bool = False
) -> Resamples | None:
    """Return the resamples that the settings ask for; always the same for the same log.

    They were drawn in the order of the runs' names in fits of 0.2.0.
    """
    if not settings.bootstrap:
        return None
    rows = [fitted_rows(log, corpus, settings.min_train_tokens) for corpus in CORPORA]
    runs = pd.concat(rows)["run_id"].tolist()
    runs = sorted(runs) if by_name else runs
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
