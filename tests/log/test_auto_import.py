"""``logs import auto``: what it recognises, shows and asks; phases; from trainer states to a plan."""

import gzip
import json
import re
import shlex
from pathlib import Path

import pytest
from simulated import simulated_log

import cmrplan as cp
from cmrplan.log.importers.formats import recognised

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "reference" / "trainer_logs"
PATTERN = r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"
LONG = "run,params,Tokens (M),ratio_pct,dataset,val_loss,lr\n" + "".join(
    f"{run},70M,{tokens},{percent},{corpus},{loss},1e-5\n"
    for run, percent in (("a", 20), ("b", 40))
    for tokens, gain in ((100, 0.5), (200, 0.75))
    for corpus, loss in (
        ("general", 3.5 - gain + percent / 100),
        ("domain", 3 - gain - percent / 100),
    )
)


@pytest.mark.parametrize(
    ("sample", "format"),
    [
        ("trainer_state", "trainer_state"), ("wandb", "wandb_offline"), ("mlruns", "mlflow"),
        ("litgpt", "litgpt"), ("lightning", "lightning"),
    ],
)  # fmt: skip
def test_a_folder_is_recognised_by_what_its_files_hold(sample, format, tmp_path):
    """Whatever the files are called."""
    assert recognised([SAMPLES / sample])[0] == format
    if format not in ("mlflow", "trainer_state"):
        first = next(path for path in sorted((SAMPLES / sample).rglob("*")) if path.is_file())
        renamed = tmp_path / "x.dat"
        renamed.write_bytes(first.read_bytes())
        assert recognised([renamed])[0] == format


@pytest.mark.parametrize(
    ("text", "format"),
    [
        ('{"current_steps": 1, "total_steps": 2}\n', "llama_factory"),
        ("Step,a - eval/loss\n1,2\n", "wandb_chart"),
        ("x,Model Size,Training FLOP,loss\n1,1,1,1\n", "chinchilla"),
        ("c/70M_x-0.25-0.75/100\tv/valid.Github.bin\t3.1\n", "mixinglaws"),
        (" validation loss at iteration 100 | lm loss value: 3.1E+00 |\n", "megatron"),
        ("iteration: 1 / 2 | consumed_tokens: 1M | lm_loss: 3 |\n", "nanotron"),
        ("run,tokens,loss\na,1,2\n", "table"),
    ],
)
def test_texts_are_recognised(text, format, tmp_path):
    (tmp_path / "log.csv").write_text(text)
    assert recognised([tmp_path / "log.csv"])[0] == format


def test_a_compressed_file_is_told(call, tmp_path):
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(LONG.encode()))
    answer = call("logs", "import", "auto", tmp_path / "log.csv.gz", "--out", tmp_path / "o.csv")
    assert answer.code == 2
    assert "compressed; unpack it first" in answer.err


def test_units_in_the_names_of_columns(call, tmp_path):
    """A percent sign, and billions in the plural."""
    text = LONG.replace("Tokens (M)", "Tokens (millions)").replace("ratio_pct", "Domain ratio (%)")
    (tmp_path / "runs.csv").write_text(text.replace(",20,", ",0.2,").replace(",40,", ",0.4,"))
    out = tmp_path / "log.csv"
    answer = call("logs", "import", "auto", tmp_path / "runs.csv", "--out", out, "--yes")
    assert answer.code == 0, answer.err
    log = cp.read_log(out)
    assert sorted(set(log["domain_ratio"])) == pytest.approx([0.002, 0.004])
    assert sorted(set(log["train_tokens"])) == [1e8, 2e8]


class TestPreview:
    @pytest.fixture
    def auto(self, call, tmp_path):
        (tmp_path / "runs.csv").write_text(LONG)
        return lambda *more: call(
            "logs", "import", "auto", tmp_path / "runs.csv", "--out", tmp_path / "log.csv", *more
        )

    def test_nothing_is_written_without_a_yes(self, auto, tmp_path):
        answer = auto()
        assert answer.code == 2
        assert not (tmp_path / "log.csv").exists()
        assert answer.err.count("\n") == 1
        assert "--yes" in answer.err
        shown = answer.out
        for words in (
            "table",
            "run -> run_id",
            "Tokens (M) -> train_tokens (times 1e+06)",
            "8 of 2 runs",
            "lr",
        ):
            assert words in shown
        assert "nats per token" in shown

    def test_yes_writes_what_was_shown(self, auto, tmp_path):
        assert auto("--yes").code == 0
        log = cp.read_log(tmp_path / "log.csv").set_index(["run_id", "train_tokens", "eval_corpus"])
        assert log.loc[("b", 2e8, "general"), "loss"] == 3.5 - 0.75 + 0.4
        assert log.loc[("a", 1e8, "domain"), "domain_ratio"] == 0.2
        assert set(log["model_params"]) == {7e7}

    def test_json_is_one_object(self, auto):
        shown = auto("--yes", "--json").json()
        assert shown["preview"]["columns"]["run"] == "run_id"
        refused = auto("--json")
        assert refused.code == 2
        assert refused.json()["log"] is None

    def test_what_the_caller_says_goes_before_a_guess(self, auto, tmp_path):
        assert auto("--yes", "--scale", "train_tokens=1e7").code == 0
        assert cp.read_log(tmp_path / "log.csv")["train_tokens"].max() == 2e9

    def test_a_guessed_mapping_is_kept(self, auto, call, tmp_path):
        assert auto("--yes", "--save-map", tmp_path / "map.yaml").code == 0
        first = (tmp_path / "log.csv").read_bytes()
        arguments = [
            "logs",
            "import",
            "table",
            tmp_path / "runs.csv",
            "--out",
            tmp_path / "again.csv",
        ]
        assert call(*arguments, "--use-map", tmp_path / "map.yaml").code == 0
        assert (tmp_path / "again.csv").read_bytes() == first

    def test_a_kept_format_goes_before_what_the_files_look_like(self, auto, call, tmp_path):
        """A table of litgpt's columns is recognised as litgpt's; a mapping for tables reads it as one."""
        (tmp_path / "m.csv").write_text(
            "val_loss,iter,total_tokens,step\n3.25,1,1000000,1\n3.0,2,2000000,2\n"
        )
        (tmp_path / "map.yaml").write_text(
            "format: table\nmap: {val_loss: loss_general, total_tokens: train_tokens}\n"
            "set: {model_params: 70M, domain_ratio: '0.25', run_id: a}\n"
        )
        paths = ("logs", "import", "auto", tmp_path / "m.csv", "--out", tmp_path / "log.csv")
        assert call(*paths, "--yes", "--json").code == 2
        told = call(*paths, "--yes", "--use-map", tmp_path / "map.yaml", "--json").json()
        assert told["format"] == told["preview"]["format"] == "table"
        assert cp.read_log(tmp_path / "log.csv")["loss"].tolist() == [3.25, 3.0]
        (tmp_path / "map.yaml").write_text("format: csv\n")
        refused = call(*paths, "--yes", "--use-map", tmp_path / "map.yaml")
        assert refused.code == 2
        assert "'csv'" in refused.err
        assert "litgpt" in refused.err

    def test_what_is_missing_is_named_with_the_format(self, call, tmp_path):
        answer = call("logs", "import", "auto", SAMPLES / "litgpt", "--out", tmp_path / "o.csv")
        assert answer.code == 2
        assert "read as litgpt" in answer.err
        assert "--map val_loss=general" in answer.err

    def test_nothing_known(self, call, tmp_path):
        (tmp_path / "a.bin").write_bytes(b"\x00\x01\x02")
        for source in (tmp_path, tmp_path / "a.bin", tmp_path / "none"):
            answer = call("logs", "import", "auto", source, "--out", tmp_path / "o.csv")
            assert answer.code == 2
            assert "known" in answer.err
            assert answer.err.count("\n") == 1


class TestPhases:
    """Run a: 100M tokens at a ratio of 0.1, then 300M at 0.5; run b at 0.2 throughout."""

    ROWS = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n" + "".join(
        f"{run},7e7,{tokens}e8,{ratio},general,{loss}\n"
        for run, tokens, ratio, loss in (
            ("a", 1, 0.1, 3.0), ("a", 2, 0.5, 3.1), ("a", 4, 0.5, 3.2), ("b", 1, 0.2, 3.05), ("b", 4, 0.2, 3.1),
        )
    )  # fmt: skip

    @pytest.fixture
    def imported(self, call, tmp_path):
        def run(*options, text=self.ROWS):
            (tmp_path / "t.csv").write_text(text)
            out = tmp_path / "log.csv"
            answer = call("logs", "import", "table", tmp_path / "t.csv", "--out", out, *options)
            return answer.err if answer.code else cp.read_log(out)

        return run

    def test_rows_that_name_the_mixture_since_the_row_before(self, imported):
        assert "--phases rows" in imported()
        log = imported("--phases", "rows").drop_duplicates("run_id").set_index("run_id")
        assert log.loc["a", "domain_ratio"] == 0.4  # (0.1 x 100M + 0.5 x 300M) / 400M
        names = ["phase_1_tokens", "phase_1_domain_ratio", "phase_2_tokens", "phase_2_domain_ratio"]
        assert log.loc["a", names].astype(float).tolist() == [1e8, 0.1, 3e8, 0.5]
        assert log.loc["b", "domain_ratio"] == 0.2
        assert log.loc["b", names[:2]].astype(float).tolist() == [4e8, 0.2]

    def test_no_law_is_fitted_to_them(self, imported, call, tmp_path):
        imported("--phases", "rows")
        assert call("logs", "check", tmp_path / "log.csv").code == 0
        for command in (["fit"], ["compare"], ["backtest"]):
            out = ["--out", tmp_path / "f.json"] if command == ["fit"] else []
            answer = call(*command, tmp_path / "log.csv", *out)
            assert answer.code == 1
            assert (
                "1 of 2 runs change their mixture ('a': domain_ratio 0.1 for 1e+08 tokens, then"
                in answer.err
            )
            assert "--phases first" in answer.err

    def test_the_first_phase_alone(self, imported):
        log = imported("--phases", "first")
        assert log[log["run_id"] == "a"]["train_tokens"].tolist() == [1e8]
        assert log.drop_duplicates("run_id").set_index("run_id")["domain_ratio"].to_dict() == {
            "a": 0.1,
            "b": 0.2,
        }
        assert not [name for name in log if name.startswith("phase")]

    def test_columns_of_phases_under_other_names(self, imported):
        text = (
            "run_id,model_params,train_tokens,p0_web,p0_code,p1_web,p1_code,loss_code\n"
            "a,7e7,1e9,0.75,0.25,0.25,0.75,2.5\n"
        )
        options = ("--map", "p0_*=phase_0_share_*", "--map", "p1_*=phase_1_share_*")
        assert "--set phase_0_tokens=VALUE" in imported(*options, text=text)
        tokens = ("--set", "phase_0_tokens=6e8", "--set", "phase_1_tokens=4e8")
        log = imported(*options, *tokens, text=text)
        assert log.loc[0, ["share_code", "share_web"]].tolist() == pytest.approx([0.45, 0.55])


def test_from_trainer_states_to_a_plan_as_the_readme_says(call, tmp_path, monkeypatch):
    """The states are written by the library, with losses from known laws."""
    pytest.importorskip("transformers")
    from transformers import TrainerState

    log = simulated_log(sizes=(410e6,), seeds=(0,), ratios=(0.1, 0.3, 0.5, 0.7))
    log["loss"] -= log.groupby("eval_corpus")["loss"].transform("min") - 2.0
    log["step"] = (log["train_tokens"] * 5e-3).round().astype(int)
    for (ratio, seed), rows in log.groupby(["domain_ratio", "seed"]):
        history = [
            {"step": int(step), f"eval_{corpus}_loss": float(loss)}
            for step, corpus, loss in rows[["step", "eval_corpus", "loss"]].itertuples(index=False)
        ]
        folder = tmp_path / "runs" / f"law-r{ratio:g}-s{seed}" / "checkpoint-5000"
        folder.mkdir(parents=True)
        TrainerState(log_history=history).save_to_json(str(folder / "trainer_state.json"))
    section = (ROOT / "README.md").read_text().split("trainer_state.json", 1)[1]
    commands = re.sub(r"\\\n\s*", "", section.split("```")[1]).strip().splitlines()
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    for command in commands:
        words = shlex.split(command, comments=True)
        answer = call(*words[1:])
        assert answer.code == 0, answer.err
    assert "recommended domain ratio" in answer.out
    read = cp.read_log("log.csv")
    assert len(read) == len(log)
    assert sorted(read["domain_ratio"].unique()) == [0.1, 0.3, 0.5, 0.7]
    assert json.loads(Path("fit.json").read_text())
