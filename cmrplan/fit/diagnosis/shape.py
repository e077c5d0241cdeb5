"""Whether a fitted loss has the shape of a loss on the fitted range.

The authors of the D-CPT law ask of a form that it is finite and that the loss falls with size N, tokens D and the
share r of the corpus that is predicted, the more so in D the larger the share::

    dL/dN < 0,   dL/dD < 0,   dL/dr < 0,   d2L/dD dr < 0

Signs of the coefficients secure the first two and the last; ``dL/dr < 0`` is left to the fit: for the published form it
holds where ``B eta r^(eta-1) / D^beta < C gamma / (r + epsilon)^(gamma+1)``.

Slopes are taken by the logarithms, which keeps their signs and makes one step fit every input. They are
central differences over a step ``h`` of 1e-3: truncation errs by ``h^2 / 6`` of the third derivative, some 1e-6 of
the slope for exponents of order one, and rounding by ``2e-16 L / h^2 = 1e-9`` nats in the mixed one. A slope
below 1e-3 nats per factor e counts as none: runs differ by more (the median residual of fits to public logs is 2e-3
to 4e-3), so nobody could see it. A term that is absent or whose coefficient came out as zero is no failure.

A share of exactly 0 is not on the grid: there ``r^eta`` with eta below 1 has an infinite slope whatever the fit.

References
----------
Que et al., D-CPT Law, NeurIPS 2024, arXiv:2406.01375.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Code, Finding
from cmrplan.fit.cmr_model import CmrModel
from cmrplan.fit.corpus_model import CorpusModel, LawInputs
from cmrplan.fit.law_model import LawModel, row_inputs
from cmrplan.laws.law import predict_draws

LOG_STEP = 1e-3  # of the logarithm of an input
NEGLIGIBLE_SLOPE = 1e-3  # nats per factor e
MOST_LEVELS = 6  # of sizes and of token counts on the grid
SHARES = 25  # spaced evenly, and as many in the logarithm
_LOOKED_AT = {"model_params", "train_tokens", "share", "unique_tokens"}

Condition = Literal["finite", "size", "tokens", "share", "mixed"]
# It takes model_params, train_tokens and share, each (n,), and returns losses (..., n).
Losses = Callable[[Array, Array, Array], Array]


@dataclass(frozen=True)
class Grid:
    """The points that are looked at, flattened, and the inputs that vary over them.

    Parameters
    ----------
    model_params, train_tokens, share : array (n,)
    """

    model_params: Array
    train_tokens: Array
    share: Array


@dataclass(frozen=True)
class Failure:
    """One condition that does not hold.

    Parameters
    ----------
    condition : {"finite", "size", "tokens", "share", "mixed"}
    part : float
        Share of the grid where it fails.
    model_params, train_tokens, share : float
        Where it fails most.
    slope : float
        There, in nats per factor e (of both, for ``mixed``); NaN for ``finite``.
    """

    condition: Condition
    part: float
    model_params: float
    train_tokens: float
    share: float
    slope: float


def shape_grid(rows: pd.DataFrame, corpus: str) -> Grid | None:
    """Return the grid over the fitted range; None without two shares above 0."""
    inputs = row_inputs(corpus, rows)
    shares = np.unique(inputs["share"])
    shares = shares[shares > 0]
    if len(shares) < 2:
        return None
    low, high = shares[0], shares[-1]
    shares = np.unique(
        np.concatenate([np.geomspace(low, high, SHARES), np.linspace(low, high, SHARES)])
    )
    sizes, tokens = (_levels(inputs[name]) for name in ("model_params", "train_tokens"))
    axes = np.meshgrid(sizes, tokens, shares, indexing="ij")
    return Grid(*(axis.ravel() for axis in axes))


def _levels(values: Array) -> Array:
    """Return the values between the smallest and the largest, evenly in the logarithm."""
    low, high = float(values.min()), float(values.max())
    return np.geomspace(low, high, MOST_LEVELS) if high > low else np.array([low])


def check_shape(losses: Losses, grid: Grid) -> list[Failure]:
    """Return the conditions that fail on a grid, each with its worst point.

    Conditions on an input of which the grid has one value are not looked at.
    """
    value = losses(grid.model_params, grid.train_tokens, grid.share)
    broken = ~np.isfinite(value)
    if broken.any():
        return [_failure("finite", grid, broken, int(np.argmax(broken)), float("nan"))]
    failures = []
    for condition in _conditions(grid):
        slope = _slope(condition, losses, grid)
        worst = int(np.argmax(slope))
        if slope[worst] > NEGLIGIBLE_SLOPE:
            failures.append(
                _failure(condition, grid, slope > NEGLIGIBLE_SLOPE, worst, float(slope[worst]))
            )
    return failures


def part_of_resamples(losses: Losses, failure: Failure) -> float:
    """Return in which part of the resamples a condition fails at its worst point.

    Parameters
    ----------
    losses : callable
        Gives losses ``(B, n)``.
    failure : Failure
    """
    point = Grid(
        *(np.array([v]) for v in (failure.model_params, failure.train_tokens, failure.share))
    )
    if failure.condition == "finite":
        value = losses(point.model_params, point.train_tokens, point.share)
        return float(np.mean(~np.isfinite(value)))
    return float(np.mean(_slope(failure.condition, losses, point) > NEGLIGIBLE_SLOPE))


def _conditions(grid: Grid) -> list[Condition]:
    several_tokens = np.ptp(grid.train_tokens) > 0
    conditions: list[Condition] = ["size"] if np.ptp(grid.model_params) > 0 else []
    conditions += ["tokens"] if several_tokens else []
    conditions += ["share"]
    return [*conditions, "mixed"] if several_tokens else conditions


def _slope(condition: Condition, losses: Losses, grid: Grid) -> Array:
    """Return the slope that should not be above zero, ``(..., n)``, in nats per factor e."""
    step = float(np.exp(LOG_STEP))

    def moved(size: int = 0, tokens: int = 0, share: int = 0) -> Array:
        return losses(
            grid.model_params * step**size,
            grid.train_tokens * step**tokens,
            grid.share * step**share,
        )

    if condition == "size":
        return (moved(size=1) - moved(size=-1)) / (2 * LOG_STEP)
    if condition == "tokens":
        return (moved(tokens=1) - moved(tokens=-1)) / (2 * LOG_STEP)
    if condition == "share":
        return (moved(share=1) - moved(share=-1)) / (2 * LOG_STEP)
    along = moved(tokens=1, share=1) - moved(tokens=1, share=-1)
    return (along - moved(tokens=-1, share=1) + moved(tokens=-1, share=-1)) / (2 * LOG_STEP) ** 2


def _failure(
    condition: Condition, grid: Grid, fails: NDArray[np.bool_], worst: int, slope: float
) -> Failure:
    return Failure(
        condition=condition,
        part=float(np.mean(fails)),
        model_params=float(grid.model_params[worst]),
        train_tokens=float(grid.train_tokens[worst]),
        share=float(grid.share[worst]),
        slope=slope,
    )


def shape_findings(model: CorpusModel, rows: pd.DataFrame) -> list[Finding]:
    """Return a finding for each condition that a fitted loss breaks on its range.

    The CMR laws are looked at where they are used: across ratios, at the largest size and budget. Their
    general loss may rise with tokens.

    Parameters
    ----------
    model : CorpusModel
        One law across runs, or the CMR laws; nothing is said of others, nor of laws that read more than size, tokens
        and share. Tokens count as fresh ones.
    rows : DataFrame
        What it was fitted to.
    """
    corpus = model.corpus
    if isinstance(model, LawModel):
        if not set(model.fit.law.inputs) <= _LOOKED_AT:
            return []
        grid = shape_grid(rows, corpus)
        estimate, resamples = law_losses(model)
    elif isinstance(model, CmrModel):
        grid, estimate, resamples = _ratio_law_losses(model)
    else:
        return []
    if grid is None:
        return []
    return [
        _finding(
            corpus, failure, part_of_resamples(resamples, failure) if model.num_draws else None
        )
        for failure in check_shape(estimate, grid)
    ]


def law_losses(model: LawModel) -> tuple[Losses, Losses]:
    """Return the losses of the estimate, ``(n,)``, and of the resamples, ``(B, n)``."""
    fit = model.fit

    def inputs_at(model_params: Array, train_tokens: Array, share: Array) -> LawInputs:
        inputs = {"model_params": model_params, "train_tokens": train_tokens, "share": share}
        return inputs | {"unique_tokens": np.full_like(train_tokens, np.inf)}

    def resamples(model_params: Array, train_tokens: Array, share: Array) -> Array:
        inputs = inputs_at(model_params, train_tokens, share)
        return predict_draws(fit.law, fit.scales, inputs, model.search, model.coefficients)

    def estimate(model_params: Array, train_tokens: Array, share: Array) -> Array:
        return fit.predict(inputs_at(model_params, train_tokens, share))

    return estimate, resamples


def _ratio_law_losses(model: CmrModel) -> tuple[Grid | None, Losses, Losses]:
    """Return the grid and the losses of the ratio law at the largest size and budget."""
    size = max(model.sizes)
    tokens = max(float(curve.train_tokens[-1]) for curve in model.sizes[size])

    def ratio(share: Array) -> Array:
        return share if model.corpus == "domain" else 1.0 - share

    def resamples(model_params: Array, train_tokens: Array, share: Array) -> Array:
        at = {"model_params": model_params, "train_tokens": train_tokens}
        return model.predict({**at, "domain_ratio": ratio(share)}).draws

    try:
        point = model.ratio_fit(size, tokens)
    except CmrplanError:
        return None, resamples, resamples

    def estimate(model_params: Array, train_tokens: Array, share: Array) -> Array:
        return point.fit.predict({"domain_ratio": ratio(share)})

    shares = ratio(point.domain_ratio)
    shares = np.geomspace(shares.min(), shares.max(), SHARES)
    same = np.ones(SHARES)
    return Grid(size * same, tokens * same, shares), estimate, resamples


def _finding(corpus: str, failure: Failure, part: float | None) -> Finding:
    share = f"the share of {corpus} data"
    where = (
        f"at {100 * failure.part:.2g} % of the fitted range, most at share {failure.share:.3g}, "
        f"model_params {failure.model_params:.4g}, train_tokens {failure.train_tokens:.4g}"
    )
    doubling = np.log(2) * failure.slope
    if failure.condition == "mixed":
        doubling *= np.log(2)
    by = f"by {doubling:.2g} nats per doubling"
    often = "" if part is None else f" (in {100 * part:.0f} % of the resamples)"
    if failure.condition == "finite":
        return Finding(
            Code.SHAPE_FINITE,
            f"the fitted {corpus} loss is not a number {where}{often}; do not use this fit, try another law",
        )
    if failure.condition == "size":
        return Finding(
            Code.SHAPE_SIZE,
            f"the fitted {corpus} loss rises with model_params {where}: {by}{often}; a larger model should not be "
            "worse, so do not plan for other sizes from it",
        )
    if failure.condition == "tokens":
        return Finding(
            Code.SHAPE_TOKENS,
            f"the fitted {corpus} loss rises with train_tokens {where}: {by}{often}; the D-CPT law asks that it falls, "
            "so do not plan for larger budgets from it",
        )
    if failure.condition == "share":
        return Finding(
            Code.SHAPE_RATIO,
            f"the fitted {corpus} loss rises with {share} {where}: {by}{often}; more of a corpus should not raise "
            "its own loss, so compare laws and probe more ratios there",
        )
    return Finding(
        Code.SHAPE_MIXED,
        f"as {share} grows, the fitted {corpus} loss gains less from tokens {where}: {by} of both{often}; it "
        "should gain more, so compare laws",
    )
