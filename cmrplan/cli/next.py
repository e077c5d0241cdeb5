"""The command that names the next probes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cmrplan.cli.limits import limit_options
from cmrplan.cli.output import print_findings, print_json, show, verbosity_options
from cmrplan.cli.outputs import SWEEP_FILE, WRITTEN_BY, force_option, out_option
from cmrplan.cli.parameters import COUNT, SIZE_LIST, as_json, model_params
from cmrplan.design.next_probes import NextProbes, next_probes
from cmrplan.errors import InputError
from cmrplan.files import write_text
from cmrplan.fit.file import read_fit
from cmrplan.fit.fit import Fit
from cmrplan.numbers import GPU_FLOPS
from cmrplan.report.probes import next_text, runs_text


@click.command("next")
@click.argument("fit", type=click.Path())
@click.option(
    "--budget", required=True, help="What they may cost: 20gpu-hours, 5Btokens or 1e18flops."
)
@click.option(
    "--gpu-flops",
    type=COUNT,
    help="FLOP/s that one GPU really does in the probes, for a budget in GPU-hours.  "
    f"[default: {GPU_FLOPS:.0e}, an H100 in bf16 at 40 %]",
)
@model_params
@click.option("--train-tokens", type=COUNT, required=True, help="Budget D of the full run: 10B.")
@limit_options
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
    "--sizes",
    type=SIZE_LIST,
    help="Sizes that could be probed beside those of the log: 400M,1B.",
)
@click.option(
    "--sweep",
    type=click.Path(),
    help="The sweep file that the log came from: its sizes can be probed, and --out is a whole sweep file.",
)
@out_option("the runs as a sweep file (YAML)", SWEEP_FILE)
@verbosity_options
@as_json
@force_option
def next_command(
    fit: str,
    sizes: list[float] | tuple[float, float] | None,
    sweep: str | None,
    out: str | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Name the probes that would narrow the interval of the best ratio most for their cost.

    Each has a ratio, size, token budget and seed, and the interval expected after it. Base losses that the
    answer rests on and the log lacks are named first. Stops when more does not pay, and says so where no probe helps.
    """
    if sweep and not out:
        raise InputError("--sweep needs --out, the file to write the new sweep to")
    if isinstance(sizes, tuple):
        raise InputError("--sizes takes the sizes that could be probed one by one, such as 400M,1B")
    whole = read_fit(fit)
    more = [*(sizes or []), *(_sizes_of(sweep, whole) if sweep else [])]
    next_runs = next_probes(whole, sizes=more, **asked)
    if out and next_runs.probes:
        write_text(out, f"{WRITTEN_BY}.\n{_sweep_text(next_runs, sweep, Path(out), whole)}")
    if as_json:
        print_json(next_runs.as_dict())
        return
    show(next_text(next_runs))
    print_findings(next_runs.warnings, said=whole.warnings, again="cmrplan next …")
    if out:
        show(f"runs -> {out}" if next_runs.probes else f"no runs, {out} is not written")


def _sweep_text(next_runs: NextProbes, sweep: str | None, out: Path, fit: Fit) -> str:
    if sweep is None:
        return runs_text(next_runs)
    from cmrplan.cli.probe import require_probes

    require_probes()
    from probes.next_sweep import sweep_of
    from probes.spec.file import read_spec, spec_text, with_sources_below

    spec = sweep_of(read_spec(sweep), next_runs.probes, is_total=_counts_total(fit))
    return spec_text(with_sources_below(spec, out.absolute().parent))


def _sizes_of(sweep: str, fit: Fit) -> tuple[float, ...]:
    from cmrplan.cli.probe import require_probes

    require_probes()
    from probes.next_sweep import sizes_of
    from probes.spec.file import read_spec

    return sizes_of(read_spec(sweep), is_total=_counts_total(fit))


def _counts_total(fit: Fit) -> bool:
    """Return whether the sizes of a fit are counted with embeddings."""
    return fit.provenance.get("params_kind") == "total"
