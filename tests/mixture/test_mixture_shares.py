"""Mixtures as notebooks hand them over are read, and what is no mixture is refused in one line."""

import numpy as np
import pandas as pd
import pytest
from known_mixtures import D

import cmrplan as cp
from cmrplan.errors import InputError

AT = {"model_params": 1e8, "train_tokens": D}
PAIR = [{"c0": 0.5, "c1": 0.3, "c2": 0.2}, {"c0": 0.1, "c2": 0.9}]


def losses(fit, mixture):
    return {corpus: one.loss.tolist() for corpus, one in fit.predict(mixture, **AT).items()}


def rows_of(fit, mixtures=PAIR):
    """Return mixtures as rows in the order of a fit."""
    return [[one.get(name, 0.0) for name in fit.corpora] for one in mixtures]


class TestWhatIsRead:
    @pytest.mark.parametrize(
        "given",
        [
            pd.Series(PAIR[0]),
            pd.Series(PAIR[0]).add_prefix("share_"),
            pd.DataFrame(PAIR[:1]),
            PAIR[:1],
        ],
        ids=["series", "series of a log", "table", "list of one"],
    )
    def test_one_mixture_by_names(self, three, given):
        assert losses(three, given) == losses(three, PAIR[0])

    @pytest.mark.parametrize("kind", [list, tuple, np.array])
    def test_one_mixture_as_numbers(self, three, kind):
        assert losses(three, kind(rows_of(three)[0])) == losses(three, PAIR[0])

    def test_several_mixtures(self, three):
        each = [losses(three, one) for one in PAIR]
        expected = {corpus: [*each[0][corpus], *each[1][corpus]] for corpus in each[0]}
        table = pd.DataFrame(PAIR).fillna(0.0)
        log = table.add_prefix("share_").assign(run_id=["a", "b"], model_params=1e8)
        for given in (rows_of(three), np.array(rows_of(three)), PAIR, table, log):
            answer = losses(three, given)
            for corpus, values in expected.items():
                assert answer[corpus] == pytest.approx(values, rel=1e-12)

    def test_remarks_and_parts_take_one_mixture_in_every_form(self, three):
        alone = three.extrapolation_findings({"c0": 1.0}, **AT)
        assert three.extrapolation_findings(pd.Series({"c0": 1.0}), **AT) == alone
        assert alone
        assert three.parts(rows_of(three)[0], **AT) == three.parts(PAIR[0], **AT)
        with pytest.raises(InputError, match="one mixture must be given here, got 2"):
            three.parts(PAIR, **AT)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ([0.5, 0.5, 0.5], "row 2 .*sum to 1, got 1.5$"),
            ([30, 50, 20], "row 2 .*sum to 1, got 100. Percent. Divide by 100.$"),
            ([1.2, -0.2, 0.0], "row 2 .*must be 0 or more .* got -0.2 of "),
            ([np.nan, 0.5, 0.5], "row 2 .*must be 0 or more .* got nan of "),
        ],
    )
    def test_an_impossible_row_is_named(self, three, changes, words):
        for kind in (np.array, list):
            with pytest.raises(InputError, match=words):
                losses(three, kind([*rows_of(three), changes]))

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (
                np.full((4, 2), 0.5),
                r"rows of 3 shares in the order .*an array of the shape \(4, 2\)",
            ),
            (np.full((1, 4), 0.25), r"an array of the shape \(1, 4\)"),
            (np.full((2, 2, 3), 1 / 3), r"an array of the shape \(2, 2, 3\)"),
            ([0.5, 0.5], r"got \[0.5, 0.5\]"),
            ("c0=1", "got 'c0=1'"),
            (None, "got None"),
            (
                pd.DataFrame([{"c0": 0.5, "web": 0.5}]),
                "no training corpus 'web'; it has c0, c1, c2",
            ),
            ([{"c0": 1.0}, {"c0": "half"}], "row 1 .*share of c0 must be a number, got 'half'"),
        ],
    )
    def test_what_is_no_mixture_is_refused_in_one_line(self, three, given, words):
        with pytest.raises(InputError, match=words) as caught:
            losses(three, given)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("several", [[1e9, 2e9], np.array([1e9, 2e9]), (1e9,), None])
    @pytest.mark.parametrize("name", ["train_tokens", "model_params"])
    def test_several_budgets_or_sizes_at_once_are_refused(self, three, name, several):
        with pytest.raises(InputError, match=f"^{name} must be one number above 0 such as"):
            three.predict(PAIR[0], **AT | {name: several})

    def test_a_plot_of_two_corpora_says_which_plot_there_is(self, three):
        with pytest.raises(InputError, match=r"got MixtureFit; .* one plot, .*mixture_figure"):
            cp.plots.figure("tradeoff", three)
