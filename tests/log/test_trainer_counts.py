"""Which column counts the tokens and steps of a run: what was logged is worked out by hand, 65,536 tokens a step."""

import math

import pytest
from event_files import write_scalars

import cmrplan as cp

STEP = 65_536


@pytest.fixture
def imported(call, tmp_path):
    """Return a function that imports histories of one run at ratio 0.3 and gives the answer and the log."""

    def run(lines, *more):
        path = tmp_path / "r0.3.csv"
        path.write_text("".join(f"{line}\n" for line in lines))
        out = tmp_path / "log.csv"
        known = ("--set", "model_params=410M", "--set", "domain_ratio=0.3", "--out", out)
        answer = call("logs", "import", "wandb_history", path, *known, *more)
        return answer, cp.read_log(out) if not answer.code else None

    return run


def history(columns, *cells):
    return [f"_step,{columns},eval/general/loss,eval/law/loss", *cells]


class TestTokensOfTheTraining:
    """Counts of a corpus, or of an evaluation set, stand beside that of all training tokens under the same name."""

    def test_of_a_corpus(self, imported):
        lines = history(
            "general/tokens_seen,tokens_seen,law/tokens_seen",
            f"100,{70 * STEP},{100 * STEP},{30 * STEP},3.0,2.0",
        )
        _, log = imported(lines)
        assert set(log["train_tokens"]) == {100 * STEP}

    def test_of_a_corpus_alone_is_none(self, imported):
        answer, _ = imported(history("law/tokens_seen", f"100,{30 * STEP},3.0,2.0"))
        assert answer.code == 2
        assert "'law/tokens_seen'" in answer.err
        assert "--map COLUMN=train_tokens" in answer.err

    def test_of_an_evaluation(self, imported):
        _, log = imported(history("train/tokens,eval/tokens", f"100,{100 * STEP},1000,3.0,2.0"))
        assert set(log["train_tokens"]) == {100 * STEP}

    def test_two_that_may_be(self, imported):
        lines = history("a/tokens,b/tokens", f"100,{100 * STEP},{90 * STEP},3.0,2.0")
        answer, _ = imported(lines)
        assert answer.code == 2
        assert "'a/tokens', 'b/tokens'" in answer.err
        _, log = imported(lines, "--map", "a/tokens=train_tokens")
        assert set(log["train_tokens"]) == {100 * STEP}

    def test_one_under_another_name_is_named_in_the_refusal(self, imported):
        answer, _ = imported(history("time/token,tokens_per_second", f"1,{STEP},9,3.0,2.0"))
        assert "one of 'time/token' is" in answer.err

    def test_tokens_of_each_step_are_no_count(self, imported):
        lines = history(
            "tokens", *(f"{k},{1e6 + (-1) ** k * 1000 * k},{3 - k / 100},2.0" for k in (1, 2, 3))
        )
        answer, _ = imported(lines)
        assert answer.code == 2
        assert "falls from 1.002e+06 to 997000 at step 3" in answer.err
        assert answer.err.count("\n") == 1

    def test_nothing_was_trained_at_step_0(self, imported):
        lines = history("train/global_step,tokens", "0,0,,3.0,2.0", f"1,1,{STEP},,", "2,1,,2.9,1.9")
        _, log = imported(lines)
        assert sorted(set(log["train_tokens"])) == [0, STEP]

    def test_a_setting_is_read_only_where_nothing_was_counted(self, call, tmp_path):
        """A run was set to 5e9 tokens in all, and to 65,536 a step; it counted those it had seen."""
        folder = tmp_path / "mlruns" / "0" / "abc"
        for kind in ("metrics", "params"):
            (folder / kind).mkdir(parents=True)
        (folder / "meta.yaml").write_text("run_id: abc\nrun_name: a\nlifecycle_stage: active\n")
        settings = {"domain_ratio": 0.3, "model_params": 4.1e8, "loss": "ce", "step": 7}
        settings |= {"train_tokens": 5_000_000_000, "tokens_per_step": STEP}
        for name, value in settings.items():
            (folder / "params" / name).write_text(str(value))
        losses = folder / "metrics" / "eval_general_loss"
        losses.write_text("1 3.0 100\n1 2.9 200\n")
        out = tmp_path / "log.csv"

        def tokens(*more):
            answer = call(
                "logs", "import", "mlflow", tmp_path / "mlruns", "--out", out, "--force", *more
            )
            assert answer.code == 0, answer.err
            return cp.read_log(out)["train_tokens"].tolist()

        assert tokens() == [100 * STEP, 200 * STEP]
        assert tokens("--tokens-per-step", "1000") == [100_000, 200_000]
        (folder / "metrics" / "tokens").write_text("1 6000000 100\n1 13000000 200\n")
        assert tokens() == [6e6, 13e6]


class TestSteps:
    def test_nanogpt_logs_no_step_of_the_service(self, imported):
        """``wandb.log({"iter": ..., "val/loss": ...})``: ``_step`` is the number of the line."""
        lines = [
            "_step,iter,train/loss,val/loss",
            *(f"{k},{k * 250},3,{3 - k / 9}" for k in (0, 1)),
        ]
        given = ("--map", "val/loss=general", "--tokens-per-step", str(STEP))
        answer, log = imported(lines, *given)
        assert log["train_tokens"].tolist() == [0, 250 * STEP]
        assert "lines_as_steps" not in answer.err

    def test_lines_are_counted_as_steps_with_a_word(self, imported):
        lines = history("x", "1,0,3.0,2.0", "2,0,2.9,1.9")
        answer, log = imported(lines, "--tokens-per-step", str(STEP))
        assert sorted(set(log["train_tokens"])) == [STEP, 2 * STEP]
        assert answer.err.count("lines_as_steps") == 1
        answer, _ = imported(
            lines, "--force", "--tokens-per-step", str(STEP), "--map", "_step=step"
        )
        assert "lines_as_steps" not in answer.err


@pytest.mark.parametrize("group", ["lr-AdamW/pg1", "lr-DecoupledAdamW/group0"])
def test_the_rate_of_a_group_of_parameters_shows_a_decay(imported, group):
    """Lightning and Composer log a rate for each group, here a cosine over 400 steps."""
    rates = [3e-4 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(1, 5)]
    lines = history(
        f"tokens,{group}",
        *(f"{k},{k * STEP * 100},{rates[k - 1]},3.0,2.0" for k in range(1, 5)),
    )
    answer, log = imported(lines)
    assert log["learning_rate"].dropna().tolist()[:4] == pytest.approx(rates)
    assert "decaying_schedule" in answer.err


class TestLightningCountsFrom0:
    """``trainer.validate`` before the fit, then evaluations after every fifth step, as its loggers write them."""

    STEPS = (0, 4, 9)

    def test_in_its_csv(self, call, tmp_path):
        folder = tmp_path / "r" / "version_0"
        folder.mkdir(parents=True)
        cells = "".join(f"0,{step},3.{step},,\n0,{step},,2.{step},\n" for step in self.STEPS)
        name = "val_{0}_loss/dataloader_idx_{1}"
        metrics = f"{name.format('general', 0)},{name.format('law', 1)},train_loss"
        (folder / "metrics.csv").write_text(f"epoch,step,{metrics}\n{cells}")
        assert self.tokens(call, tmp_path, "lightning") == [0, 5 * STEP, 10 * STEP]

    def test_in_its_events(self, call, tmp_path):
        losses = [(step, f"val_{c}_loss", 3.0) for step in self.STEPS for c in ("general", "law")]
        write_scalars(tmp_path / "r" / "version_0", losses)
        assert self.tokens(call, tmp_path, "tensorboard") == [0, 5 * STEP, 10 * STEP]

    def test_where_every_step_is_evaluated(self, call, tmp_path):
        losses = [(step, f"val_{c}_loss", 3.0) for step in (0, 1) for c in ("general", "law")]
        write_scalars(tmp_path / "r" / "version_0", losses)
        assert self.tokens(call, tmp_path, "tensorboard") == [STEP, 2 * STEP]

    def tokens(self, call, folder, format):
        out = folder / "log.csv"
        given = ("--set", "model_params=9000", "--set", "domain_ratio=0.3", "--out", out)
        answer = call(
            "logs", "import", format, folder / "r", *given, "--tokens-per-step", str(STEP)
        )
        assert answer.code == 0, answer.err
        log = cp.read_log(out)
        assert set(log["eval_corpus"]) == {"general", "law"}
        return sorted(set(log["train_tokens"]))
