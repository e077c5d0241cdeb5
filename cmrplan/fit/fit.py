"""Fit the laws of both validation losses to a probe log.

A :class:`Fit` is what everything downstream reads: the planner, the plots, the report. It keeps the rows it
was fitted to, one model per validation corpus, the base losses and how everything was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import pandas as pd

from cmrplan._version import __version__
from cmrplan.arrays import SAME_SIZE, Array, is_among
from cmrplan.errors import CmrplanError, Code, Finding, InputError
from cmrplan.fit.averaged_model import (
    Average,
    average,
    leading_surface,
    leading_surfaces,
    resampled_model,
)
from cmrplan.fit.bootstrap import Resamples, resample_runs, student_scale
from cmrplan.fit.cmr_model import Curves, fit_curves
from cmrplan.fit.diagnosis.burn_in import find_settling, left_out_findings
from cmrplan.fit.diagnosis.gather import diagnose
from cmrplan.fit.diagnosis.levels import FEWEST_LEVELS
from cmrplan.fit.diagnosis.parameters import parameter_findings
from cmrplan.fit.law_model import (
    Surface,
    fit_surface,
    residuals,
    row_inputs,
)
from cmrplan.fit.model_averaging import averaging_weights, held_out_score
from cmrplan.fit.noise import Noise, run_noise, seed_noise
from cmrplan.fit.row_weights import Weights
from cmrplan.fit.settings import AUTO_LAWS, Objective, ResidualKind, Settings
from cmrplan.fit.size_prior import drawn_at
from cmrplan.log.files import CORPORA, base_losses, log_fingerprint, training_rows, validate_log

if TYPE_CHECKING:
    from lmfit.model import ModelResult  # type: ignore[import-untyped]

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
        with np.errstate(all="ignore"):  # far outside the probes a draw may be infinite
            low, high = np.quantile(self.draws, [tail, 1 - tail], axis=0)
        return low, high


@dataclass(frozen=True)
class Fit:
    """Fitted laws of the general and the domain loss.

    Parameters
    ----------
    settings : Settings
    log : DataFrame
        The rows of the log, base rows included, in the columns the fit needs.
    models : mapping of str to CorpusModel
        By validation corpus; a corpus that the log lacks is absent.
    base_loss : dict of str to dict of float to float
        By corpus and ``model_params``: the loss before continual pre-training.
    warnings : tuple of Finding
    provenance : dict
        Fingerprint of the log and version of the code.
    """

    settings: Settings
    log: pd.DataFrame
    models: Mapping[str, CorpusModel]
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
        new_run: bool = False,
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
        new_run : bool
            Widen the draws by the noise of a run and of an evaluation: what one new run would measure,
            rather than the mean of many.

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
        model = self._model(corpus)
        loss, draws = model.predict(model_params, train_tokens, ratio)
        probed = self.sizes_of(corpus)
        if len(draws) and len(probed) < FEWEST_LEVELS and not is_among(probed, model_params):
            draws = drawn_at(
                float(model_params),
                probed,
                lambda size: model.predict(size, train_tokens, ratio)[1],
                self.settings.seed,
            )
        if new_run:
            shift = self._new_run_shifts(len(draws))
            draws = draws * np.exp(shift) if self.settings.link == "log" else draws + shift
        return Prediction(ratio, loss, draws)

    def _new_run_shifts(self, count: int) -> Array:
        """Return what the noise of a run and of an evaluation adds, in residual units, ``(B, 1)``."""
        if not leading_surfaces(self.models):
            raise CmrplanError(
                "the noise of a new run is estimated by a law across runs, which the CMR laws are not; fit with law = "
                "'dcpt'"
            )
        noise = self.noise
        generator = np.random.Generator(np.random.Philox([self.settings.seed, 1]))
        scale = student_scale(generator.random((count, 1)), noise.freedom)
        spread = np.hypot(noise.run, noise.checkpoint)
        return np.asarray(spread * scale * generator.standard_normal((count, 1)))

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

        See :func:`cmrplan.solve.lmfit_bridge.to_lmfit`. Its errors count rows as independent. Where laws were
        averaged it is the one with the largest weight.

        Raises
        ------
        CmrplanError
            If the corpus was not fitted, or by the CMR laws, which are one law per run and budget.
        """
        from cmrplan.solve.lmfit_bridge import to_lmfit  # takes a second to import

        surface = leading_surface(self._model(corpus))
        if surface is None:
            raise CmrplanError(
                f"the {corpus} loss was fitted by the CMR laws, one per run and budget, so there is no single "
                "lmfit result; fit with law = 'dcpt', or pass one ratio_fit to "
                "cmrplan.solve.lmfit_bridge.to_lmfit"
            )
        rows = self.rows(corpus)
        return to_lmfit(surface.fit, row_inputs(corpus, rows), rows["loss"].to_numpy(dtype=float))

    def rows(self, corpus: str) -> pd.DataFrame:
        """Return the rows of a corpus that were fitted."""
        return fitted_rows(self.log, corpus, self.settings.min_train_tokens)

    def sizes_of(self, corpus: str) -> Array:
        """Return the model sizes at which a corpus was fitted, ascending."""
        return np.unique(self.rows(corpus)["model_params"].to_numpy(dtype=float))

    @property
    def noise(self) -> Noise:
        """Noise that the residuals of the fitted laws show, the law's misfit included; see :mod:`cmrplan.fit.noise`."""
        return _noise(self.models, {corpus: self.rows(corpus) for corpus in self.models})

    def summary(self) -> dict[str, Any]:
        """Return the figures of every corpus and of the whole, as plain values."""
        figures = {
            corpus: model.summary(self.settings.confidence) for corpus, model in self.models.items()
        }
        for corpus, values in figures.items():
            surface, repeated = leading_surface(self.models[corpus]), seed_noise(self.rows(corpus))
            left = None if surface is None else run_noise([residuals(surface, self.rows(corpus))])
            values["noise"] = None if left is None else asdict(left)
            values["seed_noise"] = None if repeated is None else asdict(repeated)
            values["warnings"] = [w.as_dict() for w in parameter_findings(corpus, values)]
        return figures

    def parameter_findings(self) -> list[Finding]:
        """Return what the parameters of both losses mean where the data do not settle them."""
        return [
            Finding(Code(warning["code"]), warning["message"])
            for figures in self.summary().values()
            for warning in figures["warnings"]
        ]


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
    near = np.abs(sizes / model_params - 1) <= SAME_SIZE
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
    min_train_tokens: float | Literal["auto"] = 0.0,
    confidence: float = 0.9,
    model_params: float | None = None,
    objective: Objective = "huber",
    residuals: ResidualKind = "log",
    weights: Weights = "equal",
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
        ``auto``: for each loss the average of :data:`AUTO_LAWS`, weighted by how they predict hidden ratios,
        budgets and sizes (see :mod:`cmrplan.fit.model_averaging`), or ``cmr`` where there are too few rows for any.
    bootstrap : int
        Resamples of whole runs; 0 for none.
    seed : int
    method : {"runs", "wild"}, optional
        See :mod:`cmrplan.fit.bootstrap`; by the number of runs by default.
    delta : float, optional
        Knee of the Huber loss, in units of the residuals; from the noise by default.
    min_train_tokens : float or "auto"
        Leave out rows with fewer tokens. ``"auto"`` leaves out the early evaluations that are found to lie
        outside the law, see :mod:`cmrplan.fit.diagnosis.burn_in`, and says so.
    confidence : float
        Level of the reported parameter intervals, in (0, 1).
    model_params : float, optional
        Fit only the runs of this size. A plan for a size that was probed rests better on its own runs than on a
        law across sizes.
    objective : {"huber", "least_squares"}
        What is summed over the rows. Huber's loss keeps odd rows from pulling the law.
    residuals : {"log", "raw"}
        Of log losses, as the papers do, or of losses in nats per token. The CMR ratio law takes only the first.
    weights : {"equal", "stderr", "seeds"}
        How much each row counts, see :mod:`cmrplan.fit.row_weights`. Not for the CMR laws.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log cannot support a fit; the message says what would.
    """
    settings = Settings(
        law=law,
        bootstrap=bootstrap,
        seed=seed,
        method=method,
        delta=delta,
        min_train_tokens=0.0 if min_train_tokens == "auto" else min_train_tokens,
        confidence=confidence,
        model_params=model_params,
        objective=objective,
        residuals=residuals,
        weights=weights,
    )
    return _fit_settled(log, settings) if min_train_tokens == "auto" else fit_with(log, settings)


def fit_with(log: pd.DataFrame, settings: Settings) -> Fit:
    """Fit a probe log as the settings say; see :func:`fit`."""
    log = validate_log(log)
    if settings.model_params is not None:
        log = rows_of_size(log, settings.model_params)
    if "domain_ratio" not in log:
        raise CmrplanError(
            "the log has several corpora (share_ columns); cmrplan mix fit takes them, laws of one domain ratio need "
            "the column domain_ratio"
        )
    first = settings.min_train_tokens
    present = [c for c in CORPORA if len(fitted_rows(log, c, first))]
    if not present:
        raise CmrplanError(
            "the log has no rows to fit: no loss of the corpus general or domain at "
            f"{max(first, 1):g} or more train_tokens"
        )
    resamples = resamples_of(log, settings)
    rows_of = {c: fitted_rows(log, c, first) for c in present}
    models = {c: _fit_corpus(rows, c, settings, resamples) for c, rows in rows_of.items()}
    if resamples is not None:
        noise = _noise(models, rows_of)
        models = {
            c: model
            if isinstance(model, Curves)
            else resampled_model(model, rows_of[c], resamples, noise)
            for c, model in models.items()
        }
    kept = [*LOG_COLUMNS, "loss_stderr"] if settings.weights == "stderr" else LOG_COLUMNS
    return Fit(
        settings=settings,
        log=log[[c for c in kept if c in log]].copy(),
        models=models,
        base_loss={corpus: base_losses(log, corpus) for corpus in CORPORA},
        warnings=tuple(diagnose(log, models, rows_of)),
        provenance={
            "log_fingerprint": log_fingerprint(log),
            "code_version": __version__,
            "params_kind": _only(log, "params_kind"),
            "base_model": _only(log, "base_model"),
            "tokenizer": _only(log, "tokenizer"),
        },
    )


def _fit_corpus(
    rows: pd.DataFrame, corpus: str, settings: Settings, resamples: Resamples | None
) -> Surface | Average | Curves:
    """Fit what was asked for; only the CMR laws take their resamples along."""
    if settings.law == "auto":
        return _fit_auto(rows, corpus, settings, resamples)
    if settings.law == "cmr":
        return fit_curves(rows, corpus, resamples, delta=settings.knee)
    return _fit_surface(rows, corpus, settings.law, settings)


def _fit_settled(log: pd.DataFrame, settings: Settings) -> Fit:
    """Fit without the early evaluations that lie outside the law."""
    first = fit_with(log, replace(settings, bootstrap=0))
    surfaces = leading_surfaces(first.models)
    rows = {corpus: first.rows(corpus) for corpus in surfaces}
    cut = find_settling(surfaces, rows).chosen if surfaces else 0.0
    made = fit_with(log, replace(settings, min_train_tokens=cut))
    return replace(made, warnings=(*left_out_findings(cut, rows), *made.warnings))


def _fit_auto(
    rows: pd.DataFrame, corpus: str, settings: Settings, resamples: Resamples | None
) -> Surface | Average | Curves:
    """Average laws by how they predict hidden rows; the CMR laws where there are too few rows."""
    surfaces: list[Surface] = []
    refusal: CmrplanError | None = None
    for name in AUTO_LAWS:
        try:
            surface = _fit_surface(rows, corpus, name, settings)
        except CmrplanError as error:
            refusal = refusal or error
            continue
        # with few levels two laws can come down to the same formula
        if surface.fit.law.formula not in {other.fit.law.formula for other in surfaces}:
            surfaces.append(surface)
    if not surfaces:
        assert refusal is not None
        if settings.weights != "equal" or settings.residuals != "log":
            raise refusal
        try:
            return fit_curves(rows, corpus, resamples, delta=settings.knee)
        except CmrplanError:
            raise refusal from None  # the first message is the one that helps
    return average(surfaces, averaging_weights([held_out_score(s, rows) for s in surfaces]))


def _fit_surface(rows: pd.DataFrame, corpus: str, law: str, settings: Settings) -> Surface:
    return fit_surface(
        rows,
        corpus,
        None,
        law_name=law,
        delta=settings.knee,
        link=settings.link,
        weights=settings.weights,
    )


def _noise(models: Mapping[str, CorpusModel], rows: Mapping[str, pd.DataFrame]) -> Noise:
    """Return the noise that the fitted laws of both losses show; none by the CMR laws."""
    return run_noise([residuals(s, rows[c]) for c, s in leading_surfaces(models).items()])


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
