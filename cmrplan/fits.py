"""Fit the laws of both validation losses to a probe log.

A :class:`Fit` is what everything downstream reads: the planner, the plots, the report. It keeps the rows it
was fitted to, one model per validation corpus, the base losses and how everything was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from cmrplan._version import __version__
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fit_findings import corpus_findings, log_findings
from cmrplan.fitting.curves import fit_curves
from cmrplan.fitting.settling import find_settling, settling_findings
from cmrplan.fitting.surface import (
    SURFACE_LAWS,
    Surface,
    fit_surface,
    resampled,
    row_inputs,
)
from cmrplan.laws.law import Array
from cmrplan.records import CORPORA, base_losses, log_fingerprint, training_rows, validate_log
from cmrplan.selection import choose, held_out_score
from cmrplan.uncertainty import Method, Resamples, resample_runs

if TYPE_CHECKING:
    from lmfit.model import ModelResult  # type: ignore[import-untyped]

AUTO_LAWS = ("dcpt", "dcpt_exp")
LAWS = ("auto", *SURFACE_LAWS, "cmr")
LOG_COLUMNS = ("run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss")


class CorpusModel(Protocol):
    """What a fitted law of one corpus can do."""

    @property
    def corpus(self) -> str:
        """``general`` or ``domain``."""

    @property
    def law(self) -> str:
        """Name of the law."""

    def predict(
        self, model_params: float, train_tokens: float | Array, domain_ratio: Array
    ) -> tuple[Array, Array]:
        """Return the loss at ``G`` ratios: the estimate ``(G,)`` and the resamples ``(B, G)``."""

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the fit's figures, numbers unrounded."""


@dataclass(frozen=True)
class Prediction:
    """Losses at ``G`` ratios, nats per token.

    Parameters
    ----------
    domain_ratio : array (G,)
    loss : array (G,)
        The estimate.
    draws : array (B, G)
        One curve per resample; B may be 0.
    """

    domain_ratio: Array
    loss: Array
    draws: Array

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Return the band, each bound ``(G,)``; NaN without resamples."""
        if not len(self.draws):
            missing = np.full(self.loss.shape, np.nan)
            return missing, missing
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.draws, [tail, 1 - tail], axis=0)
        return low, high


@dataclass(frozen=True)
class Settings:
    """What a fit was asked for.

    Parameters
    ----------
    law : str
        One of :data:`LAWS`, as it was asked for.
    bootstrap : int
        Number of resamples of whole runs; 0 for none.
    seed : int
    method : {"runs", "wild"} or None
        How runs are resampled; None chooses by their number.
    delta : float or None
        Knee of the Huber loss on log losses; None takes it from the noise.
    min_train_tokens : float
        Rows with fewer tokens are left out of the fit.
    confidence : float
        Level of the reported parameter intervals.
    model_params : float or None
        The only size that was fitted; None for all.
    """

    law: str
    bootstrap: int = 200
    seed: int = 0
    method: Method | None = None
    delta: float | None = None
    min_train_tokens: float = 0.0
    confidence: float = 0.9
    model_params: float | None = None


@dataclass(frozen=True)
class Fit:
    """Fitted laws of the general and the domain loss.

    Parameters
    ----------
    settings : Settings
    log : DataFrame
        The rows of the log, base rows included, in the columns the fit needs.
    models : dict of str to CorpusModel
        By validation corpus; a corpus that the log lacks is absent.
    base_loss : dict of str to dict of float to float
        By corpus and ``model_params``: the loss before continual pre-training.
    warnings : tuple of Finding
    provenance : dict
        Fingerprint of the log and version of the code.
    """

    settings: Settings
    log: pd.DataFrame
    models: dict[str, CorpusModel]
    base_loss: dict[str, dict[float, float]]
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    def predict(
        self,
        corpus: str,
        *,
        model_params: float,
        train_tokens: float | Array,
        domain_ratio: Array | Sequence[float] | float,
    ) -> Prediction:
        """Return the loss of a corpus at one or more ratios.

        Parameters
        ----------
        corpus : {"general", "domain"}
        model_params : float
            Counted as in the log.
        train_tokens : float or array (G,)
            Tokens of the continual phase, above 0; one for each ratio only where the law reads tokens.
        domain_ratio : float or array (G,)
            Each in [0, 1].

        Raises
        ------
        InputError
            If a number is out of its range.
        CmrplanError
            If that corpus was not fitted, or the law cannot answer there.
        """
        ratio = np.atleast_1d(np.asarray(domain_ratio, dtype=float))
        require_positive("model_params", model_params)
        for tokens in (np.min(train_tokens), np.max(train_tokens)):
            require_positive("train_tokens", float(tokens))
        if not np.all((ratio >= 0) & (ratio <= 1)):
            bad = ratio[~((ratio >= 0) & (ratio <= 1))][0]
            hint = ". Percent? Divide by 100." if 1 < bad <= 100 else ""
            raise InputError(f"domain_ratio must be a fraction in [0, 1], got {bad:g}{hint}")
        loss, draws = self._model(corpus).predict(model_params, train_tokens, ratio)
        return Prediction(ratio, loss, draws)

    def _model(self, corpus: str) -> CorpusModel:
        if corpus not in self.models:
            raise CmrplanError(
                f"the {corpus} loss was not fitted: the log has no rows with eval_corpus = {corpus}; add them "
                "and fit again"
            )
        return self.models[corpus]

    @property
    def law(self) -> str:
        """Name of the fitted law; two names where the losses got different ones."""
        return "+".join(dict.fromkeys(model.law for model in self.models.values()))

    def to_lmfit(self, corpus: str) -> ModelResult:
        """Return the fit of a corpus as an lmfit result at the same optimum.

        See :func:`cmrplan.fitting.lmfit_bridge.to_lmfit`. Its errors count rows as independent.

        Raises
        ------
        CmrplanError
            If the corpus was not fitted, or by the CMR laws, which are one law per run and budget.
        """
        from cmrplan.fitting.lmfit_bridge import to_lmfit  # takes a second to import

        model = self._model(corpus)
        if not isinstance(model, Surface):
            raise CmrplanError(
                f"the {corpus} loss was fitted by the CMR laws, one per run and budget, so there is no single "
                "lmfit result; fit with law = 'dcpt', or pass one ratio_fit to "
                "cmrplan.fitting.lmfit_bridge.to_lmfit"
            )
        rows = self.rows(corpus)
        return to_lmfit(model.fit, row_inputs(corpus, rows), rows["loss"].to_numpy(dtype=float))

    def rows(self, corpus: str) -> pd.DataFrame:
        """Return the rows of a corpus that were fitted."""
        return fitted_rows(self.log, corpus, self.settings.min_train_tokens)

    def summary(self) -> dict[str, Any]:
        """Return the figures of every corpus and of the whole, as plain values."""
        figures = {
            corpus: model.summary(self.settings.confidence) for corpus, model in self.models.items()
        }
        for corpus, values in figures.items():
            values["warnings"] = [w.as_dict() for w in corpus_findings(corpus, values)]
        return figures


def require_positive(name: str, value: float) -> None:
    """Refuse a number that is not finite and above zero."""
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{name} must be a number above 0, got {value:g}")


def fitted_rows(log: pd.DataFrame, corpus: str, min_train_tokens: float) -> pd.DataFrame:
    """Return the rows of a corpus after the base checkpoint and from ``min_train_tokens`` on."""
    rows = training_rows(log, corpus)
    return rows[rows["train_tokens"] >= min_train_tokens].reset_index(drop=True)


def rows_of_size(log: pd.DataFrame, model_params: float) -> pd.DataFrame:
    """Return the rows of one model size, given to within one percent.

    Raises
    ------
    InputError
        If the log has no such size.
    """
    require_positive("model_params", model_params)
    sizes = log["model_params"].to_numpy(dtype=float)
    near = np.abs(sizes / model_params - 1) <= 0.01
    if not near.any():
        known = ", ".join(f"{size:.6g}" for size in np.unique(sizes))
        raise InputError(f"model_params = {model_params:.6g} is not in the log; its sizes: {known}")
    return log[near].reset_index(drop=True)


def fit(
    log: pd.DataFrame,
    law: str = "auto",
    *,
    bootstrap: int = 200,
    seed: int = 0,
    method: Literal["runs", "wild"] | None = None,
    delta: float | None = None,
    min_train_tokens: float = 0.0,
    confidence: float = 0.9,
    model_params: float | None = None,
) -> Fit:
    """Fit the laws of the general and the domain loss to a probe log.

    Parameters
    ----------
    log : DataFrame
        A probe log, as :func:`cmrplan.read_log` returns it. Rows at 0 tokens give the base losses and are
        not fitted.
    law : str
        One of :data:`LAWS`. ``dcpt``: the D-CPT law, reduced to what the log's levels support; ``dcpt_...``: its
        variants, see docs/laws.md. ``cmr``: a token law per run and a ratio law across runs, per size.
        ``auto``: for each loss ``dcpt`` or ``dcpt_exp``, whichever predicts hidden ratios, budgets and sizes better, or
        ``cmr`` where there are too few rows for both.
    bootstrap : int
        Resamples of whole runs; 0 for none.
    seed : int
    method : {"runs", "wild"}, optional
        See :mod:`cmrplan.uncertainty`; by the number of runs by default.
    delta : float, optional
        Knee of the Huber loss on log losses; from the noise by default.
    min_train_tokens : float
        Leave out rows with fewer tokens.
    confidence : float
        Level of the reported parameter intervals, in (0, 1).
    model_params : float, optional
        Fit only the runs of this size. A plan for a size that was probed rests better on its own runs than on a
        law across sizes.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log cannot support a fit; the message says what would.
    """
    if law not in LAWS:
        raise InputError(f"law must be one of {', '.join(LAWS)}, got {law!r}")
    if bootstrap < 0:
        raise InputError(f"bootstrap must be 0 or more resamples, got {bootstrap}")
    if seed < 0:
        raise InputError(f"seed must be 0 or more, got {seed}")
    if delta is not None and not delta > 0:
        raise InputError(f"delta must be above 0, got {delta:g}")
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence:g}")
    log = validate_log(log)
    if model_params is not None:
        log = rows_of_size(log, model_params)
    if "domain_ratio" not in log:
        raise CmrplanError(
            "the log has several corpora (share_ columns); laws of one domain ratio need the column domain_ratio"
        )
    present = [c for c in CORPORA if len(fitted_rows(log, c, min_train_tokens))]
    if not present:
        raise CmrplanError(
            "the log has no rows to fit: no loss of the corpus general or domain at "
            f"{max(min_train_tokens, 1):g} or more train_tokens"
        )
    settings = Settings(
        law, bootstrap, seed, method, delta, min_train_tokens, confidence, model_params
    )
    resamples = resamples_of(log, settings)
    models: dict[str, CorpusModel] = {}
    for corpus in present:
        rows = fitted_rows(log, corpus, min_train_tokens)
        if law == "auto":
            models[corpus] = _fit_auto(rows, corpus, resamples, delta)
        elif law == "cmr":
            models[corpus] = fit_curves(rows, corpus, resamples, delta=delta)
        else:
            models[corpus] = fit_surface(rows, corpus, resamples, law_name=law, delta=delta)
    findings = log_findings(log, {corpus: model.law for corpus, model in models.items()})
    surfaces = {c: model for c, model in models.items() if isinstance(model, Surface)}
    if surfaces:
        rows_of = {c: fitted_rows(log, c, min_train_tokens) for c in surfaces}
        findings += settling_findings(find_settling(surfaces, rows_of))
    return Fit(
        settings=settings,
        log=log[[c for c in LOG_COLUMNS if c in log]].copy(),
        models=models,
        base_loss={corpus: base_losses(log, corpus) for corpus in CORPORA},
        warnings=tuple(findings),
        provenance={
            "log_fingerprint": log_fingerprint(log),
            "code_version": __version__,
            "params_kind": _only(log, "params_kind"),
            "base_model": _only(log, "base_model"),
            "tokenizer": _only(log, "tokenizer"),
        },
    )


def _fit_auto(
    rows: pd.DataFrame, corpus: str, resamples: Resamples | None, delta: float | None
) -> CorpusModel:
    """Fit the law that predicts hidden rows best; the CMR laws where there are too few rows."""
    surfaces: dict[str, Surface] = {}
    refusal: CmrplanError | None = None
    for name in AUTO_LAWS:
        try:
            surfaces[name] = fit_surface(rows, corpus, None, law_name=name, delta=delta)
        except CmrplanError as error:
            refusal = refusal or error
    if not surfaces:
        assert refusal is not None
        try:
            return fit_curves(rows, corpus, resamples, delta=delta)
        except CmrplanError:
            raise refusal from None  # the first message is the one that helps
    chosen = surfaces[choose([held_out_score(s, rows) for s in surfaces.values()])]
    return chosen if resamples is None else resampled(chosen, rows, resamples)


def resamples_of(log: pd.DataFrame, settings: Settings) -> Resamples | None:
    """Return the resamples that the settings ask for; always the same for the same log."""
    if not settings.bootstrap:
        return None
    rows = [fitted_rows(log, corpus, settings.min_train_tokens) for corpus in CORPORA]
    runs = pd.concat(rows)["run_id"].tolist()
    return resample_runs(runs, count=settings.bootstrap, seed=settings.seed, method=settings.method)


def _only(log: pd.DataFrame, column: str) -> str | None:
    """Return the single value of a text column, or None."""
    if column not in log:
        return None
    values = log[column].dropna().unique().tolist()
    return str(values[0]) if len(values) == 1 else None
