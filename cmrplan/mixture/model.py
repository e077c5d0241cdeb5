"""One validation corpus's loss as laws of the mixture, with their resamples.

A mixture is a row of shares, one for each training corpus, in the order of the fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.fit.averaged_model import owners
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.noise import Noise, Residuals
from cmrplan.fit.summary import law_summary
from cmrplan.log.validate import SHARE_PREFIX
from cmrplan.mixture.batched_laws import Bundle, bundle_of, join
from cmrplan.solve.law_fit import (
    LawFit,
    batch_size,
    moved,
    predict_draws,
    refit,
    residual_jacobian,
)

Inputs = dict[str, Array]


@dataclass(frozen=True)
class Member:
    """A fitted law with one optimum per resample that belongs to it.

    Parameters
    ----------
    fit : LawFit
    search, coefficients : array (B, q), (B, p)
    """

    fit: LawFit
    search: Array
    coefficients: Array

    @property
    def name(self) -> str:
        """Name of the law."""
        return self.fit.law.name


@dataclass(frozen=True)
class MixtureModel:
    """The laws of one validation corpus, averaged.

    Parameters
    ----------
    corpus : str
    members : tuple of Member
        The heaviest first.
    weights : array (len(members),)
        They sum to one.
    num_rows, num_runs : int
        What the fit rests on.
    """

    corpus: str
    members: tuple[Member, ...]
    weights: Array
    num_rows: int
    num_runs: int

    @property
    def law(self) -> str:
        """Name of the law, or of all that are averaged."""
        names = [member.name for member in self.members]
        return names[0] if len(names) == 1 else f"average({', '.join(names)})"

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return sum(len(member.search) for member in self.members)

    def estimate(self, inputs: Inputs) -> Array:
        """Return the fitted loss at ``G`` mixtures, ``(G,)``."""
        losses = np.stack([member.fit.predict(inputs) for member in self.members])
        return np.asarray(self.weights @ losses)

    def draws(self, inputs: Inputs) -> Array:
        """Return every resample's loss at ``G`` mixtures, ``(B, G)``."""
        owner = owners(self.weights, self.num_draws)
        count = len(next(iter(inputs.values())))
        found = np.empty((len(owner), count))
        for k, member in enumerate(self.members):
            found[owner == k] = predict_draws(
                member.fit.law, member.fit.scales, inputs, member.search, member.coefficients
            )
        return found

    def bundles(
        self, corpora: Sequence[str], model_params: float, train_tokens: float
    ) -> tuple[Bundle, Bundle]:
        """Return the laws that are averaged, and every resample in its order, for many questions at one place."""
        estimates, draws = [], []
        for member in self.members:
            fit = member.fit
            at = fit.search[None, :], fit.coefficients[None, :]
            estimates.append(bundle_of(fit, *at, corpora, model_params, train_tokens))
            resamples = member.search, member.coefficients
            draws.append(bundle_of(fit, *resamples, corpora, model_params, train_tokens))
        owner = owners(self.weights, self.num_draws)
        return join(estimates), join(draws).take(np.argsort(np.argsort(owner, kind="stable")))

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the figures of the heaviest law, with the weight of each."""
        lead = self.members[0]
        figures = law_summary(lead.fit, lead.search, lead.coefficients, confidence)
        weights = [
            {"law": member.name, "weight": float(weight)}
            for member, weight in zip(self.members, self.weights, strict=True)
        ]
        counts = {"n_rows": self.num_rows, "n_runs": self.num_runs}
        return figures | {"law": self.law, "members": weights} | counts


def inputs_at(
    corpora: Sequence[str], shares: Array, model_params: float, train_tokens: float
) -> Inputs:
    """Return the laws' inputs at ``G`` mixtures ``(G, m)``."""
    count = len(shares)
    return {
        "model_params": np.full(count, float(model_params)),
        "train_tokens": np.full(count, float(train_tokens)),
    } | {SHARE_PREFIX + name: shares[:, j] for j, name in enumerate(corpora)}


def inputs_of(rows: pd.DataFrame, corpora: Sequence[str]) -> Inputs:
    """Return the laws' inputs for the rows of a log."""
    names = ["model_params", "train_tokens", *(SHARE_PREFIX + name for name in corpora)]
    return {name: rows[name].to_numpy(dtype=float) for name in names}


def residuals(fit: LawFit, rows: pd.DataFrame, corpora: Sequence[str]) -> Residuals:
    """Return what a law left of the rows it was fitted to."""
    jacobian = residual_jacobian(fit, inputs_of(rows, corpora))
    return Residuals(fit.residual, jacobian, rows["run_id"].tolist())


def resampled(
    model: MixtureModel,
    rows: pd.DataFrame,
    corpora: Sequence[str],
    resamples: Resamples,
    noise: Noise,
) -> MixtureModel:
    """Return the model with one optimum per resample of the rows it was fitted to."""
    owner = owners(model.weights, resamples.count)
    inputs, loss = inputs_of(rows, corpora), rows["loss"].to_numpy(dtype=float)
    members = []
    for k, member in enumerate(model.members):
        own = np.flatnonzero(owner == k)
        if not len(own):
            members.append(member)
            continue
        left = residuals(member.fit, rows, corpora)
        ends = []
        for first in range(0, len(own), size := batch_size(len(rows))):
            some = resamples.select(own[first : first + size])
            shifts = some.shifts(model.corpus, left, noise)
            targets = moved(member.fit, loss, shifts)
            ends.append(refit(member.fit, inputs, targets, some.weights(left.runs)))
        search, coefficients = (np.concatenate(parts) for parts in zip(*ends, strict=True))
        members.append(replace(member, search=search, coefficients=coefficients))
    return replace(model, members=tuple(members))
