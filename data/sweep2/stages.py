"""Train the sweep of the prediction test part by part; each stage can be stopped and started again.

    python data/corpora.py --out corpora --only general python c_headers french
    python data/sweep2/stages.py train --corpora corpora --out runs small     # also several parts, or none for all
    python data/sweep2/stages.py base --corpora corpora --out runs large      # the base alone, no probe
    python data/sweep2/stages.py collect --corpora corpora --out runs         # logs of what is finished

A stage ends by itself after ``--minutes`` with its checkpoints saved and exit code 3; the same command goes on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cmrplan.errors import CmrplanError
from cmrplan.files import read_json, write_json, write_text
from cmrplan.log import CORPORA
from probes.collect import collect
from probes.data.prepare import prepare_corpora
from probes.models.source import count_params
from probes.planned_runs import sweep_settings
from probes.runs import RunState, SweepFolder
from probes.spec.file import parse_spec
from probes.training.metrics import read_rows

HERE = Path(__file__).parent
CLI = [sys.executable, "-c", "from cmrplan.cli import main; main()", "probe", "run"]
OF_THE_FILES = ("source", "train_shards")
UNFINISHED = 3


def main() -> None:
    plan = yaml.safe_load((HERE / "stages.yaml").read_text())
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["train", "base", "collect"])
    parser.add_argument("parts", nargs="*", choices=[*plan["parts"], []], help="all when left out")
    parser.add_argument("--corpora", type=Path, required=True, help="of data/corpora.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--minutes", type=float, default=25, help="of the whole stage")
    parser.add_argument("--workers", type=int, default=1, help="runs at a time")
    parser.add_argument("--to", type=Path, default=HERE, help="folder for the logs")
    parser.add_argument("--toy", action="store_true", help="tiny budgets, to try the commands")
    options = parser.parse_intermixed_args()
    specs = {
        part: spec_of(plan, part, options.corpora, toy=options.toy)
        for part in options.parts or plan["parts"]
    }
    options.out.mkdir(parents=True, exist_ok=True)
    if options.action == "collect":
        write_logs({part: log_of(plan, part) for part in specs}, options.out, options.to)
        write_json(options.to / "corpora.json", read_json(options.corpora / "manifest.json"))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ends = time.monotonic() + 60 * options.minutes
    for part, spec in specs.items():
        if not train(part, spec, options, ends=ends):
            print(f"{part} was stopped before its end: the same command goes on", file=sys.stderr)
            sys.exit(UNFINISHED)


def spec_of(plan: dict[str, Any], part: str, corpora: Path, *, toy: bool = False) -> dict[str, Any]:
    """Return the sweep spec of a part, as it stands in a YAML file."""
    asked = plan["parts"][part]
    tokens = float(asked.get("train_tokens", 2.4e6))
    sources = {"general": "general", "domain": asked.get("domain", "python")}
    runs = [
        {"domain_ratio": ratio, "size": asked["size"], "seed": seed}
        for seed, ratios in plan["ratios"][asked.get("ratios", "arm")].items()
        for ratio in ratios
    ]
    spec = merged(
        plan["common"],
        {
            "name": part,
            "sizes": [{"name": asked["size"], **plan["sizes"][asked["size"]]}],
            "corpora": {
                name: {"source": str((corpora / f"{source}.jsonl").absolute())}
                for name, source in sources.items()
            },
            "probes": {"train_tokens": tokens, "runs": runs},
        },
        asked.get("set", {}),
    )
    if toy:
        spec["base"] = {"train_tokens": 8 * 2048, "cooldown_share": 0.2}
        spec["probes"] |= {"train_tokens": tokens / 50, "warmup_steps": 2}
        spec["probes"]["runs"] = [run for run in runs if run["seed"] == 0]
        spec["evaluation_sequences"] = 32
    return spec


def log_of(plan: dict[str, Any], part: str) -> str:
    """Return the name of the log that the probes of a part stand in; parts of one domain may share it."""
    return str(plan["parts"][part].get("log", part))


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """Return nested dicts as one; later values replace earlier ones.

    Examples
    --------
    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}})
    {'a': {'b': 1, 'c': 3}}
    """
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            is_nested = isinstance(value, dict)
            whole[key] = merged(whole.get(key, {}), value) if is_nested else value
    return whole


def train(part: str, spec: dict[str, Any], options: argparse.Namespace, *, ends: float) -> bool:
    """Run what is open of a part until the time is up or it is stopped; return whether all is done."""
    folder, path = options.out / part, options.out / f"{part}.yaml"
    borrow(spec, folder, options.out)
    write_text(path, yaml.safe_dump(spec, sort_keys=False))
    command = [*CLI, str(path), "--out", str(folder), "--device", "cpu"]
    if options.action == "base":
        command += ["--only", base_of(spec, folder)]
    else:
        command += ["--workers", str(options.workers)]
    process = subprocess.Popen(command)
    try:
        code = process.wait(max(0.0, ends - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.send_signal(signal.SIGTERM)  # saves checkpoints and ends
        process.wait()
        return False
    if code:
        sys.exit(code)
    return True


def borrow(spec: dict[str, Any], folder: Path, out: Path) -> None:
    """Link the prepared corpora, and the base, of a part that has the same ones."""
    for path in sorted(out.glob("*.yaml")):
        other = yaml.safe_load(path.read_text())
        if other["corpora"] != spec["corpora"] or path.stem == folder.name:
            continue
        kinds = {"corpora": "corpora/manifest.json"}
        if (other["base"], other["sizes"]) == (spec["base"], spec["sizes"]):
            kinds["bases"] = "bases/*/outcome.json"
        for kind, sign in kinds.items():
            is_ready = any(out.glob(f"{path.stem}/{sign}"))
            if is_ready and not (folder / kind).exists():
                shutil.copytree(out / path.stem / kind, folder / kind, copy_function=os.link)


def base_of(spec: dict[str, Any], folder: Path) -> str:
    """Return the name of the base of a part; prepares its corpora."""
    parsed = parse_spec(spec)
    identity = prepare_corpora(parsed, SweepFolder(folder).corpora).identity
    (base,) = sweep_settings(parsed, identity)[0].values()
    return base.run_id


def write_logs(logs: Mapping[str, str], out: Path, to: Path) -> None:
    """Write each log with its ledger, the bases, and the counts of documents, from the parts and their logs.

    What stands there of runs and parts whose folders are gone is kept.
    """
    tables: dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]] = {}
    bases, counts = [], {}
    for part, log in logs.items():
        path = out / part / "corpora" / "manifest.json"
        if not path.exists():
            continue
        counts[part] = counts_of(read_json(path))
        bases += base_rows(part, SweepFolder(out / part))
        try:
            collected = collect(out / part)
        except CmrplanError as error:
            print(error, file=sys.stderr)
        else:
            tables.setdefault(log, []).append(collected)
    for name, pairs in tables.items():
        for suffix, some in zip((".csv", ".runs.csv"), zip(*pairs, strict=True), strict=True):
            write_merged(to / f"{name}{suffix}", pd.concat(some), "run_id")
    write_merged(to / "bases.csv", pd.DataFrame(bases), "part")
    path = to / "prepared.json"
    write_json(path, (read_json(path) if path.exists() else {}) | counts)


def write_merged(path: Path, table: pd.DataFrame, key: str) -> None:
    """Write a table below what a file has of other keys, as it stands there."""
    if path.exists():
        before = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = pd.concat([before[~before[key].isin(table[key])], table])
    write_text(path, table.to_csv(index=False))


def counts_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest of prepared corpora says of the data, without paths."""
    counts: dict[str, Any] = {"data_fingerprint": manifest["data_fingerprint"]}
    for name, corpus in manifest["corpora"].items():
        counts[name] = {key: corpus[key] for key in corpus if key not in OF_THE_FILES}
    return counts


def base_rows(part: str, sweep: SweepFolder) -> list[dict[str, Any]]:
    """Return what the finished base of a part lost on both corpora, nats per token."""
    rows = []
    for run in sweep.all_runs():
        if run.path.parent.name != "bases" or run.state() != RunState.FINISHED:
            continue
        settings, row = run.verified_settings(), read_rows(run.metrics)[-1]
        about = {"part": part, "base_model": settings.run_id, "base_tokens": settings.train_tokens}
        about |= {"model_params": count_params(settings.model).non_embedding}
        rows.append(about | {f"{name}_loss": row[f"{name}_loss"] for name in CORPORA})
    return rows


if __name__ == "__main__":
    main()
