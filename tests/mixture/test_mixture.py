"""Several corpora: known laws, grids and an independent method as references."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_mixtures import ASKED, D, true_losses, truth, world
from picture_faults import faults

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.mixture.batched_laws import MixtureRun, batches_of
from cmrplan.mixture.extrapolation import distance_to_probed
from cmrplan.mixture.plane import project
from cmrplan.plots import mixture_data, mixture_figure


def simplex_grid(step):
    ticks = np.arange(0, round(1 / step) + 1) * step
    a, b = np.meshgrid(ticks, ticks)
    grid = np.stack([a.ravel(), b.ravel(), 1 - a.ravel() - b.ravel()], axis=1)
    return np.maximum(grid[grid[:, 2] > -1e-12], 0.0)


def test_nothing_on_a_fine_grid_is_better(three, planned):
    grid = simplex_grid(0.0025)
    place = {name: j for j, name in enumerate(three.corpora)}
    found = three.predict(grid, model_params=1e8, train_tokens=D)
    base = {c: three.base_loss[c][1e8] for c in ("c0", "c1")}
    limit = {"c0": 1.02 * base["c0"], "c1": base["c1"] + 0.04}
    held = np.all([found[c].draws <= limit[c] for c in limit], axis=0)
    probed = three.mixtures()
    inside = np.all((grid >= probed.min(axis=0)) & (grid <= probed.max(axis=0)), axis=1)
    # as many resamples hold as the plan keeps: more than nine tenths, since it leans on those it knows
    shares = [[planned.shares[name] for name in three.corpora]]
    at_plan = three.predict(np.array(shares), model_params=1e8, train_tokens=D)
    kept = np.all([at_plan[c].draws[:, 0] <= limit[c] + 1e-9 for c in limit], axis=0).sum()
    assert kept > 0.9 * three.num_draws
    feasible = inside & (held.sum(axis=0) >= kept) & (grid[:, place["c2"]] <= 0.45)
    best = found["c2"].loss[feasible].min()
    assert planned.objective.estimate <= best + 1e-9
    # a grid point lies within a step of every feasible one, and no loss is steeper than 5 nats a unit of share
    assert planned.objective.estimate >= best - 5 * 2 * 0.0025
    assert planned.violation_probability <= 0.1


def test_intervals_hold_each_resamples_own_optimum_on_a_grid(three, planned):
    grid = simplex_grid(0.0025)
    place = {name: j for j, name in enumerate(three.corpora)}
    found = three.predict(grid, model_params=1e8, train_tokens=D)
    limit = {"c0": 1.02 * three.base_loss["c0"][1e8], "c1": three.base_loss["c1"][1e8] + 0.04}
    probed = three.mixtures()
    inside = np.all((grid >= probed.min(axis=0)) & (grid <= probed.max(axis=0)), axis=1)
    inside &= grid[:, place["c2"]] <= 0.45
    held = inside & np.all([found[c].draws <= limit[c] for c in limit], axis=0)
    best = grid[np.argmin(np.where(held, found["c2"].draws, np.inf), axis=1)]
    low, high = np.quantile(best, [0.05, 0.95], axis=0)
    for name, j in place.items():  # the best of a grid lies within two steps of the best
        assert planned.shares_low[name] == pytest.approx(low[j], abs=0.005)
        assert planned.shares_high[name] == pytest.approx(high[j], abs=0.005)


def test_first_order_conditions_hold(planned):
    # what finite differences over a share of 1e-4 leave of the gradient
    assert planned.optimality < 1e-3
    assert {b.kind for b in planned.binding} <= {"tolerance", "available", "probed_low"}
    assert all(b.price > 0 for b in planned.binding)


def test_the_price_of_a_tolerance_is_the_slope_of_the_answer(three):
    asked = {"train_tokens": D, "protected": {"c0": 0.02}}
    fit = replace(
        three,
        settings=replace(three.settings, bootstrap=0),
        models={
            c: replace(
                m,
                members=tuple(
                    replace(k, search=k.search[:0], coefficients=k.coefficients[:0])
                    for k in m.members
                ),
            )
            for c, m in three.models.items()
        },
    )
    less, here, more = (
        cp.plan_mixture(fit, **asked | {"protected": {"c0": t}}) for t in (0.019, 0.02, 0.021)
    )
    assert here.shares_low["c0"] is None
    slope = (less.objective.estimate - more.objective.estimate) / 0.002
    (binding,) = [b for b in here.binding if b.kind == "tolerance"]
    assert binding.price == pytest.approx(slope, rel=1e-3)  # central difference of a smooth curve


def test_relabelling_permutes_the_answer():
    names = ["c0", "c1", "c2"]
    other = dict(zip(names, ["zebra", "ant", "mole"], strict=True))
    log = world(3, 12)
    renamed = log.assign(eval_corpus=log["eval_corpus"].map(other))
    renamed = renamed.rename(columns={f"share_{a}": f"share_{b}" for a, b in other.items()})
    asked = {"train_tokens": D, "protected": {"c1": "3%"}, "available": {"c2": 0.5e9}}
    swapped = {
        "train_tokens": D,
        "protected": {other["c1"]: "3%"},
        "available": {other["c2"]: 0.5e9},
    }
    first = cp.plan_mixture(cp.fit_mixture(log, bootstrap=10), **asked)
    second = cp.plan_mixture(cp.fit_mixture(renamed, bootstrap=10), **swapped)
    assert {other[c]: share for c, share in first.shares.items()} == second.shares
    assert {other[c]: low for c, low in first.shares_low.items()} == second.shares_low
    assert first.objective == second.objective


def test_more_tolerance_never_worsens_the_answer(three):
    best = [
        cp.plan_mixture(
            three, **ASKED | {"protected": {"c0": f"{t}%", "c1": "3%"}}
        ).objective.estimate
        for t in (0.8, 1, 2, 4, 8)
    ]
    # a search stops when a round gains less than 1e-9 nats and a step less than 1e-10
    assert np.all(np.diff(best) <= 1e-7)
    assert best[-1] < best[0] - 0.01


@settings(max_examples=8, deadline=None)
@given(
    tolerance=st.floats(0.02, 0.2),
    available=st.floats(0.35, 2.0),
    floor=st.floats(0.05, 0.2),
)
def test_the_answer_is_feasible(three, tolerance, available, floor):
    plan = cp.plan_mixture(
        three,
        train_tokens=D,
        protected={"c0": tolerance},
        available={"c2": available * D},
        floors={"c1": floor},
    )
    assert sum(plan.shares.values()) == pytest.approx(1, abs=1e-12)
    assert plan.shares["c1"] >= floor
    assert plan.shares["c2"] <= available * (
        1 + 1e-15
    )  # tokens were multiplied by D and divided again
    assert plan.violation_probability <= 0.1
    assert plan.losses["c0"].limit == three.base_loss["c0"][1e8] + tolerance


def test_the_optimum_of_seven_known_laws_is_found():
    """Against exponentiated gradient steps on the true laws, a method that shares nothing with ours."""
    m = 7
    log = world(m, 40, noise=0.0)
    fit = cp.fit_mixture(log, "data_mixing", bootstrap=0)
    plan = cp.plan_mixture(fit, train_tokens=D)
    low = log[[f"share_c{j}" for j in range(m)]].min().to_numpy()  # a plan stays where probes were
    _, scale, rates = truth(m)
    room, y = 1 - low.sum(), np.full(m, 1 / m)
    for _ in range(20_000):
        slope = (scale * np.exp(rates @ (low + room * y))) @ rates
        y = y * np.exp(-0.02 * slope)
        y /= y.sum()
    x = low + room * y
    shares = np.array([plan.shares[f"c{j}"] for j in range(m)])
    # exact losses leave the fit an error of about 1e-9; the shares that leave the sum flat to 1e-7 differ by 1e-3
    assert true_losses(m, shares).sum() == pytest.approx(true_losses(m, x).sum(), abs=1e-7)
    np.testing.assert_allclose(shares, x, atol=1e-3)


def test_a_search_at_many_points_reads_the_laws_themselves(three):
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    slow = three.predict(shares, model_params=1e8, train_tokens=D)
    for corpus, model in three.models.items():
        estimates, draws = batches_of(model, three.corpora, MixtureRun(1e8, D, {}))
        np.testing.assert_allclose(
            model.component_weights @ estimates(shares), slow[corpus].loss, rtol=1e-9
        )
        np.testing.assert_allclose(draws(shares), slow[corpus].draws, rtol=1e-9)


def test_an_infeasible_question_names_tolerances_that_work(three):
    plan = cp.plan_mixture(three, train_tokens=D, protected={"c0": 0.0, "c1": 0.0, "c2": 0.0})
    said = plan.reason.split("smallest feasible tolerance: ")[1].split(" (at")[0]
    enough = dict(part.split(" ", 1) for part in said.split(", "))
    enough = {"c0": 0.0, "c1": 0.0, "c2": 0.0} | enough
    assert cp.plan_mixture(three, train_tokens=D, protected=enough).violation_probability <= 0.1


def test_too_few_tokens_name_a_budget_that_works(three):
    scarce = {"c0": 2e8, "c1": 2e8, "c2": 2e8}
    with pytest.raises(CmrplanError, match=r"lower train_tokens to 6e.08"):
        cp.plan_mixture(three, train_tokens=D, available=scarce)
    plan = cp.plan_mixture(three, train_tokens=6e8, available=scarce)
    assert list(plan.epochs.values()) == pytest.approx([1, 1, 1])


def test_rises_may_count_from_a_mixture(three):
    equal = dict.fromkeys(three.corpora, 1 / 3)
    plan = cp.plan_mixture(three, train_tokens=D, protected={"c0": "1%"}, reference=equal)
    at = three.predict(equal, model_params=1e8, train_tokens=D)["c0"]
    assert plan.losses["c0"].limit == pytest.approx(1.01 * at.loss[0])
    assert plan.violation_probability <= 0.1


def test_a_file_gives_the_same_plan_and_the_same_question_twice_too(three, planned, tmp_path):
    cp.write_mixture_fit(three, tmp_path / "fit.json")
    again = cp.plan_mixture(cp.read_mixture_fit(tmp_path / "fit.json"), **ASKED)
    assert again.as_dict() == planned.as_dict()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match="is not the fit of a mixture"):
        cp.read_mixture_fit(tmp_path / "other.json")


def test_a_corpus_that_never_varies_stays_where_it_was():
    log = world(3, 12)
    log["share_web"] = 0.2
    for name in ("share_c0", "share_c1", "share_c2"):
        log[name] *= 0.8
    fit = cp.fit_mixture(log, bootstrap=0)
    assert "unvaried_corpus" in {w.code for w in fit.warnings}
    assert cp.plan_mixture(fit, train_tokens=D).shares["web"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"protected": {"c00": 0.1}}, "no validation corpus 'c00'; did you mean c0"),
        ({"protected": {"c0": "much"}}, "the tolerance of c0 must be nats per token"),
        ({"available": {"c0": -1.0}}, "available of c0 must be a number above 0, got -1"),
        ({"max_epochs": 0.0}, "max_epochs must be a number above 0"),
        ({"max_epochs": 2}, "^max_epochs has no effect without .*--available CORPUS=TOKENS"),
        ({"max_epochs": {"c0": 4}}, "^max_epochs of c0 has no effect .*--available c0=TOKENS"),
        (
            {"max_epochs": {"c0": 4, "c1": 2}, "available": {"c1": 5e9}},
            "^max_epochs of c0 has no effect",
        ),
        ({"floors": {"c0": 30.0}}, "Percent"),
        ({"objective": {"c0": 0.0}}, "at least one corpus a weight above 0"),
        ({"confidence": 1.0}, "confidence must be between 0 and 1"),
        ({"reference": {"c0": 0.5}}, "sum to 1, got 0.5"),
    ],
)
def test_a_mistake_is_named(three, asked, words):
    with pytest.raises(InputError, match=words):
        cp.plan_mixture(three, train_tokens=D, **asked)


def test_too_few_mixtures_are_refused():
    with pytest.raises(CmrplanError, match=r"measured at 3 mixtures; .* needs at least 4"):
        cp.fit_mixture(world(3, 3))
    with pytest.raises(CmrplanError, match="is fitted by cmrplan fit"):
        cp.fit_mixture(
            world(3, 3).drop(columns=["share_c0", "share_c1", "share_c2"]).assign(domain_ratio=0.5)
        )


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_projection_is_the_nearest_point(point):
    low, high = np.array([0.0, 0.1, 0.0]), np.array([0.5, 1.0, 0.6])
    found = project(np.array(point), low, high)
    assert np.all((found >= low) & (found <= high))
    assert found.sum() == pytest.approx(1, abs=1e-12)
    grid = simplex_grid(0.05)
    grid = grid[np.all((grid >= low) & (grid <= high), axis=1)]
    nearest = np.linalg.norm(grid - point, axis=1).min()
    assert np.linalg.norm(found - point) <= nearest + 1e-12


def test_distance_to_blends_by_hand():
    corners = np.eye(3)
    assert distance_to_probed(corners, np.array([0.2, 0.3, 0.5])) == pytest.approx(0, abs=1e-9)
    assert distance_to_probed(corners[:2], np.array([0.2, 0.3, 0.5])) == pytest.approx(0.5)


class TestExtrapolation:
    """Probed are blends of three corners with 0.9 of one corpus and 0.05 of each other, at 1e8 and 1e9 tokens."""

    @pytest.fixture(scope="class")
    @classmethod
    def corners(cls):
        log, names = world(3, 12), ["share_c0", "share_c1", "share_c2"]
        blends = np.vstack([np.eye(3), np.random.default_rng(1).dirichlet(np.ones(3), 9)])
        for run, blend in zip(sorted(log["run_id"].unique()), blends, strict=True):
            log.loc[log["run_id"] == run, names] = 0.05 + 0.85 * blend
        return cp.fit_mixture(log, "data_mixing", bootstrap=0)

    def codes(self, fit, mixture, size=1e8, tokens=D):
        found = fit.extrapolation_findings(mixture, model_params=size, train_tokens=tokens)
        return {finding.code.value: finding.message for finding in found}

    def test_inside_nothing_is_said(self, corners):
        assert self.codes(corners, {"c0": 0.5, "c1": 0.3, "c2": 0.2}) == {}

    def test_size_and_tokens_outside_are_said_with_the_factor(self, corners):
        inside = {"c0": 0.5, "c1": 0.3, "c2": 0.2}
        found = self.codes(corners, inside, 2.9e8, "2.9B")
        assert set(found) == {"rise_carried", "extrapolates_size", "extrapolates_tokens"}
        assert "2.9 times the largest fitted, 1e+08" in found["extrapolates_size"]
        assert "2.9 times the largest fitted, 1e+09" in found["extrapolates_tokens"]

    def test_a_share_outside_is_said_with_the_range(self, corners):
        found = self.codes(corners, {"c0": 0.94, "c1": 0.05, "c2": 0.01})
        # 4 % of the tokens would have to move to the nearest corner, which is near
        assert set(found) == {"extrapolates_share"}
        assert found["extrapolates_share"].startswith(
            "the share of c2, 0.01, lies below the smallest fitted share (fitted are 0.05 to 0.9)"
        )

    def test_a_mixture_that_is_no_blend_of_probed_ones_is_said(self, corners):
        found = self.codes(corners, {"c0": 1.0})
        assert "10 % of the tokens" in found["extrapolates_mixture"]

    def test_the_command_says_it(self, call, corners, tmp_path):
        cp.write_mixture_fit(corners, tmp_path / "fit.json")
        asked = ("mix", "predict", tmp_path / "fit.json", "--share", "c0=1", "--model-params", "1B")
        said = call(*asked, "--json").json()["warnings"]
        outside = {"extrapolates_size", "extrapolates_share", "extrapolates_mixture"}
        assert outside <= {finding["code"] for finding in said}
        assert "10 % of the tokens would have to move" in call(*asked, "--verbose").err


def test_the_picture_shows_the_plan(planned):
    data = mixture_data(planned)
    assert list(data.shares) == sorted(planned.shares.values(), reverse=True)
    assert data.natural[data.corpora.index("c2")] == pytest.approx(0.45 / 10.45)
    assert data.is_measured
    axes = mixture_figure(planned).axes[0]
    widths = [bar.get_width() for bar in axes.patches[:3]]
    assert widths == list(data.shares)
    assert [t.get_text() for t in axes.get_yticklabels()] == list(data.corpora)
    assert faults(axes.figure) == []


def test_the_commands_say_what_the_library_does(call, three, planned, tmp_path):
    log, fit, out = tmp_path / "log.csv", tmp_path / "fit.json", tmp_path / "plan.json"
    world(3, 24).to_csv(log, index=False)
    made = call("mix", "fit", log, "--bootstrap", 40, "--out", fit, "--json")
    assert made.code == 0
    assert made.json()["provenance"] == three.provenance
    asked = ["--train-tokens", "1B", "--protect", "c0=2%", "--protect", "c1=0.04"]
    tokens = ["--available", "c2=0.45B", "--available", "c0=5B", "--available", "c1=5B"]
    picture = tmp_path / "mix.png"
    found = call("mix", "plan", fit, *asked, *tokens, "--json", "--out", out, "--plot", picture)
    assert found.json()["shares"] == planned.shares
    assert picture.stat().st_size > 0
    text = call("mix", "plan", fit, *asked, *tokens)
    assert "recommended mixture" in text.out
    shares = ["--share", "c0=0.5", "--share", "c1=0.5"]
    assert set(call("mix", "predict", fit, *shares, "--json").json()["losses"]) == {
        "c0",
        "c1",
        "c2",
    }
    assert call("mix", "predict", fit, "--share", "c0=0.5").code == 2
    assert call("mix", "plan", fit, *asked, "--protect", "c0=1%").code == 2
    assert call("mix", "plan", fit, "--train-tokens", "1B", "--max-epochs", "c0=0").code == 2
    assert "cmrplan mix fit takes them" in call("fit", log).err


RATE_WEIGHT = 0.4
K_OF = {"code": 0.7, "law": 0.9, "chemistry": 1.2, "music": 1.6, "medicine": 2.1}


def domain_loss(coefficient, tokens, ratio):
    """Return a loss of the cross-domain form."""
    return (
        1.1 + 20 * ratio**0.2 / tokens**0.2 + 0.15 / (ratio + 0.1) ** 0.5 + 0.8 / coefficient**0.7
    )


def short_run(coefficient, first_loss):
    """Return a straight short run whose coefficient is the given one."""
    rate = (coefficient - 1 / first_loss) / RATE_WEIGHT
    tokens = np.linspace(0, 1e8, 5)
    return tokens, first_loss - rate * tokens / 1e9


def domain_log(coefficient):
    rows = [
        {
            "run_id": f"r{ratio:g}",
            "model_params": 1e8,
            "train_tokens": tokens,
            "domain_ratio": ratio,
            "eval_corpus": "domain",
            "loss": domain_loss(coefficient, tokens, ratio),
        }
        for ratio in (0.1, 0.3, 0.6, 1.0)
        for tokens in (1e8, 3e8, 1e9, 3e9)
    ]
    return pd.DataFrame(rows)


def test_a_new_domain_is_predicted_from_its_short_run():
    first = dict(zip(K_OF, (2.0, 2.4, 2.2, 2.6, 1.9), strict=True))
    logs = {name: domain_log(k) for name, k in K_OF.items()}
    runs = {name: short_run(k, first[name]) for name, k in K_OF.items()}
    fit = cp.fit_domains(logs, runs, rate_weight=RATE_WEIGHT)
    assert fit.coefficients == pytest.approx(K_OF)
    ratios = np.array([0.2, 0.5, 0.9])
    at = {"model_params": 1e8, "train_tokens": 2e9, "domain_ratio": ratios}
    found = cp.predict_new_domain(fit, short_run(1.4, 2.3), **at)
    # exact losses of the law itself: what the search leaves
    np.testing.assert_allclose(found.loss, domain_loss(1.4, 2e9, ratios), rtol=1e-4)
    assert not found.is_extrapolated
    assert cp.predict_new_domain(fit, short_run(3.0, 2.3), **at).is_extrapolated
    chosen = cp.fit_domains(logs, runs)
    without = cp.fit_domains(logs, runs, rate_weight=0.0)
    errors = [np.mean(list(f.held_out_errors.values())) for f in (fit, chosen, without)]
    assert errors[0] < errors[1] < errors[2]


def test_short_runs_must_be_alike():
    logs = {name: domain_log(k) for name, k in K_OF.items()}
    runs = {name: short_run(k, 2.0) for name, k in K_OF.items()}
    tokens, loss = runs["law"]
    with pytest.raises(InputError, match="short runs must end at the same tokens"):
        cp.fit_domains(logs, runs | {"law": (2 * tokens, loss)})
    with pytest.raises(InputError, match="short_runs lacks the domain law"):
        cp.fit_domains(logs, {k: v for k, v in runs.items() if k != "law"})
    with pytest.raises(InputError, match="3 domains or more"):
        cp.fit_domains({"law": logs["law"]}, runs)


def test_results_on_new_domains_show_themselves_as_short_tables():
    logs = {name: domain_log(k) for name, k in K_OF.items()}
    fit = cp.fit_domains(logs, {name: short_run(k, 2.0) for name, k in K_OF.items()})
    assert fit.table()["domain"].tolist() == sorted(K_OF)
    assert fit.table()["coefficient"].tolist() == list(fit.coefficients.values())
    ratios = np.linspace(0.1, 1, 40)
    at = {"model_params": 1e8, "train_tokens": 2e9, "domain_ratio": ratios}
    new = cp.predict_new_domain(fit, short_run(3.0, 2.0), **at)
    assert new.table()["domain_ratio"].tolist() == ratios.tolist()
    assert new.table()["loss"].tolist() == new.loss.tolist()
    assert repr(new).startswith("NewDomain, 40 rows")
    assert "outside those fitted" in repr(new)
    for shown in (repr(fit), repr(new)):
        assert len(shown.splitlines()) < 15
    assert "domain_ratio" in new._repr_html_()
