"""What the project knows of a law beside its declaration; :mod:`cmrplan.laws.registry` has one entry a law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from cmrplan.laws.law import Law
from cmrplan.log import CORPORA

FEWEST_RATIOS = 3  # of a law of the ratio


class FitKind(Enum):
    """What kind of fit takes a law.

    ``RUNS``: one law across the runs of a domain and a general corpus. ``BUDGETS``: a law for each run and each
    budget. ``CORPORA``: one law across the runs of several corpora. ``DOMAINS``: one law across several domains.
    """

    RUNS = "across runs"
    BUDGETS = "per run and budget"
    CORPORA = "several corpora"
    DOMAINS = "across domains"

    @property
    def command(self) -> str:
        """The command or function that makes such a fit."""
        return _COMMANDS[self]


_COMMANDS = {
    FitKind.RUNS: "cmrplan fit",
    FitKind.BUDGETS: "cmrplan fit",
    FitKind.CORPORA: "cmrplan mix fit",
    FitKind.DOMAINS: "cp.fit_domains",
}


@dataclass(frozen=True)
class LawEntry:
    """What the project knows of a law beside its declaration.

    Parameters
    ----------
    name : str
        On the command line, in files and in the docs.
    builder : callable
        Takes keyword options and returns the :class:`~cmrplan.laws.law.Law`.
    formula, needs, use : str
        For the docs: the formula, the data that it needs, and when to take it.
    kind : FitKind
    options : tuple of str
        Options of the builder that follow from the rows.
    columns : tuple of str
        Columns of the log that it reads beside size, tokens and ratio; ``share_`` stands for those of all corpora.
    is_averaged : bool
        Whether ``auto`` fits it.
    reads_mixture : bool
        Whether its value depends on the ratio or the shares. If not, the log must have one ratio.
    is_of_one_size : bool
        Whether it has no term of size, so that the log must have one.
    fits_rises : bool
        Whether it is fitted to the rise of the loss over the base checkpoint of the same size, not to the loss.
    corpora : tuple of str
        The validation corpora whose loss it describes.
    instead : str
        The law for logs with more ratios than this one can take.
    plain : str
        The law that it comes down to for a corpus whose tokens do not repeat.
    part_of : str
        The law that fits this one on the way; no fit takes it alone.
    needs_budgets : bool
        Whether what the mixture does changes with tokens in it, so that ``auto`` fits it from two budgets on; along a
        line in ln D unless the largest budgets can be hidden from it, or three lie far apart.
    fewest_sizes : int
        How many sizes a log must have for ``auto`` to fit it and ``compare`` to rank it: with fewer another law says
        the same.
    fewest_budgets : int
        How many budgets a log must have for ``compare`` to rank it: with fewer another law says the same.
    is_ranked : bool
        Whether ``compare`` and ``backtest`` rank it beside the others.
    """

    name: str
    builder: Callable[..., Law]
    formula: str
    needs: str
    use: str
    kind: FitKind = FitKind.RUNS
    options: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    is_averaged: bool = False
    reads_mixture: bool = True
    is_of_one_size: bool = False
    fits_rises: bool = False
    corpora: tuple[str, ...] = CORPORA
    instead: str = ""
    plain: str = ""
    part_of: str = ""
    needs_budgets: bool = False
    fewest_sizes: int = 1
    fewest_budgets: int = 1
    is_ranked: bool = True

    @property
    def fewest_ratios(self) -> int:
        """How many ratios a log must have for it."""
        return FEWEST_RATIOS if self.reads_mixture else 1

    @property
    def is_plain_ratio_law(self) -> bool:
        """Whether any log of losses over ratios has all that it reads."""
        return self.reads_mixture and self.kind is FitKind.RUNS and not self.columns
