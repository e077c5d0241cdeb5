"""Write the sample logs of this folder anew, each by the library whose format it has.

In the test environment, and with ``pip install wandb==0.31.0 mlflow==3.17.2``::

    python tests/reference/trainer_logs/renew_trainer_logs.py trainer_state lightning litgpt
    python tests/reference/trainer_logs/renew_trainer_logs.py wandb mlflow mlruns

Every run but those of the transformers Trainer logs :func:`loss`, so that a test knows what must come of it.
"""

import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
RUNS = {"r0.25-s0": 0.25, "r0.5-s1": 0.5}
STEPS = (100, 200)
TOKENS_PER_STEP = 65_536


def loss(corpus, ratio, step):
    """Return an invented loss that a 32-bit float holds exactly."""
    return 3 + ratio / 4 + step / 1024 if corpus == "general" else 2.5 - ratio / 2 - step / 1024


def renewed(name):
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def trainer_state():
    """Train two tiny models with the transformers Trainer; beside the states stands what it said that it evaluated."""
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    folder = renewed("trainer_state")
    said = {}

    class Listener(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            losses = {k: v for k, v in metrics.items() if k.endswith("_loss")}
            told = said.setdefault(Path(args.output_dir).name, {})
            told.setdefault(str(state.global_step), {}).update(losses)

    def rows(seed):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 32, (8, 16), generator=generator)
        return [{"input_ids": row, "labels": row} for row in ids]

    for name in RUNS:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=16,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as out:
            settings = TrainingArguments(
                output_dir=f"{out}/{name}", max_steps=4, eval_strategy="steps", eval_steps=2, save_steps=2,
                logging_steps=1, per_device_train_batch_size=4, include_num_input_tokens_seen=True,
                report_to=[], use_cpu=True, disable_tqdm=True, save_only_model=True,
            )  # fmt: skip
            trainer = Trainer(
                LlamaForCausalLM(config), settings, train_dataset=rows(1),
                eval_dataset={"general": rows(2), "domain": rows(3)}, callbacks=[Listener],
            )  # fmt: skip
            trainer.train()
            for state in Path(out).glob("*/checkpoint-*/trainer_state.json"):
                kept = folder / name / state.parent.name
                kept.mkdir(parents=True)
                shutil.copy(state, kept)
    (folder / "evaluated.json").write_text(json.dumps(said, indent=1) + "\n")


def lightning():
    """Let a Lightning Trainer log two validation sets without a name of their own; its steps count from 0."""
    import torch
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger
    from torch.utils.data import DataLoader

    folder = renewed("lightning")

    class Logged(LightningModule):
        def __init__(self, ratio):
            super().__init__()
            self.ratio = ratio
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch, index):
            value = self.layer(batch).sum()
            self.log("train_loss", value.detach() * 0 + 4)
            return value

        def validation_step(self, batch, index, dataloader_idx=0):
            corpus = ("general", "domain")[dataloader_idx]
            self.log("val_loss", loss(corpus, self.ratio, self.global_step))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e-9)

    for name, ratio in RUNS.items():
        logger = CSVLogger(str(folder), name=name)
        loader = DataLoader(torch.ones(max(STEPS), 1), batch_size=1)
        validation = [DataLoader(torch.ones(1, 1)) for _ in range(2)]
        trainer = Trainer(
            max_steps=max(STEPS), val_check_interval=min(STEPS), num_sanity_val_steps=0, logger=logger,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
            log_every_n_steps=50,
        )  # fmt: skip
        trainer.fit(Logged(ratio), loader, validation)
        for extra in folder.glob("*/*/hparams.yaml"):
            extra.unlink()


def litgpt():
    """Log as litgpt's pretrain.py does, with the logger of Lightning Fabric that it uses."""
    from lightning.fabric.loggers import CSVLogger

    folder = renewed("litgpt")
    for name, ratio in RUNS.items():
        logger = CSVLogger(str(folder), name=name, version="logs", flush_logs_every_n_steps=1)
        for step in STEPS:
            iterations = 4 * step
            logger.log_metrics(
                {"loss": 4.0, "iter": iterations, "step": step, "epoch": 0, "iter_time": 0.5,
                 "remaining_time": 1.0, "tokens": step * TOKENS_PER_STEP // 2,
                 "total_tokens": step * TOKENS_PER_STEP, "learning_rate": 1e-4},
                step=iterations - 1,
            )  # fmt: skip
            value = loss("general", ratio, step)
            logger.log_metrics(
                {"val_loss": value, "val_ppl": 2.718281828**value}, step=iterations - 1
            )
        logger.finalize("success")


def wandb():
    """Log two offline runs: training lines with a count of tokens, then the evaluations."""
    import wandb as library

    folder = renewed("wandb")
    for name, ratio in RUNS.items():
        with tempfile.TemporaryDirectory() as out:
            quiet = {
                "console": "off", "x_disable_stats": True, "x_disable_meta": True, "host": "host",
                "username": "user", "email": "", "program": "train.py", "disable_git": True,
                "x_save_requirements": False, "disable_code": True,
            }  # fmt: skip
            run = library.init(
                mode="offline", dir=out, project="mix", name=name, settings=quiet,
                config={"domain_ratio": ratio, "model": {"params": 70_000_000}},
            )  # fmt: skip
            for step in STEPS:
                run.log({"train/loss": 4.0, "tokens": step * TOKENS_PER_STEP}, step=step)
                losses = {f"eval/{c}/loss": loss(c, ratio, step) for c in ("general", "domain")}
                run.log(losses, step=step + 1)
            run.finish()
            library.teardown()  # which writes the last records
            (log,) = Path(out).glob("wandb/offline-run-*/*.wandb")
            shutil.copy(log, folder / f"{name}.wandb")


def log_to_mlflow():
    os.environ["LOGNAME"] = "user"
    import mlflow as library

    library.set_experiment("mix")
    for name, ratio in RUNS.items():
        with library.start_run(run_name=name):
            library.log_params({"domain_ratio": ratio, "model": "70M"})
            for step in STEPS:
                library.log_metric("tokens", step * TOKENS_PER_STEP, step=step)
                for corpus in ("general", "domain"):
                    library.log_metric(f"eval_{corpus}_loss", loss(corpus, ratio, step), step=step)


def mlflow():
    """Log to SQLite and keep the tables that say something of the runs, as SQL."""
    import mlflow as library

    folder = renewed("mlflow")
    with tempfile.TemporaryDirectory() as out:
        library.set_tracking_uri(f"sqlite:///{out}/mlflow.db")
        log_to_mlflow()
        base = sqlite3.connect(f"{out}/mlflow.db")
        wanted = re.compile(r'(CREATE TABLE|INSERT INTO) "?(experiments|runs|metrics|params)"?\W')
        lines = [line.replace(out, "/tmp") for line in base.iterdump() if wanted.match(line)]
        (folder / "mlflow.sql").write_text("\n".join(lines) + "\n")


def mlruns():
    """Log to the file store of MLflow before version 3."""
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    import mlflow as library

    renewed("mlruns")
    with tempfile.TemporaryDirectory() as out:
        library.set_tracking_uri(f"file:{out}/mlruns")
        log_to_mlflow()
        for path in sorted(Path(out).rglob("*")):
            if path.is_file() and (
                {"metrics", "params"} & set(path.parts) or path.name == "meta.yaml"
            ):
                kept = FOLDER / "mlruns" / path.relative_to(f"{out}/mlruns")
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(path.read_text().replace(out, "/tmp"))


if __name__ == "__main__":
    for asked in sys.argv[1:]:
        globals()[asked]()
