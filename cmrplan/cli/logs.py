"""The commands ``cmrplan logs``: collect, import and check."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from pathlib import Path

import click

from cmrplan.cli.logs_import import import_
from cmrplan.cli.output import print_findings, print_json, show
from cmrplan.cli.outputs import LEDGER, LOG_FILE, check_output, force_option, out_option
from cmrplan.cli.parameters import as_json
from cmrplan.errors import Code, Finding
from cmrplan.files import atomic_write
from cmrplan.log.advice import base_maturity
from cmrplan.log.files import read_with_findings, write_log
from cmrplan.log.texts import anonymous
from cmrplan.numbers import compact


@click.group()
def logs() -> None:
    """Make, import and check probe logs."""


@logs.command()
@click.argument("runs", type=click.Path())
@out_option("the log (.csv, .jsonl or .parquet)", LOG_FILE, required=True)
@click.option(
    "--anonymous",
    "is_anonymous",
    is_flag=True,
    help="Leave folders, machines and users out of the ledger's reasons.",
)
@as_json
@force_option
def collect(runs: str, out: str, is_anonymous: bool, as_json: bool) -> None:
    """Turn the run folders of a sweep, or the files of trainer callbacks, into one probe log.

    Failed and unfinished runs have no rows: they stand, with their reason, in the run ledger
    beside the log.
    """
    from cmrplan.cli.probe import require_probes
    from probes.callbacks.folder import collect_logs, is_log_folder

    ledger_path = Path(out).with_name(Path(out).stem + ".runs.csv")
    check_output(ledger_path, LEDGER)
    if is_log_folder(runs):
        log, ledger = collect_logs(runs)
    else:
        require_probes()
        from probes.collect import collect as collect_runs

        log, ledger = collect_runs(runs)
    if is_anonymous:
        names = _machines_and_users(runs)
        ledger["reason"] = [anonymous(str(reason), names) for reason in ledger["reason"]]
    write_log(log, out)
    with atomic_write(ledger_path) as temporary:
        ledger.to_csv(temporary, index=False)
    finished = int((ledger["state"] == "finished").sum())
    damaged = ledger.loc[ledger["state"] == "damaged", ["run_id", "reason"]]
    findings = [
        Finding(Code.DAMAGED_RUN, f"{run_id} is left out: {reason}")
        for run_id, reason in damaged.itertuples(index=False)
    ]
    if as_json:
        counts = {"n_rows": len(log), "n_finished": finished}
        warnings = [finding.as_dict() for finding in findings]
        print_json({"log": out, "ledger": str(ledger_path), **counts, "warnings": warnings})
    else:
        print_findings(findings)
        show(
            f"{len(log)} rows of {log['run_id'].nunique()} runs -> {out}; "
            f"ledger of {len(ledger)} runs -> {ledger_path}"
        )


def _machines_and_users(runs: str) -> set[str]:
    """Return the names of this machine and user, and of the machines that a sweep ran on."""
    from probes.ledger import read_histories
    from probes.runs import SweepFolder

    histories = read_histories(SweepFolder(Path(runs)).ledger)
    hosts = {history.host for history in histories.values()} | {socket.gethostname()}
    users: set[str] = set()
    with suppress(KeyError, OSError):  # A container may have no name for its user.
        users = {getpass.getuser()}
    return hosts | {host.partition(".")[0] for host in hosts} | users


logs.add_command(import_)


@logs.command()
@click.argument("log", type=click.Path())
@as_json
def check(log: str, as_json: bool) -> int:
    """Check a probe log: every finding with its code, row and column."""
    frame, findings = read_with_findings(log)
    errors = [finding for finding in findings if finding.severity == "error"]
    bases = [] if errors or frame is None else base_maturity(frame).to_dict("records")
    if as_json:
        shown = {"log": log, "findings": [finding.as_dict() for finding in findings]}
        print_json(shown | ({"base_maturity": bases} if bases else {}))
    else:
        for base in bases:
            show(
                f"base of {compact(base['model_params'])} parameters: {compact(base['base_tokens'])} tokens of "
                f"pre-training, {base['tokens_per_parameter']:.3g} a parameter"
            )
        if bases and frame is not None:
            known = {base["model_params"] for base in bases}
            for size in sorted(set(frame["model_params"]) - known):
                show(
                    f"base of {compact(size)} parameters: base_tokens is not filled in, so a fit leaves those of the "
                    "others out too"
                )
        for finding in findings:
            show(f"{finding.severity} [{finding.code}]: {finding.message}")
        show(f"{log}: {len(errors)} error(s), {len(findings) - len(errors)} warning(s)")
    return 2 if errors else 0
