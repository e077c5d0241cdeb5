"""Errors on a Trainer's history name the metric and the step; an evaluation that was logged twice is one."""

import json

import pytest

import cmrplan as cp

STEPS = (0, 500, 1000, 1500)


def history(**changed):
    """Return a history of four evaluations on two sets; ``domain_1500=x`` changes one loss."""
    entries = []
    for step in STEPS:
        for corpus, loss in (("general", 3 + step / 1e4), ("domain", 2.5 - step / 1e4)):
            value = changed.get(f"{corpus}_{step}", loss)
            entries.append({"step": step, f"eval_{corpus}_loss": value})
        entries.append({"step": step, "loss": 2.75})
    return entries


@pytest.fixture
def imported(call, tmp_path):
    def run(**entries_of_run):
        for name, entries in entries_of_run.items():
            path = tmp_path / "runs" / name / "trainer_state.json"
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps({"log_history": entries}))
        given = ["--set", "model_params=70M", "--set", "domain_ratio=0.25"]
        given += ["--tokens-per-step", "1M", "--yes", "--out", tmp_path / "log.csv"]
        return call("logs", "import", "auto", tmp_path / "runs", *given)

    return run


@pytest.mark.parametrize("loss", [-2.0, float("nan"), 0])
def test_a_bad_loss_is_named_by_metric_and_step(imported, loss):
    refused = imported(a=history(domain_1500=loss))
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "trainer_state.json eval_domain_loss at step 1500" in refused.err
    assert "row " not in refused.err.lower().replace("remove the row", "")


def test_several_are_all_named(imported):
    refused = imported(a=history(domain_500=-1.0, domain_1500=-2.0, general_0=-3.0))
    assert "eval_general_loss at step 0; also eval_domain_loss at step 500, " in refused.err
    assert "eval_domain_loss at step 1500)" in refused.err


def test_a_bad_step_is_named_by_its_entry(imported):
    refused = imported(a=[*history(), {"step": -5, "eval_domain_loss": 2.0}])
    assert "entry 13" in refused.err


def test_an_evaluation_that_was_logged_twice_is_one_and_is_said_once(imported, tmp_path):
    """``trainer.evaluate()`` after ``trainer.train()`` logs the last evaluation again."""
    again = [{"step": 1500, "eval_domain_loss": 2.35}, {"step": 1500, "eval_general_loss": 3.15}]
    answer = imported(a=[*history(), *again], b=[*history(), *again])
    assert answer.code == 0, answer.err
    assert len(cp.read_log(tmp_path / "log.csv")) == 2 * 2 * len(STEPS)
    assert answer.err.count("cells_left_out") == 1
    assert "4 loss(es)" in answer.err
    assert "eval_general_loss at step 1500 of run 'a'" in answer.err


def test_two_values_of_one_evaluation_are_refused(imported, tmp_path):
    refused = imported(a=[*history(), {"step": 1500, "eval_domain_loss": 2.125}])
    assert refused.code == 2
    assert not (tmp_path / "log.csv").exists()
    assert refused.err.count("\n") == 1
    for words in ("trainer_state.json", "eval_domain_loss at step 1500", "2.35 and 2.125"):
        assert words in refused.err


def test_a_step_that_counts_anew_with_other_tokens_is_no_repeat(call, tmp_path):
    entries = [
        {"step": step, "num_input_tokens_seen": tokens, "eval_general_loss": loss}
        for step, tokens, loss in ((10, 1e6, 3.0), (20, 2e6, 3.1), (10, 3e6, 3.2))
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": entries}))
    given = ["--set", "model_params=70M", "--set", "domain_ratio=0.25"]
    answer = call(
        "logs", "import", "trainer_state", tmp_path, *given, "--out", tmp_path / "log.csv"
    )
    assert answer.code == 0, answer.err
    assert cp.read_log(tmp_path / "log.csv")["loss"].tolist() == [3.0, 3.1, 3.2]


@pytest.mark.parametrize("is_other", [True, False])
def test_checkpoints_of_two_trainings_are_told(call, tmp_path, is_other):
    """A run was begun anew in the folder of an older, longer one."""
    shift = 0.125 if is_other else 0.0
    older = history()
    newer = [
        {key: value + shift if key == "eval_domain_loss" else value for key, value in entry.items()}
        for entry in history()[:6]
    ]
    for name, entries in (("checkpoint-1500", older), ("checkpoint-500", newer)):
        path = tmp_path / "runs" / "a" / name / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"log_history": entries}))
    given = ["--set", "model_params=70M", "--set", "domain_ratio=0.25", "--tokens-per-step", "1M"]
    out = tmp_path / "log.csv"
    answer = call("logs", "import", "trainer_state", tmp_path / "runs", *given, "--out", out)
    assert len(cp.read_log(out)) == 2 * len(STEPS)
    assert ("[checkpoints_differ]" in answer.err) == is_other
    if is_other:
        for words in ("checkpoint-500", "another eval_domain_loss at step 0"):
            assert words in answer.err


def test_a_loss_on_no_corpus_beside_named_ones(imported, tmp_path):
    """``eval_loss`` beside ``eval_general_loss`` is on neither."""
    entries = [entry | ({"eval_loss": 2.5} if "loss" not in entry else {}) for entry in history()]
    refused = imported(a=entries)
    assert refused.code == 2
    assert "others are on 'general', 'domain'" in refused.err
    assert "--map eval_loss=NAME" in refused.err


@pytest.mark.parametrize("step", [[500], {"a": 500}])
def test_a_step_that_is_no_number_is_refused_in_one_line(imported, step):
    refused = imported(a=[*history()[:3], {"step": step, "eval_general_loss": 3.0}])
    assert refused.code == 2
    assert refused.err.count("\n") == 1
    assert "step must be a number, got" in refused.err
