"""Logs of Weights & Biases charts and of the transformers Trainer, with invented numbers."""

import json

import pandas as pd
import pytest

import cmrplan as cp

CHART = """"Step","a - val/general/loss","a - val/general/loss__MAX","b - val/general/loss","b - _step"
"100","3.1","3.2","3.05","100"
"200","3.12","3.2","","200"
"400","3.2","3.3","3.15","400"
"""
STATE = {
    "global_step": 400,
    "log_history": [
        {"step": 100, "loss": 2.9, "num_input_tokens_seen": 50_000_000},
        {
            "step": 200,
            "eval_general_loss": 3.05,
            "eval_domain_loss": 2.4,
            "num_input_tokens_seen": 100_000_000,
        },
        {
            "step": 400,
            "eval_general_loss": 3.15,
            "eval_domain_loss": 2.3,
            "num_input_tokens_seen": 200_000_000,
        },
    ],
}
SIZE = ("--set", "model_params=70M")


@pytest.fixture
def imported(call, tmp_path):
    def run(format, files, source, *options):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text if isinstance(text, str) else json.dumps(text))
        out = tmp_path / "log.csv"
        answer = call("logs", "import", format, tmp_path / source, "--out", out, *options)
        if answer.code:
            assert answer.code == 2
            assert answer.err.count("\n") == 1
            return answer.err
        return cp.read_log(out)

    return run


def rows(log):
    names = ["run_id", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return sorted(log[names].itertuples(index=False, name=None))


class TestWandbChart:
    RUNS = (*SIZE, "--map", "a=0.4", "--map", "b=10%")

    def test_one_command_makes_a_run_of_each_column(self, imported):
        log = imported(
            "wandb_chart", {"c.csv": CHART}, "c.csv", *self.RUNS, "--set", "tokens_per_step=5e5"
        )
        assert rows(log) == [
            ("a", 5e7, 0.4, "general", 3.1),
            ("a", 1e8, 0.4, "general", 3.12),
            ("a", 2e8, 0.4, "general", 3.2),
            ("b", 5e7, 0.1, "general", 3.05),
            ("b", 2e8, 0.1, "general", 3.15),
        ]
        assert set(log["model_params"]) == {7e7}

    def test_a_chart_kept_as_parquet(self, imported, call, tmp_path):
        options = (*self.RUNS, "--tokens-per-step", "5e5")
        from_csv = imported("wandb_chart", {"c.csv": CHART}, "c.csv", *options)
        (tmp_path / "charts").mkdir()
        pd.read_csv(tmp_path / "c.csv").to_parquet(tmp_path / "charts" / "c.parquet")
        assert rows(imported("auto", {}, "charts", *options, "--yes")) == rows(from_csv)

    def test_a_folder_of_charts_in_tokens(self, imported):
        other = CHART.replace("val/general/loss", "web loss")
        files = {"charts/1.csv": CHART, "charts/2.csv": other}
        options = (
            "--map",
            "Step=train_tokens",
            "--map",
            "web loss=domain",
            "--scale",
            "train_tokens=1e6",
        )
        log = imported("wandb_chart", files, "charts", *self.RUNS, *options)
        assert log.groupby(["run_id", "eval_corpus"]).size().to_dict() == {
            ("a", "domain"): 3, ("a", "general"): 3, ("b", "domain"): 2, ("b", "general"): 2,
        }  # fmt: skip
        assert set(log["train_tokens"]) == {1e8, 2e8, 4e8}

    @pytest.mark.parametrize(
        ("text", "options", "words"),
        [
            (
                CHART,
                (*SIZE, "--map", "a=0.4", "--set", "tokens_per_step=1e6"),
                ["'b'", "--map b=0.1"],
            ),
            (CHART, RUNS, ["counts steps", "--tokens-per-step"]),
            (
                CHART,
                ("--map", "a=0.4", "--map", "b=0.1", "--set", "tokens_per_step=1e6"),
                ["--set model_params"],
            ),
            ("Step,x\n1,2\n", RUNS, ["no exported chart", "'<run> - <metric>'"]),
        ],
        ids=["ratio", "tokens", "size", "other table"],
    )
    def test_refusals_name_the_option(self, imported, text, options, words):
        refusal = imported("wandb_chart", {"c.csv": text}, "c.csv", *options)
        assert all(word in refusal for word in words), refusal


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_histories_of_runs_whose_lines_hold_different_keys(imported, tmp_path, suffix):
    """Tokens are logged a line before the losses, as wandb.log does it when it is called twice."""
    for run, loss in (("r0.1-s0", 3.25), ("r0.5-s0", 3.5)):
        lines = {
            "_step": [0, 1, 2, 3],
            "train/tokens": [1e8, None, 2e8, None],
            "eval/general/loss": [None, loss, None, loss - 0.25],
        }
        (tmp_path / "runs" / run).mkdir(parents=True)
        path = tmp_path / "runs" / run / f"history.{suffix}"
        frame = pd.DataFrame(lines)
        frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    named = ("--run-pattern", r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)", "--yes")
    assert rows(imported("auto", {}, "runs", *SIZE, *named)) == [
        ("r0.1-s0/history", 1e8, 0.1, "general", 3.25),
        ("r0.1-s0/history", 2e8, 0.1, "general", 3.0),
        ("r0.5-s0/history", 1e8, 0.5, "general", 3.5),
        ("r0.5-s0/history", 2e8, 0.5, "general", 3.25),
    ]


class TestTrainerState:
    PATH = "law-r30/checkpoint-400/trainer_state.json"

    def test_a_run_and_its_folder(self, imported):
        log = imported(
            "trainer_state", {self.PATH: STATE}, self.PATH, *SIZE, "--set", "domain_ratio=0.3"
        )
        assert rows(log) == [
            ("law-r30", 1e8, 0.3, "domain", 2.4),
            ("law-r30", 1e8, 0.3, "general", 3.05),
            ("law-r30", 2e8, 0.3, "domain", 2.3),
            ("law-r30", 2e8, 0.3, "general", 3.15),
        ]
        assert set(log["step"]) == {200, 400}

    def test_steps_one_set_and_a_share_of_replay(self, imported):
        history = [{"step": step, "eval_loss": 3.0} for step in (200, 400)]
        log = imported(
            "trainer_state", {"s.json": {"log_history": history}}, "s.json", *SIZE, "--set", "run_id=x",
            "--set", "replay_ratio=0.7", "--set", "tokens_per_step=1e6", "--map", "eval_loss=general",
        )  # fmt: skip
        assert rows(log) == [("x", 2e8, 0.3, "general", 3.0), ("x", 4e8, 0.3, "general", 3.0)]

    @pytest.mark.parametrize(
        ("state", "words"),
        [
            ("{", ["is not JSON"]),
            ("[" * 100_000, ["nested too deeply"]),
            ({"a": 1}, ["no log_history"]),
            (
                {"log_history": [{"step": 1, "loss": 2.0}]},
                ["eval_<corpus>_loss", "--map METRIC=general"],
            ),
            ({"log_history": [{"step": 1, "eval_x_loss": 2.0}]}, ["--tokens-per-step"]),
            (STATE, ["--run-pattern", "--join", "--set domain_ratio"]),
        ],
        ids=["no JSON", "deep JSON", "other JSON", "no evaluation", "no tokens", "no ratio"],
    )
    def test_refusals_name_the_option(self, imported, state, words):
        refusal = imported("trainer_state", {"s.json": state}, "s.json", *SIZE)
        assert all(word in refusal for word in words), refusal

    def test_a_diverged_evaluation_is_refused(self, imported):
        text = json.dumps(STATE).replace("3.15", "NaN")
        refusal = imported(
            "trainer_state", {"s.json": text}, "s.json", *SIZE, "--set", "domain_ratio=0.3"
        )
        assert "loss must be finite, got nan" in refusal

    def test_check_names_the_format(self, call, tmp_path):
        (tmp_path / "trainer_state.json").write_text(json.dumps(STATE))
        answer = call("logs", "check", tmp_path / "trainer_state.json")
        assert answer.code == 2
        assert "logs import trainer_state" in answer.out
        assert "rename" not in answer.out


def test_shares_that_were_rounded(call, tmp_path):
    table = "run_id,model_params,train_tokens,share_a,share_b,share_c,loss_a\n"
    (tmp_path / "t.csv").write_text(
        table + "x,7e7,1e9,0.33,0.33,0.33,3.1\ny,7e7,1e9,0.2,0.3,0.5,3.0\n"
    )
    arguments = ["logs", "import", "table", tmp_path / "t.csv", "--out", tmp_path / "o.csv"]
    refused = call(*arguments)
    assert refused.code == 2
    assert "got 0.99" in refused.err
    assert "--normalize-shares" in refused.err
    assert call(*arguments, "--normalize-shares").code == 0
    shares = cp.read_log(tmp_path / "o.csv").set_index("run_id")[["share_a", "share_b", "share_c"]]
    assert shares.loc["x"].tolist() == pytest.approx([1 / 3] * 3)
    assert shares.loc["y"].tolist() == [0.2, 0.3, 0.5]
    (tmp_path / "t.csv").write_text(table + "x,7e7,1e9,0.33,0.33,0.31,3.1\n")
    assert "got 0.97" in call(*arguments, "--normalize-shares").err
