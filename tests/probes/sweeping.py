"""Run a sweep as most tests want it: one worker on a CPU, and no progress on standard error."""

from dataclasses import fields

from probes.executors.base import ExecutorOptions
from probes.sweep import run_sweep

EXECUTOR_FIELDS = {field.name for field in fields(ExecutorOptions)}


def run(spec, out, **options):
    """Run a sweep with options of the executor and of run_sweep, and return its table of runs."""
    where = {"workers": 1, "device": "cpu"} | {
        name: value for name, value in options.items() if name in EXECUTOR_FIELDS
    }
    others = {name: value for name, value in options.items() if name not in EXECUTOR_FIELDS}
    return run_sweep(
        spec, out, **({"executor": ExecutorOptions(**where), "progress": False} | others)
    )
