"""A question about a mixture is put as a request or word by word, with numbers as text, and to the file of a fit."""

import inspect
import json
import re
from dataclasses import fields, replace
from html import unescape
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
from known_mixtures import ASKED, D, world

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.fit.corpus_model import Interval
from cmrplan.mixture.request import MixturePlanRequest, MixtureRequestOptions

# By hand: 1B tokens are D, 100M parameters the size of the log.
AS_TEXT = {
    "model_params": "100M",
    "train_tokens": "1B",
    "protected": {"c0": "2%", "c1": "0.04"},
    "available": {"c2": "0.45B", "c0": "5B", "c1": "5B"},
    "max_epochs": {"c0": "2"},
    "floors": {"c1": "0.1"},
    "ceilings": {"c0": "0.9"},
    "objective": {"c2": "1.5"},
    "base_loss": {"c0": "2.5"},
}
AS_NUMBERS = {
    "model_params": 1e8,
    "train_tokens": D,
    "protected": {"c0": "2%", "c1": 0.04},
    "available": {"c2": 0.45e9, "c0": 5e9, "c1": 5e9},
    "max_epochs": {"c0": 2},
    "floors": {"c1": 0.1},
    "ceilings": {"c0": 0.9},
    "objective": {"c2": 1.5},
    "base_loss": {"c0": 2.5},
}
KEYS = (
    "shares is_feasible reason evaluated_shares shares_low shares_high objective objective_low objective_high "
    "gain gain_low gain_high "
    "violation_probability binding losses candidates epochs confidence optimality model_params train_tokens law "
    "num_resamples num_infeasible asked warnings provenance"
).split()
KEYS_OF_A_LOSS = "loss loss_low loss_high reference rise rise_low rise_high limit".split()
KEYS_OF_THE_QUESTION = (
    "objective protected available max_epochs floors ceilings base_loss reference confidence"
).split()


class TestWords:
    def test_the_signature_names_every_word_with_type_and_default(self):
        parameters = inspect.signature(cp.plan_mixture).parameters
        assert list(parameters) == ["fit", "request", *(f.name for f in fields(MixturePlanRequest))]
        hints = get_type_hints(MixturePlanRequest)
        empty = MixturePlanRequest()
        for name in hints:
            assert parameters[name].annotation == hints[name]
            assert parameters[name].default == getattr(empty, name)

    def test_options_and_fields_are_the_same_words_of_the_same_types(self):
        assert get_type_hints(MixtureRequestOptions) == get_type_hints(MixturePlanRequest)

    @pytest.mark.parametrize(
        ("word", "right"), [("protect", "protected"), ("train_token", "train_tokens")]
    )
    def test_a_wrong_word_is_named_in_one_line(self, three, word, right):
        with pytest.raises(InputError) as caught:
            cp.plan_mixture(three, **{word: 1})
        assert str(caught.value) == f"plan_mixture has no argument {word}; did you mean {right}"

    def test_missing_words_are_named(self, three):
        with pytest.raises(InputError, match="train_tokens must be given"):
            cp.plan_mixture(three, protected={"c0": "2%"})
        with pytest.raises(InputError, match="plan_mixture needs fit"):
            cp.plan_mixture(train_tokens=D)

    def test_a_request_of_another_kind_is_refused(self, three):
        other = cp.PlanRequest(model_params=1e8, train_tokens=D, max_general_rise="3%")
        with pytest.raises(InputError, match="request must be a MixturePlanRequest, got PlanReq"):
            cp.plan_mixture(three, other)


class TestRequest:
    def test_text_words_and_a_request_ask_the_same(self, three):
        answers = [
            cp.plan_mixture(three, **AS_TEXT),
            cp.plan_mixture(three, **AS_NUMBERS),
            cp.plan_mixture(three, cp.MixturePlanRequest(**AS_TEXT)),
        ]
        shown = [json.dumps(answer.as_dict()) for answer in answers]
        assert shown[0] == shown[1] == shown[2]
        first = answers[0]
        assert (first.model_params, first.train_tokens) == (1e8, D)
        assert first.losses["c0"].limit == pytest.approx(1.02 * 2.5)
        same = {"protected": {"c0": "2%"}}  # a tolerance stays as it was given, as in PlanRequest
        assert cp.MixturePlanRequest(**AS_TEXT | same) == cp.MixturePlanRequest(**AS_NUMBERS | same)

    def test_a_word_stands_above_the_request(self, three):
        request = cp.MixturePlanRequest(**ASKED | {"train_tokens": 7e8})
        assert cp.plan_mixture(three, request, train_tokens="1B").train_tokens == D

    def test_a_reference_may_be_text(self, three):
        equal = {"c0": "0.5", "c1": "0.25", "c2": "0.25"}
        plans = [
            cp.plan_mixture(three, train_tokens=D, protected={"c0": "1%"}, reference=mixture)
            for mixture in (equal, {name: float(share) for name, share in equal.items()})
        ]
        assert plans[0].as_dict() == plans[1].as_dict()

    def test_a_path_stands_where_a_fit_may(self, three, planned, tmp_path):
        path = tmp_path / "fit.json"
        cp.write_mixture_fit(three, path)
        assert cp.plan_mixture(path, **ASKED).as_dict() == planned.as_dict()
        assert cp.plan_mixture(str(path), **ASKED).as_dict() == planned.as_dict()
        with pytest.raises(InputError, match=r"none\.json"):
            cp.plan_mixture(tmp_path / "none.json", **ASKED)

    def test_what_is_no_fit_is_named(self, three):
        with pytest.raises(InputError, match="fit must be a MixtureFit or the path of its file"):
            cp.plan_mixture(three.log, train_tokens=D)

    @pytest.mark.parametrize(
        ("asked", "words"),
        [
            ({"train_tokens": "many"}, "train_tokens: 'many' is not a number above 0"),
            ({"model_params": -1}, "model_params must be a number above 0, got -1"),
            ({"available": {"c0": "lots"}}, "available of c0: 'lots' is not a number above 0"),
            ({"max_epochs": "often"}, "max_epochs: 'often' is not a number above 0"),
            ({"floors": {"c0": "little"}}, "floors of c0 must be a number, got 'little'"),
            ({"objective": {"c0": None}}, "objective of c0 must be a number, got None"),
            ({"protected": "3%"}, "protected must give values by corpus, .* got '3%'"),
            ({"available": 5e9}, "available must give values by corpus, .* got 5"),
        ],
    )
    def test_a_mistake_is_named_in_one_line(self, asked, words):
        with pytest.raises(InputError, match=f"^{words}") as caught:
            cp.MixturePlanRequest(**{"train_tokens": D} | asked)
        assert "\n" not in str(caught.value)

    def test_a_request_keeps_what_was_given_when_it_was_built(self):
        protected = {"c0": "2%"}
        request = cp.MixturePlanRequest(train_tokens=D, protected=protected)
        protected["c0"] = "50%"
        assert request.protected == {"c0": "2%"}


class TestPlan:
    def test_numbers_with_bounds_are_intervals(self, planned, three):
        for interval in (planned.objective, planned.gain, *planned.best_shares.values()):
            assert isinstance(interval, Interval)
            assert interval.low <= interval.high
        loss = planned.losses["c0"]
        shares = planned.shares
        at = three.predict(shares, model_params=1e8, train_tokens=D)["c0"]
        assert loss.loss.estimate == pytest.approx(at.loss[0])
        assert loss.loss.low == pytest.approx(np.quantile(at.draws, 0.05))
        assert loss.rise.high == pytest.approx(loss.loss.high - loss.reference)
        # the best shares by the estimates are those of the tolerances on the estimates
        best = {name: share.estimate for name, share in planned.best_shares.items()}
        assert best == planned.candidates["point"].shares
        assert planned.shares_low == {c: share.low for c, share in planned.best_shares.items()}

    def test_without_tolerances_the_best_shares_are_the_recommended_ones(self, three):
        plan = cp.plan_mixture(three, train_tokens=D)
        assert {name: best.estimate for name, best in plan.best_shares.items()} == plan.shares

    def test_the_keys_of_the_dict_are_kept(self, planned):
        values = json.loads(json.dumps(planned.as_dict()))
        assert list(values) == KEYS
        assert list(values["losses"]["c0"]) == KEYS_OF_A_LOSS
        assert list(values["asked"]) == KEYS_OF_THE_QUESTION
        assert list(values["binding"][0]) == ["kind", "corpus", "setting", "price"]
        assert list(values["candidates"]["natural"]) == [
            "shares",
            "objective",
            "worst_excess",
            "breaks",
            "violation_probability",
        ]
        assert values["objective"] == planned.objective.estimate
        assert values["losses"]["c0"]["rise_low"] == planned.losses["c0"].rise.low
        assert values["asked"]["protected"] == {"c0": "2%", "c1": "0.04 nats"}

    def test_it_shows_itself_in_a_few_lines(self, planned):
        lines = repr(planned).splitlines()
        assert lines[0] == "MixturePlan of 3 corpora"
        assert len(lines) < 15
        largest = max(planned.shares, key=planned.shares.get)
        assert lines[1].split()[:2] == [largest, f"{planned.shares[largest]:.3f}"]
        assert "allowed 2%" in repr(planned)
        html = unescape(planned._repr_html_())
        assert all(line[28:] in html for line in lines[1:])

    def test_many_corpora_show_themselves_in_a_few_lines_too(self):
        log = world(9, 24)
        fit = cp.fit_mixture(log, "data_mixing", bootstrap=0)
        protected = {f"c{j}": "80%" for j in range(8)}
        shown = repr(cp.plan_mixture(fit, train_tokens=D, protected=protected))
        assert len(shown.splitlines()) < 15
        assert "5 more" in shown

    def test_a_name_with_markup_is_escaped(self):
        log = world(3, 12).rename(columns={"share_c0": "share_<b>"})
        plan = cp.plan_mixture(cp.fit_mixture(log, "data_mixing", bootstrap=0), train_tokens=D)
        assert "<b>" not in plan._repr_html_()

    def test_tables_have_a_row_a_corpus(self, planned, three):
        table = planned.table().set_index("corpus")
        assert table["share"].to_dict() == planned.shares
        assert table["share"].is_monotonic_decreasing
        assert table["share_low"].to_dict() == planned.shares_low
        assert table["natural"]["c2"] == pytest.approx(0.45 / 10.45)
        assert table["epochs"].to_dict() == pytest.approx(planned.epochs)
        losses = planned.loss_table().set_index("corpus")
        assert losses["loss_high"]["c1"] == planned.losses["c1"].loss.high
        assert np.isnan(losses["limit"]["c2"])
        bare = replace(planned, epochs={}).table()
        assert bare["epochs"].isna().all()
        assert bare["epochs"].dtype == float


def test_the_best_shares_are_not_known_where_the_estimates_allow_none(three, planned):
    from cmrplan.mixture.plan import _best_shares
    from cmrplan.mixture.search import MixtureSolution

    solution = MixtureSolution(None, None, {"natural": np.full(3, 1 / 3)})
    drawn = np.full((4, 3), np.nan)
    best = _best_shares(solution, drawn, planned.asked)
    assert all(np.isnan(share.estimate) and share.low is None for share in best)


def test_the_reason_of_an_infeasible_question_is_one_line(three):
    protected = dict.fromkeys(("c0", "c1", "c2"), 0.0)
    reason = cp.plan_mixture(three, train_tokens="1B", protected=protected).reason
    assert reason
    assert "\n" not in reason


def test_the_readme_s_question_is_answered(tmp_path, monkeypatch):
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    section = readme.split("## More than two corpora")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    names = ["general", "code", "law"]
    fit = cp.fit_mixture(world(3, 16, names=names), "data_mixing", bootstrap=10)
    monkeypatch.chdir(tmp_path)
    cp.write_mixture_fit(fit, "MIX.json")
    answer = {}
    exec(code.replace('"2%"', '"20%"'), answer)  # the log of the test asks for more room
    assert answer["plan"].train_tokens == 20e9
    assert answer["plan"].epochs["law"] <= 4 + 1e-6
