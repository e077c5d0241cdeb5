"""Write the golden texts anew: python tests/reference/golden/renew.py; say in the commit which changed and why."""

import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from golden_texts import COMMANDS, FOLDER, ROOT, text_of

from cmrplan import cli


@dataclass
class Answer:
    """What a command printed and how it exited."""

    code: int
    out: str
    err: str


def main() -> None:
    """Run every command and write what it prints."""
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fits = {fit: str(folder / f"{fit}.json") for fit in ("usage1", "probes")}
        for text, command in COMMANDS.items():
            out, err = StringIO(), StringIO()
            with redirect_stdout(out), redirect_stderr(err):
                code = cli.run(command.format(**fits).split())
            answer = Answer(code, out.getvalue(), err.getvalue())
            (FOLDER / f"{text}.txt").write_text(text_of(answer, folder), encoding="utf-8")
            print(text)


if __name__ == "__main__":
    main()
