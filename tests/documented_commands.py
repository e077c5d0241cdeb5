"""Commands of the pages, run; renews what they print and draw: python tests/documented_commands.py (make docs-figures).

A block ```` ```console ```` of a page is run, in the order of the page, in a folder of its own that has ``data`` in it.
A line ``$ cmrplan ...`` is a command; the lines after it are what it prints:

- none: the output is not shown;
- ending in ``...``: as many of its first lines as stand before;
- else all of it.

A command that writes ``docs/*.png`` renews that picture. ``tests/test_docs.py`` runs every block ```` ```console ````
again and compares. Blocks ```` ```console slow ```` it does not run: it asks whether the commands of their page and the
data that these name are those of the last renewal, by the fingerprints in ``tests/reference/documented.json``. So what
changes there because the code changed is seen only when the pages are renewed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from golden_texts import ROOT, differences

from cmrplan import cli

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FINGERPRINTS = ROOT / "tests" / "reference" / "documented.json"
CUT = "..."
_BLOCK = re.compile(r"^```console( slow)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What differs between two runs of the same code: times, speeds, folders.
_CHANGING = re.compile(r"\d[\d.,]*(?: ?(?:s|seconds|min|h)\b| tokens/s)|(?:/[\w.-]+)+/")


@dataclass(frozen=True)
class Command:
    """One command of a page, and what the page shows of its output.

    Parameters
    ----------
    line : str
        Without the prompt.
    shown : tuple of str
    is_slow : bool
    """

    line: str
    shown: tuple[str, ...]
    is_slow: bool

    def cut(self, printed: str) -> tuple[str, ...]:
        """Return what of an output the page shows."""
        lines = tuple(printed.splitlines())
        if not self.shown:
            return ()
        if self.shown[-1] != CUT:
            return lines
        most = len(self.shown) - 1
        return (*lines[:most], CUT) if len(lines) > most else lines

    def is_same(self, shown: tuple[str, ...]) -> bool:
        """Tell whether two outputs are the same, but for times, speeds and folders."""
        old, new = (_CHANGING.sub("~", "\n".join(lines)) for lines in (self.shown, shown))
        return not differences(old, new)


def commands_of(text: str) -> list[Command]:
    """Return the commands of a page in order."""
    return [
        command for slow, block in _BLOCK.findall(text) for command in _parsed(block, bool(slow))
    ]


def _parsed(block: str, is_slow: bool) -> list[Command]:
    parts: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            parts.append((line.removeprefix("$ "), []))
        else:
            parts[-1][1].append(line)
    return [Command(line, tuple(shown), is_slow) for line, shown in parts]


def renewed(text: str, outputs: list[tuple[str, ...]]) -> str:
    """Return a page with the lines shown after each command replaced, where they are not the same."""
    left = iter(outputs)

    def block(match: re.Match[str]) -> str:
        lines = []
        for command in _parsed(match[2], bool(match[1])):
            shown = next(left)
            kept = command.shown if command.is_same(shown) else shown
            lines += [f"$ {command.line}", *kept]
        return "".join(f"{line}\n" for line in (f"```console{match[1] or ''}", *lines)) + "```"

    return _BLOCK.sub(block, text)


@contextmanager
def scratch():
    """Work in an empty folder that has the data of the repository."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data").symlink_to(ROOT / "data")
        (folder / "docs").mkdir()
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def run(command: Command) -> str:
    """Return what a command prints.

    Raises
    ------
    AssertionError
        If it exits with another code than 0; an answer that says no has 1, and is shown with its command.
    """
    words = shlex.split(command.line)
    assert words[0] == "cmrplan", command.line
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli.run(words[1:])
    assert code == 0, f"{command.line}: exit code {code}\n{err.getvalue()}"
    return out.getvalue()


def fingerprint(commands: list[Command]) -> str:
    """Return a hash of commands and of the files of the repository that they name; it does not depend on the code."""
    digest = hashlib.sha256()
    for command in commands:
        digest.update(command.line.encode())
        for word in shlex.split(command.line):
            if word.startswith("data/"):
                digest.update((ROOT / word).read_bytes())
    return digest.hexdigest()[:16]


def main() -> None:
    """Run every command of every page, write what it prints and draws, and the fingerprints."""
    marks = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        commands = commands_of(text)
        if not commands:
            continue
        name = str(page.relative_to(ROOT))
        marks[name] = fingerprint(commands)
        outputs = []
        with scratch() as folder:
            for command in commands:
                print(f"{name}: {command.line}", file=sys.stderr)
                outputs.append(command.cut(run(command)))
            for picture in sorted((folder / "docs").iterdir()):
                shutil.copyfile(picture, ROOT / "docs" / picture.name)
        page.write_text(renewed(text, outputs), encoding="utf-8")
    FINGERPRINTS.write_text(json.dumps(marks, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
