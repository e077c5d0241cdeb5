"""A law put together from terms that each bring their formula and their exponents along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cmrplan.laws.law import Exponent, Law, Term


@dataclass(frozen=True)
class Piece:
    """One term of a sum with all that it brings to a law.

    Parameters
    ----------
    term : Term
    formula, latex : str
        The term in the symbols of its paper.
    exponents : tuple of Exponent
        Those that the fit searches.
    fixed : tuple of (str, float)
        Those that are held.
    """

    term: Term
    formula: str
    latex: str
    exponents: tuple[Exponent, ...] = ()
    fixed: tuple[tuple[str, float], ...] = ()


def assemble(pieces: Sequence[Piece], **fields: Any) -> Law:
    """Return the law of a loss that is the sum of ``pieces``; ``fields`` are the law's other fields."""
    formula = " + ".join(piece.formula for piece in pieces)
    latex = " + ".join(piece.latex for piece in pieces)
    return Law(
        formula="L = " + formula.replace("+ -", "- "),
        latex="L = " + latex.replace("+ -", "- "),
        terms=tuple(piece.term for piece in pieces),
        exponents=tuple(exponent for piece in pieces for exponent in piece.exponents),
        fixed=tuple(held for piece in pieces for held in piece.fixed),
        **fields,
    )
