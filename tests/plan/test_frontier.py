"""The whole trade-off and the critical ratio as a curve; see :mod:`by_hand`."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from by_hand import BASE, D, N, ask, make_fit

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.plan.questions.critical_curve import (
    critical_over_sizes,
    critical_over_tokens,
    default_values,
    measured_critical,
)
from cmrplan.plan.questions.frontier import efficient, frontier
from cmrplan.plan.request import PlanRequest

PUBLISHED = Path(__file__).parents[2] / "data" / "published"
PAPER_UNIT = 0.2e9  # tokens that the CMR paper counts as one


class TestFrontier:
    def test_is_the_law_over_the_ratio(self):
        found = frontier(make_fit(), model_params=N, train_tokens=D)
        assert len(found.domain_ratio) == 200
        np.testing.assert_allclose(found.rise, 0.2 * found.domain_ratio**2, atol=1e-12)
        np.testing.assert_allclose(found.domain_loss, 2 - found.domain_ratio)
        assert found.is_efficient.all()

    def test_its_needed_rise_gives_the_ratio_back(self):
        fit = make_fit(spread=np.linspace(-0.02, 0.02, 101))
        found = frontier(fit, model_params=N, train_tokens=D, max_general_rise="1%")
        for k in (60, 120, 180):
            made = ask(fit, max_general_rise=f"{100 * found.needed_rise[k]:.12g}%")
            assert made.domain_ratio == pytest.approx(found.domain_ratio[k], abs=2e-6)

    def test_bands_and_chances_are_those_of_the_resamples(self):
        spread = np.linspace(-0.02, 0.02, 401)
        found = frontier(
            make_fit(spread=spread), model_params=N, train_tokens=D, max_general_rise=0.05
        )
        np.testing.assert_allclose(found.general_loss_high - found.general_loss, 0.018)
        # at ratio r a resample breaks the limit where its shift is above 0.05 - 0.2 r²
        expected = [np.mean(spread > 0.05 - 0.2 * r**2 + 1e-12) for r in found.domain_ratio]
        np.testing.assert_allclose(found.violation_probability, expected)
        # the largest ratio of 200 that nine of ten resamples allow: shift 0.016
        exact = np.sqrt((0.05 - 0.016) / 0.2)
        assert exact - 1 / 199 <= found.chance_constrained_ratio(0.9) <= exact

    def test_a_ratio_that_costs_more_and_gains_nothing_is_not_efficient(self):
        # the domain loss rises with the ratio: only the smallest ratio is worth anything
        found = frontier(make_fit(domain=(2.0, 1.0, 1.0)), model_params=N, train_tokens=D)
        assert found.is_efficient.tolist() == [True] + [False] * 199

    def test_efficient_by_brute_force(self):
        rng = np.random.default_rng(3)
        general, domain = rng.integers(0, 6, (2, 40)).astype(float)
        pairs = list(zip(general, domain, strict=True))
        found = efficient(general, domain)
        for (g, d), is_kept in zip(pairs, found, strict=True):
            dominated = any(a <= g and b <= d and (a, b) != (g, d) for a, b in pairs)
            assert not (is_kept and dominated)
        kept = {pair for pair, is_kept in zip(pairs, found, strict=True) if is_kept}
        best = {
            (g, d)
            for g, d in pairs
            if not any(a <= g and b <= d and (a, b) != (g, d) for a, b in pairs)
        }
        assert kept == best

    def test_needs_two_points(self):
        with pytest.raises(InputError, match="num_points must be 2 or more, got 1"):
            frontier(make_fit(), model_params=N, train_tokens=D, num_points=1)


class TestCritical:
    # the general loss falls by 0.02 nats a decade of tokens, so the critical ratio grows
    fit = make_fit(per_decade=(0.02, 0.0), spread=np.linspace(-0.01, 0.01, 21))

    def test_over_tokens_matches_the_closed_form(self):
        tokens = [D, 10 * D, 100 * D]
        found = critical_over_tokens(
            self.fit, model_params=N, train_tokens=tokens, max_general_rise=0.05, confidence=0.5
        )
        expected = np.sqrt((0.05 + 0.02 * np.array([0, 1, 2])) / 0.2)
        np.testing.assert_allclose(found.best_estimate, expected, atol=1e-4)  # 201 ratios
        np.testing.assert_allclose(found.domain_ratio, expected, atol=1e-4)
        assert (found.low < found.best_estimate).all()
        assert (found.best_estimate < found.high).all()

    def test_over_sizes_with_the_base_of_each(self):
        # general loss and base fall alike with size, 0.1 nats a decade, so the ratio stays
        fit = make_fit(per_size=(0.1, 0.1))
        fit.base_loss["general"].update({10 * N: BASE - 0.1})
        found = critical_over_sizes(
            fit, train_tokens=D, model_params=[N, 10 * N], max_general_rise=0.05
        )
        np.testing.assert_allclose(found.domain_ratio, 0.5, atol=1e-4)

    def test_has_a_row_for_a_size_with_a_measured_base(self):
        fit = cp.fit(PUBLISHED.parent / "probes" / "log.csv", bootstrap=0)
        measured = 5e6
        assert measured not in default_values(fit, "model_params")
        fit.base_loss["general"][measured] = 1.2
        assert measured in default_values(fit, "model_params")

    def test_goes_ten_times_beyond_the_probes(self):
        found = critical_over_tokens(self.fit, model_params=N, max_general_rise=0.05)
        assert found.values[[0, -1]] == pytest.approx([0.5 * D, 10 * D])

    def test_a_place_without_a_ratio_says_why(self):
        # at a hundredth of the tokens the general loss is 0.04 above the base
        found = critical_over_tokens(
            self.fit, model_params=N, train_tokens=[D / 100, D], max_general_rise=0.03
        )
        assert np.isnan(found.domain_ratio[0])
        assert "smallest feasible tolerance" in found.reason[0]
        assert found.table()["reason"].tolist()[1] == ""
        alone = critical_over_tokens(
            self.fit, model_params=N, train_tokens=[D / 100], max_general_rise=0.03
        )
        assert np.isnan(alone.domain_ratio).all()

    def test_the_largest_probed_ratio_is_marked(self):
        found = critical_over_tokens(
            self.fit, model_params=N, train_tokens=[D], max_general_rise=0.5
        )
        assert found.at_edge.tolist() == [True]

    def test_the_measured_one_needs_no_law(self):
        fit = make_fit()
        fit.log["loss"] = np.where(
            fit.log["eval_corpus"] == "general",
            BASE + 0.2 * fit.log["domain_ratio"],
            2 - fit.log["domain_ratio"],
        )
        place, ratio = measured_critical(fit, PlanRequest(max_general_rise=0.05), "train_tokens", N)
        assert place.tolist() == [0.5 * D, D]
        np.testing.assert_allclose(ratio, 0.25)

    def test_by_the_measurements_a_domain_loss_that_turns_has_its_lowest_inside(self):
        fit, ratio = make_fit(), make_fit().log["domain_ratio"]
        domain = 2 + (ratio - 0.5) ** 2
        fit.log["loss"] = np.where(fit.log["eval_corpus"] == "general", BASE, domain)
        asked = PlanRequest(max_general_rise=0.05)
        assert measured_critical(fit, asked, "train_tokens", N)[1].tolist() == [0.5, 0.5]
        unknown = (fit.log["eval_corpus"] == "domain") & (ratio == 0.75)  # not measured at each
        fit = replace(fit, log=fit.log[~unknown])
        assert measured_critical(fit, asked, "train_tokens", N)[1].tolist() == [1.0, 1.0]

    @pytest.mark.parametrize("tokens", [[], [0.0], [float("nan")]])
    def test_bad_places_name_the_argument(self, tokens):
        with pytest.raises(InputError, match="train_tokens"):
            critical_over_tokens(
                self.fit, model_params=N, train_tokens=tokens, max_general_rise=0.05
            )


class TestCmrPaper:
    """Gu et al. 2024: losses whose general part peaks where Table 5 says give its critical ratios back."""

    def log(self, size, ratios):
        law = pd.read_csv(PUBLISHED / "cmr_table5.csv").set_index("size").loc[size]
        rows = []
        for ratio in ratios:
            turn = ((ratio - law["beta3"]) / law["alpha4"]) ** (1 / law["s4"])
            for t in [0.0, *np.geomspace(20, 100, 8)]:
                # 0.01 T^0.3 less what makes its slope vanish at the turn
                rise = 0.01 * (t**0.3 - 0.5 * turn**-0.3 * t**0.6)
                for corpus, loss in (("general", 2.5 + rise), ("domain", 2 - 0.3 * ratio * t**0.2)):
                    rows.append(
                        {
                            "run_id": f"r{ratio:g}",
                            "model_params": float(law["model_params"]),
                            "train_tokens": t * PAPER_UNIT,
                            "domain_ratio": ratio,
                            "eval_corpus": corpus,
                            "loss": loss,
                        }
                    )
        return pd.DataFrame(rows)

    @pytest.mark.parametrize("size", ["460M", "940M", "1.6B", "3.1B"])
    def test_the_plan_finds_the_published_critical_ratio(self, size):
        published = pd.read_csv(PUBLISHED / "cmr_critical_ratio.csv")
        row = published[(published["size"] == size) & (published["domain"] == "finance")].iloc[0]
        fit = cp.fit(self.log(size, np.arange(0.2, 0.61, 0.05)), "cmr", bootstrap=0)
        made = cp.plan(
            fit,
            model_params=float(row["model_params"]),
            train_tokens=float(row["train_tokens"]),
            max_general_rise=0.05,  # the paper's; its losses rise by less
            turning_point=np.inf,
        )
        # slopes are joined by straight lines between ratios 0.05 apart; the paper prints four digits
        assert made.domain_ratio == pytest.approx(row["critical_ratio"], abs=0.005)
        assert made.binding == "turning_point"
        found = critical_over_tokens(
            fit,
            model_params=float(row["model_params"]),
            train_tokens=[60 * PAPER_UNIT, 80 * PAPER_UNIT],
            max_general_rise=0.05,
            turning_point=np.inf,
        )
        law = pd.read_csv(PUBLISHED / "cmr_table5.csv").set_index("size").loc[size]
        expected = law["alpha4"] * np.array([60.0, 80.0]) ** law["s4"] + law["beta3"]
        inside = expected > 0.2  # the smallest probed ratio
        assert inside.any()
        np.testing.assert_allclose(found.domain_ratio[inside], expected[inside], atol=0.005)
