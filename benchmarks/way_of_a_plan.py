"""Prints, in order, the files of cmrplan that a plan enters after its fit was read.

    python benchmarks/way_of_a_plan.py FIT.json --model-params 974208 --train-tokens 1.6M --max-general-rise 5%

The arguments are those of ``cmrplan plan``. A file counts from the first of its functions that runs between the return
of ``read_fit`` and the return of the answer to ``cmrplan/cli/plan.py``; modules that are imported on the way do not
count by being imported.
"""

import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import cmrplan
from cmrplan.cli import app

ROOT = Path(cmrplan.__file__).parents[1]
FIRST = "cmrplan/cli/plan.py"


def file_of(code: CodeType) -> str | None:
    """Return a file of the project by its path from the root; None for others and for bodies of modules."""
    path = Path(code.co_filename)
    if code.co_name == "<module>" or not path.is_relative_to(ROOT / "cmrplan"):
        return None
    return str(path.relative_to(ROOT))


class Way:
    """The files entered, in order, between the end of reading the fit and the answer."""

    def __init__(self) -> None:
        self.files: list[str] = [FIRST]
        self.is_on = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Take in one event of the profiler."""
        name = frame.f_code.co_name
        if event == "return" and name == "read_fit":
            self.is_on = True
        elif event == "return" and name == "answer_of":
            self.is_on = False
        elif event == "call" and self.is_on:
            file = file_of(frame.f_code)
            if file is not None and file not in self.files:
                self.files.append(file)


def main(arguments: list[str]) -> int:
    """Run ``cmrplan plan`` with the arguments and print the way."""
    way = Way()
    sys.setprofile(way)
    try:
        status = app.run(["plan", *arguments])
    finally:
        sys.setprofile(None)
    print(f"\n{len(way.files)} files from {FIRST} to the answer:")
    print("\n".join(f"{k:>3}  {file}" for k, file in enumerate(way.files, 1)))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
