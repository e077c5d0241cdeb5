"""Predictions of a size that is not trained yet, and what is said of them once it is, on an invented log.

General loss: a level of the size plus 0.1 r nats, whatever the tokens; domain loss: 3 - r. So with a base loss of 2 a
rise of 2 % is reached at r = 0.4, and the domain loss differs by what the ratios differ.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.errors import InputError
from cmrplan.validate.predictors import predictors

sys.path.insert(0, str(Path(__file__).parents[2] / "data" / "sweep2"))
import preregister

RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)
BUDGETS = (1e6, 2e6, 4e6)
LEVELS = {1e6: 2.5, 2e6: 2.0}
TARGET = preregister.Target(2e6, BUDGETS, RATIOS, {"general": 2.0, "domain": 3.0})


@pytest.fixture(scope="module")
def log():
    rows = []
    for size, level in LEVELS.items():
        for ratio in RATIOS:
            about = {"run_id": f"{size:g}-{ratio}", "model_params": size, "domain_ratio": ratio}
            rows.append(about | {"train_tokens": 0.0, "eval_corpus": "general", "loss": level})
            rows.append(about | {"train_tokens": 0.0, "eval_corpus": "domain", "loss": 3.0})
            for tokens in BUDGETS:
                general = {"eval_corpus": "general", "loss": level + 0.1 * ratio}
                domain = {"eval_corpus": "domain", "loss": 3.0 - ratio}
                rows += [about | {"train_tokens": tokens} | one for one in (general, domain)]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def predictions(log):
    seen = log[log["model_params"] < TARGET.model_params].reset_index(drop=True)
    few = {name: predictors({})[name] for name in ("auto", "dcpt", "linear", "cmr")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preregister, "predictors", lambda bases: few)
        return preregister.predict(seen, TARGET, law="dcpt", bootstrap=20)


def answers(ratios, method):
    own = ratios[ratios["method"] == method].set_index(["tolerance", "rise_over"])
    return own["domain_ratio"]


def test_the_best_probed_ratio_is_that_of_the_smaller_size(predictions):
    """Of 2.5 nats 2 % are 0.05, which is r = 0.5; 3 % are r = 0.75 and 5 % more than r = 1 needs."""
    best = answers(predictions[1], "best probed ratio")
    for reference in ("base", "replay"):
        assert best["2%", reference] == 0.5
        assert best["3%", reference] == 0.75
        assert best["5%", reference] == 1.0


def test_every_method_says_a_ratio_for_each_of_six_questions(predictions):
    counts = predictions[1].groupby("method").size()
    assert (counts == 6).all()
    assert {"default", "dcpt", "linear", "always 30 %", "best probed ratio"} <= set(counts.index)


def test_the_default_predicts_the_whole_grid_with_an_interval(predictions):
    losses = predictions[0]
    own = losses[losses["method"] == "default"]
    assert len(own) == 2 * len(BUDGETS) * len(RATIOS)
    assert ((own["low"] <= own["loss"]) & (own["loss"] <= own["high"])).all()
    general = own[own["eval_corpus"] == "general"].set_index(["train_tokens", "domain_ratio"])
    assert general["loss"][4e6, 0.0] == pytest.approx(2.0, abs=0.02)


def test_decisions_cost_what_the_measured_losses_say(log):
    asked = pd.DataFrame(
        {
            "method": ["low", "high", "silent"],
            "tolerance": "2%",
            "rise_over": ["base", "replay", "base"],
            "domain_ratio": [0.3, 0.5, np.nan],
        }
    )
    losses = pd.DataFrame(
        {
            "method": "default",
            "eval_corpus": ["general", "general"],
            "train_tokens": 1e6,
            "domain_ratio": [0.5, 1.0],
            "loss": [2.06, 2.09],
            "low": [2.04, 2.08],
            "high": [2.08, 2.095],
        }
    )
    errors, decisions = preregister.compare(log, TARGET, losses, asked)
    low, high, silent = decisions.itertuples()
    assert low.best == high.best == pytest.approx(0.4, abs=1e-3)
    assert (low.regret, low.excess) == (pytest.approx(0.1, abs=1e-3), 0.0)
    assert (high.regret, high.excess) == (pytest.approx(-0.1, abs=1e-3), pytest.approx(0.01))
    assert np.isnan([silent.ratio_error, silent.regret, silent.excess]).all()
    (own,) = errors.itertuples()
    assert own.mae == pytest.approx(0.01)
    assert own.bias == pytest.approx(0.0, abs=1e-12)
    assert own.held == 0.5
    assert own.runs == 2

    counted = preregister.summary(decisions).set_index("method")
    assert counted["answered"].to_dict() == {"low": 1, "high": 1, "silent": 0}
    assert counted["broken"].to_dict() == {"low": 0, "high": 1, "silent": 0}


def test_nothing_is_written_once_the_part_is_trained(log, tmp_path, monkeypatch):
    cp.write_log(log, tmp_path / "log.csv")
    monkeypatch.setattr(preregister, "target_of", lambda part, folder: TARGET)
    with pytest.raises(InputError, match="has probes of large already"):
        preregister.write("large", tmp_path, tmp_path / "predictions")
    assert not (tmp_path / "predictions").exists()


def test_what_is_written_is_read_back(log, tmp_path, monkeypatch, capsys):
    seen = log[log["model_params"] < TARGET.model_params]
    cp.write_log(seen, tmp_path / "log.csv")
    monkeypatch.setattr(preregister, "target_of", lambda part, folder: TARGET)
    tables = pd.DataFrame({"method": ["a"], "loss": 1.0, "domain_ratio": 0.5})
    columns = {"eval_corpus": "general", "train_tokens": 1e6, "low": np.nan, "high": np.nan}
    ratios = tables.assign(tolerance="2%", rise_over="base")[
        ["method", "tolerance", "rise_over", "domain_ratio"]
    ]
    monkeypatch.setattr(preregister, "predict", lambda *_: (tables.assign(**columns), ratios))
    out = tmp_path / "predictions" / "large"
    preregister.write("large", tmp_path, out)
    assert preregister.read_target(out / "target.json") == TARGET
    cp.write_log(log, tmp_path / "log.csv")
    monkeypatch.setattr(
        sys, "argv", ["preregister.py", "compare", "large", "--folder", str(tmp_path)]
    )
    preregister.main()
    assert (
        "| a | 2% | base | 0.5000 | 0.4000 | 0.1000 | -0.1000 | 0.0100 |" in capsys.readouterr().out
    )
