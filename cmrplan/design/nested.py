"""Nested designs: the runs that a larger budget may choose from hold all that a smaller one may.

Runs are added one by one, each time the one that narrows the interval most for its cost. What is cheap for a large
budget is dear for a small one, so this is done at several prices, each twice the one before: at a price no run costs
more, and a run below half of it counts as half, as money that is not spent is worth nothing. Neither the prices nor the
order of the runs at a price depend on the budget; it decides how far each order may go. So the best that is within
reach never becomes worse with a larger budget, and as no run at all is among the designs it is never worse than now.
Of designs that are nearly as good the cheapest is taken.

References
----------
Khuller, Moss & Naor 1999, The budgeted maximum coverage problem (greedy choice by gain over cost).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.design.budget import ProbeBudget
from cmrplan.design.controls import CONTROL_RATIOS, ControlRun, SizeControls
from cmrplan.design.forecast import Outlook

PRICE_STEP = 2.0
LARGEST_REDUCTION = 1 - 1e-9
FINE = 1e-9  # of a cost, for rounding


@dataclass(frozen=True)
class Design:
    """Runs that could be made one after the other.

    Parameters
    ----------
    rows : tuple of int
        Candidates.
    controls : tuple of ControlRun
        That the log lacks at their sizes and a sweep adds.
    cost : float
        Of both, in the unit of the budget.
    low, high : float
        Expected interval of the ratio after them.
    widths : tuple of float
        Expected width after each and those before it.
    """

    rows: tuple[int, ...]
    controls: tuple[ControlRun, ...]
    cost: float
    low: float
    high: float
    widths: tuple[float, ...]

    @property
    def width(self) -> float:
        """Expected width of the interval after all."""
        return self.high - self.low


@dataclass(frozen=True)
class RunPrices:
    """What candidates cost, with the controls that their sizes lack.

    Parameters
    ----------
    cost, surcharge : array (c,)
        Of each run itself, and of the missing controls of its size.
    is_free : bool array (c,)
        A control that is missing is no candidate, as it is trained anyway.
    controls : mapping of float to SizeControls
        By size.
    """

    cost: Array
    surcharge: Array
    is_free: NDArray[np.bool_]
    controls: Mapping[float, SizeControls]

    @classmethod
    def of(
        cls, outlook: Outlook, budget: ProbeBudget, controls: Mapping[float, SizeControls]
    ) -> RunPrices:
        """Return the prices of the candidates of an outlook in the unit of a budget."""
        runs = outlook.candidates
        surcharge = np.array([controls[size].cost for size in runs.model_params])
        is_control = np.isin(runs.domain_ratio, CONTROL_RATIOS) & (surcharge > 0)
        cost = budget.cost(runs.model_params, runs.train_tokens)
        return cls(cost, surcharge, ~is_control, controls)

    @property
    def steps(self) -> list[float]:
        """The prices at which designs are made, from that of the cheapest run to that of the dearest."""
        total = (self.cost + self.surcharge)[self.is_free]
        if not len(total):
            return []
        number = np.ceil(np.log(total.max() / total.min()) / np.log(PRICE_STEP) - FINE)
        return [float(total.min() * PRICE_STEP**k) for k in range(int(number) + 1)]


def designs(outlook: Outlook, prices: RunPrices, budget: float, most: int) -> Iterator[Design]:
    """Yield the designs of at most ``most`` runs that a budget pays for, no run at all first.

    Parameters
    ----------
    outlook : Outlook
        Without any run.
    prices : RunPrices
    budget : float
        In their unit.
    most : int
    """
    yield Design((), (), 0.0, *outlook.interval(), ())
    for price in prices.steps:
        yield from _at_price(outlook, prices, price, budget, most)


def _at_price(
    outlook: Outlook, prices: RunPrices, price: float, budget: float, most: int
) -> Iterator[Design]:
    """Yield the designs at one price, each one run longer than the one before."""
    runs = outlook.candidates
    surcharge, is_free = prices.surcharge.copy(), prices.is_free.copy()
    design = Design((), (), 0.0, *outlook.interval(), ())
    while len(design.rows) < most:
        total = prices.cost + surcharge
        is_cheap = is_free & (total <= price * (1 + FINE))
        reduction = np.minimum(outlook.expected_width_reduction(), LARGEST_REDUCTION)
        gain = -np.log1p(-reduction) / np.maximum(total, price / PRICE_STEP)
        row = int(np.argmax(np.where(is_cheap, gain, -np.inf)))
        cost = design.cost + float(total[row])
        if not is_cheap[row] or gain[row] <= 0 or cost > budget * (1 + FINE):
            return
        size = float(runs.model_params[row])
        is_same_size = runs.model_params == size
        controls = prices.controls[size].missing if surcharge[row] > 0 else ()
        surcharge[is_same_size] = 0.0
        is_free &= (runs.domain_ratio != runs.domain_ratio[row]) | ~is_same_size
        outlook = outlook.with_run(row)
        low, high = outlook.interval()
        design = Design(
            (*design.rows, row),
            (*design.controls, *controls),
            cost,
            low,
            high,
            (*design.widths, high - low),
        )
        yield design


def best_design(nested: list[Design], resolution: float, least_narrowing: float) -> Design:
    """Return the cheapest design that is as narrow as asked, or than which none is narrower by the share that counts.

    The share is one of the width now, that of the design without a run. Of the designs of a larger budget,
    all that are new cost more than those of a smaller one. So this one is as narrow as that of the smaller budget, or
    narrower.
    """
    narrowest = min(design.width for design in nested)
    now = min(nested, key=lambda design: design.cost).width
    enough = max(resolution, narrowest + least_narrowing * now)
    return min(
        (design for design in nested if design.width <= enough),
        key=lambda design: (design.cost, design.width),
    )
