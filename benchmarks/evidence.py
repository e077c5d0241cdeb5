"""Write docs/evidence.md: how good the answers are, every figure below the command that prints it.

    python benchmarks/evidence.py [--only TITLE ...] [--others FOLDER] [--check]

Runs the commands of the page one after another, each with one thread, and writes what they print. ``--only`` runs
some sections and leaves the others as they are; what takes a quarter of an hour is run only so. ``--others`` names a
folder with the logs of others, which are no part of the repository (the page says where they are), and prints their
tables instead. ``--check`` writes nothing: it says where the page and what the commands print now are further apart
than the page says, and ends with 1 if they are.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import evidence_tables as judge
from evidence_tables import NUMBER, Table, kept, tables_of

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "evidence.md"
DIGITS, SECONDS = "digits", "seconds"
SAME_SECONDS = 5.0  # times and memory may differ by this factor


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Parameters
    ----------
    title : str
    text : str
        What is asked, and against what.
    command : str
        As one types it in the root of the repository.
    verdict : callable or None
        Takes the tables that the command prints and returns lines.
    rows : frozenset of str
        First cells of the rows that the page shows; all where it is empty.
    noise : str
        ``digits`` for figures that come out again, ``seconds`` for what depends on the machine.
    is_long : bool
        Whether the command takes so long that it runs only where the section is named.
    """

    title: str
    text: str
    command: str
    verdict: Callable[[list[Table]], list[str]] | None = None
    rows: frozenset[str] = frozenset()
    noise: str = DIGITS
    is_long: bool = False


ALL = frozenset({"all", "all, general", "all, domain"})
SECTIONS = (
    Section(
        "Hidden rows of our own sweep",
        "What a fit does by default (`auto`), each law alone, the papers' way of fitting "
        "(Huber delta 1e-3), and what one would do without a "
        "law: straight lines, carrying the last loss forward, regression, gradient "
        "boosting. The sweep is [data/probes](../data/README.md).",
        "python benchmarks/held_out.py data/probes --workers 1",
        judge.accuracy,
    ),
    Section(
        "Published tables",
        "The same at hidden ratios of three tables that papers print, beside what the "
        "authors of one of them predict, and beside rules of thumb.",
        "python benchmarks/published.py",
        judge.authors,
    ),
    Section(
        "Plans in hindsight, against rules of thumb",
        "A plan for the largest model of our sweep at its largest budget from its cheap "
        "part, by the default and by laws alone, beside fixed "
        "ratios and the best ratio among those that were seen. The sweep itself measured "
        "what each costs.",
        "python benchmarks/hindcast.py data/probes/log.csv --max-general-rise 5%",
        judge.strategies,
    ),
    Section(
        "A prediction that was committed before it was tested",
        "The middle size of [data/sweep2](../data/sweep2/README.md), three times the smaller one, predicted from that "
        "and the base losses alone, and trained afterwards: losses at eight ratios and six budgets (`held`: share of "
        "them inside the 90 % interval), and the ratios at 2, 3 and 5 % over the base and over pure replay. What was "
        "changed since stands in the README; these are the predictions as they were.",
        "python data/sweep2/preregister.py compare middle --summary",
        judge.predicted,
    ),
    Section(
        "The largest size, by what the middle one taught",
        "Six and a half times the smallest size, predicted from both smaller ones before its probes were looked at, "
        "with replay counted by what each base had seen. Without that, as it was predicted first: "
        "`python data/sweep2/preregister.py compare large`.",
        "python data/sweep2/preregister.py compare large --into large_by_maturity --summary",
        judge.predicted,
    ),
    Section(
        "Calibration of the ratio and of the risk",
        "Simulated worlds in which no law of the library is true. `broken` should be at "
        "most 0.10, and `holds` 0.90.",
        "python benchmarks/decisions.py --worlds 1 --workers 1",
        judge.decided,
        ALL,
    ),
    Section(
        "Calibration of predicted losses",
        "Nominal 90 % intervals in the same worlds.",
        "python benchmarks/world_coverage.py --worlds 6 --residual gp",
        judge.covered,
        ALL,
        is_long=True,
    ),
    Section(
        "Where the domain data repeat",
        "Worlds in which a pass over the domain data counts less than the one before, and "
        "in every second of them harms.",
        "python benchmarks/repetition.py --worlds 1 --workers 1",
    ),
    Section(
        "The typical job",
        "7B parameters, 30B tokens and a rise of 3 %, from probes at 410M and 1B: seven "
        "times beyond the largest probe in size.",
        "python benchmarks/typical_job.py --worlds 1 --workers 1",
        None,
        ALL,
    ),
    Section(
        "Cost of a fit",
        "Processor seconds, against the papers' way of fitting: L-BFGS-B from 500 random starts.",
        "python benchmarks/cost.py data/probes/log.csv --starts 100",
        noise=SECONDS,
        is_long=True,
    ),
    Section(
        "Cost of a plan",
        "Seconds of each question to a fit.",
        "python benchmarks/plan_cost.py data/probes/log.csv",
        noise=SECONDS,
        is_long=True,
    ),
    Section(
        "Faults survived",
        "Every command that writes is killed at random moments; afterwards each file has to be whole, no "
        "finished evaluation lost, and the numbers those of a run that nobody killed. What is promised stands "
        "in [SECURITY.md](../SECURITY.md). The run on this page was ended after the commands that it shows.",
        "python tests/faults/torture.py --kills 500",
        noise=SECONDS,
        is_long=True,
    ),
)

HEAD = """# Evidence

How good the answers are, with every figure below the command that prints it. `make evidence` writes this page anew,
in about {minutes} minutes of one core, but for sections that take longer: their figures, most of which stand in
[benchmarks/README.md](../benchmarks/README.md) with their dates and more of them, are those of the last time that
somebody asked for them by name (`python benchmarks/evidence.py --only "Cost of a fit"`). They are: {long}. What all
this says is in [experiments.md](experiments.md). Losses are in nats per token. The sentences after each table are
worked out from it: what was lost stands as lost.

**Noise of this page.** Simulated worlds have fixed seeds, so all figures come out again but for the last digit, on
another processor type too ([decisions](decisions.md), 29); seconds, memory and counts of damaged files depend on the
machine, and are compared within a factor of {factor:g}. Shares over so few worlds are rough: `± ` is their standard
error. `python benchmarks/evidence.py --check` compares.

**Logs of others** have no licence to be copied, and are no part of the repository: the two-corpus log of
[mixinglaws](https://github.com/yegcjs/mixinglaws), the 17 corpora of [RegMix](https://github.com/sail-sg/regmix), and
the losses read off Chinchilla's Figure 4
([analyzing-chinchilla](https://github.com/epoch-research/analyzing-chinchilla)). With their files in a folder,
`python benchmarks/evidence.py --others FOLDER` prints their tables; results are in
[experiments.md](experiments.md#more-rows-hidden-from-that-sweep-and-from-logs-of-others).
"""


def printed(command: str) -> str:
    """Return what a command prints.

    Raises
    ------
    SystemExit
        If it fails; a law that does not apply to a log is no failure.
    """
    words = shlex.split(command)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=ROOT,
        env=os.environ | threads | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{command} ended with status {done.returncode}")
    return done.stdout.strip()


def body_of(section: Section, output: str) -> str:
    """Return the text of a section."""
    shown = re.sub(r"^### ", "#### ", kept(output, section.rows), flags=re.MULTILINE)
    verdict = section.verdict(tables_of(shown)) if section.verdict else []
    after = f"\n{chr(10).join(verdict)}\n" if verdict else ""
    return f"## {section.title}\n\n{section.text}\n\n`{section.command}`\n\n{shown}\n{after}"


def parts_of(page: str) -> dict[str, str]:
    """Return the sections of a page by their titles."""
    parts = re.split(r"^(?=## )", page, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("## "): part.rstrip() + "\n" for part in parts}


def page_of(parts: dict[str, str], minutes: str) -> str:
    """Return the page."""
    long = ", ".join(section.title.lower() for section in SECTIONS if section.is_long)
    head = HEAD.format(minutes=minutes, factor=SAME_SECONDS, long=long)
    return "\n".join([head, *(parts[s.title] for s in SECTIONS if s.title in parts)])


def apart(section: Section, old: str, new: str) -> list[str]:
    """Return the lines of a section that are further apart than its noise, old beside new."""
    before, after = old.strip().splitlines(), new.strip().splitlines()
    if section.noise == SECONDS:
        before, after = (
            [line for line in part if line.startswith("|")] for part in (before, after)
        )
    if len(before) != len(after):
        return [f"{len(before)} lines, now {len(after)}"]
    return [
        f"{one}\n  {two}"
        for one, two in zip(before, after, strict=True)
        if not is_same_line(one, two, section.noise)
    ]


def is_same_line(old: str, new: str, noise: str) -> bool:
    """Tell whether two lines are the same but for the noise of their figures."""
    if NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return False
    for one, two in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
        digit = 10.0 ** -len(one.partition(".")[2]) if "e" not in one.lower() else 0.0
        first, second = sorted((abs(float(one)), abs(float(two))))
        is_near = abs(float(one) - float(two)) <= 1.001 * digit
        if not is_near and (noise == DIGITS or second > SAME_SECONDS * first):
            return False
    return True


def minutes_in(page: str) -> str:
    """Return the minutes that a page says it takes."""
    match = re.search(r"in about (\S+) minutes of one\s+core", page)
    return match[1] if match else "ten"


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    titles = [section.title for section in SECTIONS]
    parser.add_argument("--only", nargs="+", choices=titles, default=titles, metavar="TITLE")
    parser.add_argument("--others", type=Path, help="folder with the logs of others")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    if options.others:
        print(printed(f"python benchmarks/held_out.py {shlex.quote(str(options.others))}"))
        return
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    parts, problems, start = parts_of(page), [], sum(os.times()[:4])
    for section in SECTIONS:
        if section.title not in options.only or (section.is_long and options.only == titles):
            continue
        began = time.perf_counter()
        body = body_of(section, printed(section.command))
        print(f"{section.title}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        if options.check:
            problems += apart(section, parts.get(section.title, ""), body)
        else:
            parts[section.title] = body
            PAGE.write_text(page_of(parts, minutes_in(page)), encoding="utf-8")
    if not options.check and options.only == titles:
        minutes = f"{(sum(os.times()[:4]) - start) / 60:.0f}"
        PAGE.write_text(page_of(parts, minutes), encoding="utf-8")
    print("\n".join(problems))
    raise SystemExit(bool(problems))


if __name__ == "__main__":
    main()
