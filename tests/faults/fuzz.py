"""Damage the seeds of a reader at random for some minutes, and keep every file that it did not refuse in one line.

    python tests/faults/fuzz.py [--reader csv ...] [--minutes 30] [--seed 0] [--keep FOLDER]
    python tests/faults/fuzz.py --cut [--reader csv ...] [--keep FOLDER]    # cut off at every byte instead
    python tests/faults/fuzz.py --edit [--reader plan ...] [--minutes 5]    # sound JSON that says something else

A file is either read or refused by a CmrplanError of one line, within two seconds of processor time and 1 GB of memory.
Where a file is evidence, as fits, plans and run folders are, what is read of a damaged one is no number that the sound
one does not have. A file of JSON that was edited, as by hand, is refused or named, or what is read of it is just what
the sound file says: no number is changed or lost without a word. Ends with 1 where a reader broke that.
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from mutations import edited, mutated
from readers import EDITED, READERS, Numbers

from cmrplan.errors import CmrplanError

MOST_SECONDS = 2.0
MOST_MEMORY = 10**9  # bytes
MOST_ADDRESSES = 16 * 10**9  # bytes, so that a bomb ends the reader and not the machine


class Target:
    """A reader with a sound file of its own in a folder, which is damaged again and again.

    Parameters
    ----------
    reader : str
    folder : Path
        An empty one.
    """

    def __init__(self, reader: str, folder: Path) -> None:
        self._reader, self._folder = READERS[reader], folder
        self.path = self._reader.write(folder)
        self.sound = self.path.read_bytes()
        self._whole = self._numbers(self._reader.read(self.path))

    def was_believed(self, data: bytes) -> bool:
        """Tell whether a file that was edited is read as sound, and says something else than the sound one."""
        self.path.write_bytes(data)
        try:
            value = self._reader.read(self.path)
        except CmrplanError:
            return False
        return not self._reader.names(value) and self._numbers(value) != self._whole

    def _numbers(self, value: object) -> Numbers:
        return self._reader.numbers(value) if self._reader.numbers else frozenset()

    def fault(self, data: bytes) -> str:
        """Return what is wrong with how the reader takes some bytes; nothing where it does what it promises."""
        self.path.write_bytes(data)
        start, memory = time.process_time(), _largest_memory()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                numbers = self._numbers(self._reader.read(self.path))
        except CmrplanError as error:
            lines = str(error).splitlines()
            if len(lines) != 1 or not str(error).isprintable():
                return f"a refusal that is no printable line: {lines[:2]!r}"
        except Exception as error:  # Whatever else comes out is an internal error.
            return f"{type(error).__name__}: {error}"
        else:
            if wrong := numbers - self._whole:
                return f"a number that the sound file does not have: {min(map(str, wrong))[:200]}"
        seconds = time.process_time() - start
        if memory < MOST_MEMORY <= _largest_memory():
            return f"{_largest_memory() / 1e6:.0f} MB"
        return f"{seconds:.1f} s" if seconds > MOST_SECONDS else ""


def _largest_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def cut(sound: bytes) -> Iterator[bytes]:
    """Yield every beginning of a file."""
    return (sound[:length] for length in range(len(sound)))


def damaged(sound: bytes, options: argparse.Namespace) -> Iterator[bytes]:
    """Yield files damaged at random, until the time is over."""
    generator, start = random.Random(options.seed), time.process_time()
    while time.process_time() - start < 60 * options.minutes:
        yield mutated(sound, generator)


def edits(sound: bytes, options: argparse.Namespace) -> Iterator[bytes]:
    """Yield files that were edited at random, until the time is over."""
    generator, start = random.Random(options.seed), time.process_time()
    while time.process_time() - start < 60 * options.minutes:
        yield edited(sound, generator)


def report(
    reader: str,
    number: int,
    seconds: float,
    faults: Mapping[str, bytes],
    keep: Path | None,
    suffix: str,
) -> None:
    """Print what came of a reader, and keep a file for each fault in a folder."""
    print(
        f"{reader}: {number:,} files in {seconds:.0f} s, {len(faults)} kinds of fault", flush=True
    )
    for position, (problem, data) in enumerate(faults.items()):
        print(f"  {problem}", flush=True)
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{reader}-{position}{suffix}").write_bytes(data)


def main() -> None:
    """Print a line for each reader."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", nargs="+", choices=READERS)
    parser.add_argument("--minutes", type=float, default=30.0, help="for each reader")
    parser.add_argument("--cut", action="store_true", help="cut each file off at every byte")
    parser.add_argument("--edit", action="store_true", help="edit what files of JSON say instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that broke a reader")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    total = 0
    for reader in options.reader or (EDITED if options.edit else READERS):
        number, faults = 0, dict[str, bytes]()
        with tempfile.TemporaryDirectory() as folder:
            target = Target(reader, Path(folder))
            start = time.process_time()
            make = edits if options.edit else damaged
            files = cut(target.sound) if options.cut else make(target.sound, options)
            for data in files:
                problem = target.fault(data)
                if options.edit and not problem and target.was_believed(data):
                    problem = "an edited file was believed"
                number += 1
                if problem:
                    faults.setdefault(problem[:60], data)
        seconds = time.process_time() - start
        report(reader, number, seconds, faults, options.keep, target.path.suffix)
        total += len(faults)
    raise SystemExit(1 if total else 0)


if __name__ == "__main__":
    main()
