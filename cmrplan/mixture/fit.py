"""Fit the losses of several validation corpora as laws of the mixture they were trained on.

Nothing depends on what the corpora are called: they stand in an order that the shares and losses give, so that other
names give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmrplan._version import __version__
from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.arguments import named_arguments
from cmrplan.fit.bootstrap import FEWEST_RUNS_TO_DRAW, Method, Resamples, resample_runs
from cmrplan.fit.corpus_model import CorpusModel, Prediction
from cmrplan.fit.fitted_log import FIT_FILE_VERSION, FittedLog, rows_of_size
from cmrplan.fit.hold_outs import missing_levels
from cmrplan.fit.law_fitting import require_one_size
from cmrplan.fit.law_model import LawModel, law_model, row_inputs
from cmrplan.fit.model_averaging import Score, score_of
from cmrplan.fit.settings import FitSettings
from cmrplan.fit.steps import LawChoice, fit_corpus, with_resamples
from cmrplan.laws import build_law
from cmrplan.laws.law import Law, predict_draws
from cmrplan.laws.registry import AUTO, REGISTRY, FitKind, averaged_names, require_choice
from cmrplan.log.columns import SHARE_PREFIX, share_columns
from cmrplan.log.files import LogOrPath, base_losses, log_fingerprint, log_of
from cmrplan.mixture.fit_findings import fit_findings
from cmrplan.numbers import CountOrText, parse_first_tokens, parse_named_count
from cmrplan.solve.law_fit import fit_law, refit
from cmrplan.solve.varpro import Stopping

FOLDS = 5
RUNS_PER_PARAMETER = 4  # from here on resamples of runs still hold more mixtures than parameters
SAME_SUM = 1e-6

Mixture = Mapping[str, float]


@dataclass(frozen=True, repr=False)
class MixtureFit(FittedLog):
    """Fitted laws of several validation corpora; the fields are those of :class:`~cmrplan.fit.fitted_log.FittedLog`."""

    @property
    def law(self) -> str:
        """Name of the fitted law; several where corpora got different ones."""
        return "+".join(sorted({model.law for model in self.models.values()}))

    def mixtures(self) -> Array:
        """Return the mixtures that were fitted, one row a run, ``(R, m)``."""
        return _run_shares(_fitted(self.log, self.settings), self.corpora)

    def shares_of(self, mixture: Mixture) -> Array:
        """Return a mixture as shares in the order of the fit, ``(m,)``; absent corpora have none.

        Raises
        ------
        InputError
            If a corpus is unknown, or the shares are no fractions that sum to 1.
        """
        unknown = [name for name in mixture if name not in self.corpora]
        if unknown:
            known = ", ".join(sorted(self.corpora))
            raise InputError(f"the log has no training corpus {unknown[0]!r}; it has {known}")
        shares = np.array([float(mixture.get(name, 0.0)) for name in self.corpora])
        if not (np.all(shares >= 0) and abs(shares.sum() - 1) <= SAME_SUM):
            raise InputError(
                f"the shares of a mixture must be 0 or more and sum to 1, got {shares.sum():g}"
            )
        return shares

    def predict(
        self, mixture: Mixture | Array, *, model_params: CountOrText, train_tokens: CountOrText
    ) -> dict[str, Prediction]:
        """Return the losses of every validation corpus.

        Parameters
        ----------
        mixture : mapping of str to float, or array (G, m)
            Shares by corpus, or rows of shares in the order of :attr:`corpora`.
        model_params, train_tokens : float or str
            Counts such as ``1.8e9`` or ``"1.8B"``; read where the log had more than one.
        """
        size = parse_named_count("model_params", model_params)
        tokens = parse_named_count("train_tokens", train_tokens)
        shares = self.shares_of(mixture)[None, :] if isinstance(mixture, Mapping) else mixture
        columns = {
            "model_params": np.full(len(shares), size),
            "train_tokens": np.full(len(shares), tokens),
        } | {SHARE_PREFIX + name: shares[:, j] for j, name in enumerate(self.corpora)}
        return {corpus: model.predict(columns) for corpus, model in self.models.items()}

    def summary(self) -> dict[str, Any]:
        """Return the figures of every corpus, as plain values."""
        figures = {c: model.summary(self.settings.confidence) for c, model in self.models.items()}
        return {
            corpus: values
            | {"members": values.get("members", [{"law": values["law"], "weight": 1.0}])}
            for corpus, values in figures.items()
        }

    def figures(self) -> dict[str, Any]:
        """Return the figures of every corpus as plain values: what ``cmrplan mix fit --json`` prints."""
        return {
            "cmrplan_fit": FIT_FILE_VERSION,
            "kind": "mixture",
            "corpora": sorted(self.corpora),
            "eval_corpora": dict(sorted(self.summary().items())),
            **self._common_figures(),
        }


@named_arguments
def fit_mixture(
    log: LogOrPath,
    law: str = "auto",
    *,
    bootstrap: int = 200,
    seed: int = 0,
    method: Method | None = None,
    confidence: float = 0.9,
    model_params: CountOrText | None = None,
    min_train_tokens: CountOrText = 0.0,
) -> MixtureFit:
    """Fit one law of the mixture to the loss on each validation corpus.

    Parameters
    ----------
    log : DataFrame or path
        A probe log with ``share_<corpus>`` columns, or its file.
    law : str
        A law that :mod:`cmrplan.laws.registry` gives to fits of several corpora, or ``auto``.
        ``auto``: for each corpus the average of those that the log supports, with weights inverse to their mean
        squared errors on hidden mixtures, a fifth at a time.
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
        Leave out evaluations before this many tokens, ``1.6e6`` or ``"1.6M"``.

    Raises
    ------
    InputError
        If an argument or the log is wrong.
    CmrplanError
        If the log cannot support a fit; the message says what would.
    """
    require_choice(law, FitKind.CORPORA)
    settings = FitSettings(
        law=law,
        bootstrap=bootstrap,
        seed=seed,
        method=method,
        confidence=confidence,
        model_params=None
        if model_params is None
        else parse_named_count("model_params", model_params),
        min_train_tokens=parse_first_tokens(min_train_tokens),
    )
    return _fit_with(log_of(log), settings)


def _fit_with(log: pd.DataFrame, settings: FitSettings) -> MixtureFit:
    log, fitted = _rows_to_fit(log, settings)
    corpora = _ordered_corpora(fitted)
    varied = _varied(fitted, corpora)
    rows = {
        corpus: fitted[fitted["eval_corpus"] == corpus].reset_index(drop=True)
        for corpus in _ordered_targets(fitted)
    }
    choice = _law_choice(settings, varied)
    models: dict[str, CorpusModel] = {c: fit_corpus(choice, c, part) for c, part in rows.items()}
    if settings.bootstrap:
        models = with_resamples(models, rows, _resamples(models, rows, settings))
    kept = ["run_id", "model_params", "train_tokens", *share_columns(log), "eval_corpus", "loss"]
    return MixtureFit(
        settings=settings,
        corpora=corpora,
        log=log[kept].copy(),
        models=models,
        base_loss={corpus: base_losses(log, corpus) for corpus in models},
        warnings=tuple(fit_findings(models, fitted, corpora, varied)),
        provenance={"log_fingerprint": log_fingerprint(log), "code_version": __version__},
    )


def _fitted(log: pd.DataFrame, settings: FitSettings) -> pd.DataFrame:
    first = max(settings.min_train_tokens, np.nextafter(0, 1))
    kept: pd.DataFrame = log[log["train_tokens"] >= first].reset_index(drop=True)
    return kept


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
    fitted = _fitted(log, settings)
    if fitted.empty:
        raise CmrplanError(
            f"the log has no rows at {max(settings.min_train_tokens, 1):g} or more train_tokens"
        )
    return log, fitted


def _run_shares(rows: pd.DataFrame, corpora: Sequence[str]) -> Array:
    """Return the shares of each run, runs in the order of the log, ``(R, m)``."""
    runs = rows.drop_duplicates("run_id")
    return runs[[SHARE_PREFIX + name for name in corpora]].to_numpy(dtype=float)


def _ordered_corpora(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the training corpora, the largest mean share first."""
    names = [column.removeprefix(SHARE_PREFIX) for column in share_columns(rows)]
    shares = dict(zip(names, _run_shares(rows, names).T, strict=True))
    return tuple(sorted(names, key=lambda n: (-shares[n].mean(), shares[n].tolist())))


def _ordered_targets(rows: pd.DataFrame) -> list[str]:
    """Return the validation corpora, the lowest loss first."""
    losses = {str(c): group["loss"].tolist() for c, group in rows.groupby("eval_corpus")}
    return sorted(losses, key=lambda corpus: losses[corpus])


def _varied(rows: pd.DataFrame, corpora: Sequence[str]) -> tuple[str, ...]:
    """Return the corpora whose share differs between runs: laws read these, the rest is a constant.

    Raises
    ------
    CmrplanError
        If there are fewer than two.
    """
    shares = _run_shares(rows, corpora)
    varied = tuple(name for name, column in zip(corpora, shares.T, strict=True) if np.ptp(column))
    if len(varied) < 2:
        raise CmrplanError(
            "every run has the same mixture, which shows nothing of mixing; add runs with other shares"
        )
    return varied


def _law_choice(settings: FitSettings, varied: Sequence[str]) -> LawChoice:
    """Return the laws that were asked for; they read the shares of the corpora that vary."""

    def fit_one(name: str, corpus: str, rows: pd.DataFrame) -> LawModel:
        if REGISTRY[name].is_of_one_size:
            require_one_size(rows, corpus, name)
        law = _declare(name, corpus, rows, varied)
        _require_mixtures(law, corpus, rows, varied)
        loss = rows["loss"].to_numpy(dtype=float)
        return law_model(corpus, fit_law(law, row_inputs(corpus, rows), loss), rows)

    def score(model: LawModel, rows: pd.DataFrame) -> Score:
        return _held_out(model, rows, varied)

    names = averaged_names(FitKind.CORPORA) if settings.law == AUTO else (settings.law,)
    return LawChoice(names, fit_one, score)


def _declare(name: str, corpus: str, rows: pd.DataFrame, varied: Sequence[str]) -> Law:
    """Return a law with the terms that the levels of the rows support, the corpus that matters most first."""
    first = corpus
    if corpus not in varied:
        loss = rows["loss"].rank().to_numpy(dtype=float)
        pull = [np.corrcoef(rows[SHARE_PREFIX + name], loss)[0, 1] for name in varied]
        first = varied[int(np.argmin(pull))]
    known = {
        "corpus": corpus,
        "corpora": [first, *(name for name in varied if name != first)],
        "size_levels": int(rows["model_params"].nunique()),
        "token_levels": int(rows["train_tokens"].nunique()),
    }
    return build_law(name, {key: known[key] for key in REGISTRY[name].options})


def _require_mixtures(law: Law, corpus: str, rows: pd.DataFrame, varied: Sequence[str]) -> None:
    """Refuse rows with fewer mixtures than the law has parameters for them."""
    number = len(np.unique(_run_shares(rows, varied), axis=0))
    beyond = sum(e.name in ("alpha", "beta") for e in law.exponents)
    needed = len(law.exponents) - beyond + 2
    if number < needed:
        raise CmrplanError(
            f"the loss on {corpus} was measured at {number} mixtures; the law {law.name} of {len(varied)} corpora "
            f"needs at least {needed}: add runs with other shares, or merge corpora"
        )


def _held_out(model: LawModel, rows: pd.DataFrame, varied: Sequence[str]) -> Score:
    """Return how a law predicts hidden mixtures, a fifth of them at a time."""
    shares = rows[[SHARE_PREFIX + name for name in varied]].to_numpy(dtype=float)
    _, first, mixture = np.unique(shares, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    shuffled = np.random.Generator(np.random.Philox(0)).permutation(len(first))
    fold = (shuffled[rank] % FOLDS)[mixture.ravel()]
    hidden = [fold == which for which in range(FOLDS) if np.any(fold == which)]
    inputs, loss = row_inputs(model.corpus, rows), rows["loss"].to_numpy(dtype=float)
    law, scales = model.fit.law, model.fit.scales
    miss = np.full((len(hidden), len(rows)), np.nan)
    which = [
        k
        for k, h in enumerate(hidden)
        if missing_levels(law, {name: values[~h] for name, values in inputs.items()}) is None
    ]
    if which:
        weights = np.stack([~hidden[k] for k in which]).astype(float)
        ends = refit(model.fit, inputs, loss[None, :], weights, stopping=Stopping())
        miss[which] = predict_draws(law, scales, inputs, *ends) - loss
    return score_of(model.law, ["mixture"] * len(hidden), hidden, miss, loss)


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
