"""Comparison and backtest of several corpora: what is hidden, simple answers by hand, who wins on a known law."""

import numpy as np
import pandas as pd
import pytest
from known_mixtures import growing

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.fit.hold_outs import holdouts
from cmrplan.validate import compare, mixture_backtest
from cmrplan.validate.baselines import linear, nearest_mixture
from cmrplan.validate.predictors import mixture_predictors

SHARES = ["share_a", "share_b"]


def table(mixtures, tokens=(1e8, 2e8, 4e8), sizes=(1e8,), loss=lambda n, d, a: 2 + a):
    return pd.DataFrame(
        [
            {
                "run_id": f"{n:g}-{a:g}",
                "model_params": n,
                "train_tokens": d,
                "share_a": a,
                "share_b": 1 - a,
                "eval_corpus": "a",
                "loss": loss(n, d, a),
            }
            for n in sizes
            for a in mixtures
            for d in tokens
        ]
    )


class TestHoldouts:
    def test_every_mixture_is_hidden_once_and_whole(self):
        rows = table(np.linspace(0, 1, 11), sizes=(1e8, 2e8))
        fifths = [h.hidden for h in holdouts(rows) if h.kind == "mixture"]
        assert len(fifths) == 5
        np.testing.assert_array_equal(np.sum(fifths, axis=0), 1)
        for hidden in fifths:  # a mixture is hidden at every size and budget
            assert not set(rows.loc[hidden, "share_a"]) & set(rows.loc[~hidden, "share_a"])

    def test_late_budgets_and_the_largest_size(self):
        rows = table([0, 0.5, 1], (1e8, 2e8, 4e8, 8e8, 1e9), (1e8, 2e8, 4e8))
        hidden = {h.kind: h.hidden for h in holdouts(rows)}
        assert set(rows.loc[hidden["tokens"], "train_tokens"]) == {8e8, 1e9}
        assert set(rows.loc[hidden["size"], "model_params"]) == {4e8}


class TestBaselines:
    """Answers by hand."""

    def test_the_nearest_mixture_at_the_nearest_size_goes_on_along_its_line(self):
        seen = table(
            [0.1, 0.6], sizes=(1e8, 1e9), loss=lambda n, d, a: a + n / 1e9 - np.log2(d / 1e8)
        )
        wanted = table([0.3, 0.4], (2e8, 8e8), (3e8,))
        # 3e8 is nearer to 1e8 in the logarithm; 0.3 is nearer to 0.1, 0.4 to 0.6
        expected = [0.1 + 0.1 - 1, 0.1 + 0.1 - 3, 0.6 + 0.1 - 1, 0.6 + 0.1 - 3]
        assert nearest_mixture(seen, wanted) == pytest.approx(expected)

    def test_linear_recovers_a_log_linear_loss(self):
        def loss(n, d, a):
            return np.exp(1 - 0.05 * np.log(d) - 0.02 * np.log(n) + 0.3 * a + 0.01 * a * np.log(d))

        seen = table([0, 0.3, 0.8], sizes=(1e8, 3e8), loss=loss)
        wanted = table([0.6], (8e8,), (2e8,), loss=loss)
        assert linear(seen, wanted) == pytest.approx(wanted["loss"].to_numpy())


def asked_alone(monkeypatch, module, *names):
    """Let a question ask some predictors only."""
    some = {name: call for name, call in mixture_predictors().items() if name in names}
    assert set(some) == set(names)
    monkeypatch.setattr(module, "mixture_predictors", lambda: some)


class TestOnAKnownLaw:
    def test_the_law_of_the_right_form_beats_the_simple_answers(self, monkeypatch):
        asked_alone(monkeypatch, compare, "size_mixing", "linear", "nearest_mixture")
        log = growing(3, 12, noise=0.002)
        found = cp.compare(log[log["eval_corpus"] != "c2"])
        assert set(found.verdicts) == {"c0", "c1"}
        for corpus, table in found.ranking.groupby("corpus"):
            assert set(table) >= {"mixture", "tokens", "size"}
            assert table["predictor"].iloc[0] == "size_mixing", corpus
            # the noise of a run is 0.002 and the simple answers miss the interactions by 0.05 and more
            assert table["mae"].iloc[0] < 0.02 < table["mae"].iloc[1]

    def test_a_law_whose_further_terms_nothing_tells_is_no_rival(self, monkeypatch):
        names = ("size_mixing", "bilinear_mixing", "data_mixing", "linear")
        asked_alone(monkeypatch, compare, *names)
        asked_alone(monkeypatch, mixture_backtest, *names)
        tokens = (1e8, 2e8, 4e8, 8e8)
        log = growing(2, 9, tokens=tokens, sizes=(1e8,), noise=0.002)
        rows = log[log["eval_corpus"] == "c0"].reset_index(drop=True)
        size, plain = (mixture_predictors()[name](rows, rows, "c0") for name in names[:2])
        np.testing.assert_allclose(size, plain, rtol=1e-9)  # they say the same at one size
        found = cp.compare(log)
        assert (
            "at 1 model size the law size_mixing says the same" in found.skipped["c0/size_mixing"]
        )
        assert set(found.ranking["predictor"]) == set(names) - {"size_mixing"}
        assert "size_mixing" not in set(cp.backtest_mixtures(log)["predictor"])
        found = cp.compare(log[log["train_tokens"].isin([0, 4e8])])
        assert "at 1 token count" in found.skipped["c0/bilinear_mixing"]
        assert set(found.ranking["predictor"]) == {"data_mixing", "linear"}

    def test_a_law_that_cannot_answer_is_told(self, monkeypatch):
        asked_alone(monkeypatch, compare, "bimix", "linear")
        found = cp.compare(growing(2, 9, tokens=(1e8, 2e8, 4e8, 8e8)))
        assert "holds at one model size" in found.skipped["c0/bimix"]
        ((name, corpora, reason),) = found.left_out
        assert (name, sorted(corpora)) == ("bimix", ["c0", "c1"])
        assert "one model size and the loss was measured at" in reason

    def test_what_is_left_out_for_one_reason_is_said_once(self, call, tmp_path, monkeypatch):
        asked_alone(monkeypatch, compare, "optimal_mixture", "linear")
        path = tmp_path / "log.csv"
        growing(3, 8, tokens=(1e9,), sizes=(1e8,)).to_csv(path, index=False)
        told = call("mix", "compare", path).err.splitlines()
        start = told.index("left out, by what stays of the log while a part of it is hidden:")
        (line,) = told[start + 1 :]
        assert line.startswith(
            "  optimal_mixture (c0, c1, c2): the loss was measured at 6 mixtures"
        )


class TestBacktest:
    @pytest.fixture(scope="class")
    @classmethod
    def log(cls):
        losses = {
            "a": lambda n, d, a: 3 - a - 0.1 * np.log2(d / 1e8),
            "b": lambda n, d, a: 3 + a / 2,
        }
        tables = [table([0.1, 0.4, 0.9], (1e8, 2e8, 4e8, 8e8), loss=f) for f in losses.values()]
        return pd.concat([t.assign(eval_corpus=c) for t, c in zip(tables, losses, strict=True)])

    def test_errors_order_and_regret_by_hand(self, log, monkeypatch):
        def wrong(seen, wanted, corpus):
            """Reads the order of a the wrong way round and that of b right, a tenth too high."""
            sign = {"a": -1, "b": 1}[corpus]
            return 0.1 + (wanted["loss"] if sign > 0 else 6 - wanted["loss"]).to_numpy()

        monkeypatch.setattr(mixture_backtest, "mixture_predictors", lambda: {"wrong": wrong})
        (row,) = cp.backtest_mixtures(log).to_dict("records")
        assert (row["kind"], row["window"], row["is_law"]) == ("tokens", "D <= 4e+08", True)
        # at 8e8 tokens a has 2.7 - s, so 6 less that misses by |2 s + 0.6| + 0.1 or 0.9, 1.5, 2.5; b misses by 0.1
        assert row["mae"] == pytest.approx((0.9 + 1.5 + 2.5 + 3 * 0.1) / 6)
        assert row["spearman"] == pytest.approx(0.0)
        # the mean loss is 2.85 - s / 4, best at 0.9; predicted is (3.3 + s + 3 + s / 2) / 2 + 0.1, best at 0.1
        assert row["regret"] == pytest.approx(0.8 / 4)

    def test_what_is_carried_on_along_its_line_is_exact_here(self, log, monkeypatch):
        asked_alone(monkeypatch, mixture_backtest, "nearest_mixture")
        (row,) = cp.backtest_mixtures(log).to_dict("records")
        assert row["mae"] == pytest.approx(0, abs=1e-12)
        assert (row["spearman"], row["regret"]) == pytest.approx((1, 0))

    def test_logs_of_the_other_kind_are_told_where_they_belong(self, log):
        with pytest.raises(InputError, match="cmrplan mix backtest"):
            cp.backtest(log, max_general_rise="3%")
        two = log.drop(columns=SHARES).assign(domain_ratio=log["share_a"])
        with pytest.raises(InputError, match="cmrplan backtest"):
            cp.backtest_mixtures(two)

    def test_too_few_mixtures_at_the_target_are_refused(self, log):
        with pytest.raises(CmrplanError, match="fewer than three mixtures"):
            cp.backtest_mixtures(log[(log["share_a"] < 0.5) | (log["train_tokens"] < 8e8)])


def test_the_commands_print_whole_json(call, tmp_path, monkeypatch):
    for module in (compare, mixture_backtest):
        asked_alone(monkeypatch, module, "bilinear_mixing", "nearest_mixture")
    path = tmp_path / "log.csv"
    growing(2, 8, sizes=(1e8,), tokens=(1e8, 2e8, 4e8, 8e8), noise=0.01).to_csv(path, index=False)
    ranking = call("mix", "compare", path, "--json").json()["ranking"]
    assert {row["corpus"] for row in ranking} == {"c0", "c1"}
    assert {"bilinear_mixing", "nearest_mixture"} <= {row["predictor"] for row in ranking}
    rows = call("mix", "backtest", path, "--json").json()["rows"]
    assert {"window", "predictor", "mae", "spearman", "regret"} <= set(rows[0])
    assert "target: the largest model" in call("mix", "backtest", path).out
    assert "cmrplan mix backtest" in call("backtest", path).err
