"""The command that names the next probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmrplan.command_line.parameters import (
    COUNT,
    RISE,
    as_json,
    confidence,
    model_params,
    out_option,
    print_findings,
    print_json,
)
from cmrplan.errors import InputError
from cmrplan.files import write_text
from cmrplan.fitfile import read_fit
from cmrplan.planning.next_probes import NextProbes, next_probes
from cmrplan.planning.probe_budget import FLOPS_PER_SECOND
from cmrplan.report.probes import next_text, runs_text


@click.command("next")
@click.argument("fit", type=click.Path())
@click.option(
    "--budget", required=True, help="What they may cost: 20gpu-hours, 5Btokens, 1e18flops."
)
@model_params
@click.option("--train-tokens", type=COUNT, required=True, help="Budget D of the full run: 10B.")
@click.option(
    "--max-general-rise",
    type=RISE,
    required=True,
    help="Allowed rise of the general loss over the base: 0.05 (nats per token) or 3%.",
)
@click.option("--base-loss", type=COUNT, help="General loss of the base.  [default: the log's]")
@confidence
@click.option(
    "--resolution",
    type=click.FloatRange(0),
    default=0.01,
    show_default=True,
    help="Width of the ratio's interval below which more probes do not matter.",
)
@click.option(
    "--most-probes",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="After so many, fit again before going on.",
)
@click.option(
    "--flops-per-second",
    type=COUNT,
    help="Training speed of one GPU, for a budget in GPU-hours: FLOPs over seconds of `probe design`.  "
    f"[default: {FLOPS_PER_SECOND:.0e}, an H100 in bf16 at 40 %]",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--sweep",
    type=click.Path(),
    help="The sweep file that the log came from; --out is then a whole one.",
)
@out_option("the runs as a sweep file (YAML)")
@as_json
def next_command(fit: str, sweep: str | None, out: str | None, as_json: bool, **asked: Any) -> None:
    """Name the probes that would narrow the recommended ratio most for their cost.

    Each has a ratio, size, token budget and seed, and the interval expected after it. Stops when more does
    not pay.
    """
    if out and Path(out).suffix not in (".yaml", ".yml"):
        raise InputError(f"--out must be a .yaml file, got {out}")
    if sweep and not out:
        raise InputError("--sweep needs --out, the file to write the new sweep to")
    made = next_probes(read_fit(fit), **asked)
    if out and made.probes:
        write_text(out, _sweep_text(made, sweep))
    if as_json:
        print_json(made.as_dict())
        return
    click.echo(next_text(made))
    print_findings(made.warnings)
    if out:
        click.echo(f"runs -> {out}" if made.probes else f"no runs, {out} is not written")


def _sweep_text(made: NextProbes, sweep: str | None) -> str:
    if sweep is None:
        return runs_text(made)
    from cmrplan.command_line.probe_commands import require_probes

    require_probes()
    from probes.config_file import read_spec, spec_text
    from probes.next_sweep import sweep_of

    return spec_text(sweep_of(read_spec(sweep), made.probes))
