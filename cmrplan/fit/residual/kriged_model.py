"""One corpus's loss by several mean functions with their residuals, averaged by their evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.bootstrap import Resamples
from cmrplan.fit.corpus_model import Columns, CorpusModel, Prediction, RandomStream, row_columns
from cmrplan.fit.law_model import LawModel
from cmrplan.fit.noise import Noise
from cmrplan.fit.probed import base_loss_at
from cmrplan.fit.residual.hyper import Hyper
from cmrplan.fit.residual.kriging import (
    Kriging,
    KrigingProblem,
    PosteriorPaths,
    between_nodes,
    curve_nodes,
    one_thread,
    posterior_paths,
)
from cmrplan.fit.residual.left_out import (
    LEFT_OUT_COLUMNS,
    By,
    left_out_figures,
    left_out_log_losses,
)
from cmrplan.fit.residual.maturity import ByMaturity
from cmrplan.fit.residual.mean_functions import (
    OWN_LAWS,
    MeanFunction,
    linearized_law,
    own_law,
)
from cmrplan.fit.residual.observations import Observations, observations, with_repeat_scale
from cmrplan.fit.residual.one_budget import ByOneBudget
from cmrplan.fit.residual.posterior import Posterior, conditional
from cmrplan.fit.residual.replicates import seed_means

# Of the change of the log loss beyond the probed tokens, a root of ln D, for the loss that training lowers: hidden late
# budgets of data/probes and of the mixinglaws logs were missed by 0.17 and 0.20 of the predicted change at 2.2 times
# the tokens, by 0.38 at 4.9 times (benchmarks/forecast_error.py). The posterior of the general loss has room for it.
FORECAST_SPREAD = {"domain": 0.2, "general": 0.0}
CORPUS_STREAM = {"general": 0, "domain": 1}


@dataclass(frozen=True)
class MeanChoice:
    """A mean function, whether a residual stands above it, and R* where the domain loss is one of repeated data."""

    mean: str
    has_residual: bool
    repeat_scale: float | None = None

    @property
    def text(self) -> str:
        """Its name, marked where it has a residual."""
        return f"gp({self.mean})" if self.has_residual else self.mean


@dataclass(frozen=True)
class Member:
    """A mean function with its residual.

    Parameters
    ----------
    choice : MeanChoice
    weight : float
    hyper : array (p,)
        The most probable hyperparameters and shape parameters.
    samples : array (S, p)
        Samples of their posterior; the draws are spread over them.
    """

    choice: MeanChoice
    weight: float
    hyper: Array
    samples: Array


@dataclass(frozen=True)
class KrigedModel(CorpusModel):
    """Mean functions with residuals, above the laws that were fitted.

    Parameters
    ----------
    corpus : str
    laws : CorpusModel
        The fitted laws: what parameters are reported of.
    observed : Observations
    base_loss : dict of float to float
        By size, as measured.
    members : tuple of Member
    count : int
        Number of draws B.
    seed : int
    more_columns : tuple of str
        Those of the fitted laws, and the areas of the learning rate where these are counted.
    """

    corpus: str
    laws: CorpusModel
    observed: Observations
    base_loss: Mapping[float, float]
    members: tuple[Member, ...]
    count: int
    seed: int
    more_columns: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        areas = () if self.observed.frame.rates is None else ("s1_cpt", "s2_cpt", "cooled")
        bases = () if self.observed.frame.base_tokens is None else ("base_tokens",)
        columns = tuple(dict.fromkeys((*self.laws.more_columns, *areas, *bases)))
        object.__setattr__(self, "more_columns", columns)

    @property
    def is_of_finished_runs(self) -> bool:
        """Whether a prediction is of a run that ends there, by the log's schedule stretched to it."""
        return self.observed.frame.rates is not None

    def require_whole(self) -> None:
        """Refuse members that are not those of the rows and the laws.

        Raises
        ------
        ValueError
            Saying what does not fit.
        """
        total = sum(member.weight for member in self.members)
        if not self.members or abs(total - 1) > 1e-6:
            raise ValueError(
                f"{len(self.members)} mean functions whose weights add up to {total:g}"
            )
        for member, mode in zip(self.members, self.modes, strict=True):
            expected = len(mode.problem.prior.mean)
            if len(member.hyper) != expected or not len(member.samples):
                raise ValueError(
                    f"{len(member.hyper)} hyperparameters of {member.choice.mean}, not {expected}"
                )

    @property
    def law(self) -> str:
        """Names of the mean functions by the alphabet, those with a residual marked."""
        names = sorted({member.choice.text for member in self.members})
        return f"average({', '.join(names)})" if len(names) > 1 else names[0]

    @property
    def components(self) -> tuple[LawModel, ...]:
        """The fitted laws, the top-weighted first."""
        return self.laws.components

    @property
    def component_weights(self) -> Array:
        """The weights of the fitted laws among themselves."""
        return self.laws.component_weights

    @property
    def num_draws(self) -> int:
        """Number of draws B."""
        return self.count

    @cached_property
    def modes(self) -> list[Kriging]:
        """Each member at its most probable hyperparameters."""
        return [
            Kriging(problem_of(member.choice, self.laws, self.observed), member.hyper)
            for member in self.members
        ]

    @cached_property
    def _paths(self) -> list[PosteriorPaths]:
        """The draws, one group for each sample of hyperparameters."""
        groups = [
            Kriging(mode.problem, hyper)
            for mode, member in zip(self.modes, self.members, strict=True)
            for hyper in member.samples
        ]
        counts = np.bincount(self._group_of_draws, minlength=len(groups))
        return [
            posterior_paths(group, int(count), self._generator(k))
            for k, (group, count) in enumerate(zip(groups, counts, strict=True))
        ]

    @property
    def _group_of_draws(self) -> NDArray[np.intp]:
        return np.arange(self.count) % sum(len(member.samples) for member in self.members)

    def _generator(self, group: int) -> np.random.Generator:
        return RandomStream.POSTERIOR.generator(self.seed, CORPUS_STREAM[self.corpus], group)

    def _log_base(self, columns: Columns) -> Array | float:
        """Return the log of what the losses are counted from, ``(n,)``."""
        if not self.observed.is_anchored:
            return 0.0
        sizes, which = np.unique(np.asarray(columns["model_params"], float), return_inverse=True)
        known = dict(self.base_loss)
        return np.log([base_loss_at(known, float(size))[0] for size in sizes])[which.reshape(-1)]

    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its draws at ``n`` points."""
        nodes = curve_nodes(columns)
        with one_thread():
            log_loss, log_draws = self._log_losses(nodes or columns)
        if nodes is not None:
            at, ratio = nodes["domain_ratio"], np.asarray(columns["domain_ratio"], dtype=float)
            log_loss = between_nodes(at, log_loss, ratio)
            log_draws = between_nodes(at, log_draws, ratio)
        base = self._log_base(columns)
        weights = np.array([member.weight for member in self.members])
        return Prediction(columns, weights @ np.exp(log_loss + base), np.exp(log_draws + base))

    def _log_losses(self, columns: Columns) -> tuple[Array, Array]:
        """Return the log loss by each member ``(K, n)`` and of each draw ``(B, n)``, over the base."""
        log_loss = np.stack([mode.log_loss(mode.points(columns)) for mode in self.modes])
        log_draws = self._log_draws(columns)
        ahead, at_largest = self.observed.points.beyond(columns)
        if self.count and ahead.any() and FORECAST_SPREAD[self.corpus]:
            ends = self._log_draws(at_largest)
            log_draws = ends + (1 + self._forecast_error(ahead)) * (log_draws - ends)
        return log_loss, log_draws

    def _log_draws(self, columns: Columns) -> Array:
        """Return the log loss of each draw of the posterior, ``(B, n)``."""
        log_draws = np.empty((self.count, len(columns["train_tokens"])))
        group = self._group_of_draws
        for k, paths in enumerate(self._paths if self.count else []):
            log_draws[group == k] = paths.log_loss(paths.prior.kriging.points(columns))
        return log_draws

    def _forecast_error(self, ahead: Array) -> Array:
        """Return by what part each draw misses the change beyond the probed tokens, ``(B, n)``.

        The laws were chosen by the tokens that were probed, and may bend otherwise later.
        """
        normal = self._generator(len(self._paths)).standard_normal((self.count, 1))
        return np.asarray(FORECAST_SPREAD[self.corpus] * normal * np.sqrt(ahead))

    def posterior_at(self, columns: Columns) -> Posterior:
        """Return the posterior of the log losses at ``m`` points."""
        spread = FORECAST_SPREAD[self.corpus]
        with one_thread():
            members = tuple(conditional(mode, columns, spread) for mode in self.modes)
            _, log_draws = self._log_losses(columns)
        weights = np.array([member.weight for member in self.members])
        return Posterior(members, weights, log_draws)

    def parts(self, columns: Columns) -> tuple[Array, Array]:
        """Return the loss by the laws alone, and what the residual adds to it, nats per token, ``(n,)`` each."""
        base = self._log_base(columns)
        weights = np.array([member.weight for member in self.members])
        with one_thread():
            laws = [mode.parts(mode.points(columns))[0] for mode in self.modes]
        law = weights @ np.exp(np.stack(laws) + base)
        return law, self.without_resamples().predict(columns).loss - law

    def left_out(self, by: By) -> pd.DataFrame:
        """Return each row with its loss as the model predicts it without the rows of its run, or of its ratio.

        Parameters
        ----------
        by : {"run", "ratio"}

        Returns
        -------
        DataFrame
            ``run_id``, ``model_params``, ``train_tokens``, ``domain_ratio``, and ``loss`` and ``predicted``, nats per
            token. Where the seeds of a size were averaged, they are left out together, under the name of the first.
        """
        rows = seed_means(self.observed.rows)[0]
        label = pd.factorize(rows[LEFT_OUT_COLUMNS[by]])[0].astype(np.intp)
        base = self._log_base(row_columns(rows))
        weights = np.array([member.weight for member in self.members])
        with one_thread():
            predicted = np.stack([left_out_log_losses(mode, label) for mode in self.modes])
        names = ["run_id", "model_params", "train_tokens", "domain_ratio"]
        return rows[names].assign(
            loss=np.exp(self.observed.log_loss + base), predicted=weights @ np.exp(predicted + base)
        )

    @cached_property
    def _left_out_figures(self) -> dict[str, Any]:
        return {by: left_out_figures(self.left_out(by), by) for by in LEFT_OUT_COLUMNS}

    @property
    def follows_rows(self) -> bool:
        """Yes: the residual does."""
        return True

    @property
    def noise(self) -> Noise:
        """The noise of a run, and that of an evaluation and its step, both of log losses."""
        samples = np.concatenate([m.samples[:, : len(Hyper)] for m in self.members])
        variance = np.mean(np.exp(2 * samples), axis=0)
        return Noise(
            run=float(np.sqrt(variance[Hyper.RUN])),
            checkpoint=float(np.sqrt(variance[Hyper.EVALUATION] + variance[Hyper.STEP])),
            degrees_of_freedom=float(max(self.observed.run.max(), 1)),
        )

    def with_shifts(self, losses: Array, shifts: Array) -> Array:
        """Return losses moved by shifts of their logarithms."""
        return losses * np.exp(shifts)

    @property
    def reads_repetition(self) -> bool:
        """Whether its mean functions do."""
        return any(member.choice.repeat_scale is not None for member in self.members)

    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the figures of the fitted laws, and the name and weight of each mean function."""
        figures = self.laws.summary(confidence)
        weights: dict[tuple[str, str], float] = {}
        for member in self.members:
            name = member.choice.mean, "gp" if member.choice.has_residual else "none"
            weights[name] = weights.get(name, 0.0) + member.weight
        members = [
            {"law": law, "residual": residual, "weight": weight}
            for (law, residual), weight in weights.items()
        ]
        loss = self.observed.rows["loss"].to_numpy(dtype=float)
        missed = self.fitted_loss(self.observed.rows) - loss
        spread = float(np.sum((loss - np.mean(loss)) ** 2))
        quality = {
            "mae": float(np.mean(np.abs(missed))),
            "r2": 1 - float(np.sum(missed**2)) / spread if spread > 0 else None,
        }
        by_base = "base_tokens" in self.more_columns and np.ptp(self.observed.points.size) > 0
        said = {"of_finished_runs": self.is_of_finished_runs, "by_base_tokens": by_base}
        named = {"law": self.law, "members": members, "left_out": self._left_out_figures}
        marks = {name: True for name, is_so in said.items() if is_so}
        return figures | quality | named | marks | self._repeat_scale()

    def _repeat_scale(self) -> dict[str, Any]:
        """Return the estimate of R* and the ends of what its draws take, where domain tokens repeat."""
        known = [(m.choice.repeat_scale, m.weight) for m in self.members if m.choice.repeat_scale]
        if not known:
            return {}
        scales, weights = np.array(known).T
        estimate = float(np.exp(np.average(np.log(scales), weights=weights)))
        low, high = float(min(scales)), float(max(scales))
        return {"repeat_scale": {"estimate": estimate, "low": low, "high": high}}

    def resampled(self, rows: pd.DataFrame, resamples: Resamples, noise: Noise) -> KrigedModel:
        """Return the model with draws, as many as there are resamples, and its laws with resamples."""
        laws = self.laws.resampled(rows, resamples, noise)
        return replace(self, laws=laws, count=resamples.count)

    def refitted_from(self, rows: pd.DataFrame, first_tokens: float) -> KrigedModel:
        """Return the model for the rows from ``first_tokens`` on, at the same hyperparameters."""
        later = rows[rows["train_tokens"] >= first_tokens]
        by_rates = self.observed.frame.rates is not None
        observed = observations(self.corpus, later, self.base_loss, by_rates=by_rates)
        laws = self.laws.refitted_from(rows, first_tokens)
        return replace(self, laws=laws, observed=observed, count=0)

    def without_resamples(self) -> KrigedModel:
        """Return the model for estimates alone."""
        return replace(self, count=0)


def problem_of(choice: MeanChoice, laws: CorpusModel, observed: Observations) -> KrigingProblem:
    """Return the Gaussian process of a choice: its mean function for the observations.

    Raises
    ------
    ValueError
        If the mean function is neither a law of this project nor one that was fitted.
    """
    name, is_anchored = choice.mean, observed.is_anchored
    if choice.repeat_scale is not None:
        observed = with_repeat_scale(observed, choice.repeat_scale)
    if name in OWN_LAWS:
        mean: MeanFunction = own_law(name, observed.frame, is_anchored=is_anchored)
    else:
        fits = {component.law: component.fit for component in laws.components}
        if name not in fits:
            raise ValueError(f"mean function {name!r} is no law of the fit")
        mean = linearized_law(name, fits[name], observed.points, is_anchored=is_anchored)
    if observed.borrows_tokens:
        mean = ByOneBudget.of(mean, observed)
    if observed.frame.base_tokens is not None:
        mean = ByMaturity.of(mean)
    return KrigingProblem(observed, mean, choice.has_residual)
