"""Where no mixture keeps the tolerances: the cheapest runs that would change it.

Runs are judged by the resamples: what they would measure at the mixture that comes nearest takes from the excess of
each limit what the two have in common, by least squares over the resamples, with the noise of a run. The estimates are
taken to stay where they are, so where they break a limit no run is expected to help.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cmrplan.arrays import Array
from cmrplan.fit.probed import is_among
from cmrplan.mixture.loss_functions import asked_losses, needed_draws
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import MixturePlan
from cmrplan.numbers import compact, training_flops

RUN_LENGTHS = (1.0, 2.0, 4.0, 8.0)  # times the largest probed tokens
RUN_COUNTS = (1, 2, 4, 8)
DEAREST_RUNS = 0.5  # of the planned run's compute, all together


@dataclass(frozen=True)
class MixtureRemedy:
    """Runs of one mixture, after which it is expected to keep the tolerances.

    Parameters
    ----------
    shares : dict of str to float
        The mixture that comes nearest to the tolerances.
    num_runs : int
    model_params, train_tokens : float
        Of each run.
    compute : float
        FLOPs of their training, all together.
    violation_probability : float
        Part of the resamples in which a tolerance breaks there then; now it is more than was asked for.
    """

    shares: dict[str, float]
    num_runs: int
    model_params: float
    train_tokens: float
    compute: float
    violation_probability: float

    @property
    def text(self) -> str:
        """The remedy in a sentence."""
        runs = f"{self.num_runs} runs" if self.num_runs > 1 else "a run"
        return (
            f"{runs} of that mixture with {compact(self.model_params)} parameters for {compact(self.train_tokens)} "
            f"tokens ({self.compute:.2g} FLOPs): should they measure what the fit expects, it would break a limit with "
            f"{100 * self.violation_probability:.0f} %"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return every field by name as plain values."""
        return asdict(self)


def mixture_remedy(fit: MixtureFit, plan: MixturePlan) -> MixtureRemedy | None:
    """Return the cheapest runs of the nearest mixture after which it is expected to keep the tolerances.

    Parameters
    ----------
    fit : MixtureFit
        With resamples.
    plan : MixturePlan
        Of the fit.

    Returns
    -------
    MixtureRemedy or None
        None where the plan has a mixture, or no such runs are known to help.
    """
    asked = plan.asked
    if plan.is_feasible or not fit.num_draws:
        return None
    shares = plan.candidates["nearest"].shares
    mixture = fit.shares_of(shares)
    functions, _ = asked_losses(fit, asked)
    estimate = functions.estimated_excess(mixture[None, :])[:, 0, 0]
    draws = functions.excess(mixture[None, :])[:, :, 0]
    allowed = fit.num_draws - needed_draws(fit.num_draws, asked.confidence)
    dearest = DEAREST_RUNS * training_flops(plan.model_params, plan.train_tokens)
    for compute, count, size, tokens in sorted(_runs(fit, plan)):
        if compute > dearest:
            break
        seen = fit.predict(mixture[None, :], model_params=size, train_tokens=tokens)
        measured = np.stack([seen[corpus].draws[:, 0] for corpus in asked.protected])
        noise = np.array([_noise(fit, corpus) for corpus in asked.protected]) / np.sqrt(count)
        broken = np.count_nonzero((_after(estimate, draws, measured, noise) > 0).any(axis=0))
        if broken <= allowed:
            return MixtureRemedy(
                shares, count, size, tokens, compute, float(broken / fit.num_draws)
            )
    return None


def _runs(fit: MixtureFit, plan: MixturePlan) -> Iterator[tuple[float, int, float, float]]:
    """Yield compute, count, size and tokens of runs: probed sizes or the planned one, some times as long as probes."""
    rows = fit.fitted()
    sizes, longest = np.unique(rows["model_params"]), float(rows["train_tokens"].max())
    listed = sizes.tolist() if is_among(sizes, plan.model_params) else [*sizes, plan.model_params]
    lengths = sorted({min(times * longest, plan.train_tokens) for times in RUN_LENGTHS})
    for size in listed:
        for tokens in lengths:
            for count in RUN_COUNTS:
                yield count * training_flops(float(size), tokens), count, float(size), tokens


def _noise(fit: MixtureFit, corpus: str) -> float:
    """Return what a run's loss scatters by, nats: what the fit leaves of the rows."""
    rows = fit.rows(corpus)
    left = rows["loss"].to_numpy(dtype=float) - fit.models[corpus].fitted_loss(rows)
    return float(np.sqrt(np.mean(left**2)))


def _after(estimate: Array, draws: Array, measured: Array, noise: Array) -> Array:
    """Return the excess of the limits once runs were measured, about the estimates, ``(P, B)``.

    Parameters
    ----------
    estimate : array (P,)
    draws, measured : array (P, B)
        Resamples of the excess, and of what is measured.
    noise : array (P,)
        Of what is measured.
    """
    about = draws - draws.mean(axis=1, keepdims=True)
    seen = measured - measured.mean(axis=1, keepdims=True)
    known = np.mean(seen**2, axis=1) + noise**2
    common = np.mean(about * seen, axis=1) ** 2
    own = np.mean(about**2, axis=1) * known
    part = np.divide(common, own, out=np.zeros_like(own), where=own > 0)
    return np.asarray(estimate[:, None] + np.sqrt(1 - part)[:, None] * about)
