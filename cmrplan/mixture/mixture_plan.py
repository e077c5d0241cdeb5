"""The recommended mixture, its losses and its reasons, as plain frozen data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Finding
from cmrplan.fit.corpus_model import Interval, interval_as_dict
from cmrplan.fit.tabular import rows_html, rows_text
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.numbers import ROUNDING

BindingKind = Literal["tolerance", "available", "ceiling", "floor", "probed_high", "probed_low"]
MOST_LISTED = 4  # corpora in a short text


@dataclass(frozen=True)
class BindingConstraint:
    """A constraint that holds the mixture, with its price.

    Parameters
    ----------
    kind : {"tolerance", "available", "ceiling", "floor", "probed_high", "probed_low"}
    corpus : str
    setting : float
        The bound of the share; for a tolerance the limit of the loss, nats per token (best estimate).
    price : float
        Fall of the objective for each nat of tolerance, or for each unit of share, that it gives way.
    """

    kind: BindingKind
    corpus: str
    setting: float
    price: float


@dataclass(frozen=True)
class CorpusLoss:
    """What a validation corpus's loss will be, nats per token.

    Parameters
    ----------
    loss : Interval
    reference : float or None
        What the rise counts from: the base loss, or the loss at the reference mixture; None where neither is known.
    rise : Interval or None
    limit : float or None
        The highest loss that its tolerance allows; None where it is not protected.
    """

    loss: Interval
    reference: float | None
    rise: Interval | None
    limit: float | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the losses as plain values."""
        return {
            **interval_as_dict("loss", self.loss),
            "reference": self.reference,
            **interval_as_dict("rise", self.rise),
            "limit": self.limit,
        }


@dataclass(frozen=True)
class AlternativeMixture:
    """A mixture beside the recommended one, and the objective there.

    ``breaks`` are the protected corpora whose own limit it breaks; all limits together break in the part
    ``violation_probability`` of the resamples of the fit.
    """

    shares: dict[str, float]
    objective: float
    worst_excess: float | None
    breaks: tuple[str, ...]
    violation_probability: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the mixture as plain values."""
        return {**vars(self), "breaks": list(self.breaks)}


@dataclass(frozen=True, repr=False)
class MixturePlan:
    """The recommended mixture and its reasons. Losses in nats per token, shares fractions of training tokens.

    Parameters
    ----------
    evaluated_shares : dict of str to float
        Where the losses below are given: the recommended mixture; without one the best by the estimates, and without
        that the one that comes nearest to the tolerances.
    best_shares : dict of str to Interval
        The best feasible mixture by the estimates, NaN where the estimates alone allow none, and the bounds of the
        best feasible mixtures of single resamples, corpus by corpus.
    objective : Interval
        The weighted sum of the losses at ``evaluated_shares``.
    gain : Interval
        How far that lies below the one of the natural mixture (in proportion to the available tokens; equal shares
        where these are not known), over paired resamples.
    violation_probability : float or None
        How often a tolerance breaks in resamples that the search has not seen; where no mixture is recommended in
        those of the fit. None without resamples or tolerances.
    binding : tuple of BindingConstraint
        The dearest tolerance first, then the dearest bound. Without a feasible mixture they are what keeps the nearest
        one from the tolerances, and their prices in what it misses them by.
    losses : dict of str to CorpusLoss
        By validation corpus.
    candidates : dict of str to AlternativeMixture
        Other mixtures: ``point`` (tolerances on the best estimates), ``nearest`` (the one nearest to the tolerances,
        where none keeps them), ``unconstrained`` (no limit but the probed shares), ``natural``, and ``best_probed``.
    epochs : dict of str to float
        Passes over each corpus whose tokens are known.
    optimality : float
        What the binding constraints leave of the gradient, relative to it; 0 at an optimum.
    model_params, train_tokens : float
        The run.
    law : str
    num_resamples, num_infeasible : int
        Resamples, and those whose own best mixture was sought and that allow none.
    asked : MixturePlanRequest
        The question as it was put.
    reason : str
        Why no mixture is recommended, and what would do; empty where one is.
    warnings : tuple of Finding
    provenance : dict
        Of the fit.
    """

    evaluated_shares: dict[str, float]
    best_shares: dict[str, Interval]
    objective: Interval
    gain: Interval
    violation_probability: float | None
    binding: tuple[BindingConstraint, ...]
    losses: dict[str, CorpusLoss]
    candidates: dict[str, AlternativeMixture]
    epochs: dict[str, float]
    optimality: float
    model_params: float
    train_tokens: float
    law: str
    num_resamples: int
    num_infeasible: int
    asked: MixturePlanRequest
    reason: str
    warnings: tuple[Finding, ...]
    provenance: dict[str, Any]

    @property
    def is_feasible(self) -> bool:
        """Whether a mixture keeps all tolerances together with the asked confidence."""
        return not self.reason

    @property
    def shares(self) -> dict[str, float]:
        """The recommended mixture; NaN everywhere where none keeps the tolerances.

        It keeps them by the estimates, and together with the asked confidence (where there are resamples).
        """
        if self.is_feasible:
            return self.evaluated_shares
        return dict.fromkeys(self.evaluated_shares, float("nan"))

    @property
    def shares_low(self) -> dict[str, float | None]:
        """Lower bounds of the best shares; None without resamples."""
        return {corpus: share.low for corpus, share in self.best_shares.items()}

    @property
    def shares_high(self) -> dict[str, float | None]:
        """Upper bounds of the best shares; None without resamples."""
        return {corpus: share.high for corpus, share in self.best_shares.items()}

    @property
    def confidence(self) -> float:
        """How surely all tolerances together hold, and the level of every interval."""
        return self.asked.confidence

    @property
    def evaluated_name(self) -> str:
        """What the mixture is at which the losses are given."""
        if self.is_feasible:
            return "recommended mixture"
        return "best estimate" if "point" in self.candidates else "nearest mixture"

    @property
    def gain_text(self) -> str:
        """The gain, and the limits that the natural mixture breaks, which pays for what it lies below by them."""
        broken = self.broken_text("natural")
        return self.gain.text(4) + (f"; the natural mix {broken}" if broken else "")

    def broken_text(self, name: str) -> str:
        """Return which limits a candidate breaks, after a subject; nothing where it keeps all together."""
        mixture = self.candidates[name]
        if mixture.breaks:
            return f"breaks the limit of {', '.join(mixture.breaks)}"
        chance = mixture.violation_probability or 0.0
        if name == "nearest" or chance > 1 - self.confidence + ROUNDING:
            return "does not keep all limits together as surely as was asked"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as plain values, numbers unrounded."""
        return {
            "shares": self.shares if self.is_feasible else None,
            "is_feasible": self.is_feasible,
            "reason": self.reason,
            "evaluated_shares": self.evaluated_shares,
            "shares_low": self.shares_low,
            "shares_high": self.shares_high,
            **interval_as_dict("objective", self.objective),
            **interval_as_dict("gain", self.gain),
            "violation_probability": self.violation_probability,
            "binding": [vars(constraint) for constraint in self.binding],
            "losses": {corpus: loss.as_dict() for corpus, loss in self.losses.items()},
            "candidates": {name: mixture.as_dict() for name, mixture in self.candidates.items()},
            "epochs": self.epochs,
            "confidence": self.confidence,
            "optimality": None if np.isnan(self.optimality) else self.optimality,
            "model_params": self.model_params,
            "train_tokens": self.train_tokens,
            "law": self.law,
            "num_resamples": self.num_resamples,
            "num_infeasible": self.num_infeasible,
            "asked": self.asked.limits_as_dict(),
            "warnings": [finding.as_dict() for finding in self.warnings],
            "provenance": self.provenance,
        }

    def table(self) -> pd.DataFrame:
        """Return one row a training corpus, the largest share first.

        Columns: ``corpus``, ``share`` (as evaluated), ``share_low`` and ``share_high`` (of the best mixture),
        ``natural``, ``epochs``, and ``binding``, the kinds of the bounds that hold the share.
        """
        names = self.largest_first()
        held = {
            name: [b.kind for b in self.binding if b.corpus == name and b.kind != "tolerance"]
            for name in names
        }
        return pd.DataFrame(
            {
                "corpus": names,
                "share": [self.evaluated_shares[name] for name in names],
                "share_low": _column([self.shares_low[name] for name in names]),
                "share_high": _column([self.shares_high[name] for name in names]),
                "natural": [self.candidates["natural"].shares[name] for name in names],
                "epochs": _column([self.epochs.get(name) for name in names]),
                "binding": [", ".join(held[name]) for name in names],
            }
        )

    def loss_table(self) -> pd.DataFrame:
        """Return one row a validation corpus: its loss and rise with their bounds, reference and limit."""
        rows = [{"corpus": corpus, **loss.as_dict()} for corpus, loss in self.losses.items()]
        table = pd.DataFrame(rows)
        return table.astype({name: float for name in table.columns if name != "corpus"})

    def largest_first(self) -> list[str]:
        """Return the training corpora in the order of their shares."""
        shares = self.evaluated_shares
        return sorted(shares, key=lambda name: (-shares[name], name))

    def __repr__(self) -> str:
        return rows_text(f"MixturePlan of {self._head()}", self._rows())

    def _repr_html_(self) -> str:
        return rows_html([("plan of", self._head()), *self._rows()])

    def _head(self) -> str:
        without = "" if self.is_feasible else ": none keeps the limits; one that comes near"
        return f"{len(self.evaluated_shares)} corpora{without}"

    def _rows(self) -> list[tuple[str, str]]:
        """Return the answer in a few names and texts."""
        names = self.largest_first()
        rows = [(name, self._share_text(name)) for name in names[:MOST_LISTED]]
        if len(names) > MOST_LISTED:
            rest = sum(self.evaluated_shares[name] for name in names[MOST_LISTED:])
            rows.append((f"{len(names) - MOST_LISTED} more", f"{rest:.3f}"))
        if self.violation_probability is not None:
            rows.append(("chance to break a limit", f"{self.violation_probability:.3f}"))
        codes = list(dict.fromkeys(str(finding.code) for finding in self.warnings))
        return [
            *rows,
            ("binding", _listed([f"{b.kind} of {b.corpus}" for b in self.binding])),
            ("weighted loss", self.objective.text(4)),
            ("gain over the natural mix", self.gain_text),
            ("protected", _listed([self._protected_text(c) for c in self.asked.protected])),
            ("run", f"{self.model_params:.4g} parameters, {self.train_tokens:.4g} tokens"),
            ("law", self.law),
            ("warnings", ", ".join(codes) or "none"),
        ]

    def _share_text(self, name: str) -> str:
        best = self.best_shares[name]
        if best.low is None or best.high is None:
            return f"{self.evaluated_shares[name]:.3f}"
        level = f"{100 * self.confidence:g} %"
        return (
            f"{self.evaluated_shares[name]:.3f} (best {best.low:.3f} to {best.high:.3f} in {level})"
        )

    def _protected_text(self, corpus: str) -> str:
        rise = self.losses[corpus].rise
        moved = "" if rise is None else f" {rise.estimate:+.4f},"
        return f"{corpus}{moved} allowed {self.asked.tolerance(corpus)}"


def _listed(texts: Sequence[str]) -> str:
    """Return a few texts in one line."""
    more = [f"{len(texts) - MOST_LISTED} more"] if len(texts) > MOST_LISTED else []
    return "; ".join([*texts[:MOST_LISTED], *more]) or "none"


def _column(values: Sequence[float | None]) -> Array:
    """Return a column of numbers, NaN where there is none."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)
