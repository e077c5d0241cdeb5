"""A run that goes on under another name is found; runs of other settings or other evaluations are not taken for one."""

import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.log.resumed_runs import resumed_run_findings


def run(name, tokens, ratio=0.3, seed=0):
    """Return the rows of a run, evaluated at these millions of tokens."""
    return pd.DataFrame(
        {
            "run_id": name,
            "model_params": 4e8,
            "train_tokens": [1e6 * count for count in tokens],
            "domain_ratio": ratio,
            "eval_corpus": "general",
            "loss": [3 - count / 1e4 for count in tokens],
            "seed": seed,
        }
    )


def found(*runs):
    return resumed_run_findings(cp.validate_log(pd.concat(runs)), "log.csv")


FIRST = run("a", (0, 100, 200, 300))


@pytest.mark.parametrize("tokens", [(300, 400, 500), (200, 300, 400), (400, 500), (400,)])
def test_a_run_that_goes_on_is_named(tokens):
    (finding,) = found(FIRST, run("b", tokens), run("c", (0, 100, 200, 300), ratio=0.5))
    assert finding.code == "resumed_run"
    assert "run 'b'" in finding.message
    assert "run 'a'" in finding.message


@pytest.mark.parametrize(
    "other",
    [
        run("b", (100, 200, 300, 400)),  # a repetition, whose seed nobody noted
        run("b", (300, 400), ratio=0.5),
        run("b", (300, 400), seed=1),
        run("b", (200, 300)),  # that ends where the first one does
        run("b", (900, 1000)),
        run("b", (300, 1300, 2300)),  # evaluated ten times as seldom
        run("b", (200, 400, 600)),  # twice as long, evaluated at the same parts of its length
        run("b", (150, 300, 450)),
        run("b", (0, 300, 400, 500)),  # its base was evaluated, so it began there
        run("b", (300, 400, 500)).assign(schedule="cosine"),
    ],
)
def test_other_runs_are_not(other):
    assert found(FIRST, other) == []


def test_runs_without_their_first_evaluations_are_not():
    short, long = range(100, 1001, 50), range(200, 2001, 50)  # each without its first tenth
    assert found(run("a", short), run("b", long)) == []


def test_three_starts_are_two_pairs():
    (finding,) = found(FIRST, run("b", (400, 500)), run("c", (600, 700)))
    assert "1 more such pair;" in finding.message


def test_mixtures_of_several_corpora():
    log = pd.concat([FIRST, run("b", (400, 500))]).drop(columns="domain_ratio")
    log = log.assign(share_web=0.5, share_law=0.5)
    (finding,) = resumed_run_findings(cp.validate_log(log), "log")
    assert "'b'" in finding.message


def test_logs_check_says_so(call, tmp_path):
    cp.write_log(cp.validate_log(pd.concat([FIRST, run("b", (300, 400))])), tmp_path / "log.csv")
    assert "[resumed_run]" in call("logs", "check", tmp_path / "log.csv").out
