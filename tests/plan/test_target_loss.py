"""Least tokens or size for a target, best run for a budget, scarce domain data; closed forms, see :mod:`by_hand`."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from by_hand import BASE, ByHand, D, N, ask, make_fit
from scipy.optimize import brentq, minimize_scalar

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.corpus_model import CorpusModel, Prediction
from cmrplan.fit.supply import HARM
from cmrplan.plan.questions.compared_ratios import compared_ratios
from cmrplan.plan.questions.compute_budget import best_budget
from cmrplan.plan.questions.confidence_levels import levels_beside
from cmrplan.plan.questions.domain_tokens import by_epochs, spend_domain_tokens
from cmrplan.plan.questions.sensitivity import sensitivity
from cmrplan.plan.questions.target_loss import fewest_tokens, smallest_model

PUBLISHED = Path(__file__).parents[2] / "data" / "published"
RISE = {"max_general_rise": 0.05}


class TestFewestTokens:
    # ratio 0.5 everywhere; domain loss 1.5 - 0.1 log10(tokens / D)
    fit = make_fit(per_decade=(0.0, 0.1))

    def test_matches_the_closed_form(self):
        found = fewest_tokens(self.fit, target_domain_loss=1.45, model_params=N, **RISE)
        # 201 ratios: a straight line over 0.005 of 0.2 r² errs by 3e-5 in the loss, 7e-4 of the tokens
        assert found.plan.train_tokens == pytest.approx(D * 10**0.5, rel=1e-3)
        assert found.plan.domain_loss.estimate <= 1.45 + 3e-5
        assert found.best_estimate_tokens == found.plan.train_tokens

    def test_confidence_takes_more_tokens_than_the_best_estimate(self):
        spread = np.linspace(-0.02, 0.02, 401)
        fit = make_fit(per_decade=(0.0, 0.1), spread=spread)
        domain = replace(fit.models["domain"], spread=spread)
        fit = replace(fit, models=fit.models | {"domain": domain})
        found = fewest_tokens(fit, target_domain_loss=1.45, model_params=N, **RISE)
        # nine of ten resamples lie below + 0.016, and the safe ratio is sqrt(0.034 / 0.2)
        loss = 2 - np.sqrt(0.034 / 0.2)
        expected = [D * 10 ** ((loss + shift - 1.45) / 0.1) for shift in (0.016, 0.0)]
        assert found.plan.train_tokens == pytest.approx(expected[0], rel=2e-3)
        assert found.best_estimate_tokens == pytest.approx(expected[1], rel=2e-3)
        assert found.domain_loss_safe <= 1.45

    def test_the_table_says_what_reaches_it(self):
        table = fewest_tokens(self.fit, target_domain_loss=1.45, model_params=N, **RISE).table()
        assert (table["reaches"] == (table["train_tokens"] >= D * 10**0.5 * 0.999)).all()

    def test_a_bound_on_the_tokens_or_the_compute(self):
        for bound in ({"train_tokens": 2 * D}, {"compute": 6 * N * 2 * D}):
            # at twice the tokens: 1.5 - 0.1 log10(2) = 1.4699
            with pytest.raises(CmrplanError, match=r"lowest is 1\.4699, .* train_tokens = 4e\+09"):
                fewest_tokens(self.fit, target_domain_loss=1.4, model_params=N, **RISE, **bound)

    def test_what_it_names_is_reached(self):
        found = fewest_tokens(
            self.fit, target_domain_loss=1.4699, model_params=N, train_tokens=2 * D, **RISE
        )
        assert found.plan.train_tokens <= 2 * D

    def test_a_target_below_the_first_probe_is_said(self):
        found = fewest_tokens(self.fit, target_domain_loss=1.9, model_params=N, **RISE)
        assert "target_reached_at_once" in [w.code for w in found.plan.warnings]

    def test_an_impossible_tolerance(self):
        with pytest.raises(CmrplanError, match=r"out of reach: .*smallest feasible tolerance"):
            fewest_tokens(make_fit(base=BASE - 0.5), target_domain_loss=1.4, model_params=N, **RISE)

    @pytest.mark.parametrize("target", [0.0, -1.0, float("nan")])
    def test_bad_target(self, target):
        with pytest.raises(InputError, match="target_domain_loss must be a number above 0"):
            fewest_tokens(self.fit, target_domain_loss=target, model_params=N, **RISE)


class TestSmallestModel:
    # domain loss 1.5 - 0.2 log10(size / N); general loss and its base do not depend on the size
    fit = make_fit(per_size=(0.0, 0.2))

    def ask(self, target, sizes):
        return smallest_model(
            self.fit, target_domain_loss=target, sizes=sizes, train_tokens=D, **RISE
        )

    def test_is_the_first_that_reaches_it(self):
        # 1.4 needs 10^0.5 N
        found = self.ask(1.4, [4 * N, N, 3 * N, 10 * N])
        assert found.plan.model_params == 4 * N
        assert found.table()["reaches"].tolist() == [False, False, True, True]

    def test_none_does(self):
        with pytest.raises(CmrplanError, match=r"lowest is 1\.5000, at model_params = 1e\+08"):
            self.ask(1.4, [N])

    @pytest.mark.parametrize("sizes", [[], [0.0]])
    def test_bad_sizes(self, sizes):
        with pytest.raises(InputError, match="sizes"):
            self.ask(1.4, sizes)


@dataclass(frozen=True)
class Chinchilla(CorpusModel):
    """Domain loss 1 + a (N / size)^0.3 + b (D / tokens)^0.2 - 0.1 r."""

    corpus: str = "domain"
    law: str = "dcpt"
    a: float = 0.5
    b: float = 0.4

    def predict(self, columns):
        size, tokens, ratio = (
            columns[name] for name in ("model_params", "train_tokens", "domain_ratio")
        )
        loss = 1 + self.a * (N / size) ** 0.3 + self.b * (D / tokens) ** 0.2
        return Prediction(columns, loss - 0.1 * ratio, np.zeros((0, len(ratio))))

    def summary(self, confidence):
        return {}


class TestBestBudget:
    def fit(self):
        made = make_fit()
        return replace(made, models=made.models | {"domain": Chinchilla()})

    def test_matches_the_closed_form(self):
        # minimum over N of a (N0/N)^0.3 + b (6 N D0/C)^0.2: 0.3 a (N0/N)^0.3 = 0.2 b (6 N D0/C)^0.2
        compute = 6 * N * D * 4
        best = N * (0.3 * 0.5 / (0.2 * 0.4 * (1 / 4) ** 0.2)) ** (1 / 0.5)
        found = best_budget(self.fit(), compute=compute, size_range=(N / 10, 100 * N), **RISE)
        # the loss is flat to second order: sizes 1/13² of three decades apart
        assert found.plan.model_params == pytest.approx(best, rel=0.05)
        assert found.plan.compute == pytest.approx(compute)
        assert found.plan.domain_ratio == pytest.approx(0.5, abs=1e-6)
        losses = found.table()["domain_loss"]
        assert losses.min() == pytest.approx(found.plan.domain_loss.estimate, abs=1e-5)

    def test_among_listed_sizes(self):
        found = best_budget(self.fit(), compute=6 * N * D, sizes=[N / 10, N, 10 * N], **RISE)
        by_hand = {
            size: 0.5 * (N / size) ** 0.3 + 0.4 * (size / N) ** 0.2 for size in (N / 10, N, 10 * N)
        }
        assert found.plan.model_params == min(by_hand, key=by_hand.get)
        np.testing.assert_allclose(
            found.table()["domain_loss"], 1 - 0.05 + np.array(list(by_hand.values())), atol=1e-5
        )

    def test_the_edge_is_said(self):
        found = best_budget(self.fit(), compute=6 * N * D, sizes=[10 * N, 30 * N], **RISE)
        assert "size_at_edge" in [w.code for w in found.plan.warnings]

    def test_no_feasible_size(self):
        with pytest.raises(CmrplanError, match="no size has a feasible ratio at 1e"):
            best_budget(make_fit(base=BASE - 1), compute=1e18, sizes=[N], **RISE)

    def test_two_ways_of_giving_sizes(self):
        with pytest.raises(InputError, match="give one"):
            best_budget(self.fit(), compute=1e18, sizes=[N], size_range=(N, 2 * N), **RISE)


class TestFewDomainTokens:
    def test_repeats_are_worth_what_was_published(self):
        # four passes: a token is worth 0.931, so ratio 0.5 has 0.5 + 0.5 * 0.931 of the tokens
        worth = pd.read_csv(PUBLISHED / "repetition_worth.csv").set_index("epochs")
        fit = make_fit(per_decade=(0.0, 0.1))
        for epochs in (2, 4, 8):
            at_half = {"min_ratio": 0.5, "max_ratio": 0.5, "max_general_rise": 0.2}
            made = ask(fit, **at_half, domain_tokens=0.5 * D / epochs, max_epochs=epochs)
            fresh = 0.5 + 0.5 * worth.loc[epochs, "worth_of_a_token"]
            harm = np.exp(np.mean(HARM) * np.log(epochs) ** 2)
            # the table has three digits
            expected = harm * (1.5 - 0.1 * np.log10(fresh))
            assert made.domain_loss.estimate == pytest.approx(expected, abs=2e-5)
            assert made.domain_epochs == pytest.approx(epochs, rel=1e-5)
            assert "repetition_assumed" in [w.code for w in made.warnings]

    def test_one_pass_needs_no_assumption(self):
        codes = [w.code for w in ask(domain_tokens=0.2 * D).warnings]
        assert "repetition_assumed" not in codes

    def test_by_epochs(self):
        table = by_epochs(
            make_fit(),
            model_params=N,
            train_tokens=D,
            domain_tokens=0.1 * D,
            epochs=(1, 2, 8),
            **RISE,
        )
        # an epoch more allows 0.1 more, until the tolerance binds at 0.5, or a little below since five passes harm
        ratio = table["domain_ratio"].to_numpy()
        np.testing.assert_allclose(ratio[:2], [0.1, 0.2], atol=1e-4)
        assert 0.49 < ratio[2] < 0.5
        np.testing.assert_allclose(table["domain_epochs"], 10 * ratio, atol=1e-3)

    def test_the_cmr_laws_do_not_read_tokens(self, log):
        fit = cp.fit(log, "cmr", bootstrap=0)
        where = {"model_params": 1e6, "train_tokens": 1e6, "max_general_rise": "5%"}
        made = cp.plan(fit, **where, domain_tokens=3e5, max_epochs=2)
        assert "repetition_not_counted" in [w.code for w in made.warnings]
        with pytest.raises(CmrplanError, match="fit with the law dcpt"):
            spend_domain_tokens(fit, model_params=1e6, domain_tokens=3e5, max_general_rise="5%")


@dataclass(frozen=True)
class Dcpt(CorpusModel):
    """Domain loss E + B r^0.3 / D^0.2 + C / (r + 0.1)^0.5, D in 1e9 tokens."""

    constant: float
    tokens: float
    share: float
    corpus: str = "domain"
    law: str = "dcpt"

    def loss(self, ratio, train_tokens):
        return (
            self.constant
            + self.tokens * ratio**0.3 / (np.asarray(train_tokens) / 1e9) ** 0.2
            + self.share / (ratio + 0.1) ** 0.5
        )

    def predict(self, columns):
        loss = self.loss(columns["domain_ratio"], columns["train_tokens"])
        return Prediction(columns, loss, np.zeros((0, len(loss))))

    def summary(self, confidence):
        return {}


class Turning(ByHand):
    """A domain loss that is lowest at 0.3 and rises steeply from 0.8 D on."""

    def predict(self, columns):
        loss = 2 + (columns["domain_ratio"] - 0.3) ** 2
        loss = loss + 10 * np.maximum(columns["train_tokens"] / D - 0.8, 0)
        return Prediction(columns, loss, np.zeros((0, len(loss))))


class TestDcptPaperUsage2:
    """Que et al. 2024, second usage: Music, 1.8B, 5e9 domain tokens used once."""

    rows = pd.read_csv(PUBLISHED / "dcpt_usage2.csv")

    def fit(self):
        """A D-CPT law with the published prediction as its minimum, and through the measured loss at 0.2.

        The paper prints no parameters; the exponents are of the size its others have.
        """
        unique = float(self.rows["unique_domain_tokens"].iloc[0])
        best = self.rows[self.rows["is_recommended"] == "yes"].iloc[0]
        columns = [Dcpt(1, 0, 0), Dcpt(0, 1, 0), Dcpt(0, 0, 1)]
        r, step = best["domain_ratio"], 1e-5
        at = lambda model, ratio: model.loss(ratio, unique / ratio)  # noqa: E731
        system = np.array(
            [
                [at(m, r) for m in columns],
                [(at(m, r + step) - at(m, r - step)) / (2 * step) for m in columns],
                [at(m, 0.2) for m in columns],
            ]
        )
        first = self.rows[self.rows["domain_ratio"] == 0.2].iloc[0]
        wanted = [best["domain_loss_predicted"], 0.0, first["domain_loss"]]
        model = Dcpt(*np.linalg.solve(system, wanted))
        made = make_fit(ratios=(0.1, 0.2, 0.5, 0.8, 1.0))
        return replace(made, models=made.models | {"domain": model}), model, unique, best

    def test_the_plan_gives_the_published_answer(self):
        fit, model, unique, best = self.fit()
        made = spend_domain_tokens(
            fit, model_params=1.8e9, domain_tokens=unique, max_general_rise="1nats"
        )
        assert made.domain_ratio == pytest.approx(0.732, abs=0.001)  # the step of the ratios
        assert made.domain_loss.estimate == pytest.approx(best["domain_loss_predicted"], abs=1e-6)
        assert made.train_tokens == pytest.approx(unique / made.domain_ratio)
        assert made.domain_epochs == pytest.approx(1.0)
        found = minimize_scalar(
            lambda r: model.loss(r, unique / r), bounds=(0.1, 1), method="bounded"
        )
        assert made.domain_ratio == pytest.approx(found.x, abs=0.001)

    def test_a_tolerance_holds_along_the_way(self):
        fit, _, unique, _ = self.fit()
        made = spend_domain_tokens(fit, model_params=N, domain_tokens=unique, max_general_rise=0.05)
        assert made.domain_ratio == pytest.approx(0.5, abs=1e-5)

    def test_ratios_are_compared_over_lengths(self):
        # the general loss rises by 0.2 r² whatever the length, and resamples shift it by 0.02 nats
        fit = make_fit(spread=[-0.02, 0.02])
        made = spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE)
        ends = np.sqrt([0.03 / 0.2, 0.07 / 0.2])
        inside = (ends[1] - ends[0]) * 0.05  # the 5 % quantile of two draws, a twentieth of the way
        assert made.domain_ratio_low == pytest.approx(ends[0] + inside, abs=1e-3)  # of the grid
        assert made.domain_ratio_high == pytest.approx(ends[1] - inside, abs=1e-3)
        assert made.unconstrained_domain_ratio == 1
        tolerance = next(one for one in made.constraints if one.name == "tolerance")
        assert made.binding == "tolerance"
        assert tolerance.is_binding
        assert tolerance.ratio_without == 1
        assert tolerance.breakpoint == pytest.approx(0.2 + 0.016, abs=1e-3)  # and the 90 % quantile

    def test_the_risk_of_the_best_estimate_is_that_of_its_own_length(self):
        # the general loss rises by 0.2 r² and 0.04 nats a decade; half of the resamples lie above the estimate
        fit = make_fit(per_decade=(-0.04, 0.0), spread=np.linspace(-0.02, 0.02, 401))
        made = spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE)
        assert made.domain_ratio < made.ratio.estimate
        assert made.violation_probability == pytest.approx(0.1, abs=0.01)
        assert made.point_violation_probability == pytest.approx(0.5, abs=0.01)

    def test_what_stands_beside_it_is_compared_over_lengths(self):
        # 0.2 r² + 0.04 log10(0.4 / r) + spread reaches what is allowed where its confidence says
        fit = make_fit(per_decade=(-0.04, 0.0), spread=np.linspace(-0.02, 0.02, 401))
        asked = {"model_params": N, "domain_tokens": 0.4 * D}
        made = spend_domain_tokens(fit, **asked, **RISE)

        def ratio_that_reaches(rise):
            return brentq(lambda r: 0.2 * r**2 + 0.04 * np.log10(0.4 / r) - rise, 0.3, 1)

        assert made.domain_ratio == pytest.approx(ratio_that_reaches(0.05 - 0.016), abs=1e-3)
        levels = levels_beside(fit, made).set_index(["rise_over", "confidence"])["domain_ratio"]
        for level, spread in ((0.5, 0.0), (0.8, 0.012), (0.9, 0.016), (0.95, 0.018)):
            expected = ratio_that_reaches(0.05 - spread)
            assert levels["base", level] == pytest.approx(expected, abs=1e-3)
        table = sensitivity(fit, made).query("choice == 'tolerance'")["domain_ratio"]
        reached = [ratio_that_reaches(0.05 * factor - 0.016) for factor in (1.25, 2.0)]
        np.testing.assert_allclose(table[2:], reached, atol=1e-3)
        beside = compared_ratios(fit, made, ratios=[0.8]).set_index("domain_ratio")
        assert beside.loc[0.8, "train_tokens"] == pytest.approx(0.5 * D)
        expected = 0.2 * 0.8**2 + 0.04 * np.log10(0.4 / 0.8)
        assert beside.loc[0.8, "general_rise"] == pytest.approx(expected, abs=1e-4)
        with pytest.raises(InputError, match="never uses the domain tokens up"):
            compared_ratios(fit, made, ratios=[0.0])

    def test_compute_bounds_the_length(self):
        # the domain loss falls with the tokens far more than with the ratio: the longest run is the best
        fit = make_fit(domain=(2.0, -0.01, 1.0), per_decade=(0.0, 0.1))
        made = spend_domain_tokens(
            fit, model_params=N, domain_tokens=0.4 * D, compute=6 * N * 2 * D, **RISE
        )
        assert made.train_tokens == pytest.approx(2 * D)
        assert made.domain_ratio == pytest.approx(0.2)
        free = spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE)
        assert "longest_run" in [w.code for w in free.warnings]

    def longest_is_best(self, **asked):
        fit = make_fit(domain=(2.0, -0.01, 1.0), per_decade=(0.0, 0.1))
        return spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE | asked)

    def test_no_constraint_is_named_that_other_lengths_do_not_know(self):
        # 0.25 is the smallest probed ratio above 0, and the run is 1.6 D long; at that length 0.5 would keep the limit
        made = self.longest_is_best()
        assert made.domain_ratio == made.unconstrained_domain_ratio == 0.25
        assert made.binding == "none"
        assert [one.name for one in made.constraints] == ["tolerance"]

    @pytest.mark.parametrize(
        ("asked", "ratio", "name", "matters_at"),
        [
            ({"min_ratio": 0.4}, 0.4, "ratio_floor", 0.25),
            # 0.4 D in a run of 0.8 D; the run of 1.6 D takes twice the FLOPs
            ({"compute": 6 * N * 0.8 * D}, 0.5, "compute", 6 * N * 1.6 * D),
        ],
    )
    def test_what_bounds_the_length_is_what_binds(self, asked, ratio, name, matters_at):
        made = self.longest_is_best(**asked)
        assert made.domain_ratio == pytest.approx(ratio)
        assert made.unconstrained_domain_ratio == 0.25
        assert made.binding == name
        (bound,) = [one for one in made.constraints if one.name == name]
        assert bound.is_binding
        assert bound.ratio_without == 0.25
        assert bound.breakpoint == pytest.approx(matters_at)

    def test_the_domain_data_are_used_up_where_fewer_passes_at_that_length_would_be_better(self):
        # a run longer than 0.8 D is far worse, so 0.5 is the best; at that length 0.3 has a lower domain loss
        fit = make_fit()
        turning = Turning("domain", 2.0, 0.0, 1.0)
        fit = replace(fit, models=fit.models | {"domain": turning})
        made = spend_domain_tokens(fit, model_params=N, domain_tokens=0.4 * D, **RISE)
        assert made.domain_ratio == pytest.approx(0.5, abs=1e-3)  # the step of the ratios
        assert made.domain_epochs == pytest.approx(1.0)
        assert made.train_tokens == pytest.approx(0.4 * D / made.domain_ratio)

    def test_contradictions(self):
        with pytest.raises(CmrplanError, match=r"needs a domain ratio of 0\.4 or more and 0\.3"):
            spend_domain_tokens(
                make_fit(), model_params=N, domain_tokens=0.4 * D, compute=6 * N * D,
                max_ratio=0.3, **RISE,
            )  # fmt: skip
        with pytest.raises(CmrplanError, match=r"smallest feasible tolerance is 0\.113 nats"):
            # 0.1 above the base, and 0.2 * 0.25² more at the smallest probed ratio above 0
            spend_domain_tokens(
                make_fit(base=BASE - 0.1), model_params=N, domain_tokens=0.4 * D, **RISE
            )
