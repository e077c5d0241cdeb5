"""Damage the seeds of a reader at random for some minutes, and keep every file that it did not refuse in one line.

    python tests/faults/fuzz.py [--reader csv ...] [--minutes 30] [--seed 0] [--keep FOLDER]

A file is either read or refused by a CmrplanError of one line, within two seconds of processor time. What a
reader returns is not looked at. Ends with 1 where a reader broke that.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import warnings
from pathlib import Path

from mutations import mutated
from readers import READERS

from cmrplan.errors import CmrplanError

MOST_SECONDS = 2.0


def fault(reader: str, data: bytes, folder: Path) -> str:
    """Return what is wrong with how a reader takes some bytes; nothing where it does what it promises."""
    seed, read = READERS[reader]
    path = folder / seed.name
    path.write_bytes(data)
    start = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read(path)
    except CmrplanError as error:
        lines = str(error).splitlines()
        if len(lines) != 1 or not str(error).isprintable():
            return f"a refusal that is no printable line: {lines[:2]!r}"
    except Exception as error:  # Whatever else comes out is an internal error.
        return f"{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    return f"{seconds:.1f} s" if seconds > MOST_SECONDS else ""


def main() -> None:
    """Print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", nargs="+", choices=READERS, default=list(READERS))
    parser.add_argument("--minutes", type=float, default=30.0, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a reader")
    options = parser.parse_args()
    total = 0
    for reader in options.reader:
        generator, start = random.Random(options.seed), time.process_time()
        seed = READERS[reader][0].read_bytes()
        number, faults = 0, dict[str, bytes]()
        with tempfile.TemporaryDirectory() as folder:
            while time.process_time() - start < 60 * options.minutes:
                data = mutated(seed, generator)
                problem = fault(reader, data, Path(folder))
                number += 1
                if problem:
                    faults.setdefault(problem[:60], data)
        seconds = time.process_time() - start
        print(
            f"{reader}: {number:,} files in {seconds:.0f} s, {len(faults)} kinds of fault",
            flush=True,
        )
        for position, (problem, data) in enumerate(faults.items()):
            print(f"  {problem}")
            if options.keep:
                options.keep.mkdir(parents=True, exist_ok=True)
                (options.keep / f"{reader}-{position}{READERS[reader][0].suffix}").write_bytes(data)
        total += len(faults)
    raise SystemExit(1 if total else 0)


if __name__ == "__main__":
    main()
