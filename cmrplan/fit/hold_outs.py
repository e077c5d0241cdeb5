"""What to hide from a law to see how it predicts: ratios or mixtures, the largest budgets, the largest model.

Each holdout is one question that a plan asks of a law. The rows are those of one corpus after the base
checkpoint.

A law can answer a question only where the rows that stay determine it. Terms that share their factors of the other
inputs add up to one curve over an input, and a curve of ``k`` parameters through fewer than ``k`` levels is not
determined: its parameters can be exchanged without any change at the levels, and what it says between these is
arbitrary.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.laws.law import Factor, Law
from cmrplan.log.columns import share_columns

FEWEST_TRAINING_RATIOS = 3
FOLDS = 5
MOST_RATIOS = 32  # hidden one at a time; of more, neighbors are hidden together
LATE_SHARE = 2.0  # the largest budgets are those within this factor of the largest


@dataclass(frozen=True)
class Holdout:
    """Rows to hide.

    Parameters
    ----------
    kind : str
        ``ratio``, ``mixture``, ``tokens`` or ``size``: what is new in the hidden rows.
    name : str
        The level or threshold, for people.
    hidden : bool array (n,)
        True for the rows to predict.
    """

    kind: str
    name: str
    hidden: NDArray[np.bool_]


def holdouts(rows: pd.DataFrame) -> list[Holdout]:
    """Return every holdout that the levels of a log support.

    - one for each ratio strictly between 0 and 1, where three others stay, or for each of 32 stretches of more ratios;
      of several corpora a fifth of the mixtures, drawn at random and always the same, five times;
    - the budgets within a factor of two of the largest, where three smaller ones stay;
    - the largest model, where two others stay.

    Examples
    --------
    >>> frame = pd.DataFrame(
    ...     {"domain_ratio": [0, 0.3, 0.6, 1], "train_tokens": 1e6, "model_params": 1e6})
    >>> [(h.kind, h.name) for h in holdouts(frame)]
    [('ratio', '0.3'), ('ratio', '0.6')]
    """
    questions = _ratios(rows) if "domain_ratio" in rows else _mixtures(rows)
    tokens = rows["train_tokens"].to_numpy(dtype=float)
    size = rows["model_params"].to_numpy(dtype=float)
    late = tokens > tokens.max() / LATE_SHARE
    if len(np.unique(tokens[~late])) >= 3:
        questions.append(Holdout("tokens", f"> {tokens.max() / LATE_SHARE:.3g}", late))
    sizes = np.unique(size)
    if len(sizes) >= 3:
        questions.append(Holdout("size", f"{sizes[-1]:.3g}", size == sizes[-1]))
    return questions


def _ratios(rows: pd.DataFrame) -> list[Holdout]:
    ratio = rows["domain_ratio"].to_numpy(dtype=float)
    levels = np.unique(ratio)
    if len(levels) <= FEWEST_TRAINING_RATIOS:
        return []
    inner = levels[(levels > 0) & (levels < 1)]
    stretches = np.array_split(inner, min(len(inner), MOST_RATIOS)) if len(inner) else []
    return [
        Holdout("ratio", _named(part), (ratio >= part[0]) & (ratio <= part[-1]))
        for part in stretches
    ]


def _named(levels: Array) -> str:
    return f"{levels[0]:g}" if len(levels) == 1 else f"{levels[0]:g} to {levels[-1]:g}"


def _mixtures(rows: pd.DataFrame) -> list[Holdout]:
    """Return the mixtures a fifth at a time; which goes where follows from the order of the rows."""
    shares = rows[share_columns(rows)].to_numpy(dtype=float)
    _, first, mixture = np.unique(shares, axis=0, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")
    shuffled = np.random.Generator(np.random.Philox(0)).permutation(len(first))
    fold = (shuffled[rank] % FOLDS)[mixture.ravel()]
    return [
        Holdout("mixture", f"fifth {k + 1}", fold == k) for k in range(FOLDS) if np.any(fold == k)
    ]


def levels_needed(law: Law, variables: Collection[str]) -> int:
    """Return at how many distinct levels of some inputs a law must be seen to be determined.

    Parameters
    ----------
    law : Law
    variables : collection of str
        One input, or the shares of several corpora, whose levels are then mixtures.

    Examples
    --------
    The D-CPT law has ``E + C / (r + epsilon)^gamma`` and ``r^eta`` times a power of the tokens:

    >>> from cmrplan.laws.dcpt import dcpt_law
    >>> levels_needed(dcpt_law(), ["share"]), levels_needed(dcpt_law(is_power=False), ["share"])
    (4, 3)
    >>> levels_needed(dcpt_law(mixture="sum"), ["share"])
    6
    """
    free = {exponent.name for exponent in law.exponents}
    curves: dict[tuple[Factor, ...], set[str]] = {}
    for term in law.terms:
        own = [factor for factor in term.factors if not set(factor.variables).isdisjoint(variables)]
        others = tuple(factor for factor in term.factors if factor not in own)
        parameters = {name for factor in own for name in factor.exponents if name in free}
        curves.setdefault(others, set()).update(parameters, {term.coefficient})
    return max(len(parameters) for parameters in curves.values())


def missing_levels(law: Law, inputs: Mapping[str, Array]) -> str | None:
    """Return why a law is not determined by rows with these inputs; None where it is.

    Parameters
    ----------
    law : Law
        As it is declared for the rows.
    inputs : mapping of str to array (n,)
        The law's inputs; the shares of several corpora are taken together.
    """
    shares = [name for name in law.inputs if name.startswith("share")]
    groups = [shares] * bool(shares) + [[n] for n in law.inputs if n not in shares]
    for names in groups:
        needed = levels_needed(law, names)
        levels = len(np.unique(np.stack([inputs[name] for name in names], axis=1), axis=0))
        if levels < needed:
            what = names[0] if len(names) == 1 else "the mixture"
            return (
                f"the law {law.name} needs {needed} levels of {what} to be determined and {levels} stay when "
                "others are hidden; add probes at other levels"
            )
    return None


def require_levels(law: Law, inputs: Mapping[str, Array]) -> None:
    """Refuse rows that do not determine a law.

    Raises
    ------
    CmrplanError
        With the input and the number of levels that would do.
    """
    if reason := missing_levels(law, inputs):
        raise CmrplanError(reason)
