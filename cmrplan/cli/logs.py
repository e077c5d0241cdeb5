"""The commands ``cmrplan logs``: collect, import and check."""

from __future__ import annotations

import getpass
import socket
from contextlib import suppress
from pathlib import Path

import click

from cmrplan.cli.output import print_findings, print_json, show
from cmrplan.cli.outputs import LEDGER, LOG_FILE, check_output, force_option, out_option
from cmrplan.cli.parameters import ASSIGNMENT, as_json, pairs_once
from cmrplan.errors import Code, Finding
from cmrplan.files import atomic_write
from cmrplan.log.advice import base_maturity
from cmrplan.log.cells import listed
from cmrplan.log.files import check_log, read_plausible_log, write_log
from cmrplan.log.importers import IMPORTERS, import_with_remarks
from cmrplan.log.importers.changes import Changes, as_number
from cmrplan.log.importers.loss_units import EVERY_CORPUS, LOSS_UNITS, LossUnit
from cmrplan.log.texts import anonymous
from cmrplan.numbers import compact

_IMPORT_HELP = """Turn the log of another trainer into a probe log.

\b
table          a CSV, JSONL or Parquet file: a row for each evaluation with eval_corpus
               and loss, or for each checkpoint with columns loss_<corpus>
mixinglaws     SIZE.txt or their folder: checkpoint, validation file, loss
regmix         SPLIT_mixture_SIZE.csv beside SPLIT_pile_loss_SIZE.csv, or their folder
chinchilla     a CSV file with model size, FLOPs and loss
wandb_chart    a chart exported as CSV: --map RUN=RATIO, --set tokens_per_step=VALUE
trainer_state  trainer_state.json of transformers: --set domain_ratio=VALUE

For example:

\b
cmrplan logs import table runs.csv --out log.csv --set model_params=1.2e8
  --map run=run_id --map tokens_B=train_tokens --scale train_tokens=1e9
  --map code=domain_ratio --map val/wiki=loss_general --map val/code=loss_domain
"""


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


@logs.command("import", help=_IMPORT_HELP)
@click.argument("format", type=click.Choice(list(IMPORTERS)))
@click.argument("source", type=click.Path())
@out_option("the log (.csv, .jsonl or .parquet)", LOG_FILE, required=True)
@click.option(
    "--map",
    "names",
    type=ASSIGNMENT,
    metavar="OLD=NEW",
    multiple=True,
    help="Rename a column (replay=replay_ratio where it is a share of replay), or say what a label of the format "
    "means: 70M=18915328.",
)
@click.option(
    "--scale",
    "scales",
    type=ASSIGNMENT,
    metavar="COLUMN=FACTOR",
    multiple=True,
    help="Multiply a column: train_tokens=1e9 where tokens are in billions, domain_ratio=0.01 for percent. Cells that "
    "name their unit (70M, 30%) stay as they are.",
)
@click.option(
    "--set",
    "constants",
    type=ASSIGNMENT,
    metavar="COLUMN=VALUE",
    multiple=True,
    help="Fill a column that is not there: model_params=1.2e8.",
)
@click.option(
    "--loss-unit",
    type=click.Choice(LOSS_UNITS),
    help="What the losses are in: nats or bits per token, perplexity, bits per byte.  [default: nats]",
)
@click.option(
    "--bytes-per-token",
    metavar="X|CORPUS=X",
    multiple=True,
    help="Mean bytes of a token of the evaluation sets, or of one of them; for bits per byte.",
)
@click.option(
    "--normalize-shares",
    is_flag=True,
    help="Divide shares that were rounded by their sum, which may lie 0.01 from 1.",
)
@as_json
@force_option
def import_(
    format: str,
    source: str,
    out: str,
    names: tuple[tuple[str, str], ...],
    scales: tuple[tuple[str, str], ...],
    constants: tuple[tuple[str, str], ...],
    loss_unit: LossUnit | None,
    bytes_per_token: tuple[str, ...],
    normalize_shares: bool,
    as_json: bool,
) -> None:
    """Turn the log of another trainer into a probe log."""
    changes = Changes(
        names=pairs_once("--map", names),
        scales={k: as_number(v, f"--scale {k}") for k, v in pairs_once("--scale", scales).items()},
        constants=pairs_once("--set", constants),
        loss_unit=loss_unit,
        bytes_per_token=_bytes_per_token(bytes_per_token),
        normalize_shares=normalize_shares,
    )
    imported = import_with_remarks(format, source, changes)
    log = imported.log
    write_log(log, out)
    findings = [*imported.remarks, *check_log(log, source=out)]
    corpora = log["eval_corpus"].unique().tolist()
    if as_json:
        counts = {"n_rows": len(log), "n_runs": int(log["run_id"].nunique())}
        warnings = [finding.as_dict() for finding in findings]
        print_json(
            {"log": out, "format": format, **counts, "eval_corpora": corpora, "warnings": warnings}
        )
        return
    show(f"{len(log)} rows of {log['run_id'].nunique()} runs, losses on {listed(corpora)} -> {out}")
    print_findings(tuple(findings))


def _bytes_per_token(given: tuple[str, ...]) -> dict[str, float]:
    """Return bytes by corpus; a number alone stands for every corpus."""
    parts = [text.rpartition("=") for text in given]
    pairs = tuple((corpus.strip() or EVERY_CORPUS, number) for corpus, _, number in parts)
    once = pairs_once("--bytes-per-token", pairs)
    return {
        corpus: as_number(number.strip(), f"--bytes-per-token {corpus}".strip())
        for corpus, number in once.items()
    }


@logs.command()
@click.argument("log", type=click.Path())
@as_json
def check(log: str, as_json: bool) -> int:
    """Check a probe log: every finding with its code, row and column."""
    findings = check_log(log)
    errors = [finding for finding in findings if finding.severity == "error"]
    bases = [] if errors else base_maturity(read_plausible_log(log)).to_dict("records")
    if as_json:
        shown = {"log": log, "findings": [finding.as_dict() for finding in findings]}
        print_json(shown | ({"base_maturity": bases} if bases else {}))
    else:
        for base in bases:
            show(
                f"base of {compact(base['model_params'])} parameters: {compact(base['base_tokens'])} tokens of "
                f"pre-training, {base['tokens_per_parameter']:.3g} a parameter"
            )
        for finding in findings:
            show(f"{finding.severity} [{finding.code}]: {finding.message}")
        show(f"{log}: {len(errors)} error(s), {len(findings) - len(errors)} warning(s)")
    return 2 if errors else 0
