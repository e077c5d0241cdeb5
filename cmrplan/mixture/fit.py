"""Fit the losses of several validation corpora as laws of the mixture they were trained on.

Nothing depends on what the corpora are called: they stand in an order that the shares and losses give, so that other
names give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict, Unpack

import pandas as pd

from cmrplan._version import __version__
from cmrplan.errors import CmrplanError, Finding
from cmrplan.fit.bootstrap import FEWEST_RUNS_TO_DRAW, Method, Resamples, resample_runs
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.diagnosis.burn_in import burn_in_findings, burn_in_of, left_out_findings
from cmrplan.fit.diagnosis.influence import check_runs, influence_findings
from cmrplan.fit.evaluation_bins import EVALUATION_COUNT, averaged_neighbors
from cmrplan.fit.fitted_log import rows_of_size
from cmrplan.fit.mixture_laws import (
    mixture_law_choice,
    mixture_redeclared,
    mixtures_needed,
    ordered_corpora,
    varied_corpora,
    with_mixture_residual,
)
from cmrplan.fit.mixture_repeats import (
    counted_log,
    repeated_corpora,
    repeated_corpora_findings,
)
from cmrplan.fit.settings import FitSettings, ResidualModel, settings_of, with_settings
from cmrplan.fit.steps import fit_corpus, shows_noise, with_resamples
from cmrplan.laws.registry import FitKind, require_choice
from cmrplan.log.base_rows import base_row_findings
from cmrplan.log.columns import WORTH, share_columns, unique_tokens_column
from cmrplan.log.cut_off import cut_off_findings_of
from cmrplan.log.files import LogOrPath, base_losses, log_fingerprint, log_of
from cmrplan.mixture.fit_findings import fit_findings
from cmrplan.mixture.mixture_fit import MixtureFit, rows_from
from cmrplan.numbers import CountOrText

RUNS_PER_PARAMETER = 4  # from here on resamples of runs still hold more mixtures than parameters


class MixtureFitOptions(TypedDict, total=False):
    """The keyword arguments of :func:`fit_mixture` beside the law, as they are explained there."""

    bootstrap: int
    seed: int
    method: Method | None
    confidence: float
    model_params: CountOrText | None
    min_train_tokens: CountOrText
    residual: ResidualModel


@with_settings
def fit_mixture(
    log: LogOrPath, law: str = "auto", **options: Unpack[MixtureFitOptions]
) -> MixtureFit:
    """Fit one law of the mixture to the loss on each validation corpus.

    Parameters
    ----------
    log : DataFrame or path
        A probe log with ``share_<corpus>`` columns, or its file.
    law : str
        A law that :mod:`cmrplan.laws.registry` gives to fits of several corpora, or ``auto``.
        ``auto``: for each corpus the average of those that the log supports, with weights inverse to their mean
        squared errors on hidden mixtures, a fifth at a time, on the largest budgets and on the largest size.
    bootstrap : int, default 200
        Resamples of whole runs, the same for every corpus; 0 for none.
    seed : int, default 0
    method : {"runs", "wild"}, optional
        See :mod:`cmrplan.fit.bootstrap`. By default runs are drawn where there are 20, and 4 for each parameter.
    confidence : float, default 0.9
        Level of the reported parameter intervals.
    model_params : float or str, optional
        Fit only the runs of this size, ``1.8e9`` or ``"1.8B"``.
    min_train_tokens : float or str, default 0
        Leave out evaluations before this many tokens, ``1.6e6`` or ``"1.6M"``. ``"auto"`` leaves out the early
        evaluations that are found to lie outside the laws, see :mod:`cmrplan.fit.diagnosis.burn_in`, and says so.
    residual : {"auto", "gp", "none"}
        What stands above the laws: a Gaussian process over mixtures, see
        :mod:`cmrplan.fit.residual.mixture_process`, or nothing. ``auto``: the process where laws are chosen by
        ``auto`` and runs are 20 or more, unless it misses runs that it does not know by more than the laws miss those
        that they were fitted to, corpus by corpus.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log cannot support a fit; the message says what would.
    """
    require_choice(law, FitKind.CORPORA)
    settings, is_auto = settings_of(law, options)
    rows = log_of(log)
    fitted = _fit_after_burn_in(rows, settings) if is_auto else _fit_with(rows, settings)
    return replace(fitted, warnings=(*cut_off_findings_of(log), *fitted.warnings))


def _fit_after_burn_in(log: pd.DataFrame, settings: FitSettings) -> MixtureFit:
    """Fit without the early evaluations that lie outside the laws."""
    whole = _fit_with(log, replace(settings, bootstrap=0, residual="none"))
    rows = {corpus: whole.rows(corpus) for corpus in whole.models}
    first = burn_in_of(whole.models, rows, mixture_redeclared).chosen
    later = _fit_with(log, replace(settings, min_train_tokens=first))
    return replace(later, warnings=(*left_out_findings(first, rows), *later.warnings))


def _fit_with(log: pd.DataFrame, settings: FitSettings) -> MixtureFit:
    log, fitted = _rows_to_fit(log, settings)
    short, averaged = averaged_neighbors(log, settings.min_train_tokens)
    if averaged:
        fitted = rows_from(short, settings)
    corpora = ordered_corpora(fitted)
    varied = varied_corpora(fitted, corpora)
    choice = mixture_law_choice(settings.law, fitted, varied)
    repeated = repeated_corpora(_by_corpus(fitted), choice)
    short = counted_log(short, repeated)
    fitted = rows_from(short, settings)
    rows = _by_corpus(fitted)
    laws: dict[str, CorpusModel] = {c: fit_corpus(choice, c, part) for c, part in rows.items()}
    early = burn_in_of(laws, rows, mixture_redeclared)
    models = {
        corpus: with_mixture_residual(model, rows[corpus], settings, number)
        for number, (corpus, model) in enumerate(laws.items())
    }
    if settings.bootstrap:
        _require_noise(models, rows)
        models = with_resamples(models, rows, _resamples(models, rows, settings))
    kept = [
        "run_id",
        "model_params",
        "train_tokens",
        *share_columns(log),
        "eval_corpus",
        "loss",
        EVALUATION_COUNT,
        *map(unique_tokens_column, sorted(repeated)),
        WORTH,
    ]
    return MixtureFit(
        settings=settings,
        corpora=corpora,
        log=short[[column for column in kept if column in short]].copy(),
        models=models,
        base_loss={corpus: base_losses(log, corpus) for corpus in models},
        warnings=(
            *base_row_findings(log),
            *averaged,
            *fit_findings(models, fitted, corpora),
            *_outlier_findings(models, rows),
            *repeated_corpora_findings(fitted, repeated),
            *burn_in_findings(early),
        ),
        provenance={"log_fingerprint": log_fingerprint(log), "code_version": __version__},
        repeated=repeated,
    )


def _by_corpus(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of each validation corpus, in the order of a fit."""
    return {
        corpus: rows[rows["eval_corpus"] == corpus].reset_index(drop=True)
        for corpus in _ordered_targets(rows)
    }


def _rows_to_fit(log: pd.DataFrame, settings: FitSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the log at the size asked for, and those of its rows that are fitted.

    Raises
    ------
    CmrplanError
        If the log has no shares, or no rows are left.
    """
    if settings.model_params is not None:
        log = rows_of_size(log, settings.model_params)
    if len(share_columns(log)) < 2:
        raise CmrplanError(
            "the log has no share_<corpus> columns, two or more; a log with domain_ratio is fitted by cmrplan fit"
        )
    # The shares of two corpora say the same as the ratio; what tokens are worth is for the fit to say.
    log = log.drop(columns=["domain_ratio", WORTH], errors="ignore")
    fitted = rows_from(log, settings)
    if fitted.empty:
        raise CmrplanError(
            f"the log has no rows at {max(settings.min_train_tokens, 1):g} or more train_tokens"
        )
    return log, fitted


def _ordered_targets(rows: pd.DataFrame) -> list[str]:
    """Return the validation corpora, the lowest loss first."""
    losses = {str(c): group["loss"].tolist() for c, group in rows.groupby("eval_corpus")}
    return sorted(losses, key=lambda corpus: losses[corpus])


def _require_noise(models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]) -> None:
    """Refuse to draw resamples where laws go through every run: they would all be alike."""
    runs = {corpus: part["run_id"].nunique() for corpus, part in rows.items()}
    laws = top_weighted_laws(models)
    has_spare = any(runs[corpus] > mixtures_needed(law.fit.law) for corpus, law in laws.items())
    if not (has_spare and shows_noise(models, rows)):
        raise CmrplanError(
            f"the fitted laws have as many parameters as the log has runs, {max(runs.values())}, and go through all of "
            "them, so nothing shows how far another run would scatter and any interval would be false; add a run with "
            "other shares or another seed, better several, or fit without intervals (--bootstrap 0)"
        )


def _outlier_findings(
    models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]
) -> list[Finding]:
    """Return a finding for each run whose loss is not what the others say, where laws alone predict it.

    A process follows what laws miss, which many runs show, and counts a run less that lies far outside.
    """
    alone = {corpus: model for corpus, model in models.items() if not model.follows_rows}
    return [
        finding
        for corpus, law in sorted(top_weighted_laws(alone).items())
        for finding in influence_findings(corpus, check_runs(law, rows[corpus])[0], None)
    ]


def _resamples(
    models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame], settings: FitSettings
) -> Resamples:
    """Return the resamples that the settings ask for, the same for every corpus."""
    runs = dict.fromkeys(str(run) for part in rows.values() for run in part["run_id"])
    laws = [law for model in models.values() for law in model.components]
    most = max(law.fit.law.num_free for law in laws)
    enough = len(runs) >= max(FEWEST_RUNS_TO_DRAW, RUNS_PER_PARAMETER * most)
    return resample_runs(
        list(runs),
        count=settings.bootstrap,
        seed=settings.seed,
        method=settings.method or ("runs" if enough else "wild"),
        corpora=tuple(models),
    )
