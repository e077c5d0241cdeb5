"""Evaluations that a trainer prints again, or evaluates again after it was resumed; and what its runs are called."""

import json
import shutil
from pathlib import Path

import pytest
from event_files import write_scalars

import cmrplan as cp

PATTERN = r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"
LENGTH = 4096


@pytest.fixture
def imported(call, tmp_path):
    """Return a function that imports what stands in a folder, and gives the answer and the log."""

    def run(format, *more, size="410M"):
        out = tmp_path / "out" / "log.csv"
        given = ("--set", f"model_params={size}", "--run-pattern", PATTERN, "--out", out)
        answer = call("logs", "import", format, tmp_path / "runs", *given, *more)
        return answer, cp.read_log(out) if not answer.code else None

    return run


def written(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def progress(iteration):
    return f" iteration {iteration:8d}/    1000 | consumed samples: {iteration * 64} | lm loss: 2.5E+00 |"


def validation(iteration, loss, where=""):
    return f" validation loss at iteration {iteration}{where} | lm loss value: {loss:.6E} | lm loss PPL: 1.2E+01 | "


def test_nemo_prints_the_last_loss_on_every_line(imported, tmp_path):
    """As its MetricPrinter does: evaluations after steps 100 and 200, printed until the next one."""
    losses = {100: 2.89, 200: 2.88}
    lines = []
    for step in range(0, 300, 10):
        loss = losses.get(step // 100 * 100)
        seen = f" | val_loss: {loss}" if loss else ""
        lines.append(
            f"Training epoch 0, iteration {step}/299 | lr: 0.0001 | global_step: {step} | reduced_train_loss: 2.5 | "
            f"consumed_samples: {(step + 1) * 16}{seen}"
        )
    written(tmp_path / "runs" / "r0.3-s0.log", lines)
    answer, log = imported("megatron", "--map", "val_loss=general", "--set", "sequence_length=4096")
    assert log["loss"].tolist() == [2.89, 2.88]
    assert log["train_tokens"].tolist() == [101 * 16 * LENGTH, 201 * 16 * LENGTH]
    assert "cells_left_out" in answer.err
    assert "18 loss(es)" in answer.err


def test_a_loop_that_logs_its_last_loss_on_every_line(imported, tmp_path):
    """As loops do that log one dictionary: evaluations at 250, 500 and 750, a line every 10 steps."""
    lines, seen = ["_step,tokens,eval/general/loss,eval/law/loss"], ","
    for step in range(10, 1000, 10):
        if step % 250 == 0:
            seen = f"{3 - step / 1e4 + 1e-7},2.0"
        lines.append(f"{step},{step * 1e6},{seen}")
    written(tmp_path / "runs" / "r0.3-s0.csv", lines)
    answer, log = imported("wandb_history")
    general = log[log["eval_corpus"] == "general"]
    assert general["train_tokens"].tolist() == [250e6, 500e6, 750e6]
    assert general["loss"].tolist() == pytest.approx([2.975, 2.95, 2.925])
    assert f"{75 - 3} loss(es)" in answer.err
    assert len(log) - len(general) == 75  # few digits may be the same by rounding


def test_megatron_evaluates_other_samples_at_its_end(imported, tmp_path):
    lines = [f"  seq_length ........ {LENGTH}"]
    for iteration in (500, 1000):
        lines += [progress(iteration), validation(iteration, 3 - iteration / 1e4)]
    lines.append(validation(1000, 2.91, " on validation set"))
    written(tmp_path / "runs" / "r0.3-s0.log", lines)
    answer, log = imported("megatron", "--map", "lm loss=general")
    assert log["loss"].tolist() == [2.95, 2.9]
    assert "1 loss(es)" in answer.err


def test_megatron_evaluates_at_its_end_alone(imported, tmp_path):
    lines = [f"  seq_length ........ {LENGTH}", progress(1000)]
    written(
        tmp_path / "runs" / "r0.3-s0.log", [*lines, validation(1000, 2.91, " on validation set")]
    )
    _, log = imported("megatron", "--map", "lm loss=general")
    assert log["loss"].tolist() == [2.91]
    assert log["train_tokens"].tolist() == [1000 * 64 * LENGTH]


def test_of_a_resumed_run_the_later_loss_stays(imported, tmp_path):
    """Killed after step 800, resumed from 500, with other last digits."""
    lines = [f"  seq_length ........ {LENGTH}"]
    for start, end, shift in ((250, 800, 0), (550, 1000, 1e-4)):
        for iteration in range(start, end + 1, 50):
            lines.append(progress(iteration))
            if iteration % 250 == 0:
                lines.append(validation(iteration, 3 - iteration / 1e4 + shift))
    written(tmp_path / "runs" / "r0.3-s0.log", lines)
    answer, log = imported("megatron", "--map", "lm loss=general")
    assert log["loss"].tolist() == pytest.approx([2.975, 2.95, 2.9251, 2.9001])
    assert "a run that was resumed" in answer.err


def test_llama_factory_appends_to_its_log_when_it_is_resumed(imported, tmp_path):
    lines = [
        {"current_steps": step, "total_steps": 400, "total_tokens": step * 1e6, "eval_loss": loss}
        for step, loss in ((100, 3.0), (200, 2.9), (300, 2.8), (200, 2.95), (300, 2.85), (400, 2.7))
    ]
    written(tmp_path / "runs" / "r0.3-s0" / "trainer_log.jsonl", map(json.dumps, lines))
    _, log = imported("llama_factory", "--map", "eval_loss=general")
    assert log.sort_values("train_tokens")["loss"].tolist() == [3.0, 2.95, 2.85, 2.7]


def test_a_resumed_run_of_wandb_has_a_file_for_each_start(imported, tmp_path):
    """Both starts logged both evaluations of renew_trainer_logs.py: the run is one, and has each once."""
    sample = Path(__file__).parents[1] / "reference" / "trainer_logs" / "wandb" / "r0.25-s0.wandb"
    for date in ("run-20260101_000000-x", "run-20260102_000000-x"):
        (tmp_path / "runs" / date).mkdir(parents=True)
        shutil.copy(sample, tmp_path / "runs" / date / "run-x.wandb")
    answer, log = imported("wandb_offline")
    assert set(log["run_id"]) == {"r0.25-s0"}
    assert sorted(log["train_tokens"]) == [6553600, 6553600, 13107200, 13107200]
    assert "4 loss(es) were logged again" in answer.err


def test_two_losses_of_one_step_without_a_resumption_are_refused(imported, tmp_path):
    lines = [f"  seq_length ........ {LENGTH}", progress(500)]
    written(tmp_path / "runs" / "r0.3-s0.log", [*lines, validation(500, 3), validation(500, 2.9)])
    answer, _ = imported("megatron", "--map", "lm loss=general")
    assert answer.code == 2
    assert "logged twice" in answer.err


class TestNamesThatSayTheRatio:
    """The folder that says the ratio is not always the last one."""

    def ratios(self, answer, log):
        assert answer.code == 0, answer.err
        return log.groupby("run_id")["domain_ratio"].first().to_dict()

    def test_of_transformers_beside_its_checkpoints(self, imported, tmp_path):
        """The Trainer writes its events to ``OUTPUT/runs/DATE_HOST``."""
        for name, date in (("r0.1-s0", "Nov01_10-00-00_a"), ("r0.3-s0", "Nov02_10-00-00_a")):
            folder = tmp_path / "runs" / name / "runs" / date
            write_scalars(folder, [(10, "eval/general_loss", 3.0)])
        assert self.ratios(*imported("tensorboard", "--tokens-per-step", "1M")) == {
            "r0.1-s0/runs/Nov01_10-00-00_a": 0.1,
            "r0.3-s0/runs/Nov02_10-00-00_a": 0.3,
        }

    def test_of_texts_that_are_called_alike(self, imported, tmp_path):
        for name in ("r0.1-s0", "r0.3-s0"):
            lines = [f"  seq_length ........ {LENGTH}", progress(500), validation(500, 3)]
            written(tmp_path / "runs" / name / "train.log", lines)
        assert self.ratios(*imported("megatron", "--map", "lm loss=general")) == {
            "r0.1-s0/train": 0.1,
            "r0.3-s0/train": 0.3,
        }

    def test_of_two_versions_of_one_run(self, imported, tmp_path):
        for version, step in (("version_0", 99), ("version_1", 199)):
            lines = ["epoch,step,val_general_loss", f"0,{step},3.0"]
            written(tmp_path / "runs" / "r0.3-s0" / version / "metrics.csv", lines)
        assert self.ratios(*imported("lightning", "--tokens-per-step", "1M")) == {
            "r0.3-s0/version_0": 0.3,
            "r0.3-s0/version_1": 0.3,
        }


class TestAxesOfCharts:
    """A chart of Weights & Biases is drawn over its step, or over a key that was logged."""

    def chart(self, tmp_path, axis):
        curves = ["_step", "eval/general_loss", "eval/general_loss__MIN", "eval/general_loss__MAX"]
        header = ",".join(f'"{name}"' for name in [axis, *(f"r0.3-s0 - {name}" for name in curves)])
        cells = ['"99","7","3.0","3.0","3.0"', '"199","9","2.9","2.9","2.9"']
        written(tmp_path / "runs" / "chart.csv", [header, *cells])

    @pytest.mark.parametrize(
        ("axis", "tokens"),
        [
            ("Step", [99e6, 199e6]),
            ("train/global_step", [99e6, 199e6]),
            ("trainer/global_step", [100e6, 200e6]),  # Lightning counts from 0
        ],
    )
    def test_of_steps(self, imported, tmp_path, axis, tokens):
        self.chart(tmp_path, axis)
        answer, log = imported("auto", "--tokens-per-step", "1M", "--yes")
        assert log["train_tokens"].tolist() == tokens
        assert log["loss"].tolist() == [3.0, 2.9]
        assert ("lines_as_steps" in answer.err) == (axis == "Step")

    def test_of_lightning_with_an_evaluation_of_the_base(self, imported, tmp_path):
        header = '"trainer/global_step","r0.3-s0 - eval/general_loss"'
        written(tmp_path / "runs" / "chart.csv", [header, '"0","3.1"', '"99","3.0"'])
        _, log = imported("auto", "--tokens-per-step", "1M", "--yes")
        assert log["train_tokens"].tolist() == [0, 100e6]

    def test_of_tokens(self, imported, tmp_path):
        self.chart(tmp_path, "train/num_input_tokens_seen")
        _, log = imported("wandb_chart", size="2000")
        assert log["train_tokens"].tolist() == [99, 199]

    def test_of_hours(self, imported, tmp_path):
        self.chart(tmp_path, "Relative Time (Process)")
        answer, _ = imported("wandb_chart", "--tokens-per-step", "1M")
        assert answer.code == 2
        assert "--map 'Relative Time (Process)=step'" in answer.err
