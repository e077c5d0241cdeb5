"""Damage the seeds of a reader where that reaches new parts of the code, and keep the files that got there.

    python tests/faults/guided.py [--reader csv ...] [--minutes 30] [--seed 0] [--keep FOLDER]

Atheris runs the product with counters at every branch and goes on from files that moved one, by its own changes and
those of ``mutations.py``. What a reader owes is as in ``fuzz.py``. Of all files that got somewhere, a few that together
run every line reached are kept in ``corpus/reached``; the next search starts from them, and the tests read them. Ends
with 1 where a reader broke its promise.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

from mutations import mutated
from reached import Lines, read_reached, shortest_for_all_lines, write_reached

LARGEST = 200_000  # bytes of a file that is tried
ROOT = Path(__file__).parents[2]
PACKAGES = tuple(str(ROOT / name) + os.sep for name in ("cmrplan", "probes"))


def search(reader: str, folder: Path, options: argparse.Namespace) -> None:
    """Search in this process, which ends with it; files that got somewhere lie in ``folder`` then."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["cmrplan", "probes"]):
        fuzz = import_module("fuzz")
    resource.setrlimit(resource.RLIMIT_AS, (fuzz.MOST_ADDRESSES, fuzz.MOST_ADDRESSES))
    target = fuzz.Target(reader, Path(tempfile.mkdtemp(dir=folder)))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate([target.sound, *read_reached(reader)]):
        (corpus / str(number)).write_bytes(data)
    number, faults = 0, dict[str, bytes]()
    start = time.process_time()

    def one_input(data: bytes) -> None:
        nonlocal number
        number += 1
        if problem := target.fault(data):
            faults.setdefault(problem[:60], data)
        seconds = time.process_time() - start
        if seconds > 60 * options.minutes:
            fuzz.report(reader, number, seconds, faults, options.keep, target.path.suffix)
            os._exit(1 if faults else 0)

    def changed(data: bytes, most: int, seed: int) -> bytes:
        generator = random.Random(seed)
        if generator.random() < 0.5:
            return bytes(atheris.Mutate(data, most))
        return mutated(data, generator)[:most]

    size = min(LARGEST, 2 * len(target.sound) + 1000)
    flags = [f"-max_len={size}", f"-seed={options.seed + 1}", "-rss_limit_mb=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one_input, custom_mutator=changed)
    atheris.Fuzz()


def worth_keeping(reader: str, files: list[bytes]) -> list[bytes]:
    """Return the files that together run every line of the package that the reader was made to run.

    The sound file is none of them: its numbers are those of one version, and every test writes its own.
    """
    from fuzz import Target

    with tempfile.TemporaryDirectory() as folder:
        target = Target(reader, Path(folder))
        damaged = [data for data in files if data != target.sound]
        return shortest_for_all_lines(damaged, [_traced(target, data) for data in damaged])


def _traced(target: Any, data: bytes) -> Lines:
    lines: Lines = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGES):
            return None
        if event == "line":
            lines.add((name, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target.fault(data)
    finally:
        sys.settrace(None)
    return lines


def main() -> None:
    """Print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", nargs="+", default=[], help="as of fuzz.py; all by default")
    parser.add_argument("--minutes", type=float, default=30.0, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a reader")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.within:
        search(options.reader[0], options.within, options)
    broken = False
    for reader in options.reader or import_module("readers").READERS:
        with tempfile.TemporaryDirectory() as name:
            flags = ["--reader", reader, "--within", name]
            command = [sys.executable, *sys.argv, *flags]
            done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
            broken |= done.returncode != 0
            if done.returncode not in (0, 1):
                print(f"{reader}: the search ended with {done.returncode}\n{done.stderr[-2000:]}")
            files = sorted({path.read_bytes() for path in Path(name, "corpus").iterdir()}, key=len)
        kept = worth_keeping(reader, files)
        print(f"  {len(kept)} of {len(files)} files run every line that was reached")
        write_reached(reader, kept)
    raise SystemExit(broken)


if __name__ == "__main__":
    main()
