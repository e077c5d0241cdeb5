"""The command ``cmrplan probe export``."""

from __future__ import annotations

import os
import re
from typing import Literal

import click

from cmrplan.cli.output import print_json, show
from cmrplan.cli.outputs import JOB_FILE, force_option, out_option
from cmrplan.cli.parameters import as_json
from cmrplan.errors import CmrplanError, InputError
from cmrplan.files import write_text

_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@click.command()
@click.argument("kind", type=click.Choice(["sbatch", "skypilot", "k8s-job"]))
@click.argument("spec", type=click.Path())
@click.option(
    "--runs", type=click.Path(), required=True, help="Folder for the runs, seen by every node."
)
@out_option("the file (.sh, .sbatch, .yaml)", JOB_FILE)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    help="Where the runs are trained.  [default: a GPU if there is one here]",
)
@click.option("--image", help="Container image that has cmrplan[probes]; k8s-job needs it.")
@click.option("--claim", help="Volume claim to mount at --runs; k8s-job needs it.")
@as_json
@force_option
def export(
    kind: str,
    spec: str,
    runs: str,
    out: str | None,
    device: Literal["cpu", "cuda"] | None,
    image: str | None,
    claim: str | None,
    as_json: bool,
) -> None:
    """Write a file with which a scheduler does the runs that have not ended, a task a run.

    Prepares the corpora where they are not: the names of runs depend on them. The file starts `probe run --only` for
    each run. Without --out it is printed.
    """
    from cmrplan.cli.probe import require_probes

    require_probes()
    from probes.job_scripts import WRITERS, SweepJobs
    from probes.single_run import plan_runs
    from probes.spec.file import read_spec

    if kind == "k8s-job" and not (image and claim):
        raise InputError("k8s-job needs --image NAME and --claim NAME")
    if kind == "k8s-job" and ":" in os.path.abspath(runs):
        raise InputError(
            f"--runs must have no ':', since Kubernetes mounts no such path, got {runs!r}"
        )
    if claim and not _CLAIM.fullmatch(claim):
        raise InputError(
            f"--claim must be the name of a volume claim: small letters, digits, '-' and '.', got {claim!r}"
        )
    sweep_spec = read_spec(spec)
    planned = plan_runs(sweep_spec, runs, device=device or "")
    todo = planned.unfinished()
    if not todo:
        raise CmrplanError(f"every run of {runs} has ended; logs collect makes the log")
    jobs = SweepJobs(
        name=sweep_spec.name,
        spec=os.path.abspath(spec),
        out=os.path.abspath(runs),
        device=todo[0].device,
        run_ids=[run.run_id for run in todo],
        processes=max(run.numerics.processes for run in todo),
        image=image or "",
        claim=claim or "",
    )
    text = WRITERS[kind](jobs)
    if out:
        write_text(out, text)
    if as_json:
        print_json({"kind": kind, "file": out, "run_ids": jobs.run_ids, "text": text})
    elif out:
        show(f"{len(todo)} runs -> {out}")
    else:
        show(text.removesuffix("\n"), is_table=True)
