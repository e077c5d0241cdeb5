"""Logs that the libraries themselves wrote (tests/reference/trainer_logs), and what must come of them."""

import json
import shutil
import sqlite3
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from event_files import write_scalars

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from cmrplan.log.importers.changes import Changes
from cmrplan.log.importers.run_facts import RunFacts, run_pattern
from cmrplan.log.importers.tensorboard import masked_crc
from cmrplan.log.importers.wandb_api import read_api_runs

SAMPLES = Path(__file__).parents[1] / "reference" / "trainer_logs"
RUNS = {"r0.25-s0": 0.25, "r0.5-s1": 0.5}
PATTERN = r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"
BY_NAME = ("--set", "model_params=70M", "--run-pattern", PATTERN)


def loss(corpus, ratio, step):
    """Return what renew_trainer_logs.py logged."""
    return 3 + ratio / 4 + step / 1024 if corpus == "general" else 2.5 - ratio / 2 - step / 1024


def logged(corpora=("domain", "general"), steps=(100, 200), names=RUNS):
    """Return the rows that renew_trainer_logs.py logged: a step has 65,536 tokens."""
    return sorted(
        (name, 65_536.0 * step, ratio, corpus, loss(corpus, ratio, step))
        for name, ratio in names.items()
        for step in steps
        for corpus in corpora
    )


def rows(log):
    names = ["run_id", "train_tokens", "domain_ratio", "eval_corpus", "loss"]
    return sorted(log[names].itertuples(index=False, name=None))


@pytest.fixture
def imported(call, tmp_path):
    """Return a function that imports and gives the log, or the refusal in one line."""

    def run(format, *arguments):
        out = tmp_path / "out" / "log.csv"
        answer = call("logs", "import", format, *arguments, "--out", out)
        if answer.code:
            assert answer.code == 2
            assert answer.err.count("\n") == 1, answer.err
            return answer.err
        return cp.read_log(out)

    return run


@pytest.fixture
def store(tmp_path):
    """Return MLflow's database, from the SQL that one was kept as."""
    path = tmp_path / "mlflow.db"
    base = sqlite3.connect(path)
    base.executescript((SAMPLES / "mlflow" / "mlflow.sql").read_text())
    base.close()
    return path


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Return a folder of runs whose event files TensorBoard's own writer made."""
    folder = tmp_path_factory.mktemp("events")
    for name, ratio in RUNS.items():
        scalars = []
        for step in (100, 200):
            losses = [(step, f"eval/{c}/loss", loss(c, ratio, step)) for c in ("general", "domain")]
            scalars += [(step, "train/loss", 4.0), *losses]
        write_scalars(folder / name, scalars)
    return folder


class TestRowsAreWhatWasLogged:
    def test_trainer_states_of_a_sweep(self, imported):
        said = json.loads((SAMPLES / "trainer_state" / "evaluated.json").read_text())
        expected = sorted(
            (name, {2: 128.0, 4: 256.0}[int(step)], RUNS[name], key.split("_")[1], value)
            for name, steps in said.items()
            for step, losses in steps.items()
            for key, value in losses.items()
        )
        log = imported(
            "trainer_state", SAMPLES / "trainer_state", "--set", "model_params=2000",
            "--run-pattern", PATTERN,
        )  # fmt: skip
        assert rows(log) == expected
        assert set(log["seed"]) == {0, 1}

    def test_lightning_counts_steps_from_0(self, imported):
        log = imported(
            "lightning", SAMPLES / "lightning", *BY_NAME, "--tokens-per-step", "65536",
            "--map", "val_loss/dataloader_idx_0=general", "--map", "val_loss/dataloader_idx_1=domain",
        )  # fmt: skip
        assert rows(log) == logged()

    def test_litgpt(self, imported):
        log = imported("litgpt", SAMPLES / "litgpt", *BY_NAME, "--map", "val_loss=general")
        assert rows(log) == logged(["general"])

    def test_wandb_offline_takes_the_config(self, imported):
        log = imported("wandb_offline", SAMPLES / "wandb", "--map", "model.params=model_params")
        assert rows(log) == logged()

    def test_mlflow_database(self, imported, store):
        log = imported("mlflow", store, "--map", "model=model_params")
        assert rows(log) == logged()
        assert set(log["model_params"]) == {7e7}

    def test_mlflow_file_store(self, imported):
        log = imported("mlflow", SAMPLES / "mlruns", "--map", "model=model_params")
        assert rows(log) == logged()

    def test_tensorboard(self, imported, events):
        log = imported("tensorboard", events, *BY_NAME, "--tokens-per-step", "65536")
        assert rows(log) == logged()

    def test_olmo_core(self, imported, tmp_path):
        """MetricSaverCallback writes the latest value of every metric, so the last file repeats an evaluation."""
        for name, ratio in RUNS.items():
            (tmp_path / name).mkdir()
            metrics = {"train/CE loss": 4.0}
            for step in (100, 200, 300):
                metrics["throughput/total tokens"] = step * 65_536
                if step < 300:
                    losses = {c: loss(c, ratio, step) for c in ("general", "domain")}
                    metrics |= {f"eval/lm/{c}/CE loss": value for c, value in losses.items()}
                (tmp_path / name / f"metrics_step{step}.json").write_text(json.dumps(metrics))
        assert rows(imported("olmo_core", tmp_path, *BY_NAME)) == logged()


MEGATRON = """\
  seq_length ...................................... 4096
 [2026-01-02 03:04:05.678] iteration       50/     200 | consumed samples:          800 | elapsed time per iteration (ms): 9.1 | lm loss: 4.000000E+00 | loss scale: 1.0 |
 [2026-01-02 03:05:05.678] iteration      100/     200 | consumed samples:         1600 | elapsed time per iteration (ms): 9.1 | lm loss: 4.000000E+00 | loss scale: 1.0 |
-----------------------------------------------------------------------------------------------
 validation-general loss at iteration 100 | lm loss value: 3.160156E+00 | lm loss PPL: 2.357428E+01 |
 validation-domain loss at iteration 100 | lm loss value: 2.277344E+00 | lm loss PPL: 9.750747E+00 |
 [2026-01-02 03:06:05.678] iteration      200/     200 | consumed samples:         3200 | lm loss: 4.000000E+00 |
 validation-general loss at iteration 200 | lm loss value: 3.257812E+00 | lm loss PPL: 2.5E+01 |
 validation-general loss at iteration 200 on test set | lm loss value: 9.0E+00 | lm loss PPL: 8.1E+03 |
"""  # noqa: E501
NEMO = """\
Training epoch 0, iteration 99/199 | lr: 0.0001 | global_batch_size: 16 | global_step: 99 | reduced_train_loss: 4.0 | consumed_samples: 1600 | val_loss: 3.25
"""  # noqa: E501
LLAMA = """\
{"current_steps": 100, "total_steps": 200, "loss": 4.0, "lr": 1e-05, "epoch": 0.5, "total_tokens": 6553600}
{"current_steps": 100, "total_steps": 200, "eval_loss": 3.25, "epoch": 0.5, "total_tokens": 6553600}
"""
NANOTRON = """\
\x1b[2;3m01/02 03:04:05 [INFO|DP=0]\x1b[0m: iteration: 100 / 200 | consumed_tokens: 6.55M | time_per_iteration_ms: 91 | global_batch_size: 1.02K | lm_loss: 3.25 | lr: 0.0001 | grad_norm: 1.5
"""  # noqa: E501


class TestTexts:
    """Lines as the sources of these trainers print them; their libraries need a GPU."""

    def test_megatron(self, imported, tmp_path):
        (tmp_path / "r0.25-s0.log").write_text(MEGATRON)
        log = imported("megatron", tmp_path / "r0.25-s0.log", *BY_NAME)
        assert rows(log) == sorted(
            [
                ("r0.25-s0", 1600 * 4096, 0.25, "general", 3.160156),
                ("r0.25-s0", 1600 * 4096, 0.25, "domain", 2.277344),
                ("r0.25-s0", 3200 * 4096, 0.25, "general", 3.257812),
            ]
        )

    def test_nemo_and_its_sequence_length(self, imported, tmp_path):
        (tmp_path / "r0.5-s0.log").write_text(NEMO)
        options = (tmp_path / "r0.5-s0.log", *BY_NAME, "--map", "val_loss=general")
        assert "--tokens-per-step" in imported("megatron", *options)
        log = imported("megatron", *options, "--set", "sequence_length=4096")
        assert rows(log) == [("r0.5-s0", 1600 * 4096, 0.5, "general", 3.25)]

    def test_llama_factory(self, imported, tmp_path):
        (tmp_path / "r0.5-s0").mkdir()
        (tmp_path / "r0.5-s0" / "trainer_log.jsonl").write_text(LLAMA)
        assert "--map eval_loss=general" in imported("llama_factory", tmp_path, *BY_NAME)
        log = imported("llama_factory", tmp_path, *BY_NAME, "--map", "eval_loss=general")
        assert rows(log) == [("r0.5-s0", 6553600, 0.5, "general", 3.25)]

    def test_nanotron_prints_the_loss_of_training(self, imported, tmp_path):
        (tmp_path / "r0.5-s0.out").write_text(NANOTRON)
        assert "training alone" in imported("nanotron", tmp_path, *BY_NAME)
        log = imported("nanotron", tmp_path, *BY_NAME, "--map", "lm_loss=general")
        assert rows(log) == [("r0.5-s0", 6.55e6, 0.5, "general", 3.25)]


class TestOlmix:
    RATIOS = "run_id,name,web,code\na,x,0.75,0.25\nb,y,0.334,0.667\nc,z,0.5,0.5\n"
    METRICS = "run_id,mmlu,gsm8k\nb,1.25,\na,1.5,2.0\n"
    OPTIONS = ("--set", "model_params=30M", "--set", "train_tokens=3e9")

    def test_a_pair(self, imported, tmp_path):
        (tmp_path / "ratios.csv").write_text(self.RATIOS)
        (tmp_path / "metrics.csv").write_text(self.METRICS)
        assert "bits per byte" in imported("olmix", tmp_path, *self.OPTIONS)
        unit = ("--loss-unit", "bpb", "--bytes-per-token", "4")
        log = imported("olmix", tmp_path, *self.OPTIONS, *unit)
        losses = log.set_index(["run_id", "eval_corpus"])["loss"].to_dict()
        bits = 2.772588722239781  # 4 ln 2
        assert losses == pytest.approx(
            {("a", "mmlu"): 1.5 * bits, ("a", "gsm8k"): 2 * bits, ("b", "mmlu"): 1.25 * bits}
        )
        shares = log.drop_duplicates("run_id").set_index("run_id")[["share_code", "share_web"]]
        assert shares.loc["a"].tolist() == [0.25, 0.75]
        assert shares.loc["b"].tolist() == pytest.approx([0.667 / 1.001, 0.334 / 1.001])

    def test_the_pair_that_its_readme_asks_for(self, imported, tmp_path):
        """The tables of olmix's README, which users prepare: olmix reads the pair and writes none."""
        (tmp_path / "ratios.csv").write_text(
            "run,dclm,wikipedia,arxiv\nrun_001,0.45,0.30,0.25\nrun_002,0.60,0.20,0.20\nrun_003,0.33,0.33,0.34\n"
        )
        (tmp_path / "metrics.csv").write_text(
            "run,arc_challenge_bpb,hellaswag_bpb,mmlu_stem_bpb\n"
            "run_001,1.23,0.87,1.45\nrun_002,1.15,0.91,1.38\nrun_003,1.20,0.89,1.42\n"
        )
        log = imported(
            "olmix", tmp_path, *self.OPTIONS, "--loss-unit", "bpb", "--bytes-per-token", "4"
        )
        bits = 2.772588722239781  # 4 ln 2
        losses = log.pivot(index="run_id", columns="eval_corpus", values="loss") / bits
        shares = log.drop_duplicates("run_id").set_index("run_id").filter(like="share_")
        assert losses.loc["run_002"].to_dict() == pytest.approx(
            {"arc_challenge_bpb": 1.15, "hellaswag_bpb": 0.91, "mmlu_stem_bpb": 1.38}
        )
        assert shares.loc["run_003"].to_dict() == pytest.approx(
            {"share_dclm": 0.33, "share_wikipedia": 0.33, "share_arxiv": 0.34}
        )
        assert len(log) == 9


class TestTensorBoardRecords:
    def test_the_check_value_of_crc_32c(self):
        rotated = (masked_crc(b"123456789") - 0xA282EAD8) % 2**32
        assert (rotated >> 17 | rotated << 15) % 2**32 == 0xE3069283

    def test_scalars_as_tensors(self, imported, tmp_path):
        """Newer writers store a scalar as a tensor of one number."""
        pytest.importorskip("tensorboard")
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.compat.proto.tensor_pb2 import TensorProto
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(tmp_path / "r0.5-s0"))
        tensors = {
            "eval/general/loss": TensorProto(dtype=1, float_val=[3.25]),
            "eval/domain/loss": TensorProto(dtype=1, tensor_content=struct.pack("<f", 2.25)),
        }
        for tag, tensor in tensors.items():
            summary = Summary(value=[Summary.Value(tag=tag, tensor=tensor)])
            writer.add_event(Event(step=10, summary=summary))
        writer.close()
        log = imported("tensorboard", tmp_path, *BY_NAME, "--tokens-per-step", "1e6")
        assert rows(log) == [
            ("r0.5-s0", 1e7, 0.5, "domain", 2.25),
            ("r0.5-s0", 1e7, 0.5, "general", 3.25),
        ]

    def test_every_step_is_read(self, imported, tmp_path):
        """TensorBoard's own reader would keep a sample of them."""
        steps = [(step, "eval/general/loss", 3.0) for step in range(1, 1501)]
        write_scalars(tmp_path / "r0.5-s0", steps)
        log = imported("tensorboard", tmp_path, *BY_NAME, "--tokens-per-step", "1e6")
        assert len(log) == 1500


class TestRates:
    """The rate of an evaluation is the last one that was logged before it."""

    HISTORY = (
        {"step": 0, "eval_general_loss": 3.0},
        {"step": 90, "loss": 4.0, "learning_rate": 2e-4},
        {"step": 100, "loss": 4.0, "learning_rate": 1e-4},
        {"step": 100, "eval_general_loss": 3.5},
        {"step": 200, "loss": 4.0, "learning_rate": 0.0},
        {"step": 200, "eval_general_loss": 3.25},
    )

    def write(self, folder, history):
        (folder / "r0.5-s0").mkdir()
        path = folder / "r0.5-s0" / "trainer_state.json"
        path.write_text(json.dumps({"log_history": history}))
        return ("trainer_state", path, *BY_NAME, "--tokens-per-step", "1M")

    def test_it_falls_to_0(self, imported, tmp_path):
        log = imported(*self.write(tmp_path, self.HISTORY))
        assert log["learning_rate"].tolist()[1:] == [1e-4, 0.0]
        assert log["learning_rate"].isna().tolist() == [True, False, False]

    def test_another_one_that_is_named(self, imported, tmp_path):
        arguments = self.write(tmp_path, [entry | {"peak": 7e-4} for entry in self.HISTORY])
        log = imported(*arguments, "--map", "peak=learning_rate")
        assert log["learning_rate"].tolist() == [7e-4] * 3

    @pytest.mark.parametrize(
        "name", ["lr", "train/learning_rate", "lr-AdamW", "learning rate", "optim/LR (group 0)"]
    )
    def test_what_trainers_call_it(self, imported, tmp_path, name):
        history = [
            {name if key == "learning_rate" else key: value for key, value in entry.items()}
            for entry in self.HISTORY
        ]
        log = imported(*self.write(tmp_path, history))
        assert log["learning_rate"].tolist()[1:] == [1e-4, 0.0]

    @pytest.mark.parametrize("name", ["lr_scale", "lr/pg1", "color", "learning_rate_multiplier"])
    def test_what_is_no_rate(self, imported, tmp_path, name):
        history = [
            {name if key == "learning_rate" else key: value for key, value in entry.items()}
            for entry in self.HISTORY
        ]
        assert "learning_rate" not in imported(*self.write(tmp_path, history))


class TestMeanings:
    def test_a_resumed_run_keeps_the_later_value(self, call, tmp_path):
        text = "step,eval_general_loss\n10,3.5\n20,3.25\n20,3.0\n"
        folder = tmp_path / "mlruns" / "0" / "abc"
        (folder / "metrics").mkdir(parents=True)
        (folder / "meta.yaml").write_text(
            "run_id: abc\nrun_name: r0.5-s0\nlifecycle_stage: active\n"
        )
        lines = [line.split(",") for line in text.split()[1:]]
        (folder / "metrics" / "eval_general_loss").write_text(
            "".join(f"1 {value} {step}\n" for step, value in lines)
        )
        out = tmp_path / "log.csv"
        answer = call(
            "logs", "import", "mlflow", tmp_path / "mlruns", "--out", out, *BY_NAME, "--tokens-per-step", "1M"
        )  # fmt: skip
        assert "cells_left_out" in answer.err
        assert rows(cp.read_log(out)) == [
            ("r0.5-s0", 1e7, 0.5, "general", 3.5),
            ("r0.5-s0", 2e7, 0.5, "general", 3.0),
        ]

    def test_tokens_of_an_earlier_count_are_told(self, call, tmp_path):
        """Megatron prints its samples every 100 iterations here, and evaluates at 150."""
        text = MEGATRON.split(" validation-domain")[0].replace(
            "loss at iteration 100", "loss at iteration 150"
        )
        (tmp_path / "r0.25-s0.log").write_text(text)
        out = tmp_path / "log.csv"
        answer = call(
            "logs", "import", "megatron", tmp_path / "r0.25-s0.log", "--out", out, *BY_NAME
        )
        assert "tokens_carried" in answer.err
        assert cp.read_log(out)["train_tokens"].tolist() == [1600 * 4096]

    def test_tokens_that_were_not_counted_are_asked_for(self, imported, events):
        assert "--tokens-per-step" in imported("tensorboard", events, *BY_NAME)

    def test_a_name_that_does_not_fit_the_pattern(self, imported, tmp_path):
        shutil.copytree(SAMPLES / "litgpt" / "r0.5-s1", tmp_path / "runs" / "base")
        refusal = imported("litgpt", tmp_path / "runs", *BY_NAME, "--map", "val_loss=general")
        assert "'base'" in refusal
        assert "--run-pattern" in refusal

    def test_a_table_joined_on_the_run(self, imported, tmp_path):
        runs = "Name,replay %,params,note\nr0.25-s0,0.75,70M,x\nr0.5-s1,0.5,70M,y\n"
        (tmp_path / "runs.csv").write_text(runs)
        options = ("--map", "replay %=replay_ratio", "--map", "params=model_params", "--join")
        log = imported(
            "litgpt",
            SAMPLES / "litgpt",
            "--map",
            "val_loss=general",
            *options,
            tmp_path / "runs.csv",
        )
        assert rows(log) == logged(["general"])
        (tmp_path / "runs.csv").write_text(runs.replace("r0.5-s1", "other"))
        refusal = imported(
            "litgpt",
            SAMPLES / "litgpt",
            "--map",
            "val_loss=general",
            *options,
            tmp_path / "runs.csv",
        )
        assert "'r0.5-s1'" in refusal

    @pytest.mark.parametrize("column", ["domain_ratio", "replay_ratio"])
    def test_a_percent_sign_in_some_rows_of_a_joined_table(self, imported, tmp_path, column):
        """Beside 30%, 1 may be 1 % or all."""
        (tmp_path / "runs.csv").write_text(f"run,{column}\nr0.25-s0,30%\nr0.5-s1,1\n")
        known = ("--set", "model_params=70M", "--map", "val_loss=general")
        joined = ("--join", tmp_path / "runs.csv")
        refusal = imported("litgpt", SAMPLES / "litgpt", *known, *joined)
        assert f"{column} must be a number, got '30%' (" in refusal
        assert "runs.csv row 1, line 2). Write the percent sign in every row" in refusal

    def test_a_joined_table_may_have_texts_for_runs_that_are_not_imported(self, imported, tmp_path):
        runs = "run,domain_ratio,seed\nr0.25-s0,25%,0\nr0.5-s1,50%,1\nplanned,TBD,-\n"
        (tmp_path / "runs.csv").write_text(runs)
        known = ("--set", "model_params=70M", "--map", "val_loss=general")
        log = imported("litgpt", SAMPLES / "litgpt", *known, "--join", tmp_path / "runs.csv")
        assert rows(log) == logged(["general"])

    def test_names_that_begin_alike(self, imported, tmp_path):
        text = (
            "run_id,model_params,train_tokens,w_code,w_Web 2,loss_code\na,7e7,1e9,0.25,0.75,2.5\n"
        )
        (tmp_path / "t.csv").write_text(text)
        log = imported("table", tmp_path / "t.csv", "--map", "w_*=share_*")
        assert log[["share_code", "share_web_2"]].iloc[0].tolist() == [0.25, 0.75]
        assert "fits no column" in imported("table", tmp_path / "t.csv", "--map", "x_*=share_*")
        assert "one *" in imported("table", tmp_path / "t.csv", "--map", "w_*=share")

    @pytest.mark.parametrize(
        ("pattern", "words"),
        [("(", "no regular expression"), ("a", "names no column"), ("(?P<foo>a)", "'foo'")],
    )
    def test_patterns_that_say_nothing(self, imported, pattern, words):
        assert words in imported("litgpt", SAMPLES / "litgpt", "--run-pattern", pattern)

    def test_a_mapping_is_kept_and_used_again(self, imported, call, tmp_path):
        kept = tmp_path / "map.yaml"
        options = (*BY_NAME, "--map", "val_loss=general", "--save-map", kept)
        first = imported("litgpt", SAMPLES / "litgpt", *options)
        again = imported("litgpt", SAMPLES / "litgpt", "--use-map", kept)
        assert again.equals(first)
        larger = imported(
            "litgpt", SAMPLES / "litgpt", "--use-map", kept, "--set", "model_params=90M"
        )
        assert set(larger["model_params"]) == {9e7}
        kept.write_text(
            "map:\n  val_loss: general\nset: {model_params: 70000000}\nrun_pattern: '"
            + PATTERN
            + "'\n"
        )
        assert imported("litgpt", SAMPLES / "litgpt", "--use-map", kept).equals(first)
        kept.write_text("map: [1]\n")
        assert "'map'" in imported("litgpt", SAMPLES / "litgpt", "--use-map", kept)


class TestWandbApi:
    """Answers of the service as its public API gives them: a scan yields the lines that have every key asked for."""

    @pytest.fixture
    def run(self):
        history = [
            {"_step": 1, "tokens": 65_536 * 100, "train/loss": 4.0},
            {"_step": 2, "eval/general/loss": 3.25},
            {"_step": 3, "eval/domain/loss": 2.25},
        ]
        keys = {
            key: {"typeCounts": [{"type": "number", "count": sum(key in row for row in history)}]}
            for key in ("tokens", "train/loss", "eval/general/loss", "eval/domain/loss")
        }

        def scan_history(keys):
            return [row for row in history if all(key in row for key in keys)]

        config = {"domain_ratio": 0.5, "model_params": 7e7}
        return SimpleNamespace(
            id="x1", name="a", config=config, history_keys={"keys": keys}, scan_history=scan_history
        )

    def test_keys_that_never_share_a_line(self, run):
        assert rows(read_api_runs([run], Changes()).log) == [
            ("a", 6553600, 0.5, "domain", 2.25),
            ("a", 6553600, 0.5, "general", 3.25),
        ]

    def test_the_rate_that_was_logged(self, run):
        history = [{"_step": 1, "train/learning_rate": 2e-4}]
        run.history_keys["keys"]["train/learning_rate"] = {"typeCounts": [{"count": 1}]}
        scan = run.scan_history
        run.scan_history = lambda keys: (
            history if keys == ["_step", "train/learning_rate"] else scan(keys)
        )
        assert set(read_api_runs([run], Changes()).log["learning_rate"]) == {2e-4}

    def test_the_rate_that_a_run_was_set_to_is_its_peak_and_not_read(self, run):
        run.config = run.config | {"learning_rate": 1e-3}
        assert "learning_rate" not in read_api_runs([run], Changes()).log
        named = Changes(names={"learning_rate": "learning_rate"})
        assert set(read_api_runs([run], named).log["learning_rate"]) == {1e-3}

    def test_a_scan_that_lost_values_is_refused(self, run):
        run.history_keys["keys"]["eval/domain/loss"]["typeCounts"][0]["count"] = 2
        with pytest.raises(CmrplanError, match="gave 1 of 2 values"):
            read_api_runs([run], Changes())

    def test_no_runs_and_no_address(self, imported):
        with pytest.raises(InputError, match="no runs"):
            read_api_runs([], Changes())
        assert "ENTITY/PROJECT" in imported("wandb_api", "project")

    def test_facts_from_names(self, run):
        run.config = {"model_params": 7e7}
        run.name = "r0.5-s1"
        facts = RunFacts(run_pattern(PATTERN))
        assert set(read_api_runs([run], Changes(facts=facts)).log["domain_ratio"]) == {0.5}


def test_the_framing_of_a_wandb_file_over_blocks(imported, tmp_path):
    """A record longer than a block of 32 KiB is written in parts; its config holds a long text here."""
    whole = (SAMPLES / "wandb" / "r0.5-s1.wandb").read_bytes()
    records, at = [], 7
    while at < len(whole):
        (size,) = struct.unpack_from("<H", whole, at + 4)
        records.append(whole[at + 7 : at + 7 + size])
        at += 7 + size
    item = b"\x0a\x04note\x82\x01" + varint(70_002) + b'"' + b"x" * 70_000 + b'"'
    config = b"\x0a" + varint(len(item)) + item
    records.insert(3, b"\x2a" + varint(len(config)) + config)
    (tmp_path / "long.wandb").write_bytes(framed(records))
    log = imported("wandb_offline", tmp_path / "long.wandb", "--map", "model.params=model_params")
    assert rows(log) == logged(names={"r0.5-s1": 0.5})


def varint(number):
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def framed(records):
    """Return records in LevelDB's framing, as its documentation describes it."""
    out = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        first = True
        while first or record:
            left = 32_768 - len(out) % 32_768
            if left < 7:
                out += bytes(left)
                continue
            part, record = record[: left - 7], record[left - 7 :]
            kind = 1 if first and not record else 2 if first else 3 if record else 4
            first = False
            out += (
                struct.pack("<IHB", zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind)
                + part
            )
    return bytes(out)
