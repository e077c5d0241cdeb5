"""A loss on a new domain says where its question lies outside of what was fitted."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp

FITTED = {"model_params": 1e8, "train_tokens": 1e9, "domain_ratio": [0.2, 0.9]}
LEVELS = {"law": 1.5, "code": 1.7, "chemistry": 1.9}


def short_run(level):
    tokens = np.linspace(0, 1e8, 5)
    return tokens, level + 0.4 - tokens / 1e9


def domain_log(level, *, tokens=(1e9, 2e9), size=1e8):
    curve = {ratio: level + 0.3 * np.exp(-3 * ratio) for ratio in (0.1, 0.3, 0.6, 1.0)}
    rows = [
        (f"r{ratio:g}", size, count, ratio, "domain", loss + 20 * count**-0.2 + 60 * size**-0.3)
        for ratio, loss in curve.items()
        for count in tokens
    ]
    names = ["run_id", "model_params", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return pd.DataFrame(rows, columns=names)


def domains(**levels):
    logs = {name: domain_log(level, **levels) for name, level in LEVELS.items()}
    return cp.fit_domains(logs, {name: short_run(level) for name, level in LEVELS.items()})


@pytest.fixture(scope="module")
def one_size():
    return domains()


def predicted(fit, **change):
    return cp.predict_new_domain(fit, short_run(1.6), **FITTED | change)


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (
            {"model_params": "4B"},
            "extrapolates_size",
            "40 times the largest fitted, 1e+08; the laws",
        ),
        ({"train_tokens": 8e9}, "extrapolates_tokens", "4 times the largest fitted, 2e+09"),
        (
            {"domain_ratio": [0.0, 0.5]},
            "extrapolates_ratio",
            "= 0 is outside the fitted ratios 0.1",
        ),
    ],
)
def test_a_question_outside_of_the_fit_is_said(one_size, change, code, said):
    new = predicted(one_size, **change)
    (finding,) = new.warnings
    assert finding.code == code
    assert said in finding.message
    assert f"caution [{code}]" in repr(new)


def test_a_size_that_the_law_does_not_read_changes_no_loss(one_size):
    """So that it must be said: the true loss falls by a half of 60 N^-0.3 and more."""
    assert predicted(one_size, model_params=4e9).loss == pytest.approx(predicted(one_size).loss)
    (finding,) = predicted(domains(tokens=(1e9,)), train_tokens=4e9).warnings
    assert "the laws have no term for it" in finding.message


def test_a_question_inside_of_the_fit_has_no_remark(one_size):
    assert predicted(one_size).warnings == ()
    assert "caution" not in repr(predicted(one_size))
