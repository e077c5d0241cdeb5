"""What the rest of the project may ask of the fitted model of one validation corpus.

Columns of a log go in, a :class:`Prediction` comes out: the loss, and one draw of it for each resample. What is drawn
at random comes from a stream of :class:`RandomStream`. A model is one law across runs, an average of such laws, or the
CMR laws, which hold for each size and budget. Nobody outside this folder needs to know which: a model answers for its
sizes, its ratios and its laws itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.tabular import Tabular
from cmrplan.log.columns import WORTH, share_columns

if TYPE_CHECKING:
    from cmrplan.fit.bootstrap import Resamples
    from cmrplan.fit.law_model import LawModel
    from cmrplan.fit.noise import Noise
    from cmrplan.fit.residual.posterior import Posterior

Columns = Mapping[str, Array]
# By run: its domain ratio and the derivative of its loss by the logarithm of the tokens, nats.
TokenSlopes = dict[str, tuple[float, float]]
LawInputs = dict[str, Array]

# Columns that some laws read beside size, tokens and mixture. All but the first and last follow from other columns of
# the whole log (cmrplan.fit.schedule_areas), and a fit adds them to its rows before any are left out.
MORE_COLUMNS = ("unique_domain_tokens", "s1_cpt", "s2_cpt", "cooled", "base_loss", "base_tokens")
# The base's own schedule is not in a log. One constant stands for its area; 8 is that of 20,000 steps at 4e-4.
BASE_S1 = 8.0


def target_share(corpus: str, domain_ratio: Array) -> Array:
    """Return the share of training tokens from the corpus whose loss is predicted, of two corpora."""
    return domain_ratio if corpus == "domain" else 1.0 - domain_ratio


def law_inputs(corpus: str, columns: Mapping[str, Array]) -> LawInputs:
    """Return a law's inputs by name, each ``(n,)``; tokens that are repeats count as what they are worth.

    Parameters
    ----------
    corpus : str
        The validation corpus whose loss is predicted.
    columns : mapping of str to array (n,)
        ``model_params``, ``train_tokens``, and ``domain_ratio`` or ``share_<corpus>`` columns; what else a law reads.
    """
    inputs = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
    if "domain_ratio" in inputs:
        ratio = inputs.pop("domain_ratio")
        inputs["share"] = target_share(corpus, ratio)
        inputs["replay_ratio"] = 1.0 - ratio
    tokens = inputs["train_tokens"]
    worth = inputs.pop(WORTH, tokens)
    tokens = inputs["train_tokens"] = np.where(np.isnan(worth), tokens, worth)
    unique = inputs.get("unique_domain_tokens", np.full_like(tokens, np.nan))
    # A row that does not say how many tokens its corpus holds never repeats them.
    inputs["unique_tokens"] = np.where(np.isnan(unique), np.inf, unique)
    if "s1_cpt" in inputs:
        inputs["s1_pt"] = np.full_like(tokens, BASE_S1)
    return inputs


class RandomStream(IntEnum):
    """What random numbers are drawn for: each has a stream of its own, so that no two of them are the same numbers.

    ``RESAMPLES``: which runs a resample holds, and the noise it adds. ``NEW_RUN``: the noise of a run that is not
    in the log. ``SIZE_EXPONENT``: how the level of a loss changes with size where the probes cannot tell.
    ``SIZE_WALK``: how the rise of the general loss changes with size. ``NEXT_PROBE``: the noise of a probe that the
    design of the next ones takes as run; its seeds count the probes and do not come from the fit. ``HYPERPARAMETERS``:
    what few runs leave open about a Gaussian process. ``POSTERIOR``: its curves. ``LATER_BUDGET``: what the losses of
    a mixture do beyond the probed budgets.
    """

    RESAMPLES = 0
    NEW_RUN = 1
    SIZE_EXPONENT = 2
    SIZE_WALK = 3
    NEXT_PROBE = 4
    HYPERPARAMETERS = 5
    POSTERIOR = 6
    LATER_BUDGET = 7

    def generator(self, seed: int, *parts: int) -> np.random.Generator:
        """Return a generator at the beginning of this stream, or of one of its numbered parts."""
        if parts:
            entropy = np.random.SeedSequence([seed, int(self), *parts])
            return np.random.Generator(np.random.Philox(entropy))
        has_bare_seed = self in (RandomStream.RESAMPLES, RandomStream.NEXT_PROBE)
        key = seed if has_bare_seed else [seed, int(self)]
        return np.random.Generator(np.random.Philox(key))


def student_scale(level: Array, degrees_of_freedom: float) -> Array:
    """Return what turns normal draws into draws of Student's t; ``level`` is uniform on (0, 1)."""
    from scipy.special import gammaincinv  # takes a seventh of a second to import

    chi_square = 2 * gammaincinv(degrees_of_freedom / 2, 1 - level)
    return np.asarray(np.sqrt(degrees_of_freedom / np.maximum(chi_square, np.finfo(float).tiny)))


def new_run_shifts(noise: Noise, count: int, seed: int) -> Array:
    """Return draws of what the noise of a run and of an evaluation adds to a loss, in residual units, ``(B, 1)``."""
    generator = RandomStream.NEW_RUN.generator(seed)
    scale = student_scale(generator.random((count, 1)), noise.degrees_of_freedom)
    spread = np.hypot(noise.run, noise.checkpoint)
    return np.asarray(spread * scale * generator.standard_normal((count, 1)))


def central_interval(draws: Array, confidence: float) -> tuple[Array, Array]:
    """Return the bounds that leave half of the rest on either side, each ``(...,)``.

    Parameters
    ----------
    draws : array (B, ...)
        At least one.
    confidence : float
        In (0, 1).
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    return low, high


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds that hold the truth with the level asked for.

    Parameters
    ----------
    low, high : float or None
        None without resamples.
    estimate : float
    """

    low: float | None
    estimate: float
    high: float | None

    @classmethod
    def of_draws(cls, estimate: float, draws: Array, confidence: float) -> Interval:
        """Return an estimate with the central interval of its resamples ``(B,)``, where it says anything."""
        low, high = central_interval(draws, confidence) if len(draws) else (np.nan, np.nan)
        if not len(draws) or (np.isnan(estimate) and not low < high):
            return cls(None, float(estimate), None)
        return cls(float(low), float(estimate), float(high))

    def less(self, reference: float) -> Interval:
        """Return how far everything lies above a reference."""
        low = None if self.low is None else self.low - reference
        high = None if self.high is None else self.high - reference
        return Interval(low, self.estimate - reference, high)

    def text(self, digits: int) -> str:
        """Return the estimate with its bounds behind it, where there are any."""
        if self.low is None or self.high is None:
            return f"{self.estimate:.{digits}f}"
        return f"{self.estimate:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def interval_as_dict(name: str, interval: Interval | None) -> dict[str, float | None]:
    """Return an interval as plain values by name, ``name_low`` and ``name_high``; None for each where there is none."""
    keys = (name, f"{name}_low", f"{name}_high")
    if interval is None:
        return dict.fromkeys(keys)
    return dict(zip(keys, (interval.estimate, interval.low, interval.high), strict=True))


@dataclass(frozen=True, repr=False)
class Prediction(Tabular):
    """Losses of one validation corpus, nats per token.

    Parameters
    ----------
    inputs : mapping of str to array (...)
        Where they are predicted, in the columns of a log: ``model_params``, ``train_tokens``, and ``domain_ratio`` or
        ``share_<corpus>``.
    loss : array (...)
        The estimate.
    draws : array (B, ...)
        One curve per resample; B may be 0.
    """

    inputs: Mapping[str, Array]
    loss: Array
    draws: Array

    @property
    def domain_ratio(self) -> Array:
        """The domain ratios, ``(...)``."""
        return self.inputs["domain_ratio"]

    def interval(self, confidence: float = 0.9) -> tuple[Array, Array]:
        """Return the bounds that hold a resample with that probability; NaN without resamples."""
        if not len(self.draws):
            missing = np.full(self.loss.shape, np.nan)
            return missing, missing
        with np.errstate(all="ignore"):  # far outside the probes a draw may be infinite
            return central_interval(self.draws, confidence)

    def scattered_like(self, near: Prediction, part: float) -> Prediction:
        """Return the estimate with the scatter of ``near`` and ``part`` of its own beyond that; draws are paired."""
        beside, own = near.draws / near.loss - 1, self.draws / self.loss - 1
        return replace(self, draws=self.loss * (1 + beside + part * (own - beside)))

    def table(self, confidence: float = 0.9) -> pd.DataFrame:
        """Return one row a prediction: its inputs, ``loss``, ``loss_low`` and ``loss_high``."""
        low, high = self.interval(confidence)
        columns = {name: np.ravel(values) for name, values in self.inputs.items()}
        losses = {"loss": self.loss, "loss_low": low, "loss_high": high}
        return pd.DataFrame(columns | {name: np.ravel(values) for name, values in losses.items()})


class CorpusModel(ABC):
    """The fitted model of one validation corpus."""

    corpus: str

    @property
    @abstractmethod
    def law(self) -> str:
        """Name of the law."""

    @abstractmethod
    def predict(self, columns: Columns) -> Prediction:
        """Return the loss and its resamples at ``n`` places.

        Parameters
        ----------
        columns : mapping of str to array (n,)
            As in a log: ``model_params``, ``train_tokens``, ``domain_ratio`` or ``share_<corpus>``, and
            :attr:`more_columns`.

        Returns
        -------
        Prediction
            Its ``loss`` is ``(n,)`` and its ``draws`` ``(B, n)``. Draw ``b`` is one curve: the same resample at every
            place, and in the models of all corpora.
        """

    def parts(self, columns: Columns) -> tuple[Array, Array]:
        """Return the loss by the laws alone, and what a residual adds to it, nats per token, ``(n,)`` each."""
        loss = self.without_resamples().predict(columns).loss
        return loss, np.zeros_like(loss)

    def posterior_at(self, columns: Columns) -> Posterior | None:
        """Return the posterior of the log losses at ``m`` points; None where laws alone were fitted."""
        return None

    def with_shifts(self, losses: Array, shifts: Array) -> Array:
        """Return losses moved by shifts in the unit of the residuals, such as the noise of a new run.

        Parameters
        ----------
        losses : array (B, n)
        shifts : array (B, 1) or (B, n)
        """
        return losses + shifts

    @property
    def more_columns(self) -> tuple[str, ...]:
        """Those of :data:`MORE_COLUMNS` that a prediction cannot do without."""
        return ()

    @abstractmethod
    def summary(self, confidence: float) -> dict[str, Any]:
        """Return the fit's figures as plain values, numbers unrounded."""

    def summaries(self, confidence: float) -> Iterable[dict[str, Any]]:
        """Return the figures of each law that reports show: one, but for the CMR laws one a size."""
        return (self.summary(confidence),)

    @property
    def components(self) -> tuple[LawModel, ...]:
        """The laws across runs that are averaged, the top-weighted first; none for the CMR laws."""
        return ()

    @property
    def component_weights(self) -> Array:
        """The weight of each component; they sum to one."""
        return np.ones(len(self.components))

    @property
    def top_weighted(self) -> LawModel | None:
        """The law with the largest weight; None for the CMR laws."""
        return self.components[0] if self.components else None

    @property
    def num_draws(self) -> int:
        """Number of resamples B."""
        return sum(component.num_draws for component in self.components)

    @property
    def only_sizes(self) -> Array | None:
        """The only sizes at which the model holds, ascending; None where it goes between sizes."""
        return None

    @property
    def holds_per_budget(self) -> bool:
        """Whether the model holds for one token count at a time, so that it does not read tokens."""
        return False

    @property
    def reads_size(self) -> bool:
        """Whether predictions differ between sizes."""
        return True

    @property
    def reads_mixture(self) -> bool:
        """Whether predictions differ between mixtures."""
        return True

    @property
    def follows_rows(self) -> bool:
        """Whether what the laws leave of the rows is part of the model, so that it misses them by noise alone.

        Such a model also knows how far losses at a size that was not probed may be off.
        """
        return False

    @property
    def borrows_tokens(self) -> bool:
        """Whether what tokens do is taken from other sweeps, as the rows do not tell."""
        return False

    @property
    def noise(self) -> Noise | None:
        """The noise of runs and of evaluations, in units of the residuals, where the model has its own."""
        return None

    @property
    def is_of_finished_runs(self) -> bool:
        """Whether a prediction is of a run that ends at its tokens; of an evaluation within a run otherwise."""
        return False

    @property
    def reads_repetition(self) -> bool:
        """Whether predictions know how often the domain tokens repeat."""
        return False

    def fitted_loss(self, rows: pd.DataFrame) -> Array:
        """Return the estimated loss of each row of the log, ``(n,)``."""
        return self.without_resamples().predict(row_columns(rows)).loss

    def fitted_ratios(self, rows: pd.DataFrame) -> Array:
        """Return the domain ratio of each row, or of each run, that a law was fitted to."""
        return rows["domain_ratio"].to_numpy(dtype=float)

    def is_fitted(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return which rows of the log the laws were fitted to, ``(n,)``."""
        return np.ones(len(rows), dtype=bool)

    def run_curves(self, model_params: float, train_tokens: Array, ratios: Array) -> Array | None:
        """Return the mean of the token laws of the runs at each ratio, ``(T, R)``; None where runs have none.

        NaN at ratios without a run that has a token law.
        """
        return None

    def token_slopes(self, model_params: float, train_tokens: float) -> TokenSlopes | None:
        """Return the slopes of the runs' own token laws; None where runs have none."""
        return None

    def resampled(self, rows: pd.DataFrame, resamples: Resamples, noise: Noise) -> CorpusModel:
        """Return the model with one optimum per resample of the rows it was fitted to."""
        return self

    def refitted_from(self, rows: pd.DataFrame, first_tokens: float) -> CorpusModel:
        """Return the model fitted to the rows from ``first_tokens`` on, from its optimum, without resamples."""
        return self

    def without_resamples(self) -> CorpusModel:
        """Return the model for estimates alone, where leaving out the resamples saves time."""
        return self


def top_weighted_laws(models: Mapping[str, CorpusModel]) -> dict[str, LawModel]:
    """Return the top-weighted law of each corpus that has one."""
    return {c: law for c, model in models.items() if (law := model.top_weighted) is not None}


def row_columns(rows: pd.DataFrame) -> dict[str, Array]:
    """Return the columns of a log that laws read, as arrays."""
    mixture = ["domain_ratio"] if "domain_ratio" in rows else [*share_columns(rows), WORTH]
    names = ["model_params", "train_tokens", *mixture, *MORE_COLUMNS]
    return {name: rows[name].to_numpy(dtype=float) for name in names if name in rows}
