"""A run that stands in a log under two names is found; repeated and exact runs of other mixtures are not."""

import pandas as pd
import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.log.copied_runs import copied_run_findings


@pytest.fixture(scope="module")
def log():
    return cp.validate_log(simulated_log(sizes=(3e5,), ratios=(0, 0.25, 0.5, 1)))


def copy_of(log, run, name):
    return log[log["run_id"] == run].assign(run_id=name)


def test_repeated_runs_of_two_seeds_are_no_copies(log):
    assert log.groupby("domain_ratio")["run_id"].nunique().min() == 2
    assert copied_run_findings(log, "log") == []


def test_a_copy_is_named_wherever_its_rows_stand(log):
    run = str(log["run_id"].iloc[0])
    both = pd.concat([copy_of(log, run, "again"), log]).sample(frac=1, random_state=3)
    (finding,) = copied_run_findings(both, "log.csv")
    assert finding.code == "copied_run"
    assert "again" in finding.message
    assert run in finding.message
    assert finding.num_rows == 16  # eight budgets, two losses


def test_rows_of_every_copy_are_counted(log):
    first, second = log["run_id"].unique()[:2]
    short = log[(log["run_id"] == second) & (log["train_tokens"] < 1e5)]
    rows = [
        log[log["run_id"] == first],
        copy_of(log, first, "again"),
        copy_of(log, first, "thrice"),
    ]
    rows += [short, short.assign(run_id="short again")]
    (finding,) = copied_run_findings(pd.concat(rows), "log")
    counted = (short["train_tokens"] > 0).sum()
    assert 3 <= counted < 16
    assert finding.num_rows == 2 * 16 + counted


def test_a_copy_with_one_other_loss_is_none(log):
    again = copy_of(log, log["run_id"].iloc[0], "again")
    again.loc[again.index[-1], "loss"] += 1e-6
    assert copied_run_findings(pd.concat([log, again]), "log") == []


def test_losses_that_a_ratio_does_not_change_are_no_copies(log):
    flat = log.assign(loss=2.5)
    of_one_seed = flat[~flat["run_id"].isin(flat.groupby("domain_ratio")["run_id"].max())]
    assert of_one_seed["domain_ratio"].nunique() == 4
    assert copied_run_findings(of_one_seed, "log") == []


def test_runs_that_say_two_seeds_are_no_copies(log):
    again = copy_of(log, log["run_id"].iloc[0], "again").assign(seed=99)
    assert copied_run_findings(pd.concat([log, again]), "log") == []


def test_fit_and_check_say_it(log, tmp_path, call):
    both = pd.concat([log, *(copy_of(log, run, f"{run}-b") for run in log["run_id"].unique()[:3])])
    path = tmp_path / "log.csv"
    both.to_csv(path, index=False)
    checked = call("logs", "check", path)
    assert checked.code == 0
    assert "[copied_run]" in checked.out
    assert "and 2 more such groups" in checked.out
    fit = cp.fit(path, "dcpt", bootstrap=0)
    assert "copied_run" in [finding.code for finding in fit.warnings]
