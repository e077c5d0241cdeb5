"""Published numbers, reproduced from the tables in data/published/."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.laws.cmr import cmr_ratio

PUBLISHED = Path(__file__).parents[1] / "data" / "published"


class TestCmrPaper:
    """Gu et al. 2024, arXiv:2407.17467."""

    @pytest.mark.parametrize(
        ("model_params", "measured"),
        [(460e6, 1.5561), (940e6, 1.4538), (1.6e9, 1.3994), (3.1e9, 1.3305)],
    )
    def test_ratio_law_predicts_the_quarter_row_of_table_2(self, model_params, measured):
        fit = cp.fit(cp.read_log(PUBLISHED / "cmr_table2_log.csv"), "cmr", bootstrap=0)
        found = fit.predict(
            "domain", model_params=model_params, train_tokens=20e9, domain_ratio=0.25
        )
        assert found.loss[0] == pytest.approx(measured, abs=1e-3)

    def test_ratio_law_has_a_negative_coefficient_there(self):
        fit = cp.fit(cp.read_log(PUBLISHED / "cmr_table2_log.csv"), "cmr", bootstrap=0)
        params = fit.summary()["domain"]["params"]
        assert params["alpha"] < 0
        assert params["s"] == pytest.approx(0.16, abs=0.01)  # 3.1B, worked out in closed form

    @pytest.mark.parametrize(
        ("size", "published"),
        [("460M", 0.2976), ("940M", 0.3489), ("1.6B", 0.4143), ("3.1B", 0.4783)],
    )
    def test_cmr_law_gives_the_critical_ratios_of_table_5(self, size, published):
        table = pd.read_csv(PUBLISHED / "cmr_table5.csv").set_index("size")
        row = table.loc[size]
        found = float(cmr_ratio(100.0, row["alpha4"], row["s4"], row["beta3"]))
        assert found == pytest.approx(published, abs=5e-5)  # printed to a hundredth of a percent


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
        found = fit.predict("general", model_params=1.8e9, train_tokens=10e9, domain_ratio=ratio)
        assert np.abs(found.loss - loss).max() < 0.006
        assert min(misses) > 0.02
