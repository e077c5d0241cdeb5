"""Kill a sweep at random moments, again and again, and compare it with an unbroken one.

Makes two small corpora, runs a sweep of a base and its probes once without trouble, then once more while SIGKILL hits
its process or one of its workers after random times, and starts it again whenever its process is gone. At the end it
compares the probe logs byte by byte and reads the ledger: every run finished once, every attempt with one end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import yaml

from cmrplan.log.files import write_log
from probes.collect import collect
from probes.training.metrics import read_rows

WORDS = {
    "general": "the cat sat on a mat and saw one more bird near old green hill".split(),
    "domain": "def return x = y + z ( ) : for i in range print not 0 1".split(),
}

START = """
import json, sys
from probes.executors.base import ExecutorOptions
from probes.executors.scheduler import RunLimits
from probes.spec.file import read_spec
from probes.sweep import run_sweep
executor = ExecutorOptions(device="cpu", checkpoint_seconds=0.5, **json.loads(sys.argv[3]))
run_sweep(read_spec(sys.argv[1]), sys.argv[2], executor=executor, progress=False,
          limits=RunLimits(attempts=1000, failures=1.0))
"""


def write_spec(folder: Path, *, steps: int, ratios: list[float]) -> Path:
    """Write two corpora and the spec of a small sweep over them."""
    generator = random.Random(0)
    for name, words in WORDS.items():
        (folder / name).mkdir(parents=True)
        for document in range(120):
            text = " ".join(generator.choices(words, k=60))
            (folder / name / f"{document:03d}.txt").write_text(text)
    spec = {
        "name": "faults",
        "corpora": {
            "general": {"source": "general"},
            "domain": {"source": "domain"},
            "validation_share": 0.2,
        },
        "sequence_length": 16,
        "batch_size": 4,
        "evaluation_sequences": 24,
        "sizes": [{"name": "nano", "width": 16, "layers": 1, "heads": 2, "feedforward": 24}],
        "base": {"train_tokens": 64 * steps, "learning_rate": 3e-3, "warmup_steps": 5},
        "probes": {
            "train_tokens": 64 * steps,
            "evaluations": 4,
            "first_evaluation_tokens": 64 * steps // 8,
            "grid": {"domain_ratio": ratios},
        },
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def start(spec: Path, out: Path, options: dict[str, object]) -> subprocess.Popen[bytes]:
    """Start a sweep in a process of its own."""
    command = [sys.executable, "-c", START, str(spec), str(out), json.dumps(options)]
    return subprocess.Popen(command)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True
    )
    return [int(word) for word in listed.stdout.split()]


def kill_at_random(
    spec: Path,
    out: Path,
    options: dict[str, object],
    *,
    kills: int,
    longest: float,
    generator: random.Random,
) -> Counter[str]:
    """Run a sweep to its end through so many kills; return who was hit how often."""
    hit: Counter[str] = Counter()
    process = start(spec, out, options)
    while hit.total() < kills:
        time.sleep(generator.uniform(0, longest))
        if process.poll() is None:
            workers = children(process.pid)
            victim = generator.choice([process.pid, *workers])
            try:
                os.kill(victim, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself just now
                continue
            hit["sweep" if victim == process.pid else "worker"] += 1
        elif process.returncode == 0:
            raise SystemExit(f"the sweep was done after {hit.total()} kills; give it more --steps")
        if process.poll() is not None or victim == process.pid:
            process.wait()
            process = start(spec, out, options)
    if process.wait() != 0:
        raise SystemExit(f"the last start ended with exit code {process.returncode}")
    return hit


def log_bytes(out: Path) -> bytes:
    """Return the probe log of a sweep as the bytes of its file."""
    path = out.parent / f"{out.name}.csv"
    write_log(collect(out)[0], path)
    return path.read_bytes()


def ledger_problems(out: Path) -> list[str]:
    """Return what in a sweep's ledger cannot have happened; nothing when it is sound."""
    problems = []
    events: dict[str, list[str]] = {}
    for row in read_rows(out / "ledger.jsonl"):
        events.setdefault(row["run_id"], []).append(row["event"])
    for run_id, happened in events.items():
        for event in ("planned", "finished"):
            if happened.count(event) != 1:
                problems.append(f"{run_id} was {event} {happened.count(event)} times")
        if happened[-1] != "finished":
            problems.append(f"{run_id} was {happened[-1]} after all")
        open_attempt = False
        for event in happened:
            if event == "started":
                if open_attempt:
                    problems.append(f"{run_id} was started while an attempt was open")
                open_attempt = True
            elif event in ("died", "finished", "failed", "stopped"):
                open_attempt = False
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds between two kills")
    parser.add_argument("--steps", type=int, default=20_000, help="training steps of each run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    options: dict[str, object] = {"workers": arguments.workers}
    with tempfile.TemporaryDirectory() as folder:
        spec = write_spec(Path(folder) / "in", steps=arguments.steps, ratios=[0.25, 0.5, 0.75])
        unbroken, broken = Path(folder) / "unbroken", Path(folder) / "broken"
        began = time.monotonic()
        if start(spec, unbroken, options).wait() != 0:
            raise SystemExit("the unbroken sweep failed")
        seconds = time.monotonic() - began
        began = time.monotonic()
        hit = kill_at_random(
            spec,
            broken,
            options,
            kills=arguments.kills,
            longest=arguments.longest,
            generator=random.Random(arguments.seed),
        )
        same = log_bytes(unbroken) == log_bytes(broken)
        print(
            f"unbroken sweep {seconds:.0f} s; killed {dict(hit)}, {time.monotonic() - began:.0f} s"
        )
        events = Counter(row["event"] for row in read_rows(broken / "ledger.jsonl"))
        print("ledger:", ", ".join(f"{count} {event}" for event, count in events.items()))
        print("probe logs byte-identical:", same)
        problems = ledger_problems(broken)
        for problem in problems:
            print("ledger problem:", problem)
    sys.exit(not same or bool(problems))


if __name__ == "__main__":
    main()
