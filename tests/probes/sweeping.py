"""Run a sweep as most tests want it: one task at a time on a CPU, and no progress on standard error."""

from collections import deque
from dataclasses import fields
from unittest.mock import patch

from probes.executors.base import ExecutorOptions, TaskResult
from probes.executors.task import do_task, prepare_process
from probes.sweep import run_sweep

EXECUTOR_FIELDS = {field.name for field in fields(ExecutorOptions)}


class InProcess:
    """An executor that does its tasks in this process, which takes seconds less than a worker."""

    def __init__(self, sweep, options):
        self._sweep = sweep
        self._options = options
        self._tasks = deque()

    def slots(self):
        return 1

    def submit(self, tasks):
        self._tasks.extend(tasks)

    def wait(self, seconds):
        prepare_process()
        task = self._tasks.popleft()
        results = do_task(
            self._sweep,
            task.paths,
            token=task.token,
            asked_to_stop=lambda: "",
            checkpoint_seconds=self._options.checkpoint_seconds,
            run_seconds=self._options.run_seconds,
        )
        return [TaskResult(task, tuple(results))]

    def shutdown(self, *, cancel):
        pass


def run(spec, out, **options):
    """Run a sweep with options of the executor and of run_sweep, and return its table of runs."""
    where = {"workers": 1, "device": "cpu"} | {
        name: value for name, value in options.items() if name in EXECUTOR_FIELDS
    }
    others = {name: value for name, value in options.items() if name not in EXECUTOR_FIELDS}
    return run_sweep(
        spec, out, **({"executor": ExecutorOptions(**where), "progress": False} | others)
    )


def run_here(spec, out, **options):
    """Do the same without any worker process."""
    with patch("probes.sweep.make_executor", InProcess):
        return run(spec, out, **options)


def tiny_values() -> dict:
    """Return the values of a spec: one base and, with the controls, three probes."""
    return {
        "name": "tiny",
        "corpora": {
            "general": {"source": "general"},
            "domain": {"source": "domain"},
            "validation_share": 0.2,
        },
        "sequence_length": 16,
        "batch_size": 4,
        "evaluation_sequences": 24,
        "sizes": [{"name": "nano", "width": 16, "layers": 1, "heads": 2, "feedforward": 24}],
        "base": {"train_tokens": 64 * 60, "learning_rate": 3e-3, "warmup_steps": 5},
        "probes": {
            "train_tokens": 64 * 48,
            "evaluations": 4,
            "first_evaluation_tokens": 64 * 6,
            "grid": {"domain_ratio": [0.3]},
        },
    }
