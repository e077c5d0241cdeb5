"""A question may be put as a PlanRequest or word by word, with numbers as text, and to the file of a fit."""

import inspect
from dataclasses import fields, replace
from typing import get_type_hints

import numpy as np
import pandas as pd
import pytest
from by_hand import D, N, make_fit

import cmrplan as cp
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.plan.loss_curves import survey
from cmrplan.plan.request import LimitOptions, PlanRequest, RequestOptions

RISE = {"max_general_rise": 0.05}
WORDS = {field.name for field in fields(PlanRequest)}
LIMITS = set(get_type_hints(LimitOptions))
# What each function takes of a request, beside the limits, and arguments of its own that it needs.
QUESTIONS = {
    "plan": ({"model_params", "train_tokens", "compute", "gpu_flops"}, {}),
    "frontier": ({"model_params", "train_tokens", "compute", "gpu_flops"}, {}),
    "critical_over_tokens": ({"model_params"}, {}),
    "critical_over_sizes": ({"train_tokens"}, {}),
    "fewest_tokens": (
        {"model_params", "train_tokens", "compute", "gpu_flops"},
        {"target_domain_loss": 1.6},
    ),
    "smallest_model": ({"train_tokens"}, {"target_domain_loss": 1.6, "sizes": ["100M"]}),
    "best_budget": ({"compute", "gpu_flops"}, {}),
    "spend_domain_tokens": ({"model_params", "compute", "gpu_flops"}, {}),
    "by_epochs": ({"model_params", "train_tokens", "compute", "gpu_flops"}, {}),
    "next_probes": (
        {"model_params", "train_tokens", "compute", "gpu_flops"},
        {"budget": "1e9tokens"},
    ),
}
# By hand: 100M parameters are N, 2B tokens are D.
AS_TEXT = {"model_params": "100M", "train_tokens": "2B", "compute": "1.2e18", "gpu_flops": "400T"}
AS_NUMBERS = {"model_params": N, "train_tokens": D, "compute": 1.2e18, "gpu_flops": 4e14}


@pytest.fixture(scope="module")
def fit():
    return make_fit(per_decade=(0.0, 0.1), per_size=(0.0, 0.1))


class TestWords:
    @pytest.mark.parametrize("name", QUESTIONS)
    def test_the_signature_names_every_word_with_type_and_default(self, name):
        words, own = QUESTIONS[name]
        parameters = inspect.signature(getattr(cp, name)).parameters
        assert list(parameters)[:2] == ["fit", "request"]
        assert words | LIMITS | set(own) <= set(parameters)
        for field in fields(PlanRequest):
            if field.name in words | LIMITS:
                parameter = parameters[field.name]
                assert parameter.default == field.default
                assert parameter.annotation == get_type_hints(PlanRequest)[field.name]

    def test_options_and_fields_are_the_same_words_of_the_same_types(self):
        assert get_type_hints(RequestOptions) == get_type_hints(PlanRequest)

    @pytest.mark.parametrize("name", [*QUESTIONS, "law_panel", "sensitivity"])
    def test_a_wrong_word_is_named(self, name, fit):
        word = "max_general_rize" if name in QUESTIONS else "progres"
        right = "max_general_rise" if name in QUESTIONS else "progress"
        with pytest.raises(
            InputError, match=f"{name} has no argument {word}; did you mean {right}$"
        ):
            getattr(cp, name)(fit, **{word: 1})

    def test_a_word_like_no_other_lists_them(self, fit):
        with pytest.raises(InputError, match="plan has no argument zzz; it takes fit, request"):
            cp.plan(fit, zzz=1)

    @pytest.mark.parametrize(
        ("question", "word"),
        [
            (lambda fit: cp.plan(fit, train_tokens=D, **RISE), "model_params"),
            (lambda fit: cp.fewest_tokens(fit, model_params=N, **RISE), "target_domain_loss"),
            (lambda fit: cp.best_budget(fit, **RISE), "compute"),
            (
                lambda fit: cp.by_epochs(fit, model_params=N, train_tokens=D, **RISE),
                "domain_tokens",
            ),
            (lambda fit: cp.spend_domain_tokens(fit, model_params=N, **RISE), "domain_tokens"),
            (lambda fit: cp.critical_over_sizes(fit, **RISE), "train_tokens"),
            (lambda fit: cp.plan(**RISE), "fit"),
        ],
    )
    def test_a_missing_word_is_named(self, fit, question, word):
        with pytest.raises(InputError, match=word):
            question(fit)

    def test_a_request_of_another_kind_is_refused(self, fit):
        with pytest.raises(InputError, match="request must be a PlanRequest, got dict"):
            cp.plan(fit, {"model_params": N})


class TestRequest:
    @pytest.mark.parametrize("name", [name for name in QUESTIONS if name != "next_probes"])
    def test_text_words_and_a_request_ask_the_same(self, fit, name):
        words, own = QUESTIONS[name]
        question = getattr(cp, name)
        limits = RISE | {"domain_tokens": "1B"}
        answers = [
            question(fit, **{word: AS_TEXT[word] for word in words}, **limits, **own),
            question(fit, **{word: AS_NUMBERS[word] for word in words}, **limits, **own),
            question(fit, PlanRequest(**{w: AS_TEXT[w] for w in words}, **limits), **own),
        ]
        shown = [
            answer.as_dict() if isinstance(answer, cp.Plan) else _rows(answer) for answer in answers
        ]
        assert shown[0] == shown[1] == shown[2]

    def test_a_word_stands_above_the_request(self, fit):
        request = PlanRequest(model_params=N, train_tokens=D, max_general_rise=0.05)
        assert cp.plan(fit, request).domain_ratio == pytest.approx(0.5, abs=1e-6)
        # 0.2 r² = 0.018 at 0.3
        assert cp.plan(fit, request, max_general_rise=0.018).domain_ratio == pytest.approx(
            0.3, abs=1e-6
        )

    def test_equal_questions_are_equal(self):
        assert PlanRequest(**AS_TEXT, **RISE) == PlanRequest(**AS_NUMBERS, **RISE)

    def test_gpu_hours_become_flops(self):
        # 2 hours at 5e13 FLOP/s are 3.6e17 FLOPs, which pay for 6e8 tokens of 1e8 parameters
        request = PlanRequest(model_params=N, compute="2gpu-hours", gpu_flops=5e13, **RISE)
        assert request.flops == pytest.approx(3.6e17)
        assert request.tokens == pytest.approx(6e8)
        assert request.is_cut
        assert not replace(request, train_tokens=5e8).is_cut
        assert replace(request, train_tokens=5e8).tokens == 5e8

    @pytest.mark.parametrize("word", ["model_params", "train_tokens", "gpu_flops", "domain_tokens"])
    @pytest.mark.parametrize("value", ["many", "-1", 0, "0"])
    def test_a_count_that_is_none_is_named(self, word, value):
        with pytest.raises(InputError, match=word):
            PlanRequest(**RISE, **{word: value})

    def test_sizes_may_be_text(self, fit):
        best = cp.best_budget(fit, compute=1.2e18, sizes=["50M", "100M"], **RISE)
        assert [one.model_params for one in best.tried] == [5e7, 1e8]
        with pytest.raises(InputError, match="sizes"):
            cp.best_budget(fit, compute=1.2e18, sizes=["some"], **RISE)
        curve = cp.critical_over_tokens(fit, model_params="100M", train_tokens=["2B"], **RISE)
        assert curve.values.tolist() == [D]

    def test_a_path_stands_where_a_fit_may(self, fit_path):
        asked = {"model_params": "1M", "train_tokens": "1M", "max_general_rise": "5%"}
        by_path, by_fit = cp.plan(fit_path, **asked), cp.plan(cp.read_fit(fit_path), **asked)
        assert cp.plan(str(fit_path), **asked).as_dict() == by_path.as_dict() == by_fit.as_dict()
        with pytest.raises(CmrplanError, match=r"nowhere\.json"):
            cp.plan("nowhere.json", **asked)


class TestResults:
    def test_a_plan_reads_in_a_few_lines(self):
        made = cp.plan(make_fit(spread=[-0.01, 0.01]), model_params=N, train_tokens=D, **RISE)
        lines = repr(made).splitlines()
        assert len(lines) < 15
        assert lines[0] == f"Plan(domain_ratio={made.domain_ratio:.3f})"
        assert any("tolerance" in line for line in lines)

    def test_html_is_escaped(self):
        made = cp.plan(make_fit(), model_params=N, train_tokens=D, **RISE)
        made = replace(made, law="<b>&", warnings=(Finding("<i>", ""),))
        assert "<td>&lt;b&gt;&amp;</td>" in made._repr_html_()
        assert "&lt;i&gt;" in made._repr_html_()
        assert made._repr_html_().startswith("<table><tr><th>domain ratio</th><td>0.500</td></tr>")

    def test_intervals_hold_the_bounds_of_the_json(self):
        made = cp.plan(
            make_fit(spread=np.linspace(-0.02, 0.02, 41)), model_params=N, train_tokens=D, **RISE
        )
        plain = made.as_dict()
        for name in ("general_loss", "domain_loss", "general_rise", "replay_rise"):
            interval = getattr(made, name)
            assert [plain[name], plain[f"{name}_low"], plain[f"{name}_high"]] == [
                interval.estimate,
                interval.low,
                interval.high,
            ]
        assert made.general_rise.estimate == pytest.approx(made.general_loss.estimate - 2.5)
        assert (
            plain["domain_ratio_low"],
            plain["point_domain_ratio"],
            plain["domain_ratio_high"],
        ) == (
            made.ratio.low,
            made.ratio.estimate,
            made.ratio.high,
        )

    def test_loss_curves_as_a_table(self):
        request = PlanRequest(model_params=N, train_tokens=D, **RISE)
        table = survey(make_fit(), request, num_grid=5).table()
        assert table["domain_ratio"].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
        np.testing.assert_allclose(table["general_loss"], 2.5 + 0.2 * table["domain_ratio"] ** 2)
        np.testing.assert_allclose(table["rise"], 0.2 * table["domain_ratio"] ** 2, atol=1e-12)
        np.testing.assert_allclose(table["domain_loss"], 2 - table["domain_ratio"])

    def test_a_curve_reads_as_a_short_table(self):
        curve = cp.critical_over_tokens(make_fit(per_decade=(0.02, 0.0)), model_params=N, **RISE)
        assert len(curve.table()) == 25
        assert len(repr(curve).splitlines()) < 15
        assert repr(curve).startswith("CriticalCurve, 25 rows\n")
        assert "<table" in curve._repr_html_()


def _rows(answer):
    table = answer if isinstance(answer, pd.DataFrame) else answer.table()
    return table.astype(str).to_dict("records")


@pytest.mark.parametrize("given", [None, 3.0, {"fit": 1}])
def test_what_is_no_fit_is_named(given):
    with pytest.raises(
        InputError, match=r"fit must be a Fit .* cp\.plan_mixture takes fits of sev"
    ):
        cp.plan(given, model_params=1e9, train_tokens=1e9, max_general_rise="2%")
