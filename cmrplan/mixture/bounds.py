"""The bounds that probes, tokens at hand, floors and ceilings leave of the shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError
from cmrplan.log.cells import listed
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import BindingConstraint, BindingKind
from cmrplan.mixture.plane import Plane, held_positions, plane_of, tied_groups
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.mixture.simplex import Prices

Edge = Literal["probed", "floor", "ceiling", "available"]
ROOM = 1e-9
BINDS = 1e-5  # nats for each unit of share, or for each nat: a price above it holds the answer


@dataclass(frozen=True)
class Box:
    """Bounds of the shares and where each comes from.

    Parameters
    ----------
    low, high : array (m,)
    low_edge, high_edge : tuple of m str
    plane : Plane, optional
        Where the probed mixtures lie, if their shares were tied to each other.
    """

    low: Array
    high: Array
    low_edge: tuple[Edge, ...]
    high_edge: tuple[Edge, ...]
    plane: Plane | None = None


def probed_box(fit: MixtureFit) -> Box:
    """Return the smallest and largest share that was probed of each corpus."""
    shares = fit.mixtures()
    probed: Edge = "probed"
    edges = (probed,) * len(fit.corpora)
    return Box(shares.min(axis=0), shares.max(axis=0), edges, edges, plane_of(shares))


def box_of(fit: MixtureFit, asked: MixturePlanRequest) -> Box:
    """Return the bounds that the probes, the tokens at hand, floors and ceilings leave.

    Raises
    ------
    CmrplanError
        If no mixture lies within, with a change that would let one in.
    """
    box, unique = probed_box(fit), asked.unique_tokens
    low, high = box.low.copy(), box.high.copy()
    low_edge: list[Edge] = list(box.low_edge)
    high_edge: list[Edge] = list(box.high_edge)
    for j, name in enumerate(fit.corpora):
        if asked.floor(name) > low[j]:
            low[j], low_edge[j] = asked.floor(name), "floor"
        if asked.ceiling(name) < high[j]:
            high[j], high_edge[j] = asked.ceiling(name), "ceiling"
        if name in unique:
            cap = asked.epochs(name) * unique[name] / asked.tokens
            if cap < high[j]:
                high[j], high_edge[j] = cap, "available"
    box = Box(low, high, tuple(low_edge), tuple(high_edge), box.plane)
    _require_room(fit, asked, box)
    return box


def binding_bounds(fit: MixtureFit, box: Box, price: Prices) -> list[BindingConstraint]:
    """Return the bounds of shares that have a price, the dearest first."""
    bounds = []
    kind: BindingKind
    for j, name in enumerate(fit.corpora):
        if price.high[j] > BINDS:
            kind = "probed_high" if (edge := box.high_edge[j]) == "probed" else edge
            bounds.append(BindingConstraint(kind, name, float(box.high[j]), float(price.high[j])))
        if price.low[j] > BINDS and box.low[j] > 0:
            kind = "probed_low" if (edge := box.low_edge[j]) == "probed" else edge
            bounds.append(BindingConstraint(kind, name, float(box.low[j]), float(price.low[j])))
    return sorted(bounds, key=dearness)


def dearness(constraint: BindingConstraint) -> float:
    """Return what the dearest comes first by; prices that differ by rounding are equal."""
    return -round(constraint.price, 9)


def _require_room(fit: MixtureFit, asked: MixturePlanRequest, box: Box) -> None:
    """Refuse bounds that leave no mixture."""
    for j, name in enumerate(fit.corpora):
        if box.low[j] <= box.high[j] + ROOM:
            continue
        ways = {
            "probed": "probe smaller shares"
            if box.low_edge[j] == "probed"
            else f"lower its floor to {box.high[j]:.4g} or probe larger shares",
            "ceiling": f"raise its ceiling to {box.low[j]:.4g}",
            "available": f"give {box.low[j] * asked.tokens / asked.epochs(name):.4g} available tokens",
            "floor": "lower its floor",
        }
        raise CmrplanError(
            f"the share of {name} must be at least {box.low[j]:.4g} ({box.low_edge[j]}) and at most "
            f"{box.high[j]:.4g} ({box.high_edge[j]}); {ways[box.high_edge[j]]}, or change the other"
        )
    least, most = float(box.low.sum()), float(box.high.sum())
    if least > 1 + ROOM:
        raise CmrplanError(
            f"the floors and smallest probed shares add up to {least:.4g}, above 1; lower the floors by "
            f"{least - 1:.4g} together"
        )
    if most < 1 - ROOM:
        scarce = [
            n for n, edge in zip(fit.corpora, box.high_edge, strict=True) if edge == "available"
        ]
        way = "raise the ceilings or probe larger shares"
        if scarce:
            fixed = sum(h for h, e in zip(box.high, box.high_edge, strict=True) if e != "available")
            way = f"lower train_tokens to {_cut(_tokens_that_fit(fit, asked) * (1 + ROOM)):.4g}"
            if fixed < 1:
                factor = -_cut(-(1 - fixed) / (most - fixed))
                way += f", or allow at least {factor:.4g} times the max_epochs"
            way += f", or give more tokens of {', '.join(sorted(scarce))}"
        raise CmrplanError(
            f"the corpora together allow shares of {most:.4g}, below 1, of {asked.tokens:.4g} train_tokens; {way}"
        )
    if box.plane is not None and not box.plane.meets(box.low, box.high):
        groups = tied_groups(fit.mixtures()) or [held_positions(fit.mixtures())]
        tied = listed(sorted(fit.corpora[j] for group in groups for j in group))
        raise CmrplanError(
            f"the shares of {tied} moved together in every run, and no such mixture lies within the floors, ceilings "
            "and available tokens; loosen those of them, or vary these corpora against each other in further probes"
        )


def _cut(value: float) -> float:
    """Return the largest number of four digits that is not above a value."""
    step = 10.0 ** (np.floor(np.log10(abs(value))) - 3)
    return float(np.floor(value / step) * step)


def _tokens_that_fit(fit: MixtureFit, asked: MixturePlanRequest) -> float:
    """Return the largest budget that the available tokens allow, by bisection in the logarithm."""
    probed, unique = probed_box(fit).high, asked.unique_tokens
    ceiling = np.array([asked.ceiling(name) for name in fit.corpora])
    tokens = np.array([asked.epochs(name) * unique.get(name, np.inf) for name in fit.corpora])
    low, high = 0.0, float(np.log(tokens[np.isfinite(tokens)].sum())) + 50.0
    for _ in range(200):
        middle = (low + high) / 2
        share = np.minimum(np.minimum(probed, ceiling), tokens / np.exp(middle))
        low, high = (middle, high) if share.sum() >= 1 else (low, middle)
    return float(np.exp(low))
