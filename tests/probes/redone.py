"""Runs of a finished sweep, to be done once more in a copy of it."""

import json
from pathlib import Path
from typing import Any

from cmrplan.files import CHECKSUM, sealed, write_json
from probes.runs import RunFolder


def reopen(out: Path, *ratios: str) -> list[RunFolder]:
    """Take back the results of the probes at the given ratios and forget the ledger; return the probes."""
    probes = [RunFolder(next(out.glob(f"probes/*-r{ratio}-*"))) for ratio in ratios]
    for probe in probes:
        for path in (probe.outcome, probe.progress, probe.attempt, probe.metrics):
            path.unlink()
        for path in probe.losses(0).parent.iterdir():
            path.unlink()
    (out / "ledger.jsonl").unlink()
    return probes


def has_results_of(run: RunFolder, other: RunFolder) -> bool:
    """Tell whether two runs measured the same, to the last bit."""
    return _results(run) == _results(other)


def _results(run: RunFolder) -> dict[str, bytes]:
    paths = [run.metrics, *run.losses(0).parent.iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def rewrite(path: Path, **values: Any) -> None:
    """Write a file of a run as if the run had had other values."""
    content = json.loads(path.read_text())
    del content[CHECKSUM]
    write_json(path, sealed(content | values))
