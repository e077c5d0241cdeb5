"""The fitted laws of several validation corpora: what they predict at a mixture, and what lies outside of it."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.arrays import Array
from cmrplan.errors import Finding, InputError
from cmrplan.fit.corpus_model import Columns, Prediction
from cmrplan.fit.fitted_log import FIT_FILE_VERSION, FittedLog
from cmrplan.fit.mixture_laws import run_shares
from cmrplan.fit.mixture_repeats import RepeatedCorpus, columns_of_repeats
from cmrplan.fit.settings import FitSettings
from cmrplan.fit.supply import spread_over
from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.extrapolation import beyond_levels, beyond_shares, far_from_probed
from cmrplan.mixture.later_budgets import forecast_factors
from cmrplan.mixture.other_sizes import (
    CarriedLoss,
    carried_loss,
    carried_normal,
    other_size_findings,
)
from cmrplan.mixture.repetition import repetition_findings
from cmrplan.mixture.shares import Mixtures, require_trained, shares_from
from cmrplan.numbers import CountOrText, parse_named_count


@dataclass(frozen=True, repr=False)
class MixtureFit(FittedLog):
    """Fitted laws of several validation corpora; a :class:`~cmrplan.fit.fitted_log.FittedLog` with one more field.

    Parameters
    ----------
    repeated : dict of str to RepeatedCorpus
        The training corpora that probes pass over more than once and whose own loss counts it.
    """

    repeated: Mapping[str, RepeatedCorpus] = field(default_factory=dict)

    @property
    def probed_supplies(self) -> dict[str, float]:
        """Unique tokens that the probes drew from, of the corpora whose own loss counts their repeats."""
        return {corpus: repeats.supply.unique_tokens for corpus, repeats in self.repeated.items()}

    def repeat_scale(self, corpus: str) -> float | None:
        """Return R* of a corpus as the probes say it; None where they say nothing of it."""
        return self.repeated[corpus].repeat_scale if corpus in self.repeated else None

    @property
    def law(self) -> str:
        """Name of the fitted law; several where corpora got different ones."""
        return "+".join(sorted({model.law for model in self.models.values()}))

    def mixtures(self) -> Array:
        """Return the mixtures that were fitted, one row a run, ``(R, m)``."""
        return run_shares(self.fitted(), self.corpora)

    def fitted(self) -> pd.DataFrame:
        """Return the rows of the log that were fitted, of all validation corpora."""
        return rows_from(self.log, self.settings)

    def extrapolation_findings(
        self,
        mixture: Mixtures,
        *,
        model_params: CountOrText,
        train_tokens: CountOrText,
        available: Mapping[str, CountOrText] | None = None,
    ) -> list[Finding]:
        """Return a finding for each way in which a question lies outside of what was fitted.

        In size, in tokens, in the share of a corpus, in passes over it, or since the mixture is no blend of probed
        ones; the arguments are those of :meth:`predict`.
        """
        size = parse_named_count("model_params", model_params)
        tokens = parse_named_count("train_tokens", train_tokens)
        shares, probed = self.shares_of(mixture), self.mixtures()
        return [
            *other_size_findings(size, self.fitted()["model_params"].unique(), self.carried(size)),
            *beyond_levels(self.fitted(), size, tokens),
            *beyond_shares(self.corpora, probed, shares),
            *far_from_probed(probed, shares),
            *repetition_findings(self, shares, tokens, _counts(available)),
        ]

    def shares_of(self, mixture: Mixtures) -> Array:
        """Return one mixture as shares in the order of the fit, ``(m,)``; absent corpora have none.

        Raises
        ------
        InputError
            If a corpus is unknown, or the shares are no fractions that sum to 1.
        """
        shares = shares_from(mixture, self.corpora)
        if len(shares) != 1:
            raise InputError(f"one mixture must be given here, got {len(shares)}")
        return np.asarray(shares[0])

    def predict(
        self,
        mixture: Mixtures,
        *,
        model_params: CountOrText,
        train_tokens: CountOrText,
        available: Mapping[str, CountOrText] | None = None,
    ) -> dict[str, Prediction]:
        """Return the losses of every validation corpus.

        Parameters
        ----------
        mixture : mapping, Series, DataFrame, sequence of mappings, or array (m,) or (G, m)
            Shares by corpus, whose names may have the prefix ``share_``; or rows of shares in the order of
            :attr:`corpora`.
        model_params, train_tokens : float or str
            Counts such as ``1.8e9`` or ``"1.8B"``; read where the log had more than one.
        available : mapping of str to float or str, optional
            Unique tokens of training corpora, whose own losses then count passes over them beyond the first. By
            default what the probes drew from, of corpora that they repeated; others are fresh.

        Raises
        ------
        InputError
            If the log has no such training corpus, or the shares of a row are no fractions that sum to 1.
        """
        shares = shares_from(mixture, self.corpora)
        losses, carried = {}, self.carried(model_params)
        pairs = self._read_by_laws(shares, model_params, train_tokens, available, carried)
        for corpus, model in self.models.items():
            several = [(model.predict(columns), factor) for columns, factor in pairs[corpus]]
            counted = [replace(p, loss=p.loss * f, draws=p.draws * f) for p, f in several]
            loss = spread_over(counted) if len(counted) > 1 else counted[0]
            loss = replace(loss, draws=self.forecast(corpus, train_tokens)[:, None] * loss.draws)
            if (far := carried[corpus]) is not None:
                loss = replace(
                    far.prediction(loss), inputs=self._columns(shares, model_params, train_tokens)
                )
            losses[corpus] = loss
        return losses

    def carried(
        self,
        model_params: CountOrText,
        base_loss: Mapping[str, float] | None = None,
        protected: Container[str] = (),
    ) -> dict[str, CarriedLoss | None]:
        """Return how each loss is carried to a size that was not probed; None where it was, or the laws give it.

        Parameters
        ----------
        model_params : float or str
        base_loss : mapping of str to float, optional
            Known at that size.
        protected : container of str
            Corpora whose limit is counted from their base loss.
        """
        size = parse_named_count("model_params", model_params)
        sizes = np.unique(self.fitted()["model_params"].to_numpy(dtype=float))
        return {
            corpus: carried_loss(
                self.base_loss.get(corpus, {}),
                sizes,
                size,
                carried_normal(self.settings.seed, position, model.num_draws),
                (base_loss or {}).get(corpus),
                keeps_level=corpus in protected,
            )
            for position, (corpus, model) in enumerate(self.models.items())
        }

    def forecast(self, corpus: str, train_tokens: CountOrText) -> Array:
        """Return what each resample of a loss is multiplied by beyond the probed budgets, ``(B,)``."""
        tokens = parse_named_count("train_tokens", train_tokens)
        position, count = list(self.models).index(corpus), self.models[corpus].num_draws
        rows, base = self.rows(corpus), self.base_loss.get(corpus, {})
        return forecast_factors(rows, base, tokens, self.settings.seed, position, count)

    def parts(
        self,
        mixture: Mixtures,
        *,
        model_params: CountOrText,
        train_tokens: CountOrText,
        available: Mapping[str, CountOrText] | None = None,
    ) -> dict[str, tuple[float, float]]:
        """Return each estimate of :meth:`predict` in two parts: by the laws alone, and what the residual adds.

        Nats per token, by validation corpus; the arguments are those of :meth:`predict`.
        """
        parts, carried = {}, self.carried(model_params)
        shares = self.shares_of(mixture)[None, :]
        pairs = self._read_by_laws(shares, model_params, train_tokens, available, carried)
        for corpus, model in self.models.items():
            columns, factor = pairs[corpus][0]
            far = carried[corpus]
            scale = factor if far is None else factor * far.scale
            law, added = (float((part * scale)[0]) for part in model.parts(columns))
            parts[corpus] = law, added
        return parts

    def _read_by_laws(
        self,
        shares: Array,
        model_params: CountOrText,
        train_tokens: CountOrText,
        available: Mapping[str, CountOrText] | None,
        carried: Mapping[str, CarriedLoss | None],
    ) -> dict[str, list[tuple[Columns, Array | float]]]:
        """Return what the laws of each corpus read, and a factor, see :func:`columns_of_repeats`."""
        require_trained(available or {}, self.corpora)
        held = self.probed_supplies | _counts(available)
        read: dict[str, list[tuple[Columns, Array | float]]] = {}
        for corpus, far in carried.items():
            size = model_params if far is None else far.model_params
            columns = self._columns(shares, size, train_tokens)
            scale = self.repeat_scale(corpus)
            read[corpus] = [(columns, 1.0)]
            if corpus in held:
                read[corpus] = columns_of_repeats(self.models[corpus], columns, held[corpus], scale)
        return read

    def _columns(
        self, shares: Array, model_params: CountOrText, train_tokens: CountOrText
    ) -> dict[str, Array]:
        """Return mixtures at a size and tokens as the columns of a log."""
        size = parse_named_count("model_params", model_params)
        tokens = parse_named_count("train_tokens", train_tokens)
        return {
            "model_params": np.full(len(shares), size),
            "train_tokens": np.full(len(shares), tokens),
        } | {SHARE_PREFIX + name: shares[:, j] for j, name in enumerate(self.corpora)}

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
            **({"repeated": self._repeated_figures()} if self.repeated else {}),
            **self._common_figures(),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return all that the file of the fit holds, as plain values."""
        whole = super().as_dict()
        if self.repeated:
            scales = {corpus: repeats.repeat_scale for corpus, repeats in self.repeated.items()}
            whole["state"]["repeat_scales"] = scales
        return whole

    def _repeated_figures(self) -> dict[str, dict[str, float | bool]]:
        """Return the corpora that probes repeat: what they hold, how often they were passed over, and R*."""
        return {
            corpus: asdict(repeats.supply) | {"repeat_scale": repeats.repeat_scale}
            for corpus, repeats in sorted(self.repeated.items())
        }


def _counts(available: Mapping[str, CountOrText] | None) -> dict[str, float]:
    """Return the unique tokens of corpora as numbers."""
    return {
        corpus: parse_named_count(f"available of {corpus}", tokens)
        for corpus, tokens in (available or {}).items()
    }


def rows_from(log: pd.DataFrame, settings: FitSettings) -> pd.DataFrame:
    """Return the rows of all validation corpora that settings leave to fit."""
    first = max(settings.min_train_tokens, np.nextafter(0, 1))
    kept: pd.DataFrame = log[log["train_tokens"] >= first].reset_index(drop=True)
    return kept
