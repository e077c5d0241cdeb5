"""A probe is read beside controls at ratio 0 and 1 of its size and seed, and a sweep trains those that it lacks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cmrplan.design.budget import ProbeBudget
from cmrplan.fit.fit import Fit

CONTROL_RATIOS = (0.0, 1.0)


@dataclass(frozen=True)
class ControlRun:
    """A control that the sweep of the next probes trains beside them.

    Parameters
    ----------
    domain_ratio : float
        0 or 1.
    model_params, train_tokens : float
    seed : int
    cost : float
        In the unit of the budget.
    """

    domain_ratio: float
    model_params: float
    train_tokens: float
    seed: int
    cost: float


@dataclass(frozen=True)
class SizeControls:
    """The seed of new probes of one size, and the controls that the log lacks of it.

    Parameters
    ----------
    seed : int
    missing : tuple of ControlRun
    """

    seed: int
    missing: tuple[ControlRun, ...]

    @property
    def cost(self) -> float:
        """What the missing controls cost together, in the unit of the budget."""
        return sum(control.cost for control in self.missing)


def controls_of(fit: Fit, model_params: float, budget: ProbeBudget) -> SizeControls:
    """Return the seed of the log with the fewest controls missing at a size, the smallest of several.

    A sweep makes all its controls equally long, so a missing one is taken to be as long as the longest control of the
    log, or as the longest run where there is no control. Seeds of a log without seeds are 0. A size that was not probed
    gets a seed of the others, and lacks both controls.
    """
    trained = fit.log[fit.log["train_tokens"] > 0]
    controls = trained[trained["domain_ratio"].isin(CONTROL_RATIOS)]
    longest = float((controls if len(controls) else trained)["train_tokens"].max())
    rows = _with_seeds(trained[trained["model_params"] == model_params])
    seeded = rows if len(rows) else _with_seeds(trained)
    cost = float(budget.cost(np.array(model_params), np.array(longest)))
    missing_by_seed = {}
    for seed in np.unique(seeded["seed"].dropna().to_numpy(dtype=int)).tolist():
        ratios = set(rows.loc[rows["seed"] == seed, "domain_ratio"])
        missing = [ratio for ratio in CONTROL_RATIOS if ratio not in ratios]
        missing_by_seed[seed] = tuple(
            ControlRun(ratio, model_params, longest, seed, cost) for ratio in missing
        )
    seed = min(missing_by_seed, key=lambda one: (len(missing_by_seed[one]), one))
    return SizeControls(seed, missing_by_seed[seed])


def _with_seeds(rows: pd.DataFrame) -> pd.DataFrame:
    if "seed" not in rows or rows["seed"].isna().all():
        return rows.assign(seed=0)
    return rows
