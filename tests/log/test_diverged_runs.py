"""A run whose every loss jumps is found; forgetting, re-warming and overfitting are not taken for it."""

from pathlib import Path

import pandas as pd
import pytest

import cmrplan as cp
from cmrplan.log.diverged_runs import diverged_run_findings


def run(name, general, domain, ratio=0.3, tokens=(0, 1e8, 2e8, 3e8)):
    parts = [
        pd.DataFrame(
            {
                "run_id": name,
                "model_params": 4e8,
                "train_tokens": tokens,
                "domain_ratio": ratio,
                "eval_corpus": corpus,
                "loss": losses,
            }
        )
        for corpus, losses in (("general", general), ("domain", domain))
    ]
    return pd.concat(parts)


GOOD = run("good", (2.6, 2.7, 2.68, 2.65), (2.2, 2.0, 1.9, 1.8))


def found(*runs):
    return diverged_run_findings(cp.validate_log(pd.concat(runs)), "log.csv")


def test_a_run_that_goes_to_high_losses_is_named():
    (finding,) = found(GOOD, run("bad", (2.6, 2.7, 9.8, 9.5), (2.2, 2.0, 10.2, 10.0)))
    assert finding.code == "diverged_run"
    assert "run 'bad'" in finding.message
    assert "3.77 times or more" in finding.message  # 9.8 over 2.6, 10.2 over 2.0
    assert "200M tokens" in finding.message
    assert finding.num_rows == 4


def test_one_that_diverged_before_its_first_evaluation_is_held_against_the_base():
    (finding,) = found(GOOD, run("bad", (9.8, 9.5), (10.2, 10.0), tokens=(1e8, 2e8)))
    assert "run 'bad'" in finding.message


@pytest.mark.parametrize(
    "other",
    [
        run("forgets", (2.6, 4.0, 5.0, 5.5), (2.2, 1.5, 1.2, 1.1), ratio=1),
        run("re-warmed", (2.6, 3.0, 2.8, 2.7), (2.2, 2.5, 2.3, 2.2), ratio=0),
        run("overfits", (2.6, 4.0, 5.0, 5.5), (2.2, 1.9, 2.2, 2.5), ratio=1),
    ],
)
def test_what_training_does_is_no_divergence(other):
    assert found(GOOD, other) == []


def test_a_run_is_not_judged_where_a_corpus_was_not_evaluated():
    """Training on the domain alone makes every other corpus worse; the domain is evaluated at the end alone."""
    rows = run("forgets", (2.6, 4.0, 5.0, 5.5), (2.2, 1.9, 2.2, 1.2), ratio=1)
    web = rows[rows["eval_corpus"] == "general"].assign(eval_corpus="web")
    is_asked = (rows["eval_corpus"] == "general") | rows["train_tokens"].isin([0, 3e8])
    assert found(GOOD, rows[is_asked], web) == []


def test_runs_of_two_bases_of_one_size_are_held_against_their_own():
    other = run("other", (4.2, 4.1, 4.0, 3.9), (3.9, 3.5, 3.4, 3.3))
    assert found(GOOD, other) == []


def test_the_logs_of_this_project_have_none():
    data = Path(__file__).parents[2] / "data"
    for path in [data / "probes" / "log.csv", *(data / "sweep2").glob("unique_*[0-9].csv")]:
        assert diverged_run_findings(cp.read_log(path), path.name) == []
