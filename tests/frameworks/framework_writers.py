"""Writes a log with the framework's own logger, in its environment: python framework_writers.py FRAMEWORK FOLDER.

Prints one JSON object: a list of what was logged, each step, tokens and loss.
"""

import json
import sys
import types
from pathlib import Path


def llama_factory(folder):
    """Train a tiny model by the trainer of transformers, with LLaMA-Factory's callback beside it."""
    import torch
    from llamafactory.train.callbacks import LogCallback
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    class Sequences(torch.utils.data.Dataset):
        def __len__(self):
            return 64

        def __getitem__(self, index):
            ids = torch.randint(0, 32, (16,), generator=torch.Generator().manual_seed(index))
            return {"input_ids": ids, "labels": ids}

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=32, n_positions=16, n_embd=16, n_layer=1, n_head=2)
    )
    arguments = TrainingArguments(
        output_dir=str(folder / "r0.3-s0"),
        max_steps=6,
        per_device_train_batch_size=4,
        eval_strategy="steps",
        eval_steps=2,
        logging_steps=1,
        include_num_input_tokens_seen="all",
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=Sequences(),
        eval_dataset=Sequences(),
        callbacks=[LogCallback()],
    )
    trainer.train()
    history = [entry for entry in trainer.state.log_history if "eval_loss" in entry]
    return [
        [entry["step"], entry["num_input_tokens_seen"], entry["eval_loss"]] for entry in history
    ]


def olmo_core(folder):
    """Let the callback save what a trainer would record, evaluations every second step."""
    from olmo_core.train.callbacks import MetricSaverCallback

    class Files:
        def write_file(self, name, text):
            (folder / "r0.3-s0").mkdir(exist_ok=True)
            (folder / "r0.3-s0" / name).write_text(text)
            return name

    saver, logged = MetricSaverCallback(save_interval=2), []
    saver.trainer = Files()
    for step in range(1, 7):
        metrics = {"throughput/total tokens": 4096.0 * step, "train/CE loss": 3.0 - 0.1 * step}
        if step % 2 == 0:
            metrics["eval/lm/general/CE loss"] = 2.5 - 0.05 * step
            logged.append([step, 4096 * step, metrics["eval/lm/general/CE loss"]])
        saver.log_metrics(step, metrics)
    saver.close()
    return logged


def nanotron(folder):
    """Print the lines of progress through nanotron's writer, on one process."""
    import logging

    import torch

    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'processes'}", rank=0, world_size=1
    )
    # Its logging asks for the types of two settings, and their modules for its logging: release 0.4 cannot be imported.
    for module, name in (
        ("config", ""),
        ("config.config", "LoggingArgs"),
        ("parallel", "ParallelContext"),
    ):
        stand_in = types.ModuleType(f"nanotron.{module}")
        setattr(stand_in, name or "config", object)
        sys.modules[stand_in.__name__] = stand_in
    from nanotron.logging import LoggerWriter, LogItem, get_logger, log_levels

    handler = logging.FileHandler(folder / "r0.3-s0.log")
    handler.setFormatter(
        logging.Formatter("%(asctime)s [%(levelname)s|DP=0|PP=0|TP=0]: %(message)s")
    )
    for logger in (get_logger(), get_logger("nanotron"), get_logger("nanotron.logging")):
        logger.setLevel(log_levels["info"])
        logger.propagate = True
    get_logger().addHandler(handler)
    writer, logged = LoggerWriter(global_step=2000), []
    for step in (100, 200, 2000):
        tokens, loss = step * 64 * 2048, 2.5 - 0.0004 * step
        items = [
            LogItem("consumed_tokens", tokens, "human_format"),
            LogItem("elapsed_time_per_iteration_ms", 412.7, "human_format"),
            LogItem("lm_loss", loss, "human_format"),
            LogItem("lr", 3e-4, "human_format"),
        ]
        writer.add_scalars_from_list(items, step)
        logged.append([step, tokens, loss])
    return logged


def megatron_bridge(folder):
    """Print the lines of progress and of evaluation by the functions of Megatron-Bridge's trainer, without a GPU.

    What its trainer is built of needs a GPU's libraries, so the modules that these functions do not print with are
    stood in for.
    """
    import contextlib
    import importlib.util
    from unittest.mock import MagicMock

    import torch

    name = "megatron.bridge"
    root = Path(next(iter(importlib.util.find_spec(name).submodule_search_locations)))
    for part in ("", "training", "training.utils", "utils"):
        package = types.ModuleType(f"{name}.{part}".rstrip("."))
        package.__path__ = [str(root.joinpath(*part.split(".")) if part else root)]
        sys.modules[package.__name__] = package
    for part in (
        *("data", "data.finetuning", "data.iterator_utils", "utils.slurm_utils"),
        *("training.fault_tolerance", "training.callbacks", "training.config", "training.state"),
        *("training.forward_step_func_types", "training.utils.flop_utils"),
        *("training.utils.mlflow_utils", "training.utils.pg_utils"),
        "training.utils.theoretical_memory_utils",
    ):
        sys.modules[f"{name}.{part}"] = MagicMock()
    tensor = torch.tensor
    torch.tensor = lambda value, dtype=None, device=None: tensor(value, dtype=dtype)
    torch.cuda.current_device = lambda: None
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'processes'}", rank=0, world_size=1
    )
    from megatron.bridge.training import eval as evaluation
    from megatron.bridge.training.utils import train_utils

    evaluation.should_fire = lambda manager, event: False
    train_utils.get_num_microbatches = lambda: 1
    train_utils.get_pg_collection = lambda model: MagicMock(mp=None)
    train_utils.num_floating_point_operations = lambda config, batch: 1e12
    config, state = MagicMock(), MagicMock(tensorboard_logger=None, wandb_logger=None)
    state.mlflow_logger = state.energy_monitor = None
    state.timers.return_value.elapsed.return_value = 0.5
    state.train_state.skipped_train_samples = 0
    config.logger.timing_log_level, config.logger.log_interval = 0, 10
    config.logger.log_throughput = config.profiling = False
    config.model.num_moe_experts = config.model.mtp_num_layers = None
    config.train.train_iters, config.train.micro_batch_size = 40, 8
    config.data_parallel_size = 1
    totals, logged = {}, []
    with (folder / "r0.3-s0.log").open("w") as log, contextlib.redirect_stdout(log):
        for step in range(1, 41):
            state.train_state.step, state.train_state.consumed_train_samples = step, 8 * step
            loss = {"lm loss": tensor([3.0 - 0.01 * step])}
            train_utils.training_log(
                *(loss, totals, 3e-4, None, 1.0, False, 0, 0.7, None, None),
                *(config, state, [], []),
            )
            if step % 20 == 0:
                measured = {"lm loss": tensor(2.5 - 0.01 * step)}
                evaluation.evaluate = lambda *args, m=measured, **options: (m, None, False)
                evaluation.evaluate_and_print_results(
                    state, f"iteration {step}", None, None, [], config
                )
                logged.append([step, 8 * step * 4096, 2.5 - 0.01 * step])
    return logged


if __name__ == "__main__":
    framework, place = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(globals()[framework.replace("-", "_")](place)))
