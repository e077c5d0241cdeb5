"""What a prediction is asked for: numbers, lists and columns of a table; what is none is refused by its name."""

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.numbers import Tolerance

AT = {"model_params": 1e6, "train_tokens": 1e5, "domain_ratio": 0.3}


@pytest.fixture(scope="module")
def fit():
    from by_hand import make_fit

    return make_fit()


@pytest.mark.parametrize("given", [[0.1, 0.4], (0.1, 0.4), pd.Series([0.1, 0.4], index=[7, 7])])
def test_lists_and_columns_are_numbers(fit, given):
    losses = fit.predict("general", **AT | {"domain_ratio": given}).loss
    expected = fit.predict("general", **AT | {"domain_ratio": np.array([0.1, 0.4])}).loss
    np.testing.assert_array_equal(losses, expected)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"domain_ratio": "30%"},
            "domain_ratio must be a number or an array of numbers, got '30%'",
        ),
        ({"domain_ratio": []}, r"domain_ratio must be a number or an array of numbers, got \[\]"),
        ({"train_tokens": ["a"]}, "train_tokens must be a number or an array of numbers, got"),
        ({"model_params": [1e6, 2e6]}, "model_params must be one number above 0 such as"),
        (
            {"domain_ratio": [0.1, 0.2, 0.3], "train_tokens": [1e5, 2e5]},
            r"domain_ratio of shape \(3,\) and train_tokens of shape \(2,\) do not fit together",
        ),
    ],
)
def test_what_is_none_is_refused_by_its_name(fit, asked, said):
    with pytest.raises(InputError, match=f"^{said}"):
        fit.predict("general", **AT | asked)


def test_passes_over_a_corpus_without_its_tokens_are_refused(fit):
    asked = {"model_params": 1e6, "train_tokens": 1e5, "max_general_rise": "3%"}
    with pytest.raises(InputError, match=r"^max_epochs = 3 bounds the passes .* give domain_tok"):
        cp.plan(fit, **asked, max_epochs=3)


@pytest.mark.parametrize("rise", [-1e-3, 0.0, 1e-16, 9e-13, 4e-12])
def test_the_least_tolerance_of_no_rise_is_0(rise):
    assert str(Tolerance(0.05, "fraction").least_above(rise)) == "0%"


@pytest.mark.parametrize(
    ("rise", "shown"), [(6.51e-7, "0.001%"), (7.5e-6, "0.001%"), (1.234e-5, "0.002%")]
)
def test_the_least_tolerance_has_no_digits_that_mean_nothing(rise, shown):
    assert str(Tolerance(0.05, "fraction").least_above(rise)) == shown


def test_domain_tokens_that_no_loss_reads_are_refused(fit):
    """They changed nothing, without a word, where a plan counts the repeats."""
    said = r"^unique_domain_tokens: no loss of this fit reads it, so it would change nothing; "
    with pytest.raises(InputError, match=said):
        fit.predict("domain", **AT, unique_domain_tokens=1e4)
