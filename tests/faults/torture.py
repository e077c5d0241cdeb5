"""Kill every writing command again and again, take its disk and folders away, and look at what is left.

    python tests/faults/torture.py [--kills 500] [--seed 0] [--only NAME ...]

After each kill every file is the one of before or the one of an undisturbed run, byte by byte, and nothing else is
there but temporary files; the command then does its work. Half of the kills come at any moment, half just after a file
begins to be written. A sweep's run and a trainer's callback go on where they were killed: no evaluation that was on the
disk is lost or changed, and they end with the rows of an undisturbed run. Then, for every command: a process that dies
before and after each rename and flush, a full disk, a folder that is read-only or vanishes, two processes at a time,
and a clock that jumps. Ends with 1 where something of this does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

from writers import (
    COMMANDS,
    Child,
    Ended,
    as_user,
    command,
    contents,
    prepare,
    quickstart,
    write_rows,
)

from cmrplan import cli
from cmrplan.files import TEMPORARY_PREFIX
from probes.training.metrics import read_rows

LONGER = 1.1  # kills come within the time of a command, and a little later
LONGEST_RUN = 2.0  # seconds that the training of a probe takes, about
GIVE_UP = 120.0  # seconds that no command takes
MESSAGES = 1024  # bytes that the messages of a command take at most
PARTS = (0.1, 0.3, 0.6)  # of a file, for which there is room
JUMP = 10 * 365 * 86400.0  # seconds
STEPS = ("replace", "fsync")
COSTLY = 6  # the whole flow is killed so many times less
FEWEST_TO_GO_ON = 20  # kills of all, below which no run is trained


class Broken(Exception):
    """Something that is promised does not hold."""


class Torture:
    """A folder to work in, with the inputs of every command and what each writes undisturbed.

    Parameters
    ----------
    folder : Path
    seed : int
    has_runs : bool, default True
        Whether a small sweep is trained first, which takes seconds.
    """

    def __init__(self, folder: Path, seed: int, *, has_runs: bool = True) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.inputs, self.out = folder / "in", folder / "out"
        self.spec = prepare(self.inputs, has_runs=has_runs)
        self.wanted: dict[str, dict[str, bytes]] = {}
        self.seconds: dict[str, float] = {}

    def start(self, work: Callable[[], int]) -> Child:
        """Start some work in a process of its own."""
        return Child(work, self.folder / "errors.txt")

    def undisturbed(self, name: str) -> dict[str, bytes]:
        """Return what a command writes when nothing happens; twice the same bytes."""
        if name not in self.wanted:
            written = []
            for _ in range(2):
                self.clear()
                began = time.perf_counter()
                self.require(name, self.start(command(name, self.inputs, self.out)).wait())
                self.seconds[name] = time.perf_counter() - began
                written.append(contents(self.out))
            if written[0] != written[1] or not written[0]:
                raise Broken(f"{name} does not write the same bytes twice: {list(written[0])}")
            self.wanted[name] = written[0]
        return self.wanted[name]

    def clear(self) -> None:
        """Empty the output folder."""
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir()

    def before(self, name: str) -> dict[str, bytes]:
        """Put older files of the same kind in place, or none, and return them."""
        self.clear()
        older = {}
        if self.random.random() < 0.5:
            for file, content in self.undisturbed(name).items():
                # A Parquet file with more bytes at its end is none.
                older[file] = content + b"\n" * (not file.endswith(".parquet"))
                (self.out / file).write_bytes(older[file])
        return older

    def require(self, name: str, ended: Ended, *, status: int | None = 0) -> None:
        """Refuse an end that a command must not have; a status of None is any sound one."""
        if not ended.is_sound or (status is not None and ended.status != status):
            raise Broken(f"{name} ended with {ended.status}: {ended.errors[-300:]!r}")

    def require_whole(self, name: str, older: dict[str, bytes]) -> None:
        """Refuse files that are neither those of before nor those of an undisturbed run."""
        new = self.undisturbed(name)
        for file, content in contents(self.out).items():
            if content not in (older.get(file), new.get(file)):
                raise Broken(f"{name} left {file} of {len(content)} bytes, which is no whole file")
        gone = older.keys() - contents(self.out).keys()
        if gone:
            raise Broken(f"{name} removed {gone}")

    def require_done(self, name: str) -> None:
        """Do a command undisturbed, and refuse other files than it writes in an empty folder."""
        self.require(name, self.start(command(name, self.inputs, self.out)).wait())
        if contents(self.out) != self.undisturbed(name):
            raise Broken(f"{name} writes something else after it was disturbed")

    def wait_and_kill(self, child: Child, longest: float, folder: Path) -> bool:
        """Kill a process at a random moment, or where a file begins to be written; tell whether it was hit."""
        end = time.perf_counter() + self.random.uniform(0, LONGER * longest)
        if self.random.random() < 0.5:
            give_up = time.perf_counter() + GIVE_UP
            while not _is_writing(folder) and not child.ended(0.0002):
                if time.perf_counter() > give_up:
                    break
            end = time.perf_counter() + self.random.uniform(0, 0.004)
        while time.perf_counter() < end and not child.ended(0.0005):
            pass
        is_hit = not child.ended()
        child.kill()
        return is_hit

    def kills(self, name: str, count: int) -> int:
        """Kill a command so often, look at its files each time, and return how often it was hit in its work."""
        hits = 0
        self.undisturbed(name)
        for _ in range(count):
            older = self.before(name)
            child = self.start(command(name, self.inputs, self.out))
            hits += self.wait_and_kill(child, self.seconds[name], self.out)
            self.require(name, child.wait(), status=None)
            self.require_whole(name, older)
        self.require_done(name)
        return hits

    def kills_of_rows(self, count: int) -> int:
        """Kill a trainer's callback so often, and let it go on each time."""
        self.clear()
        path, hits = self.out / "r0.3.jsonl", 0
        longest = 0.05
        wanted = contents(self.inputs / "rows")
        for _ in range(count):
            if path.exists() and contents(self.out) == wanted:
                self.clear()
            child = self.start(lambda: write_rows(self.out))
            hits += self.wait_and_kill(child, longest, self.out)
            self.require("callback", child.wait(), status=None)
            _require_kept("callback", wanted[path.name], path)
        if contents(self.out) != wanted:
            self.require("callback", self.start(lambda: write_rows(self.out)).wait())
        if contents(self.out) != wanted:
            raise Broken("the callback ends with other rows than an undisturbed one")
        return hits

    def kills_of_a_run(self, count: int) -> int:
        """Kill the training of a probe so often, from its start to its end and anew, and compare the log."""
        runs = self.folder / "runs"
        wanted = next((self.inputs / "runs" / "probes").iterdir())
        probe = runs / "probes" / wanted.name
        words = ["probe", "run", str(self.spec), "--out", str(runs), "--only", wanted.name]
        hits = 0
        for _ in range(count):
            if (probe / "outcome.json").exists() or not runs.exists():
                shutil.rmtree(runs, ignore_errors=True)
                shutil.copytree(self.inputs / "runs", runs)
                shutil.rmtree(probe)
            child = self.start(lambda: cli.run([*words, "--device", "cpu"]))
            hits += self.wait_and_kill(child, LONGEST_RUN, probe)
            self.require("probe run", child.wait(), status=None)
            metrics = (wanted / "metrics.jsonl").read_bytes()
            _require_kept("probe run", metrics, probe / "metrics.jsonl")
        self.require("probe run", self.start(lambda: cli.run([*words, "--device", "cpu"])).wait())
        logs = []
        for folder in (runs, self.inputs / "runs"):
            log = self.folder / f"log-of-{folder.parent.name}.csv"
            collect = ["logs", "collect", str(folder), "--out", str(log)]
            self.require("logs collect", self.start(lambda: cli.run(collect)).wait())  # noqa: B023
            logs.append(log.read_bytes())
        if logs[0] != logs[1]:
            raise Broken("the log of a run that was killed is another one")
        return hits

    def kills_of_quickstart(self, count: int) -> int:
        """Kill the whole flow so often, let it go on each time, and compare the files of its report."""
        folders = {name: self.folder / f"quickstart-{name}" for name in ("whole", "killed")}
        work = {name: (lambda out=out: quickstart(self.spec, out)) for name, out in folders.items()}
        began, hits = time.perf_counter(), 0
        self.require("quickstart", self.start(work["whole"]).wait())
        longest = time.perf_counter() - began
        wanted = contents(folders["whole"])
        del wanted["log.runs.csv"]  # it has times
        for _ in range(count):
            child = self.start(work["killed"])
            hits += self.wait_and_kill(child, longest, folders["killed"])
            self.require("quickstart", child.wait(), status=None)
            files = contents(folders["killed"]) if folders["killed"].exists() else {}
            if any(wanted.get(name, content) != content for name, content in files.items()):
                raise Broken("quickstart left a file that an undisturbed one does not write")
            if wanted.keys() <= files.keys():
                shutil.rmtree(folders["killed"])
        self.require("quickstart", self.start(work["killed"]).wait())
        files = contents(folders["killed"])
        if any(files.get(name) != content for name, content in wanted.items()):
            raise Broken("quickstart ends with other files after it was killed")
        return hits

    def deaths_at_every_step(self, name: str) -> int:
        """Let a command die before and after each rename and each flush to the disk, and return how often it did."""
        deaths, number_of_files = 0, len(self.undisturbed(name))
        for step, is_after in product(STEPS, (False, True)):
            for number in range(1, number_of_files + 1):
                older = self.before(name)
                work = command(name, self.inputs, self.out)
                ended = self.start(_dying(work, step, number, is_after=is_after)).wait()
                if ended.status != -signal.SIGKILL:
                    raise Broken(f"{name} does not call {step} for each of its files")
                self.require_whole(name, older)
                deaths += 1
        self.require_done(name)
        return deaths

    def vanishing(self, name: str, count: int) -> None:
        """Remove the output folder while a command works."""
        self.undisturbed(name)
        for _ in range(count):
            self.before(name)
            child = self.start(command(name, self.inputs, self.out))
            time.sleep(self.random.uniform(0, self.seconds[name]))
            shutil.rmtree(self.out, ignore_errors=True)
            self.require(name, child.wait(), status=None)
        self.clear()
        self.require_done(name)

    def two_at_a_time(self, name: str) -> None:
        """Start a command twice on one folder."""
        older = self.before(name)
        work = command(name, self.inputs, self.out)
        children = [Child(work, self.folder / f"errors-{k}.txt") for k in range(2)]
        for child in children:
            self.require(name, child.wait(), status=None)
        self.require_whole(name, older)
        if contents(self.out) != self.undisturbed(name):
            raise Broken(f"two of {name} at a time do not leave what one leaves")

    def jumping_clock(self, name: str) -> None:
        """Do a command under a clock that jumps by up to ten years with every look at it."""
        self.undisturbed(name)
        self.clear()
        work = command(name, self.inputs, self.out)

        def jumping() -> int:
            real, generator = time.time, random.Random(0)
            time.time = lambda: real() + generator.uniform(-JUMP, JUMP)
            return work()

        self.require(name, self.start(jumping).wait())
        if contents(self.out) != self.undisturbed(name):
            raise Broken(f"{name} writes something else where the clock jumps")

    def full_disk(self, name: str, disk: Path) -> None:
        """Do a command on a disk with no room, one with a little, and with room again."""
        new = self.undisturbed(name)
        older = {file: b"" for file in new}
        whole = sum(map(len, new.values()))
        for room in sorted({0, 4096, whole // 8192 * 4096}):
            out = self._on_disk(disk, older, room=room)
            ended = self.start(command(name, self.inputs, out)).wait()
            self.require(name, ended, status=None)
            left = contents(out)
            left.pop("filling", None)
            for file, content in left.items():
                if content not in (b"", new[file]):
                    raise Broken(f"{name} left {file} cut on a full disk")
            if any(path.name.startswith(TEMPORARY_PREFIX) for path in out.iterdir()):
                raise Broken(f"{name} left a temporary file on a full disk")
        (disk / "filling").unlink()
        self.require(name, self.start(command(name, self.inputs, disk)).wait())
        if contents(disk) != new:
            raise Broken(f"{name} writes something else once there is room again")

    def short_of_room(self, name: str) -> None:
        """Do a command where the system lets no file grow beyond parts of the largest that it writes.

        The messages of a process go to a file too, so a command of small files is let off.
        """
        largest = max(map(len, self.undisturbed(name).values()))
        for part in PARTS if largest > MESSAGES / min(PARTS) else ():
            self.clear()
            work = _limited(command(name, self.inputs, self.out), int(part * largest))
            self.require(name, self.start(work).wait(), status=2)
            self.require_whole(name, {})
            if any(path.name.startswith(TEMPORARY_PREFIX) for path in self.out.iterdir()):
                raise Broken(f"{name} left a temporary file where there was no room for it")
            self.require_done(name)

    def _on_disk(self, disk: Path, older: dict[str, bytes], *, room: int) -> Path:
        for path in disk.iterdir():
            path.unlink()
        for file, content in older.items():
            (disk / file).write_bytes(content)
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "filling").write_bytes(b"x" * max(free - room, 0))
        return disk

    def read_only(self, name: str, folder: Path) -> None:
        """Do a command on a disk, or in a folder, that is read-only and empty."""
        ended = self.start(as_user(command(name, self.inputs, folder))).wait()
        if not ended.is_sound or ended.status == 0 or contents(folder):
            raise Broken(f"{name} in a read-only place ended with {ended.status}: {ended.errors!r}")


def _is_writing(folder: Path) -> bool:
    """Tell whether a temporary file of a writer is in a folder."""
    try:
        return any(name.startswith(TEMPORARY_PREFIX) for name in os.listdir(folder))
    except OSError:
        return False


def _require_kept(name: str, wanted: bytes, path: Path) -> None:
    """Refuse rows on the disk that an undisturbed run does not have; a last line may be half there."""
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    whole = b"".join(line for line in lines if line.endswith(b"\n"))
    if not wanted.startswith(whole):
        raise Broken(f"{name}: the rows on the disk are not those of an undisturbed run")
    if path.exists() and len(read_rows(path)) != whole.count(b"\n"):
        raise Broken(f"{name}: a finished evaluation cannot be read any more")


def _dying(work: Callable[[], int], step: str, number: int, *, is_after: bool) -> Callable[[], int]:
    """Return some work that dies at its ``number``-th call of a function of ``os``."""

    def dying() -> int:
        real, calls = getattr(os, step), []

        def call(*arguments, **options):
            calls.append(step)
            is_the_one = len(calls) == number
            if is_the_one and not is_after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if is_the_one:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(os, step, call)
        return work()

    return dying


def _limited(work: Callable[[], int], room: int) -> Callable[[], int]:
    """Return some work that can write no file of more bytes than ``room``."""

    def limited() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return work()

    return limited


class Mounted:
    """A small disk of its own, which only root can have; otherwise nothing.

    Parameters
    ----------
    folder : Path
    kilobytes : int
    """

    def __init__(self, folder: Path, kilobytes: int) -> None:
        self.folder, self.size = folder, f"size={kilobytes}k"

    def __enter__(self) -> Path | None:
        self.folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", self.size, "tmpfs", str(self.folder)]
        self.is_there = (
            bool(shutil.which("mount"))
            and not subprocess.run(mount, capture_output=True).returncode
        )
        return self.folder if self.is_there else None

    def __exit__(self, *_: object) -> None:
        if self.is_there:
            subprocess.run(["umount", str(self.folder)], check=True, capture_output=True)


def make_read_only(disk: Path) -> None:
    """Mount a small disk anew, read-only."""
    remount = ["mount", "-o", "remount,ro", str(disk)]
    subprocess.run(remount, check=True, capture_output=True)


def everything(torture: Torture, names: list[str], kills: int) -> int:
    """Print a table of what was done to each command, and return how many broke a promise."""
    each = max(-(-kills // (len(names) + 3)), 1)
    print(
        "| command | kills | of these in its work | deaths at renames and flushes | others | holds |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    broken = 0
    with Mounted(torture.folder / "disk", 4096) as disk:
        for name in names:
            others, hits, deaths, problem = [], 0, 0, "yes"
            try:
                hits = torture.kills(name, each)
                deaths = torture.deaths_at_every_step(name)
                torture.vanishing(name, 1)
                torture.two_at_a_time(name)
                torture.jumping_clock(name)
                torture.short_of_room(name)
                others += ["folder vanishes", "two at a time", "clock jumps", "no room"]
                if disk:
                    torture.full_disk(name, disk)
                    others.append("full disk")
            except Broken as error:
                problem, broken = f"**no**: {error}", broken + 1
            print(
                f"| `{name}` | {each} | {hits} | {deaths} | {', '.join(others)} | {problem} |",
                flush=True,
            )
        broken += _on_a_read_only_disk(torture, names, disk)
    going_on = {
        "callback": torture.kills_of_rows,
        "probe run": torture.kills_of_a_run,
        "quickstart": torture.kills_of_quickstart,
    }
    for name, kill in going_on.items() if kills >= FEWEST_TO_GO_ON else ():
        problem, hits = "yes", 0
        count = -(-each // COSTLY) if name == "quickstart" else each
        try:
            hits = kill(count)
        except Broken as error:
            problem, broken = f"**no**: {error}", broken + 1
        print(f"| `{name}` | {count} | {hits} |  | goes on after each | {problem} |", flush=True)
    return broken


def _on_a_read_only_disk(torture: Torture, names: list[str], disk: Path | None) -> int:
    if disk is None:
        print("\nNo full and no read-only disk was tried: mounting one needs root.\n")
        return 0
    for path in disk.iterdir():
        path.unlink()
    make_read_only(disk)
    broken = 0
    for name in names:
        try:
            torture.read_only(name, disk)
        except Broken as error:
            print(f"| `{name}` |  |  |  | read-only disk | **no**: {error} |")
            broken += 1
    return broken


def main() -> None:
    """Print the table, and the figures below it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        torture = Torture(Path(folder), options.seed)
        broken = everything(torture, options.only, options.kills)
    print(f"\ncommands that broke a promise: {broken}")
    raise SystemExit(bool(broken))


if __name__ == "__main__":
    main()
