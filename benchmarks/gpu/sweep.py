"""The sweep of the prediction test, stage by stage; each stage can be stopped and started again.

    python benchmarks/gpu/sweep.py prepare python --corpora corpora --out runs     # no GPU
    python benchmarks/gpu/sweep.py small python --corpora corpora --out runs --sizes 4M 12M
    python benchmarks/gpu/sweep.py small python --corpora corpora --out runs --sizes 35M
    python benchmarks/gpu/sweep.py plan python --out runs                          # commit what it writes
    python benchmarks/gpu/sweep.py large python --corpora corpora --out runs --ratios 0.1 0.3 0.35 0.4
    python benchmarks/gpu/sweep.py collect python --out runs

``--toy`` makes the models and budgets tiny and keeps everything else: the same code on a CPU in minutes.
A stage ends by itself after ``--minutes`` with its checkpoints saved.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from probes.data.prepare import prepare_corpora
from probes.spec.file import read_spec

SIZES = ("4M", "12M", "35M", "100M")
TOLERANCE = "2%"
CLI = [sys.executable, "-c", "from cmrplan.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["prepare", "small", "plan", "large", "collect"])
    parser.add_argument("domain", choices=["python", "c_headers", "french", "dictionary"])
    parser.add_argument("--corpora", type=Path, default=Path("corpora"), help="of data/corpora.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", nargs="+", choices=SIZES[:-1], default=list(SIZES[:-1]))
    parser.add_argument("--ratios", type=float, nargs="+", help="of the largest size")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--minutes", type=float, default=7.5)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    folder = options.out / options.domain
    if options.stage == "prepare":
        prepare_corpora(read_spec(write_spec(options, folder)), folder / "runs" / "corpora")
    elif options.stage in ("small", "large"):
        if options.stage == "large" and not options.ratios:
            parser.error("large needs --ratios: those that test the plan")
        sys.exit(run(write_spec(options, folder), folder / "runs", options))
    elif options.stage == "collect":
        cli("logs", "collect", folder / "runs", "--out", folder / "log.csv")
    else:
        plan(folder, toy=options.toy)


def write_spec(options: argparse.Namespace, folder: Path) -> Path:
    """Write the spec of a stage beside its runs and return its path."""
    values: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "sweep.yaml").read_text())
    for name, source in (("general", "general"), ("domain", options.domain)):
        values["corpora"][name]["source"] = str((options.corpora / f"{source}.jsonl").absolute())
    if options.toy:
        make_toy(values)
    probes = values["probes"]
    probes["grid"]["size"] = options.sizes
    if options.stage == "large":
        del probes["grid"]
        probes["runs"] = [{"domain_ratio": ratio, "size": SIZES[-1]} for ratio in options.ratios]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def make_toy(values: dict[str, Any]) -> None:
    """Shrink models, budgets and vocabulary; the shape of the sweep stays."""
    values |= {"sequence_length": 32, "batch_size": 4, "evaluation_sequences": 16}
    values["tokenizer"]["vocab_size"] = 512
    values["numerics"]["precision"] = "fp32"
    for number, size in enumerate(values["sizes"]):
        size |= {"width": 16 * (number + 1), "layers": 1, "heads": 2, "feedforward": 24}
    values["base"] |= {"train_tokens": 128 * 64, "warmup_steps": 5}
    values["probes"] |= {"train_tokens": 128 * 96, "first_evaluation_tokens": 128 * 3}
    values["probes"]["warmup_steps"] = 1


def run(spec: Path, runs: Path, options: argparse.Namespace) -> int:
    """Run what is open of a spec until it is done or the time is up; return the exit code."""
    arguments = ["probe", "run", spec, "--out", runs, "--device", options.device]
    process = subprocess.Popen([*CLI, *map(str, arguments)])
    try:
        return process.wait(options.minutes * 60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # saves checkpoints and ends
        process.wait()
        print("time is up: start the same command again to go on", file=sys.stderr)
        return 3


def plan(folder: Path, *, toy: bool) -> None:
    """Fit the small sizes and plan for the largest; the plan is to be committed before it is trained."""
    cli("logs", "collect", folder / "runs", "--out", folder / "small.csv")
    cli("fit", folder / "small.csv", "--out", folder / "fit.json")
    size, tokens = ("1e4", "1.2e4") if toy else ("99.1M", "8e6")
    cli("plan", folder / "fit.json", "--model-params", size, "--train-tokens", tokens,
        "--max-general-rise", TOLERANCE, "--out", folder / "plan.json")  # fmt: skip


def cli(*arguments: object) -> None:
    """Call cmrplan and end where it does not succeed; it has said why."""
    if code := subprocess.run([*CLI, *map(str, arguments)]).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main()
