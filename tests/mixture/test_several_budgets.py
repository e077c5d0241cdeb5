"""Several corpora over budgets and sizes: laws that interact with both."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from known_mixtures import growing, truth

import cmrplan as cp
from cmrplan.fit.supply import HARM
from cmrplan.mixture import plan_findings
from cmrplan.mixture.batched_laws import MixtureRun, batches_of
from cmrplan.mixture.loss_functions import loss_functions_of
from cmrplan.mixture.request import MixturePlanRequest

LEVEL, SCALE, RATES = truth(3)


@pytest.fixture(scope="module")
def fitted():
    return cp.fit_mixture(growing(3, 15, noise=0.002), bootstrap=10)


def test_auto_takes_the_interaction_where_there_is_one(fitted):
    """A published law moves every mixture alike over tokens, which misses by 0.1 nats here."""
    for figures in fitted.summary().values():
        weights = {member["law"]: member["weight"] for member in figures["members"]}
        assert max(weights, key=weights.get) == "size_mixing"


def test_a_larger_size_at_a_later_budget(fitted):
    shares = np.random.default_rng(2).dirichlet(np.ones(3), 20)
    order = [int(name[1:]) for name in fitted.corpora]
    predicted = fitted.predict(shares, model_params=2e9, train_tokens=6.4e9)
    around = (2e9 / 3e8) ** -0.2 * (1 + 0.15 * np.log(6.4))
    places = np.empty_like(shares)
    places[:, order] = shares
    for j in range(3):
        loss = LEVEL[j] + 0.3 * (2e9 / 3e8) ** -0.3 - 0.2 * np.log(6.4)
        loss = loss + around * SCALE[j] * np.exp(places @ RATES[j])
        # twice the largest size and budget, from 15 runs with noise of 0.002
        assert np.abs(predicted[f"c{j}"].loss - loss).mean() < 0.02


def test_a_search_reads_the_laws_themselves(fitted):
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    slow = fitted.predict(shares, model_params=5e8, train_tokens=1e9)
    for corpus, model in fitted.models.items():
        estimates, draws = batches_of(model, fitted.corpora, MixtureRun(5e8, 1e9, {}))
        loss = model.component_weights @ estimates(shares)
        np.testing.assert_allclose(loss, slow[corpus].loss, rtol=1e-9)
        np.testing.assert_allclose(draws(shares), slow[corpus].draws, rtol=1e-9)


class TestRepeats:
    """A run of 1e9 tokens whose corpus c1 holds 5e7 and may be passed over ten times."""

    asked = MixturePlanRequest(
        model_params=5e8,
        train_tokens=1e9,
        available={"c1": 5e7},
        max_epochs={"c1": 10},
        objective={"c0": 1.0, "c1": 1.0, "c2": 1.0},
    )

    def test_the_own_loss_is_that_of_as_many_fresh_tokens_and_of_the_harm(self, fitted):
        functions = loss_functions_of(fitted, self.asked, {})
        for share in (0.04, 0.1, 0.3, 0.5):
            shares = np.array([[(1 - share) / 2, share, (1 - share) / 2]])
            passes = max(share * 1e9 / 5e7, 1.0)
            worth = (1 + 15.387756 * (1 - np.exp(-(passes - 1) / 15.387756))) / passes
            tokens = 1e9 * (1 - share + share * worth)
            fresh = fitted.predict(shares, model_params=5e8, train_tokens=tokens)["c1"].loss[0]
            expected = fresh * np.exp(np.mean(HARM) * np.log(passes) ** 2)
            loss, _ = functions.loss("c1", shares)
            assert loss[0] == pytest.approx(expected, rel=1e-5)

    def test_others_count_them_as_fresh(self, fitted):
        functions = loss_functions_of(fitted, self.asked, {})
        shares = np.array([[0.3, 0.5, 0.2]])
        plain = fitted.predict(shares, model_params=5e8, train_tokens=1e9)["c0"]
        loss, draws = functions.loss("c0", shares)
        np.testing.assert_allclose(loss, plain.loss, rtol=1e-9)
        np.testing.assert_allclose(draws, plain.draws, rtol=1e-9)

    def test_the_plan_takes_less_of_what_repeats_and_says_how_it_counts(self, fitted):
        counted = cp.plan_mixture(fitted, self.asked)
        fresh = cp.plan_mixture(fitted, replace(self.asked, available={"c1": 1e9}))
        assert counted.shares["c1"] < fresh.shares["c1"] - 0.01
        assert counted.epochs["c1"] > 1.2
        assert "repetition_assumed" in [w.code for w in counted.warnings]
        functions = loss_functions_of(fitted, self.asked, {})
        at = np.array([[counted.shares[name] for name in fitted.corpora]])
        assert counted.losses["c1"].loss.estimate == pytest.approx(
            float(functions.loss("c1", at)[0][0]), rel=1e-12
        )


TOKENS = 1e8 * 2.0 ** np.arange(8)


@pytest.fixture(scope="module")
def bumped():
    log = growing(3, 12, tokens=TOKENS, noise=0.002)
    log.loc[log["train_tokens"].isin(TOKENS[:2]), "loss"] += 0.3
    return log


class TestEarly:
    """The first two of eight evaluations lie outside the law."""

    def test_they_are_found_with_their_end(self, bumped):
        (said,) = (
            w.message
            for w in cp.fit_mixture(bumped, "size_mixing", bootstrap=0).warnings
            if w.code == "early_evaluations"
        )
        assert f"--min-train-tokens {TOKENS[2]:.0f} " in said

    def test_auto_leaves_them_out_and_says_so(self, bumped):
        fit = cp.fit_mixture(bumped, "size_mixing", bootstrap=0, min_train_tokens="auto")
        assert fit.settings.min_train_tokens == TOKENS[2]
        found = {w.code: w.message for w in fit.warnings}
        # two evaluations of three corpora of twelve runs
        assert found["left_out_early"].startswith("72 evaluations of 12 runs before 4e+08 tokens")
        assert "early_evaluations" not in found
        by_hand = cp.fit_mixture(bumped, "size_mixing", bootstrap=0, min_train_tokens=TOKENS[2])
        assert fit.summary() == by_hand.summary()

    def test_the_largest_size_alone_can_tell(self):
        """Budgets go on along the early evaluations' own curve at the small sizes; the largest size shows the cut."""
        log = growing(3, 12, tokens=TOKENS, noise=0.0)
        early, size = log["train_tokens"].isin(TOKENS[:2]), log["model_params"] / 3e8
        log.loc[early, "loss"] += 0.2 * np.log(size[early])
        found = cp.fit_mixture(log, "size_mixing", bootstrap=0, min_train_tokens="auto")
        assert found.settings.min_train_tokens == TOKENS[2]

    def test_a_log_that_follows_the_law_from_the_start_is_left_alone(self):
        log = growing(3, 12, tokens=TOKENS, noise=0.002)
        fit = cp.fit_mixture(log, "size_mixing", bootstrap=0, min_train_tokens="auto")
        assert fit.settings.min_train_tokens == 0
        assert not {"early_evaluations", "left_out_early"} & {w.code for w in fit.warnings}

    def test_the_command_line_takes_auto(self, call, bumped, tmp_path):
        bumped.to_csv(tmp_path / "log.csv", index=False)
        arguments = ("mix", "fit", tmp_path / "log.csv", "--law", "size_mixing", "--bootstrap", 0)
        answer = call(*arguments, "--min-train-tokens", "auto", "--json").json()
        assert answer["settings"]["min_train_tokens"] == TOKENS[2]
        assert answer["warnings"][0]["code"] == "left_out_early"
        refused = call(*arguments, "--min-train-tokens", "often")
        assert refused.code == 2


def test_auto_leaves_the_interaction_out_where_there_is_one_budget():
    log = growing(3, 12, sizes=(1e8,), tokens=(1e9,), noise=0.002)
    models = cp.fit_mixture(log, bootstrap=0).models.values()
    assert {law.law for m in models for law in m.components} <= {"data_mixing", "optimal_mixture"}


@pytest.mark.parametrize("tokens", [(1e9, 2e9), (1e9, 4e9), (1e9, 1.5e9, 2e9)])
def test_few_budgets_show_that_the_mixture_does_more_with_tokens(tokens):
    """With laws of one shape over tokens alone, less than half of the intervals held."""
    fit = cp.fit_mixture(growing(3, 12, sizes=(3e8,), tokens=tokens, noise=0.002), bootstrap=50)
    shares = np.random.default_rng(2).dirichlet(np.ones(3), 20)
    table = pd.DataFrame(shares, columns=[f"c{j}" for j in range(3)])
    predicted = fit.predict(table, model_params=3e8, train_tokens=tokens[-1])
    later = np.log(tokens[-1] / 1e9)
    for j in range(3):
        loss = LEVEL[j] + 0.3 - 0.2 * later
        loss = loss + (1 + 0.15 * later) * SCALE[j] * np.exp(shares @ RATES[j])
        low, high = predicted[f"c{j}"].interval(0.9)
        assert np.mean((low <= loss) & (loss <= high)) >= 0.8


@pytest.mark.parametrize(
    ("tokens", "is_free"),
    [
        ((1e9, 2e9, 3e9), False),
        ((1e9, 1.2e9, 1.5e9, 1.8e9), False),
        ((1e9, 2e9, 4e9), True),
        ((1e9, 1.2e9, 1.5e9, 4e9), True),
    ],
)
def test_auto_lets_the_interaction_bend_where_budgets_show_it(tokens, is_free):
    """Three smaller than half of the largest do, or three over a factor of four; a law asked for by name may bend."""
    log = growing(3, 12, sizes=(1e8,), tokens=tokens, noise=0.002)
    models = cp.fit_mixture(log, bootstrap=0).models.values()
    laws = [law.fit.law for m in models for law in m.components if law.law == "bilinear_mixing"]
    assert laws
    assert all(("beta" in [e.name for e in law.exponents]) == is_free for law in laws)
    named = cp.fit_mixture(log, "bilinear_mixing", bootstrap=0).models["c0"].components[0].fit.law
    assert "beta" in [e.name for e in named.exponents]


def test_three_budgets_over_a_factor_of_four_show_the_interaction():
    """Without it the loss at the largest budget was missed by far more than its interval is wide."""
    log = growing(3, 16, sizes=(1e8,), tokens=(1e9, 2e9, 4e9), noise=0.001)
    fit = cp.fit_mixture(log, bootstrap=40)
    assert any("bilinear_mixing" in model.law for model in fit.models.values())
    last = log[log["train_tokens"] == 4e9]
    for corpus, rows in last.groupby("eval_corpus"):
        shares = rows[[f"share_{name}" for name in fit.corpora]].to_numpy()
        predicted = fit.predict(shares, model_params=1e8, train_tokens=4e9)[corpus].loss
        assert np.mean(np.abs(predicted - rows["loss"].to_numpy())) < 0.003


def test_a_log_that_also_has_a_domain_ratio_is_fitted_by_its_shares():
    log = growing(3, 12, sizes=(1e8,), tokens=(1e9,))
    log = log.rename(columns={"share_c0": "share_domain", "share_c1": "share_general"})
    log["eval_corpus"] = log["eval_corpus"].replace({"c0": "domain", "c1": "general"})
    log["domain_ratio"] = log["share_domain"]
    alone = cp.fit_mixture(log.drop(columns="domain_ratio"), "data_mixing", bootstrap=0)
    both = cp.fit_mixture(log, "data_mixing", bootstrap=0)
    assert both.summary() == alone.summary()


@pytest.mark.parametrize(("law", "is_said"), [("auto", False), ("data_mixing", True)])
def test_a_plan_says_where_the_fit_misses_the_mixtures_beside_it(law, is_said):
    """The rise on one corpus grows with the share of the others and with tokens, which data mixing does not know."""
    generator, records = np.random.default_rng(5), []
    for run, web in enumerate(np.linspace(0, 1, 12)):
        for tokens in (0.0, 5e8, 1e9, 2e9):
            grown = 1 - (1 + tokens / 3e8) ** -0.4
            losses = {
                "web": 2.5 + 0.25 * (1 - web) ** 1.5 * grown,
                "code": 0.9 + 0.9 * (1 + (1.03 - web) * tokens / 1e8) ** -0.2,
            }
            for corpus, loss in losses.items():
                measured = loss + (tokens > 0) * 0.001 * generator.standard_normal()
                records.append((f"m{run}", 4e8, tokens, web, 1 - web, corpus, measured))
    names = ["run_id", "model_params", "train_tokens", "share_web", "share_code"]
    log = pd.DataFrame(records, columns=[*names, "eval_corpus", "loss"])
    fit = cp.fit_mixture(log, law, bootstrap=60)
    plan = cp.plan_mixture(fit, train_tokens=2e9, protected={"web": "3%"})
    said = [finding.message for finding in plan.warnings if finding.code == "misfit"]
    assert bool(said) == is_said
    assert all("the measured loss on web is 0.0" in text for text in said)
    shares = plan_findings.misfit_findings(
        fit, asked(web="0%"), fit.shares_of({"web": 0.9, "code": 0.1})
    )
    assert all("% of the allowed rise" not in finding.message for finding in shares)
    assert not plan_findings.misfit_findings(
        of_one_corpus(fit), asked(web="3%"), np.array([0.5, 0.5])
    )


def asked(**protected):
    return MixturePlanRequest(train_tokens=2e9, model_params=4e8, protected=protected)


def of_one_corpus(fit):
    """Return the fit as if web had been measured at another size alone."""
    is_web = fit.log["eval_corpus"] == "web"
    return replace(
        fit, log=fit.log.assign(model_params=fit.log["model_params"] * np.where(is_web, 2, 1))
    )
