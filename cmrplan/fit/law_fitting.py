"""Fit a law, reduced to what the log supports, to the rows of one corpus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cmrplan.errors import CmrplanError
from cmrplan.fit.law_model import LawModel, fitted_values, law_model, require_inputs, row_inputs
from cmrplan.fit.row_weights import Weights, row_weights
from cmrplan.laws import build_law
from cmrplan.laws.law import Law, Link
from cmrplan.laws.registry import FEWEST_RATIOS, REGISTRY, LawEntry
from cmrplan.laws.repetition import REPEAT_SCALE
from cmrplan.solve.law_fit import fit_law


def _repeat_scale(corpus: str, rows: pd.DataFrame) -> float | None:
    """Return R* to hold, or None to fit it, where some row has passed over its domain tokens."""
    inputs = row_inputs(corpus, rows)
    passes = inputs["train_tokens"] * inputs["share"] / inputs["unique_tokens"]
    return None if (passes > 1).any() else REPEAT_SCALE


def _levels_by_size(corpus: str, rows: pd.DataFrame) -> tuple[tuple[float, int, int], ...]:
    """Return each size with how many ratios and token counts were measured there."""
    levels = rows.groupby("model_params")[["domain_ratio", "train_tokens"]].nunique()
    return tuple((float(size), int(m), int(n)) for size, m, n in levels.itertuples())


# How each option of a law follows from the rows of a corpus.
_OPTIONS: dict[str, Callable[[str, pd.DataFrame], Any]] = {
    "size_levels": lambda corpus, rows: int(rows["model_params"].nunique()),
    "token_levels": lambda corpus, rows: int(rows["train_tokens"].nunique()),
    "smallest_share": lambda corpus, rows: float(row_inputs(corpus, rows)["share"].min()),
    "share_levels": lambda corpus, rows: len(np.unique(row_inputs(corpus, rows)["share"])),
    "levels_by_size": _levels_by_size,
    "token_scale": lambda corpus, rows: float(np.exp(np.mean(np.log(rows["train_tokens"])))),
    "size_scale": lambda corpus, rows: float(
        np.exp(np.mean(np.log(np.unique(rows["model_params"].to_numpy(dtype=float)))))
    ),
    "repeat_scale": _repeat_scale,
    "repeated_share": lambda corpus, rows: "share",
    "corpus": lambda corpus, rows: corpus,
    "base_levels": lambda corpus, rows: 1,
}


def level_options(law_name: str, corpus: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Return the options of a law that follow from the levels of the rows."""
    wanted = REGISTRY[law_name].options
    options = {name: _OPTIONS[name](corpus, rows) for name in wanted if name in _OPTIONS}
    return {name: value for name, value in options.items() if value is not None}


def declare(law_name: str, corpus: str, rows: pd.DataFrame, link: Link = "log") -> Law:
    """Return a law with the terms and bounds that the levels of the rows support.

    A law of differences keeps residuals of losses whatever ``link`` says.
    """
    law = build_law(law_name, level_options(law_name, corpus, rows))
    return law if law.link == "identity" else replace(law, link=link)


def fit_law_model(
    rows: pd.DataFrame,
    corpus: str,
    *,
    law_name: str = "dcpt",
    delta: float | None = None,
    link: Link = "log",
    weights: Weights = "equal",
) -> LawModel:
    """Fit a law, reduced to what the log supports, to one corpus's rows.

    Of laws with repetition, only the domain loss gets the repetition: nothing else is known to repeat.

    Parameters
    ----------
    rows : DataFrame
        Rows of one ``eval_corpus`` with ``train_tokens`` above 0 and the columns that the law reads.
    corpus : str
    law_name : str
        A law of :data:`~cmrplan.laws.registry.REGISTRY` across runs.
    delta : float, optional
        Huber delta in residual units, infinity for least squares; from the noise by default.
    link : {"log", "identity"}
        Residuals of log losses, or of losses.
    weights : {"equal", "stderr", "seeds"}
        See :func:`cmrplan.fit.row_weights.row_weights`.

    Raises
    ------
    CmrplanError
        If the log has too few or too many ratios or sizes for the law, or fewer rows than parameters.
    """
    entry = REGISTRY[law_name]
    if entry.plain and corpus != "domain":
        entry = REGISTRY[entry.plain]
    if entry.fewest_ratios > 1:
        require_ratios(rows, corpus)
    else:
        _require_one_ratio(rows, corpus, entry)
    if entry.is_of_one_size:
        require_one_size(rows, corpus, entry.name)
    inputs = row_inputs(corpus, rows)
    law = declare(entry.name, corpus, rows, link)
    require_inputs(entry.name, law.inputs, inputs)
    loss = fitted_values(entry.name, inputs, rows)
    fit = fit_law(law, inputs, loss, weights=row_weights(rows, weights), delta=delta)
    return law_model(corpus, fit, rows)


def _require_one_ratio(rows: pd.DataFrame, corpus: str, entry: LawEntry) -> None:
    """Refuse several ratios for a law that would read them all as one."""
    number = rows["domain_ratio"].nunique()
    if number > 1:
        raise CmrplanError(
            f"the law {entry.name} does not read the domain ratio and the {corpus} loss was measured at {number}; take "
            f"--law {entry.instead}, or the rows of one ratio"
        )


def require_one_size(rows: pd.DataFrame, corpus: str, law_name: str) -> None:
    """Refuse several sizes for a law without a term of size.

    Raises
    ------
    CmrplanError
        Naming the sizes.
    """
    sizes = np.unique(rows["model_params"].to_numpy(dtype=float))
    if len(sizes) > 1:
        known = ", ".join(f"{size:.4g}" for size in sizes)
        raise CmrplanError(
            f"the law {law_name} holds at one model size and the {corpus} loss was measured at {known}; choose one "
            "with --model-params"
        )


def require_ratios(rows: pd.DataFrame, corpus: str) -> None:
    """Refuse a log whose ratios cannot show a trend.

    Raises
    ------
    CmrplanError
        If there are fewer than three distinct ratios.
    """
    ratios = np.unique(rows["domain_ratio"].to_numpy(dtype=float))
    if len(ratios) < FEWEST_RATIOS:
        known = ", ".join(f"{ratio:g}" for ratio in ratios)
        alone = "; --law chinchilla predicts runs at this one" if len(ratios) == 1 else ""
        raise CmrplanError(
            f"the {corpus} loss was measured at {len(ratios)} domain ratio(s) ({known}); a law of the ratio "
            f"needs at least {FEWEST_RATIOS}, better 5: add probes at other ratios{alone}"
        )
