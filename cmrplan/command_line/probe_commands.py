"""Commands that train: quickstart and probe. The training packages are imported only here."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import click

from cmrplan.command_line.parameters import as_json, print_json
from cmrplan.errors import InputError
from cmrplan.numerals import compact

if TYPE_CHECKING:
    from probes.design import SweepDesign


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


@click.command()
@click.option(
    "--out", type=click.Path(), default="quickstart", show_default=True, help="Report folder."
)
@workers
@as_json
def quickstart(out: str, workers: int | None, as_json: bool) -> None:
    """Run the whole flow on two corpora that Python ships, on a CPU, in minutes.

    English reference prose is the general corpus, Python source the domain. Trains a small base, continues it
    over mixture ratios, fits both losses and recommends a ratio. Started again, it goes on where it
    stopped.
    """
    require_probes()
    from probes.quickstart import run_quickstart

    report = run_quickstart(out, workers=workers)
    if as_json:
        print_json(report.as_dict())
    else:
        click.echo(report.text)


@click.group()
def probe() -> None:
    """Design, run and watch a sweep of small training runs."""


@probe.command()
@click.argument("spec", type=click.Path())
@workers
@as_json
def design(spec: str, workers: int | None, as_json: bool) -> None:
    """Print the runs, tokens, FLOPs, time and disk a sweep would take. Starts nothing."""
    require_probes()
    from probes.design import design_sweep
    from probes.spec.file import read_spec

    made = design_sweep(read_spec(spec), workers=workers)
    if as_json:
        print_json(made.as_dict())
    else:
        click.echo(_design_text(made))


def _design_text(made: SweepDesign) -> str:
    lines = [
        f"sweep {made.name} on {made.device}, {made.workers} at a time",
        f"{'size':<12}{'N':>9}{'N total':>9}{'base tok':>10}{'probes':>8}{'probe tok':>11}"
        f"{'FLOPs':>10}{'tok/s':>8}",
    ]
    lines += [
        f"{size.name:<12}{compact(size.params_non_embedding):>9}{compact(size.params_total):>9}"
        f"{compact(size.base_tokens):>10}{size.num_probes:>8}{compact(size.probe_tokens):>11}"
        f"{size.flops:>10.2e}{compact(size.tokens_per_second):>8}"
        for size in made.sizes
    ]
    lines += [
        f"runs     {made.num_bases} base(s) and {made.num_probes} probes, controls at ratio 0 and 1 included",
        f"tokens   {compact(made.base_tokens + made.probe_tokens)} to train on, "
        f"{compact(made.evaluation_tokens)} to evaluate on",
        f"FLOPs    {made.flops:.3g}",
        f"time     about {_duration(made.seconds)}",
        f"disk     {made.disk_bytes / 1e6:.0f} MB",
        "evaluated at 0, "
        + ", ".join(compact(t) for t in made.evaluation_train_tokens)
        + " tokens",
    ]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


@probe.command()
@click.argument("spec", type=click.Path())
@click.option("--out", type=click.Path(), required=True, help="Folder for the runs.")
@click.option(
    "--executor",
    type=click.Choice(["local"]),
    default="local",
    show_default=True,
    help="Where the runs go: processes on this machine.",
)
@workers
@as_json
def run(spec: str, out: str, executor: str, workers: int | None, as_json: bool) -> int:
    """Train every run of a sweep that is not finished; stopped or killed, it goes on."""
    require_probes()
    from probes.spec.file import read_spec
    from probes.sweep import run_sweep

    ledger = run_sweep(read_spec(spec), out, workers=workers)
    counts = {str(k): int(v) for k, v in ledger["state"].value_counts().items()}
    if as_json:
        print_json({"runs": out, "states": counts})
    else:
        click.echo(", ".join(f"{count} {state}" for state, count in counts.items()) + f" -> {out}")
    return 1 if counts.get("failed") else 0


@probe.command()
@click.argument("runs", type=click.Path())
@as_json
def status(runs: str, as_json: bool) -> None:
    """Show what is planned, running, finished and failed, with reasons."""
    require_probes()
    from probes.collect import read_ledger

    ledger = read_ledger(runs)
    if as_json:
        print_json({"runs": ledger.astype(object).where(ledger.notna(), None).to_dict("records")})
        return
    for row in ledger.to_dict("records"):
        line = (
            f"{row['state']:<9}{row['run_id']:<36}{compact(row['train_tokens'] or 0):>8} of "
            f"{compact(row['planned_tokens']):<8}"
        )
        click.echo(f"{line}{row['reason']}".rstrip())
    counts = ledger["state"].value_counts()
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
