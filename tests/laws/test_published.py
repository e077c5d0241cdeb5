"""Published numbers, reproduced from the tables in data/published/."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.cmr import cmr_ratio, ratio_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.learning_rate import learning_rate_law
from cmrplan.laws.repetition import (
    EXCESS_SCALE,
    REPEAT_SCALE,
    effective_tokens,
    repetition_loss,
    with_repetition,
)
from cmrplan.solve.law_fit import fit_law

PUBLISHED = Path(__file__).parents[2] / "data" / "published"


def table(name, **kept):
    """Rows of a table in data/published whose columns have the values in ``kept``."""
    rows = pd.read_csv(PUBLISHED / f"{name}.csv")
    for column, value in kept.items():
        rows = rows[rows[column] == value]
    return rows


def table_2_fit(size):
    """The ratio law on the first four ratios of one size."""
    rows = table("cmr_table2", size=size)
    rows = rows[rows["domain_ratio"] > 0.3]
    assert len(rows) == 4
    ratio, loss = rows["domain_ratio"].to_numpy(), rows["domain_loss"].to_numpy()
    return fit_law(ratio_law(), {"domain_ratio": ratio}, loss)


def at_a_quarter(size):
    return table_2_fit(size).predict({"domain_ratio": np.array([0.25])})[0]


def critical_ratio(size, t):
    law = table("cmr_table5", size=size).iloc[0]
    return float(cmr_ratio(t, law["alpha4"], law["s4"], law["beta3"]))


def learning_rate_loss(corpus, s1_pt, s1_cpt):
    law = learning_rate_law(corpus=corpus)
    fit = table("lr_law_fits", eval_corpus=corpus).iloc[0]
    inputs = {"s1_pt": s1_pt, "s1_cpt": s1_cpt, "s2_pt": 0.0, "s2_cpt": 0.0}
    theta = fit[[e.name for e in law.exponents]].to_numpy(dtype=float)
    coefficients = fit[[t.coefficient for t in law.terms]].to_numpy(dtype=float)
    rows = {name: np.array([value]) for name, value in inputs.items()}
    return law.predict(rows, theta[None, :], coefficients[None, :])[0, 0]


def composed_repetition_loss(model_params, train_tokens, unique_tokens):
    """The Chinchilla law with repetition at the published constants and the effective parameters."""
    published = table("repetition_constants").set_index("name")["value"]
    law = with_repetition(chinchilla_law(), repeat_scale=published["R_D_star"])
    ratio = np.exp((published["log_A"] - published["log_B"]) / published["alpha"])
    rows = {
        "model_params": effective_tokens(model_params, ratio * unique_tokens, EXCESS_SCALE),
        "train_tokens": train_tokens,
        "unique_tokens": unique_tokens,
    }
    rows = {name: np.atleast_1d(value) for name, value in rows.items()}
    coefficients = np.exp(published[["log_E", "log_A", "log_B"]].to_numpy(dtype=float))
    theta = published[["alpha", "beta"]].to_numpy(dtype=float)
    return law.predict(rows, theta[None, :], coefficients[None, :])[0, 0]


def largest_miss(is_power):
    """Largest miss of the D-CPT law at one size and budget on the general loss of the German sweep."""
    rows = table("replay_sweeps", domain_corpus="German")
    share, loss = {"share": rows["replay_ratio"].to_numpy()}, rows["general_loss"].to_numpy()
    law = dcpt_law(size_levels=1, token_levels=1, is_power=is_power)
    return np.abs(fit_law(law, share, loss).predict(share) - loss).max()


CMR = "Gu et al. 2024, arXiv:2407.17467"
RATE, REPEAT = "Wang et al. 2025, arXiv:2505.07796", "Muennighoff et al. 2023, arXiv:2305.16264"
REPLAY = "Ibrahim et al. 2024, arXiv:2403.08763"
# source, what, function, arguments, published value, tolerance: half of the last printed digit, or else said
CHECKS = [
    *(
        (
            CMR,
            f"Table 2, {row.size}, ratio law worked out at 1/4",
            at_a_quarter,
            (row.size,),
            row.domain_loss_fitted,
            5e-5,
        )
        for row in table("cmr_table2_worked").itertuples(name="Row", index=False)
    ),
    *(
        (
            RATE,
            f"{row.eval_corpus} loss at S1 = {row.S1_pt:g} + {row.S1_cpt:g}",
            learning_rate_loss,
            (row.eval_corpus, row.S1_pt, row.S1_cpt),
            row.loss,
            5e-5,
        )
        for row in table("lr_law_worked").itertuples()
    ),
    # all sixteen printed digits: two roundings of float64
    *(
        (
            REPEAT,
            f"loss of {row.model_params:.3g} parameters, {function.__name__}",
            function,
            (row.model_params, row.train_tokens, row.unique_tokens),
            row.loss,
            9e-16,
        )
        for row in table("repetition_checks").itertuples()
        for function in (repetition_loss, composed_repetition_loss)
    ),
    *(
        (
            REPEAT,
            f"worth of a token at {row.epochs} epochs",
            effective_tokens,
            (row.epochs, 1.0),
            row.worth_of_a_token * row.epochs,
            5e-4 * row.epochs,
        )
        for row in table("repetition_worth").itertuples()
    ),
    (REPLAY, "largest miss on the general loss, German", largest_miss, (True,), 0, 5e-3),
]


@pytest.mark.parametrize(
    ("formula", "arguments", "published", "tolerance"),
    [check[2:] for check in CHECKS],
    ids=[f"{source}: {what}" for source, what, *_ in CHECKS],
)
def test_published_number(formula, arguments, published, tolerance):
    assert formula(*arguments) == pytest.approx(published, abs=tolerance, rel=0)


def test_published_constants_are_those_of_the_code():
    published = table("repetition_constants").set_index("name")["value"]
    assert (REPEAT_SCALE, EXCESS_SCALE) == (published["R_D_star"], published["R_N_star"])


class TestCmrPaper:
    """Gu et al. 2024, arXiv:2407.17467."""

    @pytest.mark.parametrize(
        ("model_params", "measured"),
        [(460e6, 1.5561), (940e6, 1.4538), (1.6e9, 1.3994), (3.1e9, 1.3305)],
    )
    def test_ratio_law_predicts_the_quarter_row_of_table_2(self, model_params, measured):
        fit = cp.fit(cp.read_log(PUBLISHED / "cmr_table2_log.csv"), "cmr", bootstrap=0)
        prediction = fit.predict(
            "domain", model_params=model_params, train_tokens=20e9, domain_ratio=0.25
        )
        assert prediction.loss[0] == pytest.approx(measured, abs=1e-3)

    def test_ratio_law_has_a_negative_coefficient_there(self):
        fit = cp.fit(cp.read_log(PUBLISHED / "cmr_table2_log.csv"), "cmr", bootstrap=0)
        params = fit.summary()["domain"]["params"]
        assert params["alpha"] < 0
        assert params["s"] == pytest.approx(0.16, abs=0.01)  # 3.1B, worked out in closed form

    @pytest.mark.parametrize("size", ["460M", "940M", "1.6B", "3.1B"])
    def test_ratio_law_bends_as_worked_out_from_table_2(self, size):
        params = table_2_fit(size).params
        worked = table("cmr_table2_worked", size=size)["s"].item()
        assert params["alpha"] < 0
        assert params["s"] == pytest.approx(worked, abs=5e-3)  # two digits

    @pytest.mark.parametrize("size", ["460M", "940M", "1.6B", "3.1B"])
    def test_cmr_law_is_negative_below_about_15_units(self, size):
        with pytest.warns(UserWarning, match="clipped"):
            assert critical_ratio(size, 12.5) == 0.0
        assert critical_ratio(size, 17.0) > 0.0

    @pytest.mark.parametrize(
        ("size", "published"),
        [("460M", 0.2976), ("940M", 0.3489), ("1.6B", 0.4143), ("3.1B", 0.4783)],
    )
    def test_cmr_law_gives_the_critical_ratios_of_table_5(self, size, published):
        table = pd.read_csv(PUBLISHED / "cmr_table5.csv").set_index("size")
        row = table.loc[size]
        ratio = float(cmr_ratio(100.0, row["alpha4"], row["s4"], row["beta3"]))
        assert ratio == pytest.approx(published, abs=5e-5)  # printed to a hundredth of a percent


class TestDcptPaper:
    """Que et al. 2024, arXiv:2406.01375."""

    def log(self):
        return cp.read_log(PUBLISHED / "dcpt_usage1_log.csv")

    @pytest.mark.parametrize("bootstrap", [0, 200])
    def test_usage_1_recommends_the_published_ratio(self, bootstrap):
        fit = cp.fit(self.log(), bootstrap=bootstrap)
        plan = cp.plan(fit, model_params=1.8e9, train_tokens=10e9, max_general_rise="3%")
        assert plan.general_loss_limit == pytest.approx(2.9460, abs=5e-5)
        assert plan.domain_ratio == pytest.approx(0.924, abs=0.002)
        assert plan.binding == "tolerance"

    def test_a_power_of_the_domain_share_cannot_fit_those_rows(self):
        """With exponents of the size that ratio laws have; only a power near 27 comes close."""
        rows = self.log()
        rows = rows[(rows["eval_corpus"] == "general") & (rows["train_tokens"] > 0)]
        ratio, loss = rows["domain_ratio"].to_numpy(), rows["loss"].to_numpy()
        # alpha * R^s + beta by ordinary least squares, over the range of s that the CMR law searches
        misses = []
        for s in np.linspace(-5, 5, 101):
            design = np.stack([ratio**s, np.ones_like(ratio)], axis=1)
            solution, *_ = np.linalg.lstsq(design, loss, rcond=None)
            misses.append(np.abs(design @ solution - loss).max())
        fit = cp.fit(self.log(), "dcpt", bootstrap=0)
        prediction = fit.predict(
            "general", model_params=1.8e9, train_tokens=10e9, domain_ratio=ratio
        )
        assert np.abs(prediction.loss - loss).max() < 0.006
        assert min(misses) > 0.02


class TestReplaySweep:
    """Ibrahim et al. 2024, arXiv:2403.08763: Pile to German, 405M, six replay ratios."""

    def test_an_exponential_cannot_follow_the_general_loss(self):
        """It falls by 0.73 nats over the first percent of replay and by 0.1 over the second quarter."""
        assert largest_miss(is_power=False) > 0.1
