"""What an import would write, in a few lines, before it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmrplan.log.cells import listed, named
from cmrplan.log.columns import share_columns
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_facts import is_log_column
from cmrplan.log.phases import changing_runs
from cmrplan.numbers import compact

_UNIT_NAMES = {
    None: "nats per token",
    "nats": "nats per token",
    "ppl": "perplexities, turned into nats per token",
    "bits": "bits per token, turned into nats per token",
    "bpb": "bits per byte, turned into nats per token",
}


def preview(
    format: str,
    files: Sequence[Path],
    imported: Imported,
    changes: Changes,
    others: Mapping[str, int],
) -> dict[str, Any]:
    """Return what would be written, as JSON can hold it.

    Parameters
    ----------
    format : str
    files : sequence of Path
        What is read.
    imported : Imported
        What came of it.
    changes : Changes
        What the caller said and what was guessed.
    others : mapping of str to int
        Number of files in other formats, which are not read.
    """
    log = imported.log
    used = {old: new for old, new in imported.columns.items() if old != new}
    return {
        "format": format,
        "files": [named(file) for file in files],
        "other_files": dict(others),
        "columns": used,
        "scales": dict(changes.scales),
        "set": dict(changes.constants),
        "loss_unit": _UNIT_NAMES[changes.loss_unit],
        "n_rows": len(log),
        "n_runs": int(log["run_id"].nunique()),
        "eval_corpora": log["eval_corpus"].unique().tolist(),
        "left_out": list(imported.left_out),
        "kept": [str(name) for name in log if not is_log_column(str(name))],
        "two_phase_runs": len(changing_runs(log)),
    }


def preview_lines(shown: Mapping[str, Any], log: pd.DataFrame) -> list[str]:
    """Return the preview as lines of text."""
    files, others = shown["files"], shown["other_files"]
    more = f" and {len(files) - 2} more" if len(files) > 2 else ""
    lines = [f"format     {shown['format']}, {len(files)} file(s): {', '.join(files[:2])}{more}"]
    if others:
        told = ", ".join(f"{number} of {name}" for name, number in others.items())
        lines.append(f"not read   {told}; logs import FORMAT reads those")
    lines += [
        f"{'corpus' if new in shown['eval_corpora'] else 'column':10} {old} -> {new}{_times(new, shown)}"
        for old, new in shown["columns"].items()
    ]
    lines += [f"set        {name} = {value}" for name, value in shown["set"].items()]
    loss, tokens = log["loss"], log["train_tokens"]
    sizes = [compact(size) for size in sorted(log["model_params"].unique())]
    lines += [
        f"losses     {shown['loss_unit']}, {loss.min():.4g} to {loss.max():.4g}, on {listed(shown['eval_corpora'])}",
        f"tokens     {compact(float(tokens.min()))} to {compact(float(tokens.max()))}; sizes {', '.join(sizes[:8])}",
        f"mixture    {_mixture(log)}",
        f"rows       {shown['n_rows']} of {shown['n_runs']} runs: {listed(log['run_id'].unique().tolist(), 4)}",
    ]
    if shown["two_phase_runs"]:
        lines.append(
            f"phases     {shown['two_phase_runs']} runs change their mixture, which no law holds"
        )
    if shown["kept"]:
        lines.append(f"kept       {listed(shown['kept'], 12)}, which mean nothing to a probe log")
    if shown["left_out"]:
        lines.append(f"left out   {listed(shown['left_out'], 12)}")
    return lines


def _times(new: str, shown: Mapping[str, Any]) -> str:
    return f" (times {shown['scales'][new]:g})" if new in shown["scales"] else ""


def _mixture(log: pd.DataFrame) -> str:
    if "domain_ratio" in log:
        ratios = sorted(log["domain_ratio"].unique().tolist())
        return f"domain_ratio {listed(ratios, 10)}"
    return listed(share_columns(log), 10)
