"""One corpus's loss by the CMR laws: a token law per run, a ratio law across runs.

The CMR laws hold per model size. At a budget ``D`` each run gives one loss, from its token law (or as
measured, where there are too few token counts for one); the ratio law ``L(R) = alpha R^s + beta`` is then fitted
to these losses on the ratios strictly inside (0, 1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import SAME_SIZE, Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import Columns, CorpusModel, Prediction, TokenSlopes
from cmrplan.fit.noise import Residuals, run_noise
from cmrplan.fit.summary import law_summary
from cmrplan.laws.cmr import domain_token_law, general_token_law, peak_tokens, ratio_law
from cmrplan.laws.law import predict_draws
from cmrplan.solve.law_fit import LawFit, fit_law, moved, refit, residual_jacobian

# One more than the parameters of each token law, so that there is something left to check it with.
FEWEST_TOKENS = {"domain": 4, "general": 6}
KEPT_FITS = (
    4096  # of runs: a comparison fits each of them anew for every part of the log that it hides
)
SAME_BUDGET = 1e-9  # relative difference below which two budgets are the same


@dataclass(frozen=True)
class RunCurve:
    """The losses of one run on one corpus, and its token law where it has one.

    Parameters
    ----------
    run_id : str
    domain_ratio : float
    train_tokens, loss : array (k,)
        Sorted by tokens; the base checkpoint is left out.
    fit : LawFit or None
        The law of the loss itself: its constant holds the base loss.
    """

    run_id: str
    domain_ratio: float
    train_tokens: Array
    loss: Array
    fit: LawFit | None

    def at(self, train_tokens: float) -> float | None:
        """Return the loss at a budget, or None where it can neither be computed nor read off."""
        if self.fit is not None:
            return float(self.fit.predict({"train_tokens": np.array([float(train_tokens)])})[0])
        near = np.abs(self.train_tokens / train_tokens - 1) <= SAME_BUDGET
        return float(self.loss[near][0]) if near.any() else None

    def slope(self, train_tokens: float) -> float:
        """Return the derivative of the fitted loss by the logarithm of the tokens, nats.

        The run must have a token law.
        """
        assert self.fit is not None
        beside = train_tokens * np.array([1 - 1e-4, 1 + 1e-4])
        low, high = self.fit.predict({"train_tokens": beside})
        return float((high - low) / np.log(beside[1] / beside[0]))

    @property
    def peak(self) -> float:
        """Tokens at which the fitted general loss peaks; NaN without a two-term law or a peak."""
        if self.fit is None or "alpha3" not in self.fit.params:
            return float("nan")
        p = self.fit.params
        return peak_tokens(p["alpha2"], p["s2"], p["alpha3"], p["s3"])


@dataclass(frozen=True)
class RatioFit:
    """The ratio law at one size and budget, with the runs, ratios and losses it was fitted to."""

    fit: LawFit
    runs: tuple[str, ...]
    domain_ratio: Array
    loss: Array


@dataclass(frozen=True)
class CmrModel(CorpusModel):
    """The CMR laws of one corpus, for every model size of a log.

    Parameters
    ----------
    corpus : str
    sizes : dict of float to tuple of RunCurve
        The runs that the ratio law takes, by ``model_params``.
    resamples : Resamples or None
    delta : float or None
        Huber delta of the ratio law.
    num_rows, num_runs : int
    """

    corpus: str
    sizes: dict[float, tuple[RunCurve, ...]]
    resamples: Resamples | None
    delta: float | None
    num_rows: int
    num_runs: int

    @property
    def law(self) -> str:
        """Name of the law."""
        return "cmr"

    def curves(self, model_params: float) -> tuple[RunCurve, ...]:
        """Return the runs of a size.

        Raises
        ------
        CmrplanError
            If that size was not probed.
        """
        for size, curves in self.sizes.items():
            if abs(size / model_params - 1) <= SAME_SIZE:
                return curves
        known = ", ".join(f"{size:.4g}" for size in self.sizes)
        raise CmrplanError(
            f"the CMR laws hold per model size and there is no probe at model_params = {model_params:.4g}; probed: "
            f"{known}. Use the law dcpt to go between sizes"
        )

    def ratio_fit(self, model_params: float, train_tokens: float) -> RatioFit:
        """Fit the ratio law at a budget.

        Raises
        ------
        CmrplanError
            If the loss is known at fewer than three ratios there.
        """
        curves = self.curves(model_params)
        points = [
            (curve.run_id, curve.domain_ratio, loss)
            for curve in curves
            if (loss := curve.at(train_tokens)) is not None
        ]
        known = len({ratio for _, ratio, _ in points})
        if known < 3:
            measured = sorted({float(t) for curve in curves for t in curve.train_tokens})
            raise CmrplanError(
                f"the ratio law needs the {self.corpus} loss at 3 or more ratios strictly between "
                f"0 and 1 at {train_tokens:.4g} tokens, found {known}; measured token counts: "
                + ", ".join(f"{tokens:.4g}" for tokens in measured)
            )
        ratios = np.array([ratio for _, ratio, _ in points])
        losses = np.array([loss for _, _, loss in points])
        fit = fit_law(ratio_law(), {"domain_ratio": ratios}, losses, delta=self.delta)
        return RatioFit(fit, tuple(run for run, _, _ in points), ratios, losses)

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return 0 if self.resamples is None else self.resamples.count

    @property
    def only_sizes(self) -> Array:
        """The probed sizes: the CMR laws hold per size."""
        return np.array(sorted(self.sizes))

    @property
    def holds_per_budget(self) -> bool:
        """True: the ratio law is fitted anew at each budget."""
        return True

    def fitted_ratios(self, rows: pd.DataFrame) -> Array:
        """Return the ratio of each run: the ratio law does not hold at 0, nor everywhere at 1."""
        return np.array([c.domain_ratio for curves in self.sizes.values() for c in curves])

    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its resamples at ``n`` places; the ratio law is fitted once a size and budget."""
        at = np.stack([columns["model_params"], columns["train_tokens"]], axis=1)
        ratio = np.asarray(columns["domain_ratio"], dtype=float)
        loss, draws = np.empty(len(ratio)), np.empty((self.num_draws, len(ratio)))
        for size, tokens in np.unique(at, axis=0):
            rows = (at == (size, tokens)).all(axis=1)
            point = self.ratio_fit(float(size), float(tokens))
            fit, inputs = point.fit, {"domain_ratio": ratio[rows]}
            search, coefficients = self._resample(point)
            with np.errstate(divide="ignore", invalid="ignore"):
                draws[:, rows] = predict_draws(fit.law, fit.scales, inputs, search, coefficients)
                loss[rows] = fit.predict(inputs)
        return Prediction(columns, loss, draws)

    def is_fitted(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows belong to runs that the laws take."""
        runs = {curve.run_id for curves in self.sizes.values() for curve in curves}
        return rows["run_id"].astype(str).isin(runs).to_numpy(dtype=bool)

    def run_curves(self, model_params: float, train_tokens: Array, ratios: Array) -> Array:
        """Return the mean of the token laws of the runs at each ratio, ``(T, R)``."""
        runs = self.curves(model_params)
        loss = np.full((len(train_tokens), len(ratios)), np.nan)
        for k, ratio in enumerate(ratios):
            fits = [run.fit for run in runs if run.domain_ratio == ratio and run.fit is not None]
            if fits:
                at = {"train_tokens": train_tokens}
                loss[:, k] = np.mean([fit.predict(at) for fit in fits], axis=0)
        return loss

    def token_slopes(self, model_params: float, train_tokens: float) -> TokenSlopes:
        """Return each run's ratio and the slope of its token law; runs without one are left out."""
        return {
            curve.run_id: (curve.domain_ratio, curve.slope(train_tokens))
            for curve in self.curves(model_params)
            if curve.fit is not None
        }

    def without_resamples(self) -> CmrModel:
        """Return the laws without their resamples, which are fitted at every question."""
        return replace(self, resamples=None)

    def _resample(self, point: RatioFit) -> tuple[Array, Array]:
        """Return the ratio law's optimum for every resample, ``(B, 1)`` and ``(B, 2)``."""
        if self.resamples is None:
            return np.zeros((0, 1)), np.zeros((0, 2))
        fit, inputs = point.fit, {"domain_ratio": point.domain_ratio}
        left = Residuals(fit.residual, residual_jacobian(fit, inputs), point.runs)
        shifts = self.resamples.shifts(self.corpus, left, run_noise([left]))
        targets = moved(fit, point.loss, shifts)
        return refit(fit, inputs, targets, self.resamples.weights(point.runs))

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the ratio law at the largest size and budget, and the token law of every run."""
        largest = max(self.sizes)
        budget = max(float(curve.train_tokens[-1]) for curve in self.sizes[largest])
        return self._summary_at(self.ratio_fit(largest, budget), largest, budget, confidence)

    def summaries(self, confidence: float) -> Iterator[dict[str, Any]]:
        """Yield the ratio law of each size at the largest budget at which it can be fitted."""
        for size, curves in self.sizes.items():
            budgets = np.unique(np.concatenate([curve.train_tokens for curve in curves]))
            for budget in budgets[::-1].tolist():
                try:
                    point = self.ratio_fit(size, budget)
                except CmrplanError:
                    continue
                figures = self._summary_at(point, size, budget, confidence)
                laws = [law for law in figures["token_laws"] if law["model_params"] == size]
                rows = sum(len(curve.loss) for curve in curves)
                yield figures | {"n_rows": rows, "n_runs": len(curves), "token_laws": laws}
                break

    def _summary_at(
        self, point: RatioFit, model_params: float, train_tokens: float, confidence: float
    ) -> dict[str, Any]:
        figures = law_summary(point.fit, *self._resample(point), confidence)
        return figures | {
            "law": "cmr",
            "model_params": model_params,
            "train_tokens": train_tokens,
            "n_rows": self.num_rows,
            "n_runs": self.num_runs,
            "token_laws": [
                {
                    "model_params": size,
                    "run_id": curve.run_id,
                    "domain_ratio": curve.domain_ratio,
                    "params": None if curve.fit is None else curve.fit.params,
                    "peak_tokens": None if np.isnan(curve.peak) else curve.peak,
                }
                for size, curves in self.sizes.items()
                for curve in curves
            ],
        }


def fit_cmr_model(
    rows: pd.DataFrame, corpus: str, resamples: Resamples | None, *, delta: float | None = None
) -> CmrModel:
    """Fit the token law of every run of one corpus.

    The ratio law of the general loss takes ratios strictly inside (0, 1); that of the domain loss takes
    a ratio of 1 too, as the paper's own table does.

    Parameters
    ----------
    rows : DataFrame
        Rows of one ``eval_corpus`` with ``train_tokens`` above 0.
    corpus : {"general", "domain"}
    resamples : Resamples or None
    delta : float, optional
        Huber delta; from the noise by default.

    Raises
    ------
    CmrplanError
        If no size has three ratios strictly inside (0, 1).
    """
    ratio = rows["domain_ratio"].to_numpy(dtype=float)
    inside = rows[(ratio > 0) & ((ratio < 1) | (corpus == "domain"))]
    sizes: dict[float, tuple[RunCurve, ...]] = {}
    for size, group in inside.groupby("model_params", sort=True):
        if group["domain_ratio"].nunique() < 3:
            continue
        curves = []
        for run_id, run in group.groupby("run_id", sort=False):
            run = run.sort_values("train_tokens")
            tokens = run["train_tokens"].to_numpy(dtype=float)
            loss = run["loss"].to_numpy(dtype=float)
            fit = None
            if len(tokens) >= FEWEST_TOKENS[corpus]:
                fit = _run_fit(corpus, tuple(tokens.tolist()), tuple(loss.tolist()), delta)
            share = float(run["domain_ratio"].iloc[0])
            curves.append(RunCurve(str(run_id), share, tokens, loss, fit))
        sizes[float(size)] = tuple(curves)  # type: ignore[arg-type]
    if not sizes:
        measured = ", ".join(f"{ratio:g}" for ratio in np.unique(rows["domain_ratio"]))
        raise CmrplanError(
            f"the CMR ratio law needs 3 or more ratios strictly between 0 and 1 at one model size; the {corpus} "
            f"loss was measured at {measured}"
        )
    return CmrModel(corpus, sizes, resamples, delta, len(inside), inside["run_id"].nunique())


@lru_cache(maxsize=KEPT_FITS)
def _run_fit(
    corpus: str, tokens: tuple[float, ...], loss: tuple[float, ...], delta: float | None
) -> LawFit:
    """Return the token law of a run; the fits of the last runs are kept."""
    law = general_token_law() if corpus == "general" else domain_token_law()
    return fit_law(law, {"train_tokens": np.array(tokens)}, np.array(loss), delta=delta)
