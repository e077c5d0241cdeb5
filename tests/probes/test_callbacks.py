"""Callbacks of other trainers: their rows against losses and tokens worked out by a plain loop here."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import cmrplan as cp
from cmrplan.errors import CmrplanError, InputError
from probes.callbacks import ProbeLogWriter, ProbeRun
from probes.callbacks.folder import collect_logs
from probes.models.counting import count_model_params
from probes.models.source import ParamCount

VOCAB, WIDTH, LAYERS, FEEDFORWARD, LENGTH = 29, 32, 2, 48, 12
BATCH, ACCUMULATED, STEPS, EVERY = 2, 2, 6, 2
STEP_TOKENS = BATCH * ACCUMULATED * LENGTH
# by hand: per layer 4 attention matrices (one head for all), 3 of the SwiGLU and 2 norms; one norm at the end
NON_EMBEDDING = LAYERS * (4 * WIDTH**2 + 3 * WIDTH * FEEDFORWARD + 2 * WIDTH) + WIDTH


def sequences(seed, count):
    """Return token sequences with some structure, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    start = generator.integers(0, VOCAB, size=(count, 1))
    stride = generator.integers(1, 3 + seed, size=(count, 1))
    return torch.from_numpy((start + stride * np.arange(LENGTH)) % VOCAB)


TRAIN = sequences(0, BATCH * ACCUMULATED * STEPS)
EVALUATION = {"general": sequences(1, 6), "domain": sequences(2, 6)}


def llama(tied=True):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=WIDTH,
            intermediate_size=FEEDFORWARD,
            num_hidden_layers=LAYERS,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=LENGTH,
            tie_word_embeddings=tied,
        )
    )


def loss_by_hand(model, tokens):
    """Return the mean negative log likelihood of the next token, nats, one sequence at a time."""
    model.eval()
    losses = []
    with torch.no_grad():
        for sequence in tokens:
            logits = model(input_ids=sequence[None]).logits[0].double()
            log_probs = logits[:-1] - torch.logsumexp(logits[:-1], dim=1, keepdim=True)
            losses += [-log_probs[i, sequence[i + 1]].item() for i in range(LENGTH - 1)]
    return math.fsum(losses) / len(losses)


def rows_of(folder, run_id="r0.3"):
    return [json.loads(line) for line in (folder / f"{run_id}.jsonl").read_text().splitlines()]


def state_of(folder, run_id="r0.3"):
    return json.loads((folder / f"{run_id}.run.json").read_text())


def run_of(**changes):
    return ProbeRun(**({"run_id": "r0.3", "domain_ratio": 0.3} | changes))


# ---- transformers ----


class Items(torch.utils.data.Dataset):
    def __init__(self, tokens):
        self.tokens = tokens

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        return {"input_ids": self.tokens[index], "labels": self.tokens[index]}


def hf_trainer(out, callbacks, *, model=None, evaluation=EVALUATION, **changes):
    from transformers import Trainer, TrainingArguments

    settings = {
        "output_dir": str(out),
        "max_steps": STEPS,
        "per_device_train_batch_size": BATCH,
        "gradient_accumulation_steps": ACCUMULATED,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "linear",
        "eval_strategy": "steps",
        "eval_steps": EVERY,
        "save_steps": 3,
        "seed": 7,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "logging_strategy": "no",
        "dataloader_pin_memory": False,
    }
    sets = {name: Items(tokens) for name, tokens in evaluation.items()}
    return Trainer(
        model=model or llama(),
        args=TrainingArguments(**(settings | changes)),
        train_dataset=Items(TRAIN),
        eval_dataset=sets,
        callbacks=callbacks,
    )


class StopAt:
    """Raises at a step's end, as a kill would end it."""

    def __new__(cls, step, at="on_step_end"):
        from transformers import TrainerCallback

        def stop(self, args, state, control, **kwargs):
            if state.global_step == step:
                raise KeyboardInterrupt

        return type("Stop", (TrainerCallback,), {at: stop})()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Return the folder of an unbroken run, and the model at every evaluation of it."""
    from transformers import TrainerCallback

    from probes.callbacks import ProbeLogCallback

    losses = {}

    class Spy(TrainerCallback):
        def on_evaluate(self, args, state, control, model=None, **kwargs):
            losses[state.global_step] = {k: loss_by_hand(model, v) for k, v in EVALUATION.items()}

    folder = tmp_path_factory.mktemp("unbroken")
    log = ProbeLogCallback(folder / "log", run_of(tokenizer="strides", base_tokens=3e11))
    hf_trainer(folder / "out", [log, Spy()]).train()
    return folder / "log", losses


def test_one_row_per_evaluation_and_corpus(unbroken):
    folder, _ = unbroken
    rows = rows_of(folder)
    assert [(row["step"], row["eval_corpus"]) for row in rows] == [
        (step, name) for step in (0, 2, 4, 6) for name in ("general", "domain")
    ]
    assert all(row["train_tokens"] == row["step"] * STEP_TOKENS for row in rows)


def test_losses_by_hand(unbroken):
    folder, losses = unbroken
    for row in rows_of(folder):
        # the model's own loss is float32, with an error of some 1e-7 a token
        expected = losses[row["step"]][row["eval_corpus"]]
        assert row["loss"] == pytest.approx(expected, rel=1e-5)


def test_the_run_is_described(unbroken):
    folder, _ = unbroken
    for row in rows_of(folder):
        assert row["model_params"] == NON_EMBEDDING
        assert row["params_total"] == NON_EMBEDDING + VOCAB * WIDTH
        assert row["params_kind"] == "non_embedding"
        assert (row["run_id"], row["domain_ratio"], row["seed"]) == ("r0.3", 0.3, 7)
        assert (row["schedule"], row["tokenizer"]) == ("linear", "strides")
        assert row["base_tokens"] == 300_000_000_000
    # linear from 1e-2 to 0 over 6 steps; the rate of step k, counted from 1, is 1e-2 * (7 - k) / 6
    rates = {row["step"]: row.get("learning_rate") for row in rows_of(folder)}
    assert rates.pop(0) is None
    assert rates == pytest.approx({step: 1e-2 * (7 - step) / 6 for step in (2, 4, 6)})


def test_cmrplan_reads_the_file(unbroken):
    path = unbroken[0] / "r0.3.jsonl"
    log = cp.read_log(path)
    assert len(log) == 8
    assert not [finding for finding in cp.check_log(path) if finding.severity == "error"]
    # the rates in the log say that the middle evaluations lie inside a decay
    assert "decaying_schedule" in [finding.code for finding in cp.check_log(path)]


def test_a_finished_run_is_noted_and_not_started_over(unbroken, tmp_path):
    from probes.callbacks import ProbeLogCallback

    folder, _ = unbroken
    state = state_of(folder)
    assert (state["state"], state["planned_steps"]) == ("finished", STEPS)
    with pytest.raises(
        InputError, match=r"run_id 'r0\.3' is finished in .*resume from a checkpoint"
    ):
        hf_trainer(tmp_path, [ProbeLogCallback(folder, run_of())]).train()
    assert len(rows_of(folder)) == 8


@pytest.mark.parametrize("stop", [(5, "on_step_end"), (4, "on_evaluate")])
def test_resumed_equals_unbroken(unbroken, tmp_path, stop):
    from probes.callbacks import ProbeLogCallback

    # killed after checkpoint 3: evaluation 4 is whole, or has its first corpus only, and is done again
    trainer = hf_trainer(
        tmp_path,
        [
            ProbeLogCallback(tmp_path / "log", run_of(tokenizer="strides", base_tokens=3e11)),
            StopAt(*stop),
        ],
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert state_of(tmp_path / "log")["state"] == "unfinished"
    before = rows_of(tmp_path / "log")
    assert len(before) == (6 if stop[1] == "on_step_end" else 5)
    with open(tmp_path / "log" / "r0.3.jsonl", "a") as stream:
        stream.write('{"run_id": "r0.3", "mod')
    resumed = hf_trainer(
        tmp_path,
        [ProbeLogCallback(tmp_path / "log", run_of(tokenizer="strides", base_tokens=3e11))],
        model=llama(),
        eval_on_start=True,
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert rows_of(tmp_path / "log") == rows_of(unbroken[0])
    assert state_of(tmp_path / "log")["state"] == "finished"


def test_diverged_run_has_no_row_and_a_reason(tmp_path):
    from transformers import TrainerCallback

    from probes.callbacks import ProbeLogCallback

    class Break(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 4:
                model.model.norm.weight.data.fill_(math.nan)

    hf_trainer(tmp_path, [ProbeLogCallback(tmp_path / "log", run_of()), Break()]).train()
    assert [row["step"] for row in rows_of(tmp_path / "log")] == [0, 0, 2, 2]
    state = state_of(tmp_path / "log")
    assert state["state"] == "failed"
    assert state["reason"].startswith("general validation loss was nan at step 4;")
    with pytest.raises(CmrplanError, match=r"no finished run with evaluations \(1 failed\)"):
        collect_logs(tmp_path / "log")


def test_several_corpora_tokens_given_and_no_base_row(tmp_path):
    from probes.callbacks import ProbeLogCallback

    shares = {"web": 0.5, "code": 0.3, "long_law": 0.2}
    log = ProbeLogCallback(
        tmp_path / "log",
        ProbeRun(run_id="mix", shares=shares, params_kind="total"),
        tokens_per_step=1000,
        eval_corpora=["long_law", "web"],
        base_row=False,
    )
    evaluation = {"web": TRAIN[:2], "long_law": TRAIN[2:4], "other": TRAIN[:2]}
    hf_trainer(
        tmp_path, [log], model=llama(tied=False), evaluation=evaluation, max_steps=2, save_steps=100
    ).train()
    rows = rows_of(tmp_path / "log", "mix")
    assert [(row["eval_corpus"], row["train_tokens"]) for row in rows] == [
        ("web", 2000),
        ("long_law", 2000),
    ]
    assert rows[0]["model_params"] == NON_EMBEDDING + 2 * VOCAB * WIDTH
    log = cp.read_log(tmp_path / "log" / "mix.jsonl")
    assert log[["share_web", "share_code", "share_long_law"]].iloc[0].tolist() == [0.5, 0.3, 0.2]


def test_tokens_are_those_of_the_batches(tmp_path):
    from probes.callbacks import ProbeLogCallback

    # 10 sequences an epoch, 4 a step: the third step of each epoch has 2
    trainer = hf_trainer(
        tmp_path,
        [ProbeLogCallback(tmp_path / "log", run_of())],
        evaluation={"general": EVALUATION["general"]},
        max_steps=-1,
        num_train_epochs=2,
        eval_steps=1,
        save_strategy="no",
    )
    trainer.train_dataset = Items(TRAIN[:10])
    trainer.train()
    trainer.evaluate()  # after the run: not of it
    tokens = [row["train_tokens"] for row in rows_of(tmp_path / "log")]
    assert tokens == [LENGTH * sequences for sequences in (0, 4, 8, 10, 14, 18, 20)]


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({}, {"eval_strategy": "no"}, r"^eval_strategy is 'no'.*set eval_strategy='steps'"),
        (
            {"eval_corpora": ["general", "code"]},
            {},
            r"^eval_corpora names 'code', and the Trainer evaluated 'general'; name them alike",
        ),
    ],
)
def test_trainers_that_give_no_log(tmp_path, options, changes, message):
    from probes.callbacks import ProbeLogCallback

    trainer = hf_trainer(
        tmp_path, [ProbeLogCallback(tmp_path / "log", run_of(), **options)], **changes
    )
    with pytest.raises(InputError, match=message):
        trainer.train()


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"eval_loss": 2.0, "eval_runtime": 1.0}, r"^eval_dataset is one set without a name; name"),
        (
            {"eval_code_accuracy": 0.5, "eval_code_runtime": 1.0},
            r"^the evaluation of 'code' has no eval_code_loss, only 'eval_code_accuracy', .*labels",
        ),
    ],
)
def test_metrics_without_a_loss_of_a_corpus(metrics, message):
    from probes.callbacks.transformers_callback import evaluated_corpus

    with pytest.raises(InputError, match=message):
        evaluated_corpus(metrics)


def test_other_metrics_are_no_corpora():
    from probes.callbacks.transformers_callback import evaluated_corpus

    metrics = {"eval_a_masked_loss": 9.0, "eval_a_loss": 2.0, "eval_a_runtime": 1.0, "epoch": 0.5}
    assert evaluated_corpus(metrics) == ("a", 2.0)
    assert evaluated_corpus({"test_loss": 2.0, "test_runtime": 1.0})[0] is None


# ---- Lightning ----


def lightning_module():
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.model = llama()
            self.by_hand = {}

        def training_step(self, batch, batch_idx):
            return self.model(input_ids=batch, labels=batch).loss

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            name = list(EVALUATION)[dataloader_idx]
            loss = self.model(input_ids=batch, labels=batch).loss
            self.log(
                f"val_{name}_loss",
                loss,
                batch_size=len(batch),
                add_dataloader_idx=False,
                on_epoch=True,
            )

        def on_validation_epoch_end(self):
            losses = {name: loss_by_hand(self.model, tokens) for name, tokens in EVALUATION.items()}
            self.by_hand[self.trainer.global_step] = losses

        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
            decay = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": decay, "interval": "step"},
            }

    return Module()


def lightning_fit(out, callbacks, *, train=TRAIN, ckpt_path=None, **changes):
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    checkpoints = ModelCheckpoint(out, "{step}", every_n_train_steps=3, save_top_k=-1)
    settings = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_steps": STEPS,
        "accumulate_grad_batches": ACCUMULATED,
        "check_val_every_n_epoch": None,
        "val_check_interval": EVERY * ACCUMULATED,
        "callbacks": [*callbacks, checkpoints],
    }
    module = lightning_module()
    loaders = [torch.utils.data.DataLoader(tokens, 3) for tokens in EVALUATION.values()]
    trainer = Trainer(**(settings | changes))
    trainer.validate(module, loaders, verbose=False)
    trainer.fit(module, torch.utils.data.DataLoader(train, BATCH), loaders, ckpt_path=ckpt_path)
    return module


quiet = pytest.mark.filterwarnings(
    # Lightning 2.6 asks torch 2.13 in a way that it deprecates
    "ignore:`isinstance\\(treespec, LeafSpec\\)` is deprecated:FutureWarning",
    # advice on the speed of loaders, and on where to resume from and save to
    "ignore:The '(train|val)_dataloader' does not have many workers",
    "ignore:Checkpoint directory .* exists and is not empty",
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
)


@pytest.fixture(scope="module")
def lightning_unbroken(tmp_path_factory):
    """Return the folder of an unbroken run, and the losses by hand at every evaluation of it."""
    from probes.callbacks import LightningProbeLog

    folder = tmp_path_factory.mktemp("lightning")
    module = lightning_fit(folder, [LightningProbeLog(folder / "log", run_of(seed=0))])
    return folder / "log", module.by_hand


@quiet
def test_lightning_rows_by_hand(lightning_unbroken):
    folder, losses = lightning_unbroken
    rows = rows_of(folder)
    assert [(row["step"], row["eval_corpus"]) for row in rows] == [
        (step, name) for step in (0, 2, 4, 6) for name in ("general", "domain")
    ]
    for row in rows:
        assert row["train_tokens"] == row["step"] * STEP_TOKENS
        assert row["model_params"] == NON_EMBEDDING
        assert row["params_total"] == NON_EMBEDDING + VOCAB * WIDTH
        # float32 against float64, as above
        assert row["loss"] == pytest.approx(losses[row["step"]][row["eval_corpus"]], rel=1e-5)
    rates = {row["step"]: row["learning_rate"] for row in rows if row["step"]}
    assert rates == pytest.approx({step: 1e-2 * (7 - step) / 6 for step in (2, 4, 6)})
    assert state_of(folder)["state"] == "finished"
    assert len(cp.read_log(folder / "r0.3.jsonl")) == 8


@quiet
def test_lightning_resumed_equals_unbroken(lightning_unbroken, tmp_path):
    from lightning.pytorch import Callback

    from probes.callbacks import LightningProbeLog

    class Stop(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if trainer.global_step == 4:
                raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        lightning_fit(
            tmp_path / "out", [LightningProbeLog(tmp_path / "log", run_of(seed=0)), Stop()]
        )
    assert len(rows_of(tmp_path / "log")) == 6
    lightning_fit(
        tmp_path / "out",
        [LightningProbeLog(tmp_path / "log", run_of(seed=0))],
        ckpt_path=tmp_path / "out" / "step=3.ckpt",
        train=TRAIN[3 * BATCH * ACCUMULATED :],  # a plain loader starts over
    )
    assert rows_of(tmp_path / "log") == rows_of(lightning_unbroken[0])


@quiet
def test_lightning_counts_the_tokens_of_whole_steps(tmp_path):
    from probes.callbacks import LightningProbeLog

    # a validation every 3 batches, a step every 2: the third batch is not trained on yet
    log = LightningProbeLog(tmp_path / "log", run_of())
    lightning_fit(tmp_path, [log], val_check_interval=3, max_steps=3)
    tokens = {row["step"]: row["train_tokens"] for row in rows_of(tmp_path / "log")}
    assert tokens == {0: 0, 1: STEP_TOKENS, 3: 3 * STEP_TOKENS}


@quiet
def test_lightning_without_the_metrics(tmp_path):
    from probes.callbacks import LightningProbeLog

    log = LightningProbeLog(tmp_path, run_of(), metrics={"code": "val/code"}, tokens_per_step=10)
    with pytest.raises(
        InputError, match=r"^the metrics have no 'val/code', only 'val_domain_loss'"
    ):
        lightning_fit(tmp_path, [log])


def test_tokens_of_a_lightning_batch():
    from probes.callbacks.lightning_callback import batch_tokens

    tokens = torch.zeros(3, 5, dtype=torch.long)
    for batch in (tokens, [tokens, tokens], {"input_ids": tokens, "labels": tokens}):
        assert batch_tokens(batch) == 15
    with pytest.raises(InputError, match=r"^tokens_per_step must be given: a batch is a dict"):
        batch_tokens({"x": tokens})


# ---- the run, the writer, the folder ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"domain_ratio": 30}, r"domain_ratio must be a fraction in \[0, 1\], got 30\. Percent\?"),
        ({"domain_ratio": -0.1}, r"domain_ratio must be a fraction in \[0, 1\], got -0\.1\. Write"),
        ({"domain_ratio": None}, r"domain_ratio or shares must be given, got neither"),
        ({"shares": {"web": 1.0}}, r"domain_ratio or shares must be given, got both"),
        (
            {"domain_ratio": None, "shares": {"web": 0.5, "code": 0.4}},
            r"shares must sum to 1, got 0\.9;",
        ),
        ({"run_id": "../r"}, r"run_id must be letters, digits and .*got '\.\./r'"),
        ({"model_params": "1.8B"}, r"model_params must be a number above 0, got '1\.8B'"),
        ({"base_tokens": 0}, r"base_tokens must be a number above 0, got 0"),
        ({"params_kind": "all"}, r"params_kind must be non_embedding or total, got 'all'"),
        ({"seed": 0.5}, r"seed must be a whole number, got 0\.5"),
    ],
)
def test_runs_that_are_none(changes, message):
    with pytest.raises(InputError, match=f"^{message}"):
        run_of(**changes)


def write_run(folder, ratio, *, steps=4, seed=0, end=True, **changes):
    """Write a run whose losses are simple functions of ratio and step."""
    run_id = f"r{ratio}-s{seed}"
    writer = ProbeLogWriter(
        folder,
        ProbeRun(run_id=run_id, domain_ratio=ratio, model_params=1e6, seed=seed),
        planned_steps=steps,
        **changes,
    )
    for step in range(steps + 1):
        losses = {"general": 2.8 + 0.1 * ratio + 0.001 * seed, "domain": 3 - ratio * step / 20}
        writer.write(step, 1e6 * step, losses)
    if end:
        writer.end(steps)
    return writer


def test_a_folder_of_runs_becomes_one_log_that_fits(call, tmp_path):
    for ratio in (0.0, 0.01, 0.3, 0.6, 1.0):
        for seed in (0, 1):
            write_run(tmp_path / "logs", ratio, seed=seed)
    write_run(tmp_path / "logs", 0.8, end=False)
    write_run(tmp_path / "logs", 0.7, steps=3).end(2)
    answer = call("logs", "collect", tmp_path / "logs", "--out", tmp_path / "log.csv", "--json")
    assert answer.code == 0, answer.err
    assert answer.json()["n_rows"] == 10 * 5 * 2
    assert answer.json()["n_finished"] == 10
    ledger = (tmp_path / "log.runs.csv").read_text()
    assert "r0.8-s0,0.8,0,unfinished,," in ledger
    assert "r0.7-s0,0.7,0,stopped,ended at step 2 of 3," in ledger
    log = cp.read_log(tmp_path / "log.csv")
    assert not {"r0.8-s0", "r0.7-s0"} & set(log["run_id"])
    assert call("fit", tmp_path / "log.csv", "--law", "dcpt", "--bootstrap", "0").code == 0


def test_own_loop_goes_on_where_it_was(tmp_path):
    write_run(tmp_path, 0.3)
    whole = (tmp_path / "r0.3-s0.jsonl").read_bytes()
    (tmp_path / "r0.3-s0.jsonl").write_bytes(whole[:-30])
    again = write_run(tmp_path, 0.3, resume_step=2)
    assert again.path.read_bytes() == whole


def test_one_run_id_is_one_run(tmp_path):
    write_run(tmp_path, 0.3)
    other = ProbeRun(run_id="r0.3-s0", domain_ratio=0.4, model_params=1e6, seed=0)
    with pytest.raises(
        InputError, match=r"^run_id 'r0\.3-s0' has domain_ratio 0\.3 in .*, now 0\.4"
    ):
        ProbeLogWriter(tmp_path, other, resume_step=2)
    (tmp_path / "r0.3-s0.run.json").unlink()
    with pytest.raises(InputError, match=r"has no r0\.3-s0\.run\.json beside it"):
        write_run(tmp_path, 0.3)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0])
def test_no_row_of_the_step_that_failed_nor_later(tmp_path, loss):
    writer = write_run(tmp_path, 0.3, steps=2, end=False)
    writer.write(3, 3e6, {"general": 2.9})
    writer.write(3, 3e6, {"domain": loss})
    writer.write(4, 4e6, {"general": 2.9, "domain": 2.9})
    writer.end(4)
    assert [row["step"] for row in rows_of(tmp_path, "r0.3-s0")] == [0, 0, 1, 1, 2, 2]
    state = state_of(tmp_path, "r0.3-s0")
    assert state["state"] == "failed"
    assert state["reason"].startswith(f"domain validation loss was {loss} at step 3;")
    assert state["train_tokens"] == 3e6


def test_tokens_that_were_not_counted(tmp_path):
    writer = write_run(tmp_path, 0.3, steps=0, end=False)
    with pytest.raises(
        InputError, match=r"^train_tokens must be above 0 .*, got 0 at step 5; give"
    ):
        writer.write(5, 0, {"general": 2.9})


def test_parameters_of_other_models():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 7))
    with pytest.raises(
        InputError, match=r"^model_params cannot be counted: Sequential has no get_out"
    ):
        count_model_params(model)
    assert count_model_params(llama(tied=False)) == ParamCount(
        total=NON_EMBEDDING + 2 * VOCAB * WIDTH, non_embedding=NON_EMBEDDING
    )


def test_the_package_needs_no_trainer():
    code = (
        "import sys; sys.modules |= dict.fromkeys(['transformers', 'lightning'])\n"
        "import probes.callbacks as c; assert 'torch' not in sys.modules\n"
        "for name in ('ProbeLogCallback', 'LightningProbeLog'):\n"
        "    try: getattr(c, name)\n"
        "    except ImportError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("pip install 'cmrplan[probes]'")
    assert lines[1].endswith("pip install 'cmrplan[lightning]'")
