"""A small sound file of every format that ``logs import`` reads, and what its import must be told."""

import json
import shutil
import sqlite3
from pathlib import Path

from event_files import write_scalars

from cmrplan.log.importers.changes import Changes
from cmrplan.log.importers.run_facts import RunFacts, run_pattern

SAMPLES = Path(__file__).parent / "reference" / "trainer_logs"
BY_NAME = RunFacts(run_pattern(r"r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)"))
SIZE = {"model_params": "7e7"}
STEPS = SIZE | {"tokens_per_step": "65536"}
RATIO = SIZE | {"domain_ratio": "0.5"}
TABLE = "run_id,model_params,train_tokens,domain_ratio,eval_corpus,loss\n" + "".join(
    f"a,7e7,{tokens}e8,0.25,general,3.{tokens}25\n" for tokens in range(1, 9)
)


def log_of_texts(name, lines):
    return lambda folder: written(folder / name, "".join(f"{line}\n" for line in lines))


def written(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def copied(*parts):
    """Return a function that copies a sample, keeping the folder that names its run."""

    def copy(folder):
        target = folder.joinpath(*parts[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        return shutil.copy(SAMPLES.joinpath(*parts), target)

    return copy


def mlflow(folder):
    base = sqlite3.connect(folder / "mlflow.db")
    base.executescript((SAMPLES / "mlflow" / "mlflow.sql").read_text())
    base.close()
    return folder / "mlflow.db"


def events(folder):
    losses = [(step, "eval/general/loss", 3 + step / 1024) for step in (100, 200)]
    return write_scalars(folder / "r0.5-s0", losses)


def regmix(folder):
    written(
        folder / "try_pile_loss_60m.csv", "index,metric/the_pile_arxiv_val_loss\n1,4.25\n2,3.75\n"
    )
    table = "index,train_the_pile_arxiv,train_the_pile_pile_cc\n1,0.25,0.75\n2,0.5,0.5\n"
    return written(folder / "try_mixture_60m.csv", table)


def olmix(folder):
    written(folder / "ratios.csv", "run_id,web,code\na,0.75,0.25\nb,0.5,0.5\n")
    return written(folder / "metrics.csv", "run_id,mmlu\na,1.25\nb,1.375\n")


FILES = {
    "trainer_state": (
        copied("trainer_state", "r0.5-s1", "checkpoint-4", "trainer_state.json"),
        {"model_params": "2000"},
        {},
    ),
    "wandb_offline": (copied("wandb", "r0.5-s1.wandb"), SIZE, {}),
    "mlflow": (mlflow, SIZE, {}),
    "litgpt": (copied("litgpt", "r0.5-s1", "logs", "metrics.csv"), RATIO, {"val_loss": "general"}),
    "olmix": (olmix, SIZE | {"train_tokens": "3e9"}, {}),
    "regmix": (regmix, {}, {}),
    "chinchilla": (
        log_of_texts("c.csv", ["Model Size,Training FLOP,loss", "1e8,6e17,3.5", "2e8,2.4e18,3.25"]), {}, {},
    ),
    "wandb_chart": (
        log_of_texts("chart.csv", ['"Step","a - val/general/loss"', '"100","3.125"', '"200","3.0625"']),
        STEPS | RATIO, {},
    ),
    "wandb_history": (
        log_of_texts("a.csv", ["_step,tokens,eval/general/loss", "0,6553600,", "1,,3.125", "2,13107200,3.0625"]),
        RATIO, {},
    ),
    "lightning": (
        copied("lightning", "r0.5-s1", "version_0", "metrics.csv"), STEPS | RATIO,
        {"val_loss/dataloader_idx_0": "general", "val_loss/dataloader_idx_1": "domain"},
    ),
    "llama_factory": (
        log_of_texts("r/trainer_log.jsonl", [
            json.dumps({"current_steps": step, "total_steps": 200, "eval_loss": 3.125, "total_tokens": step * 65536})
            for step in (100, 200)
        ]), RATIO, {"eval_loss": "general"},
    ),
    "olmo_core": (
        lambda folder: written(
            folder / "r" / "metrics_step100.json",
            json.dumps({"throughput/total tokens": 6553600, "eval/lm/general/CE loss": 3.125}),
        ), RATIO, {},
    ),
    "mixinglaws": (
        log_of_texts("70M.txt", [f"c/70M_x-0.25-0.75/{step}\tv/valid.Github.bin\t3.125" for step in (100, 200)]),
        {}, {},
    ),
    "megatron": (
        log_of_texts("m.log", [
            "  seq_length ........ 4096", " iteration 100/ 200 | consumed samples: 1600 |",
            " validation-general loss at iteration 100 | lm loss value: 3.125000E+00 | lm loss PPL: 2.2E+01 |",
        ]), RATIO, {},
    ),
    "nanotron": (
        log_of_texts("n.log", [
            f"iteration: {step} / 200 | consumed_tokens: {step}M | lm_loss: 3.25 | lr: 0.0001" for step in (100, 200)
        ]), RATIO, {"lm_loss": "general"},
    ),
    "tensorboard": (events, STEPS | RATIO, {}),
    "table": (log_of_texts("t.csv", TABLE.splitlines()), {}, {}),
}  # fmt: skip
BPB = {"olmix": {"loss_unit": "bpb", "bytes_per_token": {"": 4.0}}}


def changes_of(format):
    _, constants, names = FILES[format]
    facts = BY_NAME if format == "trainer_state" else RunFacts()
    return Changes(names=names, constants=constants, facts=facts, **BPB.get(format, {}))
