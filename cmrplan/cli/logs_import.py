"""``cmrplan logs import``: somebody's log -> a probe log, with a preview where the format is recognised."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cmrplan.cli.output import print_findings, print_json, show
from cmrplan.cli.outputs import LOG_FILE, MAPPING, force_option, out_option
from cmrplan.cli.parameters import ASSIGNMENT, as_json, pairs_once
from cmrplan.errors import InputError
from cmrplan.log.cells import listed, read_raw
from cmrplan.log.files import check_log, write_log
from cmrplan.log.importers import import_with_remarks
from cmrplan.log.importers.changes import PHASE_READINGS, Changes, Imported, as_number
from cmrplan.log.importers.formats import LOG_FORMATS, files_of, recognised
from cmrplan.log.importers.guess import with_guesses
from cmrplan.log.importers.loss_units import EVERY_CORPUS, LOSS_UNITS
from cmrplan.log.importers.mapping_file import read_mapping, write_mapping
from cmrplan.log.importers.preview import preview, preview_lines
from cmrplan.log.importers.run_facts import STEP_TOKENS, RunFacts, joined_runs, run_pattern
from cmrplan.numbers import parse_count

ANY_FORMAT = "auto"
_LIST = "\n".join(f"{name:14} {kind.help}" for name, kind in LOG_FORMATS.items())
IMPORT_HELP = f"""Turn the logs of another trainer into a probe log.

SOURCES are files, or folders that hold some. `auto` recognises the format, shows what it would write, and writes it
after a yes, or with --yes. The formats:

\b
{_LIST}

For example:

\b
cmrplan logs import auto runs --out log.csv --set model_params=410M
  --run-pattern 'r(?P<domain_ratio>[\\d.]+)-s(?P<seed>\\d+)' --tokens-per-step 1M
cmrplan logs import table runs.csv --out log.csv --set model_params=1.2e8
  --map run=run_id --map tokens_B=train_tokens --scale train_tokens=1e9
  --map code=domain_ratio --map val/wiki=loss_general --map val/code=loss_domain
"""


@click.command("import", help=IMPORT_HELP)
@click.argument("format", type=click.Choice([ANY_FORMAT, *LOG_FORMATS]))
@click.argument("sources", type=click.Path(), nargs=-1, required=True)
@out_option("the log (.csv, .jsonl or .parquet)", LOG_FILE, required=True)
@click.option("--yes", is_flag=True, help="Write what auto recognised without asking.")
@click.option(
    "--map",
    "names",
    type=ASSIGNMENT,
    metavar="OLD=NEW",
    multiple=True,
    help="Rename a column (replay=replay_ratio where it is a share of replay), all that begin alike (w_*=share_*), or "
    "say what a label or metric of the format means: 70M=18915328, eval_loss=general. Of a table with eval_corpus also "
    "a validation corpus: wiki=general.",
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
    "--tokens-per-step",
    metavar="TOKENS",
    help="Tokens of a step, where the trainer did not count them: global batch size times sequence length.",
)
@click.option(
    "--run-pattern",
    metavar="REGEX",
    help=r"Read columns from the names of runs: 'r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)'.",
)
@click.option(
    "--join",
    type=click.Path(),
    help="A table with a row for each run (run_id, domain_ratio, …), joined on the run.",
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
@click.option(
    "--phases",
    type=click.Choice(PHASE_READINGS),
    help="A mixture that changes during a run: keep its phase_<k>_ columns, make them of rows that name the mixture "
    "since the row before, or keep the first phase alone.  [default: keep]",
)
@click.option(
    "--use-map",
    type=click.Path(),
    help="Take options from this file, and with `auto` the format; those given here go before.",
)
@out_option("the options, to use again (.yaml or .json)", MAPPING, name="--save-map")
@as_json
@force_option
def import_(
    format: str, sources: tuple[str, ...], out: str, yes: bool, as_json: bool, **options: Any
) -> int:
    """Turn the logs of another trainer into a probe log."""
    save_map = options.pop("save_map")
    mapping = _mapping(options)
    kept_format = mapping.pop("format", None)
    if kept_format not in (None, *LOG_FORMATS):
        raise InputError(
            f"format in {options['use_map']} must be one of {', '.join(LOG_FORMATS)}, got {kept_format!r}"
        )
    if format != ANY_FORMAT:
        changes = _changes(mapping)
        imported = import_with_remarks(format, sources, changes)
        return _write(imported, format, out, {"format": format, **mapping}, save_map, as_json, {})
    paths = [Path(source) for source in sources]
    others: dict[str, int] = {}
    if kept_format:
        format, files = kept_format, files_of(kept_format, paths)
    else:
        format, files, others = recognised(paths)
    changes = _changes(mapping)
    if format == "table":
        changes = with_guesses(read_raw(files[0]), changes)
        mapping = {**mapping, "map": dict(changes.names), "scale": _texts(changes.scales)}
    try:
        imported = import_with_remarks(format, files, changes)
    except InputError as error:
        raise InputError(f"read as {format}: {error}") from None
    shown = preview(format, files, imported, changes, others)
    if not as_json:
        for line in preview_lines(shown, imported.log):
            show(line)
    if not yes and not _is_wanted(out, as_json, shown):
        return 2
    mapping = {"format": format, **mapping}
    return _write(imported, format, out, mapping, save_map, as_json, {"preview": shown})


def _is_wanted(out: str, as_json: bool, shown: Mapping[str, Any]) -> bool:
    """Ask whether to write on a terminal; elsewhere say how to."""
    if sys.stdin.isatty() and not as_json:
        return click.confirm(f"Write {out}?", default=True)
    if as_json:
        print_json({"log": None, "preview": shown})
    show(f"error: nothing was written; add --yes to write {out}", err=True)
    return False


def _write(
    imported: Imported,
    format: str,
    out: str,
    mapping: Mapping[str, Any],
    save_map: str | None,
    as_json: bool,
    more: Mapping[str, Any],
) -> int:
    log = imported.log
    write_log(log, out)
    if save_map:
        write_mapping(Path(save_map), mapping)
    findings = [*imported.remarks, *check_log(log, source=out)]
    corpora = log["eval_corpus"].unique().tolist()
    if as_json:
        counts = {"n_rows": len(log), "n_runs": int(log["run_id"].nunique())}
        told = {"warnings": [finding.as_dict() for finding in findings], **more}
        print_json({"log": out, "format": format, **counts, "eval_corpora": corpora, **told})
        return 0
    show(f"{len(log)} rows of {log['run_id'].nunique()} runs, losses on {listed(corpora)} -> {out}")
    print_findings(tuple(findings))
    return 0


def _mapping(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options as a mapping file has them, those of ``--use-map`` behind those that were given."""
    constants = pairs_once("--set", options["constants"])
    if options["tokens_per_step"]:
        if STEP_TOKENS in constants:
            raise InputError(
                f"--tokens-per-step and --set {STEP_TOKENS} say the same; leave one out"
            )
        constants[STEP_TOKENS] = options["tokens_per_step"]
    given = {
        "map": pairs_once("--map", options["names"]),
        "scale": pairs_once("--scale", options["scales"]),
        "set": constants,
        "bytes_per_token": _bytes_per_token(options["bytes_per_token"]),
    }
    words = ("loss_unit", "run_pattern", "join", "normalize_shares", "phases")
    kept = read_mapping(Path(options["use_map"])) if options["use_map"] else {}
    both = {name: {**kept.get(name, {}), **values} for name, values in given.items()}
    return {**kept, **both, **{name: options[name] for name in words if options[name]}}


def _changes(mapping: Mapping[str, Any]) -> Changes:
    """Return the changes that a mapping asks for."""
    for name, allowed in (("loss_unit", LOSS_UNITS), ("phases", PHASE_READINGS)):
        if mapping.get(name) and mapping[name] not in allowed:
            raise InputError(f"{name} must be one of {', '.join(allowed)}, got {mapping[name]!r}")
    table, source, names = None, "", mapping["map"]
    if mapping.get("join"):
        raw = read_raw(mapping["join"])
        table, names = joined_runs(raw, names)
        source = raw.source
    pattern = run_pattern(mapping["run_pattern"]) if mapping.get("run_pattern") else None
    return Changes(
        names=names,
        scales={k: as_number(v, f"--scale {k}") for k, v in mapping["scale"].items()},
        constants={k: _count(v) if k == STEP_TOKENS else v for k, v in mapping["set"].items()},
        loss_unit=mapping.get("loss_unit"),
        bytes_per_token={
            corpus: as_number(number, f"--bytes-per-token {corpus}".strip())
            for corpus, number in mapping["bytes_per_token"].items()
        },
        normalize_shares=mapping.get("normalize_shares", False),
        facts=RunFacts(pattern, table, source),
        phases=mapping.get("phases") or "keep",
    )


def _count(text: str) -> str:
    """Return a count of tokens as a plain number: 1M is 1000000.0."""
    try:
        return str(parse_count(text))
    except InputError as error:
        raise InputError(f"--tokens-per-step: {error}") from None


def _bytes_per_token(given: tuple[str, ...]) -> dict[str, str]:
    """Return bytes by corpus; a number alone stands for every corpus."""
    parts = [re.fullmatch(r"(?:(.*)=)?([^=]*)", text) for text in given]
    pairs = tuple(((part[1] or EVERY_CORPUS).strip(), part[2].strip()) for part in parts if part)
    return pairs_once("--bytes-per-token", pairs)


def _texts(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: f"{number:g}" for name, number in numbers.items()}
