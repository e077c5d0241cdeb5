"""Every law's answer, and every other choice's; the refits are replaced by fits by hand where they do not matter."""

import numpy as np
import pytest
from by_hand import BASE, ask, make_fit
from matplotlib.figure import Figure

import cmrplan as cp
from cmrplan import plots
from cmrplan.errors import CmrplanError, InputError
from cmrplan.plan.questions import law_panel as panels
from cmrplan.plan.questions import sensitivity as choices
from cmrplan.plan.questions.law_panel import law_panel
from cmrplan.plan.questions.sensitivity import sensitivity

SPREAD = np.linspace(-0.01, 0.01, 41)


def by_law(slopes):
    """Return a refit whose general loss is 2.5 + slope r² by the law, or a refusal where it is None."""

    def refit(fit, law, **others):
        if slopes[law] is None:
            raise CmrplanError(f"{law} does not apply")
        return make_fit(spread=SPREAD, general=(BASE, slopes[law], 2.0))

    return refit


class TestPanel:
    def ask(self, monkeypatch, slopes):
        monkeypatch.setattr(panels, "refit", by_law(slopes))
        fit = make_fit(spread=SPREAD)
        return law_panel(fit, ask(fit), laws=list(slopes))

    def test_every_law_answers_the_same_question(self, monkeypatch):
        found = self.ask(monkeypatch, {"dcpt": 0.2, "dcpt_exp": 0.21, "cmr": None})
        table = found.table().set_index("law")
        # the 90 % quantile of the shifts is 0.008
        expected = [np.sqrt(0.042 / 0.2), np.sqrt(0.042 / 0.21)]
        np.testing.assert_allclose(table["domain_ratio"].iloc[:2], expected, atol=1e-5)
        assert table["agrees"].tolist() == [True, True, None]
        assert table.loc["cmr", "reason"] == "cmr does not apply"
        assert not found.warnings

    def test_disagreement_names_the_probe_that_would_settle_it(self, monkeypatch):
        found = self.ask(monkeypatch, {"dcpt": 0.2, "dcpt_exp": 0.5})
        (warning,) = found.warnings
        assert warning.code == "laws_disagree"
        # the laws are farthest apart at the largest ratio that was not probed, at the probed size and tokens
        low, high = BASE + 0.2 * 0.95**2, BASE + 0.5 * 0.95**2
        assert (
            f"a probe of 1e+08 parameters for 2e+09 tokens at domain_ratio 0.95 would settle it: they predict a "
            f"general loss of {high:.3f} and {low:.3f} there"
        ) in warning.message

    def test_unknown_law(self):
        with pytest.raises(InputError, match="law must be one of auto, dcpt"):
            law_panel(make_fit(), ask(), laws=["chinchilla3"])

    def test_its_picture_shows_every_answer(self, monkeypatch):
        found = self.ask(monkeypatch, {"dcpt": 0.2, "dcpt_exp": 0.5, "cmr": None})
        ax = plots.plot_panel(make_fit(), panel=found, ax=Figure().subplots())
        drawn = {float(x) for line in ax.lines for x in line.get_xdata()}
        assert {a.domain_ratio for a in found.answers if not a.reason} <= drawn
        assert [label.get_text() for label in ax.get_yticklabels()] == ["dcpt", "dcpt_exp"]
        assert ax.get_xlabel().endswith("\nno answer: cmr")

    def test_on_a_real_fit(self, call, fit_path, monkeypatch):
        monkeypatch.setattr(panels, "PLAN_LAWS", ("auto", "dcpt", "cmr"))
        answer = call(
            "plan", fit_path, "--model-params", "1e6", "--train-tokens", "1e6",
            "--max-general-rise", "5%", "--table", "panel", "--json",
        )  # fmt: skip
        rows = {row["law"]: row for row in answer.json()["tables"]["panel"]}
        # the log is made from a D-CPT law with noise of 0.002 nats
        assert rows["dcpt"]["agrees"] is True
        assert 0 < rows["dcpt"]["held_out_error"] < 0.004
        assert rows["cmr"]["held_out_error"] is None


class TestSensitivity:
    def test_matches_the_closed_form(self, monkeypatch):
        monkeypatch.setattr(choices, "refit", lambda fit, **changes: fit)
        fit = make_fit()
        table = sensitivity(fit, ask(fit))
        rows = table[table["choice"] == "tolerance"]
        assert rows["setting"].tolist() == ["0.025 nats", "0.04 nats", "0.0625 nats", "0.1 nats"]
        expected = np.sqrt(0.05 * np.array([0.5, 0.8, 1.25, 2]) / 0.2)
        np.testing.assert_allclose(rows["domain_ratio"], expected, atol=1e-6)
        np.testing.assert_allclose(rows["change"], expected - 0.5, atol=2e-6)
        assert table["choice"].iloc[0] == "as asked"
        assert set(table["choice"]) == {"as asked", "tolerance", "Huber delta", "law"}

    def test_refits_are_the_rows_choices(self, log, monkeypatch):
        monkeypatch.setattr(choices, "PLAN_LAWS", ("auto", "dcpt", "dcpt_exp"))
        monkeypatch.setattr(choices, "DELTAS", (1e-3,))
        monkeypatch.setattr(choices, "MOST_DROPPED", 1)
        fit = cp.fit(log, "dcpt", bootstrap=0)
        where = {"model_params": 1e6, "train_tokens": 1e6, "max_general_rise": "5%"}
        table = sensitivity(fit, cp.plan(fit, **where)).set_index(["choice", "setting"])
        second = np.unique(log["train_tokens"])[2]
        by_hand = {
            ("Huber delta", "0.001"): cp.fit(log, "dcpt", bootstrap=0, delta=1e-3),
            ("first tokens", f"{second:g}"): cp.fit(
                log, "dcpt", bootstrap=0, min_train_tokens=second
            ),
            ("law", "dcpt_exp"): cp.fit(log, "dcpt_exp", bootstrap=0),
        }
        assert len(table) == 1 + 4 + len(by_hand)
        for place, other in by_hand.items():
            assert table.loc[place, "domain_ratio"] == cp.plan(other, **where).domain_ratio

    def test_what_cannot_answer_says_why(self, monkeypatch):
        monkeypatch.setattr(
            choices,
            "refit",
            by_law(dict.fromkeys(choices.PLAN_LAWS, 0.2) | {"cmr": None}),
        )
        monkeypatch.setattr(choices, "DELTAS", ())
        fit = make_fit(base=BASE - 0.03)
        table = sensitivity(fit, ask(fit)).set_index("setting")
        assert "smallest feasible tolerance" in table.loc["0.025 nats", "reason"]
        assert table.loc["cmr", "reason"] == "cmr does not apply"
        assert np.isnan(table.loc["cmr", "domain_ratio"])


ASK = ("--model-params", "1e6", "--max-general-rise", "5%")


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "begins"),
        [
            (("--target-domain-loss", "2.4"), "fewest tokens for a domain loss of 2.4"),
            (("--domain-tokens", "2e5"), "run that uses the domain data up"),
        ],
    )
    def test_other_questions_say_what_they_found(self, call, fit_path, arguments, begins):
        answer = call("plan", fit_path, *ASK, *arguments)
        assert answer.code == 0, answer.err
        assert answer.out.startswith(begins)
        assert "recommended domain ratio" in answer.out

    @pytest.mark.parametrize("sizes", ["3e5,1e6", "300k..1M"])
    def test_sizes_for_a_budget(self, call, fit_path, sizes):
        answer = call(
            "plan",
            fit_path,
            "--sizes",
            sizes,
            "--compute",
            "3e12",
            "--max-general-rise",
            "5%",
            "--json",
        ).json()
        losses = {row["model_params"]: row["domain_loss"] for row in answer["sizes"]}
        assert answer["model_params"] == min(losses, key=losses.get)
        assert answer["compute"] == pytest.approx(3e12)

    def test_sizes_for_a_target(self, call, fit_path):
        answer = call(
            "plan", fit_path, "--sizes", "3e5,1e6", "--train-tokens", "1e6",
            "--target-domain-loss", "9", "--max-general-rise", "5%", "--json",
        ).json()  # fmt: skip
        assert answer["model_params"] == 3e5
        assert [row["reaches"] for row in answer["sizes"]] == [True, True]

    @pytest.mark.parametrize("table", ["frontier", "critical-tokens", "critical-sizes", "epochs"])
    def test_tables(self, call, fit_path, table):
        arguments = (
            "plan", fit_path, *ASK, "--train-tokens", "1e6", "--domain-tokens", "3e5", "--table", table
        )  # fmt: skip
        rows = call(*arguments, "--json").json()["tables"][table]
        assert len(rows) >= 5
        printed = call(*arguments)
        assert f"\n{table}\n" in printed.out
        assert printed.out.count("\n") > len(rows)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((), "give either --model-params, or --sizes"),
            (("--model-params", "1e6", "--sizes", "1e6"), "give either --model-params, or --sizes"),
            (("--sizes", "1e6"), "give --compute and not --train-tokens"),
            (("--sizes", "1e6..2e6", "--target-domain-loss", "2"), "needs --train-tokens and a list"),
            (("--sizes", "many"), "--sizes"),
            (("--sizes", "1e6,2e6", "--compute", "1e12", "--base-loss", "2"), "base_loss belongs to one"),
            (("--model-params", "1e6", "--train-tokens", "1e6", "--table", "epochs"), "--domain-tokens"),
            (("--model-params", "1e6", "--train-tokens", "1e6", "--table", "pie"), "--table"),
        ],
    )  # fmt: skip
    def test_mistakes_are_one_line(self, call, fit_path, arguments, words):
        answer = call("plan", fit_path, "--max-general-rise", "5%", *arguments)
        assert answer.code == 2
        assert words in answer.err
        assert answer.err.count("\n") == 1
        assert not answer.out

    def test_no_tolerance_is_a_mistake_that_says_what_to_give(self, call, fit_path):
        answer = call("plan", fit_path, "--model-params", "1e6", "--train-tokens", "1e6")
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert "max_general_rise must be given" in answer.err
