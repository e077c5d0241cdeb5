"""One entry a law: its name, what makes it, and which fit takes it.

The choices of ``cmrplan fit --law`` and ``cmrplan mix fit --law``, the laws that ``auto`` averages and the table in
docs/laws.md all follow from the entries here. Columns, options and levels are names; :mod:`cmrplan.fit.law_model` and
:mod:`cmrplan.mixture.fit` know how each follows from the rows of a log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import partial

from cmrplan.errors import InputError
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.cmr import critical_ratio_law, domain_token_law, general_token_law, ratio_law
from cmrplan.laws.cross_domain import cross_domain_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.forgetting import forgetting_law
from cmrplan.laws.law import Law
from cmrplan.laws.learning_rate import learning_rate_law
from cmrplan.laws.mixtures import autoscale_law, bimix_law, data_mixing_law, optimal_mixture_law
from cmrplan.laws.repetition import repeated_builder
from cmrplan.log import CORPORA

AUTO = "auto"
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

    @property
    def fewest_ratios(self) -> int:
        """How many ratios a log must have for it."""
        return FEWEST_RATIOS if self.reads_mixture else 1

    @property
    def is_plain_ratio_law(self) -> bool:
        """Whether any log of losses over ratios has all that it reads."""
        return self.reads_mixture and self.kind is FitKind.RUNS and not self.columns

    @property
    def taken_by(self) -> str:
        """What takes the law, so that it can end a message."""
        if self.part_of:
            return f"is a part of {self.part_of}; {_call_of(REGISTRY[self.part_of])}"
        return f"is of another kind ({self.kind.value}); {_call_of(self)}"


def _call_of(entry: LawEntry) -> str:
    if entry.kind is FitKind.DOMAINS:
        return "call cp.fit_domains(logs, short_runs)"
    return f"use {entry.kind.command} --law {entry.name}"


_LEVELS = ("size_levels", "token_levels")
_SHARE_LEVELS = (*_LEVELS, "smallest_share", "share_levels")
_REPEATED = ("repeat_scale", "repeated_share")
_EFFECTIVE = "D' = D·(1−r) + U + U·R*·(1 − e^(−(D·r/U−1)/R*)) where D·r > U"
_REPEATS = "runs that pass over U `unique_domain_tokens` as often as the target will"

_ENTRIES = (
    LawEntry(
        "dcpt",
        dcpt_law,
        "E + A/N^α + B·r^η/D^β + C/(r+ε)^γ",
        "3 shares, better 5, one at or below 0.01",
        "first choice; also where little replay matters",
        options=_SHARE_LEVELS,
        is_averaged=True,
    ),
    LawEntry(
        "dcpt_no_mixture",
        partial(dcpt_law, mixture="none"),
        "E + A/N^α + B/D^β + C/(r+ε)^γ",
        "as `dcpt`",
        "where η comes out as 0, as it mostly does from scratch",
        options=_SHARE_LEVELS,
    ),
    LawEntry(
        "dcpt_sum",
        partial(dcpt_law, mixture="sum"),
        "E + A/N^α + B/D^β + F·r^η + C/(r+ε)^γ",
        "5 shares",
        "where the loss rises again at large shares, alike at every budget",
        options=_SHARE_LEVELS,
    ),
    LawEntry(
        "dcpt_exp",
        partial(dcpt_law, mixture="none", is_power=False),
        "E + A/N^α + B/D^β + C·e^(−k·r)",
        "3 shares",
        "shares above a few percent: two parameters fewer",
        options=_SHARE_LEVELS,
        is_averaged=True,
    ),
    LawEntry(
        "dcpt_product_exp",
        partial(dcpt_law, is_power=False),
        "E + A/N^α + B·r^η/D^β + C·e^(−k·r)",
        "as `dcpt_exp`",
        "where tokens are worth more or less as the share changes",
        options=_SHARE_LEVELS,
        is_averaged=True,
    ),
    LawEntry(
        "dcpt_sum_exp",
        partial(dcpt_law, mixture="sum", is_power=False),
        "E + A/N^α + B/D^β + F·r^η + C·e^(−k·r)",
        "5 shares",
        "as `dcpt_sum`, for shares above a few percent",
        options=_SHARE_LEVELS,
    ),
    LawEntry(
        "cmr",
        critical_ratio_law,
        "per run `ΔL(T)`, across runs `L(R) = α·R^s + β`; of critical ratios `R = α4·T^s4 + β3`",
        "3 ratios inside (0, 1) at one size",
        "each budget by itself; the turning point. The law of critical ratios is for `fit_law` alone, and inside the "
        "budgets probed: it leaves [0, 1] outside",
        kind=FitKind.BUDGETS,
    ),
    LawEntry(
        "cmr_ratio",
        ratio_law,
        "α·R^s + β",
        "3 ratios inside (0, 1), one size and budget",
        "a single budget",
        kind=FitKind.BUDGETS,
        part_of="cmr",
    ),
    LawEntry(
        "cmr_domain_tokens",
        domain_token_law,
        "ΔL = α1·T^s1 + β1",
        "4 token counts at one size and ratio",
        "a loss that only falls along a run; β1 holds the base loss",
        reads_mixture=False,
        is_of_one_size=True,
        instead="cmr",
    ),
    LawEntry(
        "cmr_general_tokens",
        general_token_law,
        "ΔL = α2·T^s2 + α3·T^s3 + β2",
        "6 token counts at one size and ratio",
        "a loss that rises, then falls along a run; β2 holds the base loss",
        reads_mixture=False,
        is_of_one_size=True,
        instead="cmr",
    ),
    LawEntry(
        "chinchilla",
        chinchilla_law,
        "E + A/N^α + B/D^β",
        "one ratio, 3 token counts, 3 sizes",
        "to carry one mixture to a larger size or budget",
        options=_LEVELS,
        reads_mixture=False,
        instead="dcpt",
    ),
    LawEntry(
        "chinchilla_repetition",
        repeated_builder(chinchilla_law),
        f"`chinchilla` at {_EFFECTIVE}",
        f"as `chinchilla`; {_REPEATS}",
        "scarce data, more than about 4 passes",
        options=(*_LEVELS, *_REPEATED),
        columns=("unique_domain_tokens",),
        reads_mixture=False,
        instead="dcpt_repetition",
        plain="chinchilla",
    ),
    LawEntry(
        "dcpt_repetition",
        repeated_builder(dcpt_law),
        "`dcpt` at D'",
        f"as `dcpt`; {_REPEATS}",
        "the same over ratios",
        options=(*_SHARE_LEVELS, *_REPEATED),
        columns=("unique_domain_tokens",),
        plain="dcpt",
    ),
    LawEntry(
        "dcpt_exp_repetition",
        repeated_builder(partial(dcpt_law, mixture="none", is_power=False)),
        "`dcpt_exp` at D'",
        f"as `dcpt_exp`; {_REPEATS}",
        "the same with fewer parameters",
        options=(*_SHARE_LEVELS, *_REPEATED),
        columns=("unique_domain_tokens",),
        plain="dcpt_exp",
    ),
    LawEntry(
        "learning_rate",
        learning_rate_law,
        "L0 + A·(S1_pt+S1_cpt)^−α − C1·S2_pt − C2·S2_cpt + B·(1−(1+E·S1_cpt)^−β)",
        "one size and ratio, 2 schedules, `learning_rate` in every row",
        "checkpoints inside a decaying schedule",
        options=("corpus", "base_levels"),
        columns=("learning_rate", "step"),
        reads_mixture=False,
        is_of_one_size=True,
        instead="learning_rate_replay",
    ),
    LawEntry(
        "learning_rate_replay",
        partial(learning_rate_law, has_replay=True),
        "the same with `C2·e^(a1·r_g)`, and `B·(1−e^(−a2·(1−r_g)))` (general) or `B·(e^(a2·(1−r_g))−1)` (domain)",
        "as `learning_rate`, at 3 replay ratios",
        "the same over ratios",
        options=("corpus", "base_levels"),
        columns=("learning_rate", "step"),
        is_of_one_size=True,
    ),
    LawEntry(
        "forgetting",
        forgetting_law,
        "ΔL = A·D_ft^β / ((1+B·p)·N)^α",
        "3 sizes with base rows, 3 `unique_domain_tokens` (D_ft) and 3 replay ratios (p)",
        "little domain data over many passes, not billions of tokens",
        columns=("unique_domain_tokens", "base_loss"),
        fits_rises=True,
        corpora=("general",),
    ),
    LawEntry(
        "cross_domain",
        cross_domain_law,
        "`dcpt` + F/K^μ, input `domain_coefficient`",
        "3 domains from the same base, a short run each",
        "to forecast a domain that was not probed",
        kind=FitKind.DOMAINS,
        options=(*_LEVELS, "smallest_share", "domain_levels"),
        columns=("domain_coefficient",),
    ),
    LawEntry(
        "data_mixing",
        data_mixing_law,
        "`c + k·exp(Σ t_j·r_j)`, and `+ A/N^α + B/D^β` where the log has more than one size or budget (ours)",
        "two more mixtures than corpora",
        "to interpolate between mixtures",
        kind=FitKind.CORPORA,
        options=("corpora", *_LEVELS),
        columns=("share_",),
        is_averaged=True,
    ),
    LawEntry(
        "optimal_mixture",
        optimal_mixture_law,
        "E + (Σ C_i·h_i^γ_i)^−1 + A/N^α + B/D^β",
        "more than twice as many mixtures as corpora",
        "several sizes",
        kind=FitKind.CORPORA,
        options=("corpora", *_LEVELS),
        columns=("share_",),
        is_averaged=True,
    ),
    LawEntry(
        "bimix",
        bimix_law,
        "(A/r_i^α)·(B/D^β + C)",
        "one size, 3 token counts, 2 shares, all above 0",
        "where only the corpus's own share matters",
        kind=FitKind.CORPORA,
        options=("corpus",),
        columns=("share_",),
        is_of_one_size=True,
    ),
    LawEntry(
        "autoscale",
        autoscale_law,
        "L∞ + k·Σ (N0_i + D·p_i)^−γ_i",
        "one size, 3 levels of each corpus's tokens",
        "on from a base that knows some of the corpora",
        kind=FitKind.CORPORA,
        options=("corpora",),
        columns=("share_",),
        is_of_one_size=True,
    ),
)
REGISTRY: dict[str, LawEntry] = {entry.name: entry for entry in _ENTRIES}

# The laws that can answer a plan's question from any log over ratios; a plan's panel asks each of them.
PLAN_LAWS = (AUTO, *(e.name for e in _ENTRIES if e.is_plain_ratio_law), "cmr")


def names_for(*kinds: FitKind) -> tuple[str, ...]:
    """Return the laws that fits of some kinds take by name."""
    return tuple(e.name for e in _ENTRIES if e.kind in kinds and not e.part_of)


def averaged_names(kind: FitKind) -> tuple[str, ...]:
    """Return the laws that ``auto`` averages in a kind of fit."""
    return tuple(e.name for e in _ENTRIES if e.kind is kind and e.is_averaged)


def plain_ratio_laws() -> tuple[str, ...]:
    """Return the laws across runs that any log of losses over ratios has the columns for."""
    return tuple(e.name for e in _ENTRIES if e.is_plain_ratio_law)


def choices_for(*kinds: FitKind) -> tuple[str, ...]:
    """Return what ``--law`` may be: ``auto`` and the laws that fits of these kinds take."""
    return (AUTO, *names_for(*kinds))


def require_choice(law: str, *kinds: FitKind) -> None:
    """Refuse a law that fits of some kinds do not take.

    Raises
    ------
    InputError
        Saying which command takes it, or naming the nearest law.
    """
    choices = choices_for(*kinds)
    if law in choices:
        return
    if law in REGISTRY:
        raise InputError(f"the law {law} {REGISTRY[law].taken_by}")
    near = get_close_matches(str(law), choices, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise InputError(f"law must be one of {', '.join(choices)}, got {law!r}.{meant}")
