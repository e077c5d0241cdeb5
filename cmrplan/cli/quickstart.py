"""The command ``cmrplan quickstart``."""

from __future__ import annotations

import click

from cmrplan.cli.output import print_json, show
from cmrplan.cli.parameters import as_json
from cmrplan.cli.probe import require_probes, workers


@click.command()
@click.option(
    "--out", type=click.Path(), default="quickstart", show_default=True, help="Report folder."
)
@workers
@as_json
def quickstart(out: str, workers: int | None, as_json: bool) -> int:
    """Run the whole flow on two corpora that Python ships, on a CPU, in minutes.

    English reference prose is the general corpus, Python source the domain. Trains a small base, continues it
    over mixture ratios, fits both losses and recommends a ratio. Started again, it goes on where it
    stopped.
    """
    require_probes()
    from cmrplan.cli.quickstart_flow import run_quickstart

    report = run_quickstart(out, workers=workers)
    if as_json:
        print_json(report.as_dict())
    else:
        show(report.text)
    return 0 if report.plan.is_feasible else 1
