"""One entry a law: its name, what makes it, and which fit takes it.

The choices of ``cmrplan fit --law`` and ``cmrplan mix fit --law``, the laws that ``auto`` averages and the table in
docs/laws.md all follow from the entries here. Columns, options and levels are names; :mod:`cmrplan.fit.law_model` and
:mod:`cmrplan.mixture.fit` know how each follows from the rows of a log.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import partial

from cmrplan.errors import InputError
from cmrplan.laws.bilinear import bilinear_law, size_law
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.cmr import critical_ratio_law, domain_token_law, general_token_law, ratio_law
from cmrplan.laws.cross_domain import cross_domain_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.entry import FEWEST_RATIOS as FEWEST_RATIOS
from cmrplan.laws.entry import FitKind as FitKind
from cmrplan.laws.entry import LawEntry as LawEntry
from cmrplan.laws.forgetting import forgetting_law
from cmrplan.laws.learning_rate import learning_rate_law
from cmrplan.laws.mixing_interactions import bilinear_mixing_law
from cmrplan.laws.mixtures import autoscale_law, bimix_law, data_mixing_law, optimal_mixture_law
from cmrplan.laws.relearning import relearning_law
from cmrplan.laws.repetition import repeated_builder

AUTO = "auto"


_LEVELS = ("size_levels", "token_levels")
_SHARE_LEVELS = (*_LEVELS, "smallest_share", "share_levels")
_REPEATED = ("repeat_scale", "repeated_share")
_SCALED_LEVELS = (*_LEVELS, "token_scale", "size_scale")
_BY_SIZE = ("levels_by_size", "token_scale", "share_levels")
_BILINEAR = (*_BY_SIZE, "smallest_share")
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
        "bilinear",
        bilinear_law,
        "a_N + b_N·d(D) + c_N·h(r) + e_N·d(D)·h(r), h = (r+ε)^−γ scaled",
        "4 shares, better 6, and 3 token counts, at each size",
        "inside what was probed, and at later budgets: no sign is imposed, and each size has its own coefficients",
        options=_BILINEAR,
        is_ranked=False,
    ),
    LawEntry(
        "bilinear_exp",
        partial(bilinear_law, is_power=False),
        "the same with h = e^(−k·r) scaled",
        "3 shares and 3 token counts, at each size",
        "few shares, or shares outside those probed: one parameter fewer",
        options=_BILINEAR,
        is_ranked=False,
    ),
    LawEntry(
        "bilinear_dip",
        partial(bilinear_law, has_dip=True),
        "`bilinear` + f_N·(r−1) + g_N·(r−1)·d(D)",
        "7 shares and 3 token counts, at each size",
        "where the loss is lowest at an inner share",
        options=_BILINEAR,
        is_ranked=False,
    ),
    LawEntry(
        "relearning",
        relearning_law,
        "a_N + w_N·ln(1+D/D1) − G_N·(1−(1+r^η·D/D0)^−β) − q_N·r·ln(1+D/D1)",
        "5 shares and 4 token counts, at each size",
        "later budgets of a decaying schedule, or of the largest size",
        options=_BY_SIZE,
        is_ranked=False,
    ),
    LawEntry(
        "size_law",
        size_law,
        "e_N + b_N·d(D) + (N/N0)^−(a0+a1·r)·(C + F·d(D))·h(r)",
        "as `bilinear`, at 2 sizes, better 3",
        "to carry the rise of the general loss to another size",
        options=_BILINEAR,
        is_ranked=False,
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
        "bilinear_mixing",
        bilinear_mixing_law,
        "c + A·(N/N0)^−α + b·d(D) + (k + q·d(D))·exp(Σ t_j·r_j)",
        "two more mixtures than corpora, 3 token counts",
        "several budgets: what the mixture does may grow or shrink with tokens; no sign is imposed",
        kind=FitKind.CORPORA,
        options=("corpora", *_SCALED_LEVELS),
        columns=("share_",),
        is_averaged=True,
        needs_budgets=True,
        fewest_budgets=2,
    ),
    LawEntry(
        "size_mixing",
        partial(bilinear_mixing_law, has_size_power=True),
        "c + A·(N/N0)^−α + b·d(D) + (N/N0)^−a0·(k + q·d(D))·exp(Σ t_j·r_j)",
        "as `bilinear_mixing`, at 2 sizes, better 3",
        "several sizes and budgets: what the mixture does may also shrink with size",
        kind=FitKind.CORPORA,
        options=("corpora", *_SCALED_LEVELS),
        columns=("share_",),
        is_averaged=True,
        needs_budgets=True,
        fewest_sizes=2,
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


def repetition_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the laws of repetition that contain some of these laws."""
    return tuple(e.name for e in _ENTRIES if e.plain in names)


def plain_ratio_laws() -> tuple[str, ...]:
    """Return the ranked laws across runs that any log of losses over ratios has the columns for."""
    return tuple(e.name for e in _ENTRIES if e.is_plain_ratio_law and e.is_ranked)


def unranked_ratio_laws() -> tuple[str, ...]:
    """Return the other laws of that kind, which ``compare`` does not rank."""
    return tuple(e.name for e in _ENTRIES if e.is_plain_ratio_law and not e.is_ranked)


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
        raise InputError(f"the law {law} {_taken_by(REGISTRY[law])}")
    near = get_close_matches(str(law), choices, n=1)
    meant = f" Did you mean {near[0]}?" if near else ""
    raise InputError(f"law must be one of {', '.join(choices)}, got {law!r}.{meant}")


def _taken_by(entry: LawEntry) -> str:
    """Return what takes a law, so that it can end a message."""
    if entry.part_of:
        return f"is a part of {entry.part_of}; {_call_of(REGISTRY[entry.part_of])}"
    return f"is of another kind ({entry.kind.value}); {_call_of(entry)}"


def _call_of(entry: LawEntry) -> str:
    if entry.kind is FitKind.DOMAINS:
        return "call cp.fit_domains(logs, short_runs)"
    return f"use {entry.kind.command} --law {entry.name}"
