"""One corpus's loss by the CMR laws: a token law per run, a ratio law across runs.

The CMR laws hold per model size. At a budget ``D`` each run gives one loss, from its token law (or as
measured, where there are too few token counts for one); the ratio law ``L(R) = alpha R^s + beta`` is then fitted
to these losses on the ratios strictly inside (0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.noise import Residuals, run_noise
from cmrplan.fit.summary import law_summary
from cmrplan.laws.cmr import domain_token_law, general_token_law, peak_tokens, ratio_law
from cmrplan.solve.law_fit import (
    LawFit,
    fit_law,
    moved,
    predict_draws,
    refit,
    residual_jacobian,
)

# One more than the parameters of each token law, so that there is something left to check it with.
FEWEST_TOKENS = {"domain": 4, "general": 6}
SAME = 1e-9  # relative difference below which two sizes or budgets are the same


@dataclass(frozen=True)
class Curve:
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
        near = np.abs(self.train_tokens / train_tokens - 1) <= SAME
        return float(self.loss[near][0]) if near.any() else None

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
class Curves:
    """The CMR laws of one corpus, for every model size of a log.

    Parameters
    ----------
    corpus : str
    sizes : dict of float to tuple of Curve
        The runs that the ratio law takes, by ``model_params``.
    resamples : Resamples or None
    delta : float or None
        Knee of the Huber loss of the ratio law.
    num_rows, num_runs : int
    """

    corpus: str
    sizes: dict[float, tuple[Curve, ...]]
    resamples: Resamples | None
    delta: float | None
    num_rows: int
    num_runs: int

    @property
    def law(self) -> str:
        """Name of the law."""
        return "cmr"

    def curves(self, model_params: float) -> tuple[Curve, ...]:
        """Return the runs of a size.

        Raises
        ------
        CmrplanError
            If that size was not probed.
        """
        for size, curves in self.sizes.items():
            if abs(size / model_params - 1) <= 0.01:
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

    def predict(
        self, model_params: float, train_tokens: float | Array, domain_ratio: Array
    ) -> tuple[Array, Array]:
        """Return the loss at ``G`` ratios: the estimate ``(G,)`` and the resamples ``(B, G)``."""
        if np.ndim(train_tokens):
            raise CmrplanError(
                "the CMR laws hold at one token count at a time; fit with the law dcpt, which reads the tokens"
            )
        point = self.ratio_fit(model_params, float(train_tokens))
        fit = point.fit
        wanted = {"domain_ratio": np.asarray(domain_ratio, dtype=float)}
        search, coefficients = self._resample(point)
        with np.errstate(divide="ignore", invalid="ignore"):
            draws = predict_draws(fit.law, fit.scales, wanted, search, coefficients)
            return fit.predict(wanted), draws

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
        point = self.ratio_fit(largest, budget)
        figures = law_summary(point.fit, *self._resample(point), confidence)
        return figures | {
            "law": "cmr",
            "model_params": largest,
            "train_tokens": budget,
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


def fit_curves(
    rows: pd.DataFrame, corpus: str, resamples: Resamples | None, *, delta: float | None = None
) -> Curves:
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
        Knee of the Huber loss; from the noise by default.

    Raises
    ------
    CmrplanError
        If no size has three ratios strictly inside (0, 1).
    """
    ratio = rows["domain_ratio"].to_numpy(dtype=float)
    inside = rows[(ratio > 0) & ((ratio < 1) | (corpus == "domain"))]
    law = general_token_law() if corpus == "general" else domain_token_law()
    sizes: dict[float, tuple[Curve, ...]] = {}
    for size, group in inside.groupby("model_params", sort=True):
        if group["domain_ratio"].nunique() < 3:
            continue
        curves = []
        for run_id, run in group.groupby("run_id", sort=True):
            run = run.sort_values("train_tokens")
            tokens = run["train_tokens"].to_numpy(dtype=float)
            loss = run["loss"].to_numpy(dtype=float)
            fit = None
            if len(tokens) >= FEWEST_TOKENS[corpus]:
                fit = fit_law(law, {"train_tokens": tokens}, loss, delta=delta)
            share = float(run["domain_ratio"].iloc[0])
            curves.append(Curve(str(run_id), share, tokens, loss, fit))
        sizes[float(size)] = tuple(curves)  # type: ignore[arg-type]
    if not sizes:
        found = ", ".join(f"{ratio:g}" for ratio in np.unique(rows["domain_ratio"]))
        raise CmrplanError(
            f"the CMR ratio law needs 3 or more ratios strictly between 0 and 1 at one model size; the {corpus} "
            f"loss was measured at {found}"
        )
    return Curves(corpus, sizes, resamples, delta, len(inside), inside["run_id"].nunique())
