"""Where no mixture keeps the tolerances, that is an answer: with what would do, in every form."""

import json

import numpy as np
import pandas as pd
import pytest
from known_mixtures import D, true_losses, world

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.mixture.loss_functions import asked_losses
from cmrplan.mixture.remedies import mixture_remedy
from cmrplan.plots import mixture_data, mixture_figure
from cmrplan.report.mixture import level_rows
from cmrplan.report.page.mixtures import read_mixture_request, report_on_mixture

NONE_RISES = {"train_tokens": D, "protected": dict.fromkeys(("c0", "c1", "c2"), 0.0)}
OPTIONS = ("--train-tokens", "1B", "--protect", "c0=0", "--protect", "c1=0", "--protect", "c2=0")
LONG = {"train_tokens": 64 * D, "protected": dict.fromkeys(("c0", "c1", "c2"), 0.006)}


@pytest.fixture(scope="module")
def none_holds(three):
    return cp.plan_mixture(three, **NONE_RISES)


@pytest.fixture
def asked_for(three, tmp_path, call):
    cp.write_mixture_fit(three, tmp_path / "mix.json")
    return lambda *more: call("mix", "plan", tmp_path / "mix.json", *OPTIONS, *more)


class TestPlan:
    def test_it_recommends_none_and_says_why(self, none_holds):
        assert not none_holds.is_feasible
        assert all(np.isnan(share) for share in none_holds.shares.values())
        assert none_holds.reason.startswith("no mixture keeps c0 within 0 nats, c1 within")
        assert none_holds.violation_probability > 0.1
        assert "none keeps the limits" in repr(none_holds)

    def test_its_losses_are_those_of_the_best_estimate(self, three, none_holds):
        assert none_holds.evaluated_name == "best estimate"
        assert none_holds.evaluated_shares == none_holds.candidates["point"].shares
        at = three.predict(none_holds.evaluated_shares, model_params=1e8, train_tokens=D)
        for corpus, loss in none_holds.losses.items():
            assert loss.loss.estimate == pytest.approx(at[corpus].loss[0], abs=1e-9)
            assert loss.rise.estimate <= 1e-9  # by the estimates the limits hold

    def test_without_a_best_estimate_the_nearest_mixture_is_told(self, three):
        base = {"c0": 1.9, "c1": 1.9, "c2": 1.9}  # under what any mixture reaches in all
        plan = cp.plan_mixture(three, **NONE_RISES, base_loss=base)
        assert plan.evaluated_name == "nearest mixture"
        assert plan.evaluated_shares == plan.candidates["nearest"].shares
        assert mixture_remedy(three, plan) is None

    def test_one_that_holds_has_no_reason(self, planned):
        assert planned.is_feasible
        assert planned.reason == ""
        assert planned.shares == planned.evaluated_shares
        assert "nearest" not in planned.candidates

    def test_bounds_without_a_mixture_are_still_an_error(self, three):
        with pytest.raises(CmrplanError, match="lower train_tokens to"):
            cp.plan_mixture(three, train_tokens=D, available=dict.fromkeys(three.corpora, 1e8))


class TestTogether:
    """Limits of which each holds alone often enough, and that do not hold together."""

    @pytest.fixture(scope="class")
    @classmethod
    def fit(cls):
        return cp.fit_mixture(world(3, 24, noise=0.01), bootstrap=100)

    @pytest.fixture(scope="class")
    @classmethod
    def plan(cls, fit):
        """Tolerances a little under the smallest that hold together."""
        (row,) = cp.mixture_levels(fit, **NONE_RISES, confidences=[0.9]).to_dict("records")
        least = {corpus: 0.97 * float(row[f"least_{corpus}"].split()[0]) for corpus in fit.corpora}
        plan = cp.plan_mixture(fit, train_tokens=D, protected=least)
        assert not plan.is_feasible
        assert not plan.candidates["nearest"].breaks
        return plan

    def test_the_nearest_mixture_is_not_said_to_keep_all(self, fit, plan):
        assert plan.broken_text("nearest").startswith("does not keep all limits together")
        content = report_on_mixture(fit, plan.asked)
        (others,) = next(one for one in content.sections if one.title == "Other mixtures").tables
        (cells,) = (row for row in others.rows if row[0] == "nearest")
        assert cells[-1] == "all together"

    def test_what_is_said_of_a_mixture_is_what_the_resamples_say(self, fit, plan):
        functions, _ = asked_losses(fit, plan.asked)
        for name, mixture in plan.candidates.items():
            chance = functions.violation(fit.shares_of(mixture.shares))
            assert mixture.violation_probability == pytest.approx(chance)
            assert bool(plan.broken_text(name)) >= (chance > 0.1)


class TestLevels:
    @pytest.fixture(scope="class")
    @classmethod
    def many(cls):
        return cp.fit_mixture(world(3, 24), bootstrap=200)

    @pytest.fixture(scope="class")
    @classmethod
    def noisy(cls):
        return cp.fit_mixture(world(4, 18, noise=0.01), bootstrap=20)

    @pytest.fixture(scope="class")
    @classmethod
    def levels(cls, many):
        return cp.mixture_levels(many, **NONE_RISES)

    def test_each_has_a_row(self, levels):
        assert levels["confidence"].tolist() == [0.5, 0.8, 0.9, 0.95]
        shares = levels[["share_c0", "share_c1", "share_c2"]].to_numpy()
        np.testing.assert_allclose(shares.sum(axis=1), 1)

    def test_the_tolerances_of_each_hold_with_it(self, many, levels):
        for row in levels.to_dict("records"):
            allowed = {corpus: row[f"least_{corpus}"] for corpus in ("c0", "c1", "c2")}
            asked = {"train_tokens": D, "protected": allowed, "confidence": row["confidence"]}
            plan = cp.plan_mixture(many, **asked)
            assert plan.is_feasible
            assert plan.violation_probability <= 1 - row["confidence"] + 1e-9

    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_clearly_smaller_tolerances_do_not_hold(self, noisy, level):
        none_rises = dict.fromkeys(noisy.corpora, 0.0)
        asked = {"train_tokens": D, "protected": none_rises, "confidence": level}
        (row,) = cp.mixture_levels(noisy, **asked, confidences=[level]).to_dict("records")
        assert not row["is_feasible"]
        least = {corpus: float(row[f"least_{corpus}"].split()[0]) for corpus in noisy.corpora}
        smaller = {corpus: 0.95 * tolerance for corpus, tolerance in least.items()}
        assert not cp.plan_mixture(noisy, **asked | {"protected": smaller}).is_feasible

    @pytest.mark.parametrize("bootstrap", [20, 40, 200])
    def test_more_confidence_needs_more(self, bootstrap):
        fit = cp.fit_mixture(world(3, 24), bootstrap=bootstrap)
        levels = cp.mixture_levels(fit, **NONE_RISES)
        for corpus in ("c0", "c1", "c2"):
            needed = [float(text.split()[0]) for text in levels[f"least_{corpus}"]]
            assert needed == sorted(needed)

    def test_a_level_that_holds_has_the_mixture_of_its_plan(self, three):
        asked = {"train_tokens": D, "protected": {"c0": 0.0}}
        (row,) = cp.mixture_levels(three, **asked, confidences=[0.8]).to_dict("records")
        plan = cp.plan_mixture(three, **asked, confidence=0.8)
        assert row["is_feasible"]
        assert row["least_c0"] == "0 nats"
        assert {f"share_{name}": share for name, share in plan.shares.items()} == {
            name: row[name] for name in row if name.startswith("share_")
        }

    def test_too_few_resamples_hold_nothing(self):
        fit = cp.fit_mixture(world(3, 24), bootstrap=5)
        asked = {"train_tokens": D, "protected": {"c0": 0.05, "c1": 0.05}}
        levels = cp.mixture_levels(fit, **asked, confidences=[0.5, 0.95])
        plan = cp.plan_mixture(fit, **asked, confidence=0.95)
        assert plan.is_feasible
        assert "few_resamples" in [str(finding.code) for finding in plan.warnings]
        assert levels["violation_probability"].tolist()[1] == plan.violation_probability
        _, (_, told, _) = level_rows(levels, 5)
        chance = f"{100 * plan.violation_probability:.0f} %"
        assert (
            told == f"5 resamples are too few to tell; about {chance} of new ones break this one:"
        )

    def test_they_need_a_tolerance(self, three):
        with pytest.raises(InputError, match="protected must be given"):
            cp.mixture_levels(three, train_tokens=D)


class TestCommand:
    def test_the_exit_code_is_1_and_everything_is_written(self, asked_for, tmp_path):
        plan_file, picture = tmp_path / "plan.json", tmp_path / "mix.svg"
        answer = asked_for("--out", plan_file, "--plot", picture)
        assert answer.code == 1
        out, err = answer.out, answer.err
        assert out.startswith("No mixture keeps c0 within 0 nats, c1 within 0 nats, c2 within")
        assert "The best estimates allow the one below, which breaks a limit in" in out
        for level in ("50", "80", "90", "95"):
            assert f"with {level} % " in out
        assert "what would change it      " in out
        assert err.startswith("error: no mixture keeps c0")
        assert picture.stat().st_size > 1000
        content = json.loads(plan_file.read_text())
        assert content["is_feasible"] is False
        assert content["shares"] is None

    def test_json_is_whole(self, asked_for, none_holds):
        answer = asked_for("--json")
        content = answer.json()
        assert answer.code == 1
        told = none_holds.as_dict()
        assert {name: content[name] for name in told} == json.loads(json.dumps(told))
        assert [row["confidence"] for row in content["levels"]] == [0.5, 0.8, 0.9, 0.95]
        assert content["remedies"] == []

    def test_several_confidences_may_be_asked_for(self, asked_for):
        content = asked_for("--json", "--confidence", "0.6,0.7").json()
        assert content["confidence"] == 0.6
        assert [row["confidence"] for row in content["levels"]] == [0.6, 0.7]

    def test_the_page_has_the_confidence_that_was_asked_for(self, asked_for, three, tmp_path):
        plan_file = tmp_path / "plan.json"
        asked_for("--out", plan_file, "--confidence", "0.85")
        told = json.loads(plan_file.read_text())["levels"]
        content = report_on_mixture(three, read_mixture_request(plan_file, three))
        shown = [row[0] for row in content.summary[0].rows]
        assert shown == [f"{100 * row['confidence']:g} %" for row in told]
        assert "85 %" in shown

    def test_its_plan_makes_a_page_and_no_export(self, asked_for, three, tmp_path, call):
        plan_file = tmp_path / "plan.json"
        asked_for("--out", plan_file)
        content = report_on_mixture(three, read_mixture_request(plan_file, three))
        assert content.answer.startswith("No mixture keeps c0 within 0 nats")
        captions = [table.caption for table in content.summary]
        assert captions[:2] == ["What each confidence allows", "What would change it"]
        answer = call("export", plan_file, "--to", "json")
        assert answer.code == 1
        assert "recommends no mixture" in answer.err


class TestWithoutResamples:
    """The estimates are all there is, and no confidence is told."""

    BASE = ("--base-loss", "c0=1.9", "--base-loss", "c1=1.9", "--base-loss", "c2=1.9")

    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls):
        return cp.fit_mixture(world(3, 24), bootstrap=0)

    @pytest.fixture
    def answer(self, alone, tmp_path, call):
        cp.write_mixture_fit(alone, tmp_path / "mix.json")
        out = ("--out", tmp_path / "plan.json")
        return call("mix", "plan", tmp_path / "mix.json", *OPTIONS, *self.BASE, *out)

    def test_the_smallest_tolerances_are_told_and_hold(self, alone, answer, tmp_path):
        content = json.loads((tmp_path / "plan.json").read_text())
        (row,) = content["levels"]
        least = {corpus: row[f"least_{corpus}"] for corpus in alone.corpora}
        assert f"by the estimates          none holds, but {least['c0']} on each of" in answer.out
        base = dict.fromkeys(alone.corpora, 1.9)
        assert cp.plan_mixture(alone, train_tokens=D, protected=least, base_loss=base).is_feasible

    def test_no_confidence_is_told(self, alone, answer, tmp_path):
        assert "within 0 nats of the base by the estimates; below is" in answer.out
        assert "90 %" not in answer.out
        assert "of the base by the estimates at train_tokens" in answer.err
        request = read_mixture_request(tmp_path / "plan.json", alone)
        assert "%" not in mixture_data(cp.plan_mixture(alone, request)).title
        content = report_on_mixture(alone, request)
        assert "%" not in content.answer
        assert content.summary[0].caption == "What the estimates allow"


def test_the_picture_says_that_none_holds(none_holds):
    data = mixture_data(none_holds)
    assert data.label == "best estimate"
    assert data.title.startswith("No mixture keeps the limits with 90%: the best estimate")
    assert np.isfinite(data.shares).all()
    _, labels = mixture_figure(none_holds).axes[0].get_legend_handles_labels()
    assert set(labels) == {"best estimate", "equal shares", "where the best mixture lies"}


def test_long_lists_of_long_names_stay_readable():
    names = [f"a corpus with a long name {k}" for k in range(8)]
    fit = cp.fit_mixture(world(8, 20, names=names), bootstrap=5)
    plan = cp.plan_mixture(fit, train_tokens=D, protected=dict.fromkeys(names, 0.0))
    for line in repr(plan).splitlines()[1:5]:
        assert line[2:].split("  ")[0] in names
    assert mixture_data(plan).title.endswith(", 4 more")


class TestRemedy:
    """Equal shares rise by nothing in truth, so what is missing is evidence."""

    @pytest.fixture(scope="class")
    @classmethod
    def log(cls):
        return world(3, 24, noise=0.006)

    @pytest.fixture(scope="class")
    @classmethod
    def fit(cls, log):
        return cp.fit_mixture(log, bootstrap=100)

    @pytest.fixture(scope="class")
    @classmethod
    def remedy(cls, fit):
        plan = cp.plan_mixture(fit, **LONG)
        assert plan.violation_probability > 0.1
        return mixture_remedy(fit, plan)

    def test_runs_as_the_fit_expects_them_make_it_hold(self, log, fit, remedy):
        at = fit.predict(remedy.shares, model_params=1e8, train_tokens=D)
        rows = [log]
        for run in range(remedy.num_runs):
            new = log[log["run_id"] == "r000"].copy()
            new["run_id"] = f"new{run}"
            for name, share in remedy.shares.items():
                new[f"share_{name}"] = share
                new.loc[(new["eval_corpus"] == name) & (new["train_tokens"] > 0), "loss"] = at[
                    name
                ].loss[0]
            rows.append(new)
        after = cp.fit_mixture(pd.concat(rows, ignore_index=True), bootstrap=100)
        assert cp.plan_mixture(after, **LONG).is_feasible

    def test_the_mixture_holds_in_truth(self, remedy):
        shares = np.array([remedy.shares[f"c{j}"] for j in range(3)])
        rise = true_losses(3, shares)[0] - true_losses(3, np.full(3, 1 / 3))[0]
        assert rise.max() < 0.006

    def test_it_says_what_it_costs(self, remedy):
        assert remedy.compute == remedy.num_runs * 6 * 1e8 * remedy.train_tokens
        assert remedy.compute <= 0.5 * 6 * 1e8 * LONG["train_tokens"]
        assert remedy.violation_probability <= 0.1
        assert "should they measure what the fit expects" in remedy.text

    def test_a_plan_that_holds_needs_none(self, three, planned):
        assert mixture_remedy(three, planned) is None


def test_at_the_mixture_that_rises_count_from_nothing_breaks(three):
    equal = dict.fromkeys(three.corpora, 1 / 3)
    plan = cp.plan_mixture(three, **NONE_RISES, reference=equal)
    assert plan.shares == pytest.approx(equal, abs=1e-6)
    assert plan.violation_probability == 0.0
    assert "few_resamples" not in {one.code for one in plan.warnings}
