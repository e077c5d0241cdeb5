"""Commands that train: quickstart and probe. The training packages are imported only here."""

from __future__ import annotations

import importlib.util
import sys
import time
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cmrplan.cli.output import print_json, show, working
from cmrplan.cli.parameters import FRACTION, as_json, pairs_once
from cmrplan.cli.probe_design_text import design_text, duration, survey_text
from cmrplan.cli.probe_export import export
from cmrplan.errors import InputError, printable
from cmrplan.numbers import compact

if TYPE_CHECKING:
    from probes.grouping import Batching
    from probes.status import SweepStatus


def require_probes() -> None:
    """Refuse to go on where the packages for training are not installed."""
    missing = [
        name for name in ("torch", "safetensors", "yaml") if not importlib.util.find_spec(name)
    ]
    if missing:
        raise InputError(
            f"this command trains models and needs {', '.join(missing)}: pip install 'cmrplan[probes]'"
        )


workers = click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Training processes at a time.  [default: one a core, one a GPU]",
)


@click.group()
def probe() -> None:
    """Design, run and watch a sweep of small training runs."""


probe.add_command(export)


@probe.command()
@click.argument("spec", type=click.Path())
@workers
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to measure.  [default: a GPU if any]",
)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(min=0),
    help="Price of an hour of a GPU, or of the machine on a CPU.",
)
@as_json
def design(
    spec: str,
    workers: int | None,
    device: str | None,
    price_per_hour: float | None,
    as_json: bool,
) -> None:
    """Print the runs, tokens, passes, FLOPs, time, money and disk a sweep would take.

    Starts no run: it reads the corpora, up to 32 million characters of each, and measures steps, evaluations and
    checkpoints for some seconds a size, with as many processes at a time as the sweep would have.
    """
    require_probes()
    from probes.corpus_survey import survey_corpora
    from probes.design import design_sweep
    from probes.spec.file import read_spec

    sweep_spec = read_spec(spec)
    with working() as say:
        survey = survey_corpora(sweep_spec, say=say)
        sweep_design = design_sweep(
            sweep_spec, workers=workers, device=device, price_per_hour=price_per_hour, say=say
        )
    if as_json:
        print_json(sweep_design.as_dict() | survey.as_dict())
    else:
        show(design_text(sweep_design) + "\n" + survey_text(survey))


@probe.command()
@click.argument("spec", type=click.Path())
@click.option("--out", type=click.Path(), required=True, help="Folder for the runs.")
@click.option(
    "--executor",
    type=click.Choice(["local", "ray", "slurm"]),
    default="local",
    show_default=True,
    help="Where the runs go: processes on this machine, Ray, or Slurm jobs.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Runs at a time.  [default: one a core, --per-gpu a GPU; on Ray and Slurm what there is room for]",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where to train.  [default: a GPU if there is one; on Slurm if --slurm gpus asks for one]",
)
@click.option(
    "--batched",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Train runs that differ in ratio and seed only as one: where it pays, wherever it can be, or nowhere.",
)
@click.option(
    "--per-gpu",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Runs that share a GPU.",
)
@click.option(
    "--cpus-per-run",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Cores that Ray or Slurm sets aside for a run; on a CPU it uses that many threads.",
)
@click.option(
    "--ray-address",
    default="",
    help="A running Ray cluster, such as auto or HOST:6379.  [default: Ray on this machine]",
)
@click.option(
    "--slurm",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the Slurm jobs: partition, account, qos, time (minutes), gpus, mem, ...; repeatable.",
)
@click.option(
    "--attempts",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How often a run is tried when its worker dies. Machines that go away do not count.",
)
@click.option(
    "--max-run-minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Longest time of a run; over it, it is stopped with its checkpoint and counts as failed.",
)
@click.option(
    "--max-failures",
    type=FRACTION,
    default=0.5,
    show_default=True,
    help="Share of the ended runs that may fail, from five on; above it the sweep stops.",
)
@click.option(
    "--only",
    metavar="RUN_ID",
    help="Train this run alone, in this process, beside others that do the same; see probe export.",
)
@click.option("--tensorboard", type=click.Path(), help="Folder to show the evaluations in.")
@click.option("--wandb", metavar="PROJECT", help="Weights & Biases project to show them in.")
@as_json
def run(
    spec: str,
    out: str,
    executor: str,
    slurm: tuple[str, ...],
    attempts: int,
    max_run_minutes: float | None,
    max_failures: float,
    batched: Batching,
    only: str | None,
    tensorboard: str | None,
    wandb: str | None,
    as_json: bool,
    device: str | None,
    **where: Any,
) -> int:
    """Train every run of a sweep that is not finished; stopped or killed, it goes on.

    Exit code 1 says that runs failed; probe status has the reasons. docs/running.md says what is tried again.
    """
    require_probes()
    if only is not None:
        return _run_single(spec, out, only, device or "", max_run_minutes, as_json)
    from probes.executors.base import ExecutorOptions
    from probes.executors.scheduler import RunLimits
    from probes.spec.file import read_spec
    from probes.sweep import run_sweep

    if executor != "slurm" and not _is_typed("slurm"):
        slurm = ()  # of a project file, for when the executor is Slurm
    if executor != "ray" and not _is_typed("ray_address"):
        where["ray_address"] = ""
    mirrors = {"tensorboard": tensorboard, "wandb": wandb}
    seconds = max_run_minutes * 60 if max_run_minutes else None
    ledger = run_sweep(
        read_spec(spec),
        out,
        executor=ExecutorOptions(
            name=executor, device=device or "", slurm=_key_values("--slurm", slurm), **where
        ),
        limits=RunLimits(attempts=attempts, failures=max_failures, run_seconds=seconds),
        batched=batched,
        mirrors={name: target for name, target in mirrors.items() if target is not None},
    )
    counts = {str(k): int(v) for k, v in ledger["state"].value_counts().items()}
    if as_json:
        print_json({"runs": out, "states": counts})
    else:
        show(", ".join(f"{count} {state}" for state, count in counts.items()) + f" -> {out}")
    return 1 if counts.get("failed") else 0


_FOR_SINGLE_RUNS = frozenset({"spec", "out", "only", "device", "max_run_minutes", "as_json"})


def _run_single(
    spec: str, out: str, run_id: str, device: str, minutes: float | None, as_json: bool
) -> int:
    """Train one run and return 0 where it is finished, 1 where it failed or was stopped."""
    for param in click.get_current_context().command.params:
        if _is_typed(str(param.name)) and param.name not in _FOR_SINGLE_RUNS:
            raise InputError(f"{param.opts[0]} is for whole sweeps; leave it out with --only")
    from probes.single_run import run_single
    from probes.spec.file import read_spec

    seconds = minutes * 60 if minutes else None
    result = run_single(read_spec(spec), out, run_id, device=device, run_seconds=seconds)
    if as_json:
        answer = {"runs": out, "run_id": run_id, "state": result.state, "reason": result.reason}
        print_json(answer)
    else:
        show(f"{run_id} {result.state}" + (f": {result.reason}" if result.reason else ""))
    return 0 if result.state == "finished" else 1


def _is_typed(name: str) -> bool:
    """Tell whether an option stands on the command line, and not in a project file."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def _key_values(option: str, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for key, equals, value in pairs:
        if not (key and equals and value):
            raise InputError(f"{option} takes KEY=VALUE, got '{key}{equals}{value}'")
    return pairs_once(option, tuple((key, value) for key, _, value in pairs))


WATCH_SECONDS = 2.0


@probe.command()
@click.argument("runs", type=click.Path())
@click.option(
    "--watch", is_flag=True, help="Show it anew every two seconds until all runs have ended."
)
@as_json
def status(runs: str, watch: bool, as_json: bool) -> None:
    """Show how each run stands: state, tokens, newest losses, speed, time left, attempts, reason."""
    require_probes()
    from probes.status import read_status

    if watch and as_json:
        raise InputError("--watch is for people; leave it out with --json")
    while True:
        sweep_status = read_status(runs)
        if as_json:
            print_json(sweep_status.as_dict())
            return
        if watch and sys.stdout.isatty():
            click.clear()
        show(_status_text(sweep_status), is_table=True)
        is_over = not sweep_status.waiting and not sweep_status.counts.keys() - {
            "finished",
            "failed",
        }
        if not watch or is_over:
            return
        time.sleep(WATCH_SECONDS)


def _status_text(status: SweepStatus) -> str:
    if not status.runs:
        return f"{status.waiting} runs wait to be started, none has begun"
    width = max(len(run.run_id) for run in status.runs) + 2
    lines = [
        f"{'state':<9}{'run':<{width}}{'tokens':>8} {'of':<8}{'general':>8}{'domain':>8}{'tok/s':>8}{'left':>8}"
        f"{'tries':>6}"
    ]
    for run in status.runs:
        name, reason = (printable(text, keep="") for text in (run.run_id, run.reason))
        losses = [f"{loss:.4f}" if loss else "-" for loss in (run.general_loss, run.domain_loss)]
        left = duration(run.seconds_left) if run.seconds_left else "-"
        speed = compact(run.tokens_per_second) if run.tokens_per_second else "-"
        lines.append(
            f"{run.state:<9}{name:<{width}}{compact(run.train_tokens):>8} {compact(run.planned_tokens):<8}"
            f"{losses[0]:>8}{losses[1]:>8}{speed:>8}{left:>8}{run.attempts:>6}  {reason}".rstrip()
        )
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    of_these = " of these" if status.waiting else ""
    left = f", about {duration(status.seconds_left)} left" if status.seconds_left else ""
    waiting = f"; {status.waiting} more wait to be started" if status.waiting else ""
    lines.append(f"{counts}; {status.work_done:.0%} of the work{of_these}{left}{waiting}")
    return "\n".join(lines)
