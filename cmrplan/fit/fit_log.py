"""Fit the laws of both validation losses to a probe log: log -> laws -> average -> resamples -> findings -> Fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypedDict, Unpack

import pandas as pd

from cmrplan._version import __version__
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.bootstrap import Method, Resamples
from cmrplan.fit.cmr_model import fit_cmr_model
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.diagnosis.burn_in import burn_in_of, left_out_findings
from cmrplan.fit.diagnosis.gather import diagnose
from cmrplan.fit.diagnosis.repeats import (
    probed_repetition_findings,
    unseen_repetition_findings,
)
from cmrplan.fit.evaluation_bins import EVALUATION_COUNT, averaged_neighbors
from cmrplan.fit.fit import Fit
from cmrplan.fit.fitted_log import fitted_rows, resamples_of, rows_of_size
from cmrplan.fit.law_columns import with_law_columns
from cmrplan.fit.law_fitting import fit_law_model
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.model_averaging import held_out_score
from cmrplan.fit.residual.choice import with_residual
from cmrplan.fit.residual.observations import FEWEST_ROWS, has_enough
from cmrplan.fit.row_weights import Weights, states_no_weights
from cmrplan.fit.settings import (
    FitSettings,
    Objective,
    ResidualKind,
    ResidualModel,
    settings_of,
    with_settings,
)
from cmrplan.fit.steps import LawChoice, drawn_models, fit_corpus
from cmrplan.fit.supply import COLUMN, supply_of
from cmrplan.laws.registry import (
    AUTO,
    FEWEST_RATIOS,
    REGISTRY,
    FitKind,
    averaged_names,
    repetition_names,
    require_choice,
)
from cmrplan.log import CORPORA
from cmrplan.log.base_rows import base_row_findings
from cmrplan.log.cells import listed
from cmrplan.log.corpora import require_a_corpus_to_fit
from cmrplan.log.cut_off import cut_off_findings_of
from cmrplan.log.files import (
    LogOrPath,
    base_losses,
    eval_corpora,
    log_fingerprint,
    log_of,
    source_of,
    validate_log,
)
from cmrplan.log.plausibility import plausibility_findings
from cmrplan.log.realized import with_token_share
from cmrplan.numbers import CountOrText

KEPT_COLUMNS = (
    "run_id",
    "model_params",
    "train_tokens",
    "domain_ratio",
    "eval_corpus",
    "loss",
    "seed",
)


class FitOptions(TypedDict, total=False):
    """The keyword arguments of :func:`fit` beside the law, as they are explained there."""

    bootstrap: int
    seed: int
    method: Method | None
    delta: float | None
    min_train_tokens: CountOrText
    confidence: float
    model_params: CountOrText | None
    objective: Objective
    residuals: ResidualKind
    weights: Weights
    residual: ResidualModel


@with_settings
def fit(log: LogOrPath, law: str = "auto", **options: Unpack[FitOptions]) -> Fit:
    """Fit the laws of the general and the domain loss to a probe log.

    Parameters
    ----------
    log : DataFrame or path
        A probe log, or its file, as :func:`cmrplan.read_log` returns it. Rows at 0 tokens give the base losses and are
        not fitted.
    law : str
        A law that :mod:`cmrplan.laws.registry` gives to fits of two corpora. ``dcpt``: the D-CPT law, reduced to
        what the log's levels support; ``dcpt_...``: its variants, see docs/laws.md. ``cmr``: a token law per run and
        a ratio law across runs, per size. ``auto``: for each loss the average of those that the registry marks,
        weighted by how they predict hidden ratios, budgets and sizes (see :mod:`cmrplan.fit.model_averaging`), or
        ``cmr`` where there are too few rows for any.
    bootstrap : int, default 200
        Resamples of whole runs; 0 for none.
    seed : int, default 0
    method : {"runs", "wild"}, optional
        See :mod:`cmrplan.fit.bootstrap`; by the number of runs by default.
    delta : float, optional
        Huber delta, in units of the residuals; from the noise by default.
    min_train_tokens : float or str, default 0
        Leave out rows with fewer tokens, ``1.6e6`` or ``"1.6M"``. ``"auto"`` leaves out the early evaluations that
        are found to lie outside the law, see :mod:`cmrplan.fit.diagnosis.burn_in`, and says so.
    confidence : float, default 0.9
        Level of the reported parameter intervals, in (0, 1).
    model_params : float or str, optional
        Fit only the runs of this size, ``1.8e9`` or ``"1.8B"``. A plan for a size that was probed rests better
        on its own runs than on a law across sizes.
    objective : {"huber", "least_squares"}
        What is summed over the rows. Huber's loss keeps outliers from pulling the law.
    residuals : {"log", "raw"}
        Of log losses, as the papers do, or of losses in nats per token. The CMR ratio law takes only the first.
    weights : {"equal", "stderr", "seeds"}
        How much each row counts, see :mod:`cmrplan.fit.row_weights`. Not for the CMR laws. Other weights than equal
        ones, and raw residuals, leave the laws alone, without a residual above them, and a finding says so; a
        ``loss_stderr`` that is the same in every row of a corpus is equal weights.
    residual : {"auto", "gp", "none"}
        ``gp``: a Gaussian process stands above the laws, see :mod:`cmrplan.fit.residual`; with ``law="auto"`` the laws
        of this project are its means, and the published laws stand beside them alone, weighed by their evidence.
        ``auto``: the same for ``law="auto"`` where there are enough rows, and nothing above a law asked for by name.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log cannot support a fit; the message says what would.
    """
    require_choice(law, FitKind.RUNS, FitKind.BUDGETS)
    settings, is_auto = settings_of(law, options)
    rows, source = log_of(log), source_of(log)
    remarks = _remarks(rows, source)
    require_a_corpus_to_fit(rows, source)
    rows, of_shares = with_token_share(rows)
    fitted = _fit_after_burn_in(rows, settings) if is_auto else fit_with(rows, settings)
    of_file = cut_off_findings_of(log)
    return replace(fitted, warnings=(*of_file, *remarks, *of_shares, *fitted.warnings))


def _remarks(log: pd.DataFrame, source: str) -> list[Finding]:
    """Return what is suspect about the units of a log; refuse one whose ratio stands the wrong way round."""
    findings = plausibility_findings(log, source)
    for finding in findings:
        if finding.code == Code.REPLAY_AS_DOMAIN:
            raise InputError(finding.message)
    return [Finding(finding.code, finding.message) for finding in findings]


def fit_with(log: pd.DataFrame, settings: FitSettings) -> Fit:
    """Fit a probe log as the settings say; see :func:`fit`."""
    log = validate_log(log)
    if settings.model_params is not None:
        log = rows_of_size(log, settings.model_params)
    fingerprint = log_fingerprint(log)
    if "domain_ratio" not in log:
        raise CmrplanError(
            "the log has several corpora (share_ columns); cmrplan mix fit takes them, laws of one domain ratio need "
            "the column domain_ratio"
        )
    first = settings.min_train_tokens
    log, added = with_law_columns(log, settings.law)
    log, averaged = averaged_neighbors(log, first)
    corpora = CORPORA if settings.law == AUTO else REGISTRY[settings.law].corpora
    rows = {c: part for c in corpora if len(part := fitted_rows(log, c, first))}
    if not rows:
        raise CmrplanError(
            f"the log has no rows to fit: no loss of the corpus {' or '.join(corpora)} at "
            f"{max(first, 1):g} or more train_tokens, only losses on {listed(list(eval_corpora(log)))}"
        )
    if settings.leaves_residual_out and settings.weights == "stderr":
        is_equal = all(states_no_weights(part) for part in rows.values())
        settings = replace(settings, weights="equal") if is_equal else settings
    resamples = resamples_of(log, settings)
    base = {corpus: base_losses(log, corpus) for corpus in CORPORA}
    models = {c: fit_rows(part, c, base[c], settings, resamples) for c, part in rows.items()}
    models, unshown = drawn_models(models, rows, resamples)
    settings = replace(settings, bootstrap=0) if unshown else settings
    weighed = ("loss_stderr",) if settings.weights == "stderr" else ()
    bases = [n for m in models.values() for n in m.more_columns if n == "base_tokens"]
    more = (*weighed, *added, COLUMN, *bases, EVALUATION_COUNT)
    kept = tuple(dict.fromkeys((*KEPT_COLUMNS, *more)))
    early = burn_in_of(models, rows)
    whole = Fit(
        settings=settings,
        corpora=CORPORA,
        log=log[[c for c in kept if c in log]].copy(),
        models=models,
        base_loss=base,
        warnings=(
            *base_row_findings(log),
            *averaged,
            *unshown,
            *residual_left_out(settings),
            *probed_repetition_findings(log, models),
            *unseen_repetition_findings(models, settings.law),
            *diagnose(log, models, rows, early),
        ),
        provenance={
            "log_fingerprint": fingerprint,
            "code_version": __version__,
            "params_kind": _single_value(log, "params_kind"),
            "base_model": _single_value(log, "base_model"),
            "tokenizer": _single_value(log, "tokenizer"),
        },
    )
    if not early.chosen:
        return whole
    return replace(whole, without_early=whole.left_out_before(early.chosen))


def residual_left_out(settings: FitSettings) -> list[Finding]:
    """Return a finding where settings keep the default from its residual, which stands above equal log losses."""
    asked = settings.leaves_residual_out
    if not asked:
        return []
    text = (
        f"with {asked} the fit is the laws alone, without the residual that follows what they miss; leave it out to "
        "have the residual, or say --residual none"
    )
    return [Finding(Code.RESIDUAL_LEFT_OUT, text)]


def fit_rows(
    rows: pd.DataFrame,
    corpus: str,
    base_loss: Mapping[float, float],
    settings: FitSettings,
    resamples: Resamples | None = None,
) -> CorpusModel:
    """Fit the rows of one corpus after the base checkpoint, without draws.

    Parameters
    ----------
    rows : DataFrame
    corpus : str
    base_loss : mapping of float to float
        By size, as far as it is known; of sizes that the rows lack, too.
    settings : FitSettings
    resamples : Resamples, optional
        For the CMR laws, which are fitted at every question and so take them along.

    Raises
    ------
    CmrplanError
        If the rows cannot support a fit; the message says what would.
    """
    laws = _fit_laws(rows, corpus, settings, resamples)
    return _with_residual(laws, rows, base_loss, settings) if settings.may_have_residual else laws


def _fit_laws(
    rows: pd.DataFrame, corpus: str, settings: FitSettings, resamples: Resamples | None
) -> CorpusModel:
    """Fit what was asked for; the CMR laws take their resamples along, since they are fitted at every question."""

    def cmr() -> CorpusModel:
        return fit_cmr_model(rows, corpus, resamples, delta=settings.huber_delta)

    if settings.law == "cmr":
        return cmr()
    try:
        return fit_corpus(_law_choice(settings, corpus, rows), corpus, rows)
    except CmrplanError as refusal:
        if settings.law != "auto" or settings.weights != "equal" or settings.residuals != "log":
            raise
        try:
            return cmr()
        except CmrplanError:
            raise refusal from None  # the first message is the one that helps


def _with_residual(
    model: CorpusModel, rows: pd.DataFrame, base: Mapping[float, float], settings: FitSettings
) -> CorpusModel:
    """Return a model with a residual above its laws, where the rows and the laws can hold one.

    Raises
    ------
    CmrplanError
        If one is asked for by name, and there are too few rows, or laws that have no log loss: those of rises, and
        the CMR laws.
    """
    refusal = ""
    if not has_enough(rows):
        refusal = (
            f"the {model.corpus} loss has {len(rows)} rows at {rows['domain_ratio'].nunique()} domain ratios, too few "
            f"for a residual; add probes, at least {FEWEST_ROWS} rows at {FEWEST_RATIOS} ratios, or leave out "
            "--residual"
        )
    elif not any(law.fit.law.link == "log" for law in model.components):
        refusal = (
            f"the {model.corpus} loss was fitted by {model.law}, which has no log loss that a residual could stand "
            "above; take another law, or leave out --residual"
        )
    if not refusal:
        return with_residual(model, rows, base, is_auto=settings.law == AUTO, seed=settings.seed)
    if settings.residual == "gp":
        raise CmrplanError(refusal)
    return model


def _law_choice(settings: FitSettings, corpus: str, rows: pd.DataFrame) -> LawChoice:
    def fit_one(name: str, corpus: str, rows: pd.DataFrame) -> LawModel:
        return fit_law_model(
            rows,
            corpus,
            law_name=name,
            delta=settings.huber_delta,
            link=settings.link,
            weights=settings.weights,
        )

    names = averaged_names(FitKind.RUNS) if settings.law == AUTO else (settings.law,)
    if settings.law == AUTO and corpus == "domain" and supply_of(rows) is not None:
        names = repetition_names(names)
    return LawChoice(names, fit_one, held_out_score)


def _fit_after_burn_in(log: pd.DataFrame, settings: FitSettings) -> Fit:
    """Fit without the early evaluations that lie outside the law."""
    whole = fit_with(log, replace(settings, bootstrap=0, residual="none"))
    rows = {corpus: whole.rows(corpus) for corpus in top_weighted_laws(whole.models)}
    first = 0.0 if whole.without_early is None else whole.without_early.first_tokens
    later = fit_with(log, replace(settings, min_train_tokens=first))
    return replace(later, warnings=(*left_out_findings(first, rows), *later.warnings))


def _single_value(log: pd.DataFrame, column: str) -> str | None:
    """Return the single value of a text column, or None."""
    if column not in log:
        return None
    values = log[column].dropna().unique().tolist()
    return str(values[0]) if len(values) == 1 else None
