"""Leave one run out: which runs look wrong, and on which the fit hangs.

The law is fitted again without each run, from the optimum, and predicts it. A run whose mean miss is too large is
odd: a typo in its ratio, another base, a broken data loader. How large a miss may be depends on how well the
other runs hold the law at that place, so it is studentized: divided by the noise between runs and by the spread
of a prediction there, ::

    t = miss / (noise * sqrt(1 + sum of squares of the weights of the other runs in the prediction))

with weights to first order at the optimum. The noise is taken from the run means of the refit's residuals, over the
degrees of freedom that the law leaves them, in two ways: as their root mean square, best for one outlier, and as their
median absolute value, which several outliers do not move. Under normal noise t is then close to Student's t, with the
degrees of freedom and with 0.37 of them, the efficiency of the median. A run is an outlier where either is improbable
at 1 % over all runs together (Bonferroni). The most improbable one is set aside and the others are looked at again
without it, since an outlier bends the fit for all. With few runs next to nothing can be said, and that is what comes
out.

In simulated sweeps with normal noise (two losses each), a run was called an outlier in 1 of 100 logs of 28 runs and in
2 of 100 logs of 14; a run moved by ten times the noise was found in 100 and in 99 of them.

Two things are said rather than calling a run an outlier. Where runs at the same size and ratio miss alike, it is the
law that misses there. Where the other runs hardly hold the law, the run has leverage: the fit hangs on it.

References
----------
Cook & Weisberg 1982 (deleted residuals); Rousseeuw & Croux 1993 (efficiency of the median absolute deviation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from cmrplan.arrays import Array
from cmrplan.errors import Code, Finding
from cmrplan.fit.diagnosis.thresholds import ALPHA, FEWEST_RUNS, ROUNDING_OF_LOSS
from cmrplan.fit.law_model import LawModel, row_inputs
from cmrplan.laws.law import Inputs, predict_draws
from cmrplan.log.columns import share_columns
from cmrplan.solve.identification import MAD_TO_SIGMA
from cmrplan.solve.law_fit import refit, residual_jacobian, residual_of

MOST_REFITS = (
    100  # runs that are left out one by one; of more, those with the largest misses to first order
)
MAD_EFFICIENCY = 0.37
FEWEST_DEGREES_OF_FREEDOM = 2.0  # below, nothing can be said of a run
MOVED_TAIL = (
    0.025  # two standard deviations of the noise between runs, more where it is known badly
)
LEVERAGE = float(np.sqrt(2))  # the other runs say no more of the place than the run itself does
MOST_OUTLIERS = 3  # outliers that are set aside; a log with more needs another look altogether
MOST_NAMED = 5
MOST_SHARES = 3  # of a run that is named
# Of a direction that one run determines alone: its inverse, squared, is still above rounding.
LEAST_DEGREES_OF_FREEDOM = 1e-6


@dataclass(frozen=True)
class Influence:
    """What leaving out each of ``K`` runs does, the largest misses first.

    Parameters
    ----------
    corpus : str
    runs : tuple of str
    places : tuple of str
        Each run with its mixture and size, for people.
    miss : array (K,)
        Mean loss of the run less its prediction without it, nats per token.
    studentized : array (K,)
        The miss over what it may be; see the module.
    inflation : array (K,)
        Standard error of the miss over the noise between runs.
    moved : array (K,)
        Largest change of the fitted loss at the places of the other runs at the largest budget, nats per token.
    noise : float
        Noise between runs, nats per token.
    chance : array (K,)
        How often any run of a log without outliers has a miss so large for its place, at most.
    chance_alone : array (K,)
        The same, were its place held by the other runs as well as it can be.
    most_moved : float
        Times the noise beyond which a move makes a run influential.
    has_alike : bool array (K,)
        Runs at the same size and ratio miss by as much.
    """

    corpus: str
    runs: tuple[str, ...]
    places: tuple[str, ...]
    miss: Array
    studentized: Array
    inflation: Array
    moved: Array
    noise: float
    chance: Array
    chance_alone: Array
    most_moved: float
    has_alike: NDArray[np.bool_]

    @property
    def is_outlier(self) -> NDArray[np.bool_]:
        """Runs that look wrong."""
        return (self.chance < ALPHA) & ~self.has_alike

    def worst_outlier(self) -> Outlier:
        """Return the most improbable of the outliers."""
        k = int(np.argmin(np.where(self.is_outlier, self.chance, np.inf)))
        return Outlier(
            self.runs[k],
            self.places[k],
            float(self.miss[k]),
            float(self.studentized[k]),
            float(self.chance[k]),
            float(self.moved[k]),
        )

    @property
    def is_lever(self) -> NDArray[np.bool_]:
        """Runs that the fit hangs on: without them it is elsewhere, there or at other places."""
        alone = (self.chance_alone < ALPHA) & (self.inflation > LEVERAGE) & ~self.has_alike
        return ~self.is_outlier & (alone | (self.moved > self.most_moved * self.noise))


@dataclass(frozen=True)
class Outlier:
    """A run that looks wrong; the fields are those of :class:`Influence`."""

    run_id: str
    label: str
    miss: float
    studentized: float
    chance: float
    moved: float


def leave_runs_out(law: LawModel, rows: pd.DataFrame) -> Influence | None:
    """Return what leaving out each run does; None with fewer than six runs, or too few for the law.

    Parameters
    ----------
    law : LawModel
        Fitted to ``rows``.
    rows : DataFrame
        Rows of its corpus after the base checkpoint.
    """
    run_of, names = pd.factorize(rows["run_id"].astype(str))
    if len(names) < FEWEST_RUNS:
        return None
    fit, inputs = law.fit, row_inputs(law.corpus, rows)
    loss = rows["loss"].to_numpy(dtype=float)
    span = _Span.of(residual_jacobian(fit, inputs), run_of)
    degrees = float(np.median(span.degrees))
    if degrees < FEWEST_DEGREES_OF_FREEDOM:
        return None
    first_order = span.left_out_means(fit.residual)
    left = np.argsort(-np.abs(first_order), kind="stable")[:MOST_REFITS]
    predicted = _without_each(law, inputs, loss, run_of, left)
    means = _run_means(np.log(loss) - np.log(predicted), run_of)  # (K, R)
    others = np.arange(len(names)) != left[:, None]
    noises = _noises(np.abs(means), others, degrees)
    miss = means[np.arange(len(left)), left]
    first_rows = np.unique(run_of, return_index=True)[1]
    settings = rows.iloc[first_rows]
    mixture = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    size_and_mixture = settings[["model_params", *mixture]].to_numpy(dtype=float)
    level = float(np.exp(np.mean(np.log(loss))))
    return Influence(
        corpus=law.corpus,
        runs=tuple(names[left].tolist()),
        places=tuple(_place(run, mixture) for _, run in settings.iloc[left].iterrows()),
        miss=miss * level,
        studentized=miss / (noises[1] * span.inflation[left]),
        inflation=span.inflation[left],
        chance=_chance(np.abs(miss) / span.inflation[left] / noises, degrees, len(names)),
        chance_alone=_chance(np.abs(miss) / noises, degrees, len(names)),
        moved=_moves(fit.predict(inputs), predicted, inputs["train_tokens"], run_of, left),
        noise=float(np.median(noises[1])) * level,
        most_moved=float(-stdtrit(MAD_EFFICIENCY * degrees, MOVED_TAIL)),
        has_alike=_has_alike(size_and_mixture, first_order, left),
    )


def _noises(size: Array, others: NDArray[np.bool_], degrees: float) -> Array:
    """Return the noise between the other runs by their mean square and by their median, ``(2, K)``."""
    scale = np.sqrt(others.sum(axis=1) / degrees)
    square = np.sqrt(np.mean(size**2, axis=1, where=others))
    median = MAD_TO_SIGMA * np.nanmedian(np.where(others, size, np.nan), axis=1)
    return np.asarray(np.maximum(scale * np.stack([square, median]), ROUNDING_OF_LOSS))


def _chance(values: Array, degrees: float, number: int) -> Array:
    """Return the chance that one of ``number`` runs has a value so large by either noise, ``(K,)``."""
    tails = [
        stdtr(part * degrees, -value)
        for value, part in zip(values, (1.0, MAD_EFFICIENCY), strict=True)
    ]
    # The value is tested on two sides and by two estimates of the noise, hence 4 tests a run.
    return np.asarray(np.minimum(4 * number * np.min(tails, axis=0), 1.0))


def check_runs(law: LawModel, rows: pd.DataFrame) -> tuple[list[Outlier], Influence | None]:
    """Return the runs that look wrong, most improbable first, and what leaving out each of the others does.

    The arguments are those of :func:`leave_runs_out`.
    """
    outliers: list[Outlier] = []
    influence = leave_runs_out(law, rows)
    while influence is not None and influence.is_outlier.any() and len(outliers) < MOST_OUTLIERS:
        outliers.append(influence.worst_outlier())
        law, rows = _set_aside(law, rows, outliers[-1].run_id)
        influence = leave_runs_out(law, rows)
    return outliers, influence


def influence_findings(
    corpus: str, outliers: list[Outlier], influence: Influence | None
) -> list[Finding]:
    """Return a finding for each run that looks wrong, and one on those that the fit hangs on."""
    findings = [
        Finding(
            Code.OUTLIER_RUN,
            f"the {corpus} loss of {run.label} is not what the other runs "
            f"say: it lies {_side(run.miss)} its prediction without it, {abs(run.studentized):.1f} standard errors "
            f"(chance {run.chance:.1g}), and moves the fit elsewhere by up to {run.moved:.2g} nats; check its ratio, "
            "base and data, and compare a fit without it",
        )
        for run in outliers
    ]
    if influence is not None and influence.is_lever.any():
        which = np.flatnonzero(influence.is_lever)
        k = int(which[0])
        named = [influence.places[j] for j in which[:MOST_NAMED]]
        more = f" and {len(which) - MOST_NAMED} more" if len(which) > MOST_NAMED else ""
        findings.append(
            Finding(
                Code.INFLUENTIAL_RUN,
                f"the fit of the {corpus} loss hangs on {', '.join(named)}{more}: without {influence.runs[k]} it "
                f"would be {_side(-influence.miss[k])} that run and up to {influence.moved[k]:.2g} nats away at "
                f"others, against a noise between runs of {influence.noise:.2g}; no other run is near enough to say "
                "whether it is right, so repeat it with another seed",
            )
        )
    return findings


def _place(run: pd.Series[Any], mixture: Sequence[str]) -> str:
    """Return a run with its ratio, or its largest shares, and its size."""
    largest = sorted(mixture, key=lambda name: -run[name])[:MOST_SHARES]
    shares = ", ".join(f"{name} {run[name]:.4g}" for name in largest)
    return f"run {run['run_id']} ({shares}, model_params {run['model_params']:.4g})"


def _side(miss: float) -> str:
    return f"{abs(miss):.2g} nats {'above' if miss > 0 else 'below'}"


def _without_each(
    law: LawModel, inputs: Inputs, loss: Array, run_of: NDArray[np.intp], left: NDArray[np.intp]
) -> Array:
    """Return the losses that fits without each of the runs ``left`` predict for every row, ``(K, n)``."""
    fit = law.fit
    weights = (run_of[None, :] != left[:, None]).astype(float)
    search, coefficients = refit(fit, inputs, loss[None, :], weights)
    predicted = predict_draws(fit.law, fit.scales, inputs, search, coefficients)
    # A fit that says nothing of a run left out leaves it as it was: there is no ground to judge it.
    is_usable = np.all(np.isfinite(predicted) & (predicted > 0), axis=1, keepdims=True)
    return np.where(is_usable, predicted, fit.predict(inputs))


def _moves(
    fitted: Array,
    predicted: Array,
    tokens: Array,
    run_of: NDArray[np.intp],
    left: NDArray[np.intp],
) -> Array:
    """Return the largest change at the last evaluation of the other runs, ``(K,)``."""
    order = np.lexsort((tokens, run_of))
    last = order[np.append(np.diff(run_of[order]) > 0, True)]
    change = np.abs(predicted[:, last] - fitted[last])
    change[np.arange(len(left)), left] = 0.0
    return np.asarray(change.max(axis=1))


def _has_alike(size_and_mixture: Array, miss: Array, left: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return whether the runs at the same size and ratio miss on the same side by half as much or more."""
    alike = []
    for k in left:
        same = np.all(size_and_mixture == size_and_mixture[k], axis=1)
        same[k] = False
        alike.append(bool(same.any()) and miss[same].mean() * np.sign(miss[k]) > abs(miss[k]) / 2)
    return np.array(alike, dtype=bool)


def _set_aside(law: LawModel, rows: pd.DataFrame, run: str) -> tuple[LawModel, pd.DataFrame]:
    """Return the law fitted without a run, and the other rows."""
    stays = (rows["run_id"].astype(str) != run).to_numpy()
    others = rows[stays]
    inputs = row_inputs(law.corpus, others)
    loss = others["loss"].to_numpy(dtype=float)
    start = replace(law.fit, row_weights=law.fit.row_weights[stays])
    search, coefficients = refit(start, inputs, loss[None, :], np.ones((1, len(others))))
    fit = replace(start, search=search[0], coefficients=coefficients[0])
    fit = replace(fit, residual=residual_of(fit.law, loss, fit.predict(inputs)))
    return replace(law, fit=fit), others


@dataclass(frozen=True)
class _Span:
    """What the law can follow, to first order: an orthonormal basis, by run.

    Parameters
    ----------
    basis : array (n, k)
    run_of : int array (n,)
    inverse : array (R, k, k)
        Of the basis' Gram matrix without each run.
    inflation : array (R,)
        Standard error of a run mean less its prediction from the others, over the noise between runs.
    degrees : array (R,)
        Degrees of freedom that the fit without each run leaves to the means of the others.
    """

    basis: Array
    run_of: NDArray[np.intp]
    inverse: Array
    inflation: Array
    degrees: Array

    @classmethod
    def of(cls, jacobian: Array, run_of: NDArray[np.intp]) -> _Span:
        largest = np.max(np.abs(jacobian), axis=0, initial=0.0)
        basis, _ = np.linalg.qr(jacobian / np.where(largest > 0, largest, 1.0))
        counts = np.bincount(run_of)
        means = _run_means(basis.T, run_of).T  # (R, k)
        sums = means * counts[:, None]
        own = np.stack([part.T @ part for part in _split(basis, run_of)])
        eye = np.eye(basis.shape[1])
        inverse = np.asarray(np.linalg.inv(eye * (1 + LEAST_DEGREES_OF_FREEDOM) - own), dtype=float)

        def of_others(left: Array, right: Array) -> Array:
            """Return the sum of outer products over the other runs, ``(R, k, k)``."""
            return left.T @ right - left[:, :, None] * right[:, None, :]

        spread = inverse @ of_others(sums, sums) @ inverse
        from_others = np.einsum("ri,rij,rj->r", means, spread, means)
        undetermined = np.einsum("ri,rij,rj->r", means, inverse, means)
        used = np.einsum("rij,rji->r", inverse, of_others(sums, means))
        squared = np.einsum("rij,rji->r", of_others(means, means), spread)
        return cls(
            basis=basis,
            run_of=run_of,
            inverse=inverse,
            inflation=np.sqrt(1 + np.maximum(from_others, undetermined)),
            degrees=len(counts) - 1 - 2 * used + squared,
        )

    def left_out_means(self, residual: Array) -> Array:
        """Return the mean residual of each run in a fit without it, to first order, ``(R,)``."""
        means = _run_means(self.basis.T, self.run_of).T
        parts = zip(_split(self.basis, self.run_of), _split(residual, self.run_of), strict=True)
        pulls = np.stack([part.T @ own for part, own in parts])
        bend = np.einsum("ri,rij,rj->r", means, self.inverse, pulls)
        return np.asarray(_run_means(residual, self.run_of) + bend)


def _split(values: Array, run_of: NDArray[np.intp]) -> list[Array]:
    """Return the rows of each run."""
    order = np.argsort(run_of, kind="stable")
    return np.split(values[order], np.cumsum(np.bincount(run_of))[:-1])


def _run_means(values: Array, run_of: NDArray[np.intp]) -> Array:
    """Return means over the rows of each run, ``(..., R)`` from ``(..., n)``."""
    order = np.argsort(run_of, kind="stable")
    counts = np.bincount(run_of)
    starts = np.cumsum(counts) - counts
    return np.asarray(np.add.reduceat(values[..., order], starts, axis=-1) / counts)
