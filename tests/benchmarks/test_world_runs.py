"""The commands over simulated worlds: what they count, and that no world is lost without a word."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmrplan as cp

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import decisions
import world_coverage
import world_runs
import worlds


def task(family="dip", seed=0, **options):
    return world_runs.Task(family, seed, "auto", options)


def test_another_exception_is_kept_with_its_world():
    def question(task, world, result):
        raise ZeroDivisionError("at last")

    result = world_runs.go_through(question, task(seed=4))
    assert result.task.seed == 4
    assert result.crash.splitlines()[-1] == "ZeroDivisionError: at last"


def test_refusals_of_one_kind_count_together():
    first, second = (
        world_runs.reason(cp.CmrplanError(f"no ratio keeps {limit} nats of the base loss; do this"))
        for limit in (0.01, 0.02)
    )
    assert first == second == "no ratio keeps # nats of the base loss"


@pytest.mark.parametrize("question", [decisions.decide_in, world_coverage.cover_in])
def test_a_refused_fit_is_tallied(question, monkeypatch):
    def refuse(log, law, **options):
        raise cp.CmrplanError("too few rows")

    monkeypatch.setattr(cp, "fit", refuse)
    result = world_runs.go_through(question, task())
    assert not result.crash
    assert {reason for _, reason in result.refusals} == {"too few rows"}


def test_a_residual_that_the_library_lacks_is_refused(capsys):
    with pytest.raises(SystemExit):
        world_runs.parsed("", ["--residual", "smooth"])
    assert "invalid choice: 'smooth'" in capsys.readouterr().err


def test_a_residual_is_passed_on():
    asked = world_runs.parsed(
        "", ["--residual", "gp", "--worlds", "2", "--families", "dip", "--seed", "5"]
    )
    tasks = world_runs.tasks_of(asked)
    assert [one.seed for one in tasks] == [5, 6]
    assert all(one.options == {"residual": "gp"} for one in tasks)


def test_decisions_count_over_answers():
    rows = pd.DataFrame(
        {
            "strategy": "plan",
            "ratio": [0.4, 0.5, 0.6, np.nan],
            "best": [0.5, 0.5, 0.5, 0.5],
            "low": [0.3, 0.3, 0.55, np.nan],
            "high": [0.6, 0.6, 0.75, np.nan],
            "regret": [0.02, 0.0, -0.01, np.nan],
            "excess": [-0.1, 0.0, 0.03, np.nan],
            "has_feasible_probe": [True, True, False, True],
        }
    )
    answers, broken, holds, refused, median, mean, excess = decisions.cells_of(rows, "plan")
    assert answers.startswith("0.75 ")
    assert broken.startswith("0.33 ")
    assert holds.startswith("0.67 ")
    assert holds.endswith("(0.27)")
    assert refused.startswith("0.33 ")
    assert (median, mean, excess) == ("0.0100", "0.0100", "0.0300")


def test_every_budget_has_every_strategy(capsys):
    result = world_runs.go_through(decisions.decide_in, task(bootstrap=20))
    assert not result.crash
    table = pd.DataFrame(result.rows)
    assert len(table) == len(decisions.BUDGETS) * len(decisions.STRATEGIES)
    decisions.print_tables(table)
    lines = capsys.readouterr().out.splitlines()
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert widths == {11}


def test_every_question_has_both_losses_and_both_kinds(capsys):
    world = next(w for s in range(20) if len((w := worlds.draw_world("dip", s)).sizes) > 1)
    result = world_runs.go_through(world_coverage.cover_in, task(seed=world.seed, bootstrap=20))
    assert not result.crash
    table = pd.DataFrame(result.rows)
    counts = table.groupby("question").size()
    assert set(counts.index) == set(world_coverage.QUESTIONS)
    assert (counts == 4).all()
    assert table["held"].between(0, 1).all()
    # Far from the probes the noise of a run is little beside what the mean leaves open.
    near = table[table["question"] == "new rows"].groupby("kind")["width"].median()
    assert near["run"] > near["mean"]
    world_coverage.print_tables(table)
    assert "| all, general |" in capsys.readouterr().out


def test_hidden_rows_stay_hidden():
    rng = np.random.default_rng(0)
    world = worlds.draw_world("rising", 1)
    hidden = float(world.ratios[1])
    asked = {
        question: np.array(world_coverage.places_of(world, question, rng, hidden))
        for question in world_coverage.QUESTIONS
    }
    assert hidden not in asked["new rows"][:, 2]
    assert set(asked["new ratio"][:, 2]) == {hidden}
    assert set(asked["late budgets"][:, 1]) == set(world.tokens[-2:])
    assert set(asked["hidden size"][:, 0]) == {world.sizes[-1]}
    assert set(asked["4 x the budget"][:, 1]) == {4 * world.tokens[-1]}
