"""How the fit of one loss ended, and what its parameters then mean, term by term."""

from __future__ import annotations

from typing import Any

from cmrplan.errors import Code, Finding

# What it means that a parameter sits at the lower and at the upper edge of its range; coefficients only reach zero.
_NO_RATIO_TERM = "the loss does not depend on the share beyond the token term"
_FLAT = "falls so slowly that it is nearly straight in the logarithm: no floor in sight"
_STEEP = "falls so fast that only the smallest values show it"
_AT_BOUND = {
    "E": ("no floor seen: how low the loss goes beyond the probes is not known", ""),
    "A": ("the size of the model shows no effect", ""),
    "B": ("the loss does not fall with tokens, and the law cannot follow one that rises", ""),
    "C": (_NO_RATIO_TERM, ""),
    "F": ("the share does not raise the loss", ""),
    "alpha": (f"the size term {_FLAT}", f"the size term {_STEEP}"),
    "beta": (f"the token term {_FLAT}", f"the token term {_STEEP}"),
    "eta": (
        "tokens and ratio do not interact",
        "tokens count only where nearly all of them are from this corpus",
    ),
    "gamma": (
        "the ratio term is nearly a logarithm",
        "the ratio term is nearly an exponential: compare the law dcpt_exp",
    ),
    "ratio_offset": (
        "the smallest probed share limits it: how the loss bends below is not known",
        "the ratio term is nearly straight or an exponential: compare the law dcpt_exp",
    ),
    "k": (
        "the ratio term is nearly a straight line",
        "the ratio term acts at the smallest shares only",
    ),
}
_AT_BOUND_CMR = {"s": ("the loss is steepest near ratio 0", "the loss is steepest near ratio 1")}

# What it means that the data cannot tell a parameter; parameters of one term stand together.
_RATIO_TERM = "its values at the probed shares are known, its shape between and beyond them is not"
_UNIDENTIFIED = {
    ("E",): "how low the loss goes beyond the probes is not known",
    ("A", "alpha"): "too few or too close sizes to tell the size term from the floor",
    ("B", "beta"): "budgets too close to tell the token term from the floor",
    ("eta",): "whether the share changes the worth of tokens is not known",
    ("C", "gamma", "ratio_offset", "k"): _RATIO_TERM,
    ("F",): "whether the loss rises at large shares is not known",
}
_UNIDENTIFIED_CMR = {("alpha", "s", "beta"): _RATIO_TERM}


def parameter_findings(corpus: str, figures: dict[str, Any]) -> list[Finding]:
    """Return remarks on how the fit of one corpus ended.

    Parameters
    ----------
    corpus : str
    figures : dict
        ``law``, ``params``, ``status``, ``unidentified`` and ``at_bound`` as in the fit's summary.
    """
    findings: list[Finding] = []
    if figures["status"] == "stalled":
        findings.append(
            Finding(
                Code.STALLED,
                f"the fit of the {corpus} loss stopped before the optimality test was met; try another delta",
            )
        )
    if figures["unidentified"]:
        findings.append(
            Finding(
                Code.UNIDENTIFIED,
                f"the log cannot tell these parameters of the {corpus} loss: {_unidentified(figures)}; predictions "
                "inside the probed range stand, the parameters mean nothing by themselves",
            )
        )
    if figures["at_bound"]:
        findings.append(
            Finding(
                Code.AT_BOUND,
                f"these parameters of the {corpus} loss ended at the edge of their range: {_at_bound(figures)}",
            )
        )
    return findings


def _unidentified(figures: dict[str, Any]) -> str:
    groups = _UNIDENTIFIED_CMR if figures["law"] == "cmr" else _UNIDENTIFIED
    left = list(figures["unidentified"])
    parts = []
    for names, meaning in groups.items():
        among = [name for name in names if name in left]
        if among:
            parts.append(f"{', '.join(among)} ({meaning})")
            left = [name for name in left if name not in among]
    return ", ".join([*parts, *left])


def _at_bound(figures: dict[str, Any]) -> str:
    meanings = _AT_BOUND_CMR if figures["law"] == "cmr" else _AT_BOUND
    parts = []
    for name in figures["at_bound"]:
        value = figures["params"][name]
        # Every range reaches from below 1 to above it.
        low, high = meanings.get(name, ("", ""))
        meaning = low if value < 1 else high
        parts.append(f"{name} at {value:.3g}" + (f" ({meaning})" if meaning else ""))
    return ", ".join(parts)
