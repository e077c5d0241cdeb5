"""What an unknown size does to a rise is a part of the rise: a sweep that moves less has narrower intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cmrplan as cp
from cmrplan.fit.residual.hyper import Hyper, hyper_prior

PROBES = Path(__file__).parents[3] / "data" / "probes" / "log.csv"
RATIOS = np.array([0.0, 0.3, 0.6, 1.0])


def moving(part: float) -> cp.Fit:
    """Return a fit of two sizes whose log losses move from their base by a part of what was measured."""
    log = cp.read_log(PROBES)
    sizes = np.unique(log["model_params"])[:2]
    is_base = log["train_tokens"] == 0
    few = log[
        ((log["seed"] == 0) | is_base)
        & log["model_params"].isin(sizes)
        & log["domain_ratio"].isin((0.0, 0.25, 0.5, 0.75, 1.0))
    ]
    by_size = ["eval_corpus", "model_params"]
    base = few[few["train_tokens"] == 0].groupby(by_size)["loss"].mean().rename("base")
    base = few.join(base, on=by_size)["base"]
    return cp.fit(few.assign(loss=base * (few["loss"] / base) ** part), bootstrap=60)


def widths(fit: cp.Fit) -> np.ndarray:
    """Return the widths of the 90 % intervals of the log loss at five times the larger size, its base loss known."""
    size = 5 * float(fit.sizes[-1])
    there = fit.general_loss_from_base(size, 8e5, RATIOS, 1.2)
    assert there is not None
    low, high = there.prediction.interval(0.9)
    return np.log(high / low)


def test_a_quarter_of_the_rise_has_about_a_quarter_of_the_interval() -> None:
    """Half of it, where what a size does is the same for all logs."""
    share = widths(moving(0.25)) / widths(moving(1.0))
    assert np.all((share > 0.2) & (share < 0.36))


@pytest.mark.parametrize("hyper", [Hyper.LEVEL_WALK, Hyper.COEFFICIENT_WALK])
def test_walks_are_a_part_of_the_effect(hyper: Hyper) -> None:
    usual, small = (hyper_prior(effect, has_residual=True).mean for effect in (1.0, 0.25))
    assert small[hyper] == pytest.approx(usual[hyper] + np.log(0.25))
    others = [other for other in Hyper if "WALK" not in other.name]
    assert (small[others] == usual[others]).all()


def test_a_level_without_base_losses_walks_as_it_did() -> None:
    assert np.exp(hyper_prior(None, has_residual=True).mean[Hyper.LEVEL_WALK]) == pytest.approx(
        0.02
    )
