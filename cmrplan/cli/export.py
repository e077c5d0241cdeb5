"""The command ``cmrplan export``."""

from __future__ import annotations

from pathlib import Path

import click

from cmrplan.cli.output import print_json, show
from cmrplan.cli.outputs import EXPORT_FILE, force_option, out_option
from cmrplan.cli.parameters import (
    COUNT,
    LEVEL,
    PATH_ASSIGNMENT,
    as_json,
    numbers_of,
    pairs_once,
    per_corpus,
    seed,
)
from cmrplan.errors import InputError
from cmrplan.export.export import TARGETS, target_named
from cmrplan.export.export import export as make_export
from cmrplan.export.request import ACHIEVED_WITHIN


def complete_target(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the targets that begin so, for the shell."""
    return [name for name in TARGETS if name.startswith(incomplete)]


@click.command()
@click.argument("plan", type=click.Path())
@click.option(
    "--to",
    required=True,
    metavar="NAME",
    shell_complete=complete_target,
    help=f"The framework: {', '.join(TARGETS)}.",
)
@per_corpus(
    "--path",
    "CORPUS=PATH",
    "Where a corpus is, as the framework takes it.  [default: a placeholder]",
    "paths",
    PATH_ASSIGNMENT,
)
@per_corpus(
    "--tokens-per-row",
    "CORPUS=TOKENS",
    "Mean tokens of a row (document, sample) of a corpus, for frameworks that draw rows: general=400.",
    "row_tokens",
)
@click.option(
    "--corpora",
    type=click.Path(),
    help="Take the mean tokens of a row from prepared corpora: the folder of a sweep, or its folder corpora.",
)
@per_corpus(
    "--available",
    "CORPUS=TOKENS",
    "Unique tokens of a corpus: domain=5B.  [default: the plan's]",
    "available",
)
@click.option(
    "--share-tolerance",
    type=LEVEL,
    default=ACHIEVED_WITHIN,
    show_default=True,
    help="How far the achieved share of tokens may lie from the asked one.",
)
@seed
@out_option("the settings", EXPORT_FILE)
@as_json
@force_option
def export(
    plan: str,
    to: str,
    paths: tuple[tuple[str, str], ...],
    row_tokens: tuple[tuple[str, str], ...],
    corpora: str | None,
    available: tuple[tuple[str, str], ...],
    share_tolerance: float,
    seed: int,
    out: str | None,
    as_json: bool,
) -> None:
    """Write the mixture of a plan as the settings of a training framework.

    The share of a plan is a share of tokens. It is converted where the framework weighs rows
    (--tokens-per-row) or counts passes over a corpus (--available). Without --out the settings are printed.
    """
    target = target_named(to)
    if out and Path(out).suffix.lower() not in (target.suffix, target.suffix.replace("a", "")):
        raise InputError(f"--out must be a {target.suffix} file for {to}, got {out!r}")
    tokens_per_row: dict[str, float] = {}
    if corpora:
        from probes.data.prepared import mean_document_tokens

        tokens_per_row = mean_document_tokens(Path(corpora))
    exported = make_export(
        plan,
        to,
        paths=pairs_once("--path", paths),
        tokens_per_row=tokens_per_row | numbers_of("--tokens-per-row", row_tokens, COUNT),
        available=numbers_of("--available", available, COUNT),
        share_tolerance=share_tolerance,
        seed=seed,
    )
    if out:
        exported.write(out)
    if as_json:
        print_json(exported.as_dict())
        return
    if not out:
        show(exported.text.removesuffix("\n"), is_table=True)
        return
    for name, passes in exported.passes.items():
        known = "not known" if passes is None else f"{passes:.4g}"
        show(f"passes over {name:<16}{known}")
    show(f"mixture for {to} -> {out}")
