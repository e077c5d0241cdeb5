"""A share that rounding left beside 0 is 0 in a plan."""

import itertools

import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.mixture import fit_mixture, plan_mixture

QUARTERS = (0, 0.25, 0.5, 0.75, 1.0)
MIXES = [mix for mix in itertools.product(QUARTERS, repeat=3) if sum(mix) == 1]


@pytest.fixture(scope="module")
def fit():
    rows = [
        {
            "run_id": f"m{number}", "model_params": 70e6, "train_tokens": 20e6, "share_web": web,
            "share_code": code, "share_law": law, "eval_corpus": corpus,
            "loss": loss + 0.001 * (number * 7 % 5 - 2),
        }
        for number, (web, code, law) in enumerate(MIXES)
        for corpus, loss in (("code", 2 - 0.5 * code), ("law", 2.2 - 0.6 * law), ("web", 3 - 0.02 * web))
    ]  # fmt: skip
    return fit_mixture(cp.validate_log(pd.DataFrame(rows)), "data_mixing", bootstrap=0)


@pytest.mark.parametrize("weights", [{"code": 1.0, "law": 0.5}, {"code": 1.0}, {"law": 2.0}])
def test_no_share_is_dust(fit, weights):
    """The search ends at the first of these with 5.6e-17 of law."""
    plan = plan_mixture(fit, train_tokens=20e6, objective=weights)
    best = max(weights, key=weights.get)
    assert plan.shares == {name: float(name == best) for name in ("code", "law", "web")}
    for alternative in plan.candidates.values():
        assert all(share == 0 or share > 1e-12 for share in alternative.shares.values())
