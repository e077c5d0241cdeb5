"""Every command that writes, with inputs that it takes a fraction of a second to go through, and its process.

Commands run in forks of a process that has imported everything, so that a kill costs no start of an interpreter. They
are whole processes: SIGKILL hits them as it hits any.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import yaml

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "probes"))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import faults
import torch
from known_mixtures import world
from sweeping import InProcess, run_here

from cmrplan import cli
from cmrplan.cli.quickstart_flow import run_quickstart
from cmrplan.files import TEMPORARY_PREFIX
from probes.callbacks.description import ProbeRun
from probes.callbacks.rows import ProbeLogWriter
from probes.spec.file import read_spec
from probes.training.metrics import read_rows

CORPUS = Path(__file__).parent / "corpus"
LOG = Path(__file__).parents[2] / "data" / "published" / "dcpt_usage1_log.csv"
ASKED = "--model-params 1.8e9 --train-tokens 1e10 --max-general-rise 3%"
SUPPLY = "--available general=50B --available domain=50B"
TEXTS = {
    "fit": "fit IN/log.csv --law dcpt --bootstrap 60 --out OUT/fit.json",
    "mix fit": "mix fit IN/mix.csv --law data_mixing --bootstrap 5 --out OUT/mix.json",
    "plan": f"plan IN/fit.json {ASKED} --out OUT/plan.json",
    "mix plan": "mix plan IN/mix.json --train-tokens 1e9 --out OUT/plan.json --plot OUT/mix.png",
    "next": f"next IN/fit.json {ASKED} --budget 1e11tokens --resolution 0 --out OUT/next.yaml",
    "plot png": "plot IN/fit.json ratio --out OUT/ratio.png",
    "plot svg": "plot IN/fit.json curves --out OUT/curves.svg",
    "plot pdf": "plot IN/fit.json ratio --out OUT/ratio.pdf",
    "report html": "report IN/fit.json --plan IN/plan.json --quick --out OUT/report.html",
    "report md": "report IN/fit.json --plan IN/plan.json --quick --out OUT/report.md",
    "report pdf": "report IN/fit.json --plan IN/plan.json --quick --out OUT/report.pdf",
    "report json": "report IN/fit.json --plan IN/plan.json --quick --out OUT/report.json",
    "export yaml": f"export IN/plan.json --to axolotl {SUPPLY} --out OUT/mixture.yaml",
    "export txt": "export IN/plan.json --to megatron --out OUT/blend.txt",
    "logs import csv": "logs import table IN/table.csv --out OUT/log.csv --save-map OUT/map.yaml",
    "logs import jsonl": "logs import table IN/table.csv --out OUT/log.jsonl",
    "logs import parquet": "logs import table IN/table.csv --out OUT/log.parquet",
    "logs collect": "logs collect IN/runs --out OUT/log.csv",
    "logs collect callbacks": "logs collect IN/rows --out OUT/log.csv",
    "probe export": "probe export sbatch IN/spec.yaml --runs IN/unfinished --out OUT/runs.sbatch",
}
COMMANDS = {name: tuple(text.split()) for name, text in TEXTS.items()}
ROWS_OF_A_RUN = 12


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Parameters
    ----------
    status : int
        Exit code, or minus the signal.
    errors : str
        What it printed on standard error.
    """

    status: int
    errors: str

    @property
    def is_sound(self) -> bool:
        """Whether it was killed, did its work, or said in one line why it did not."""
        if self.status == -signal.SIGKILL or self.status == 0:
            return True
        wrong = "internal error" in self.errors or "Traceback" in self.errors
        return self.status in (1, 2) and not wrong


class Child:
    """A fork of this process that does some work and ends."""

    def __init__(self, work: Callable[[], int], errors: Path) -> None:
        self._errors = errors
        self.pid = os.fork()
        if not self.pid:
            code = 70
            try:
                stream = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(stream, 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                faulthandler.enable(2)  # A crash of a library says where.
                code = work()
            except BaseException as error:
                os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode())
            finally:
                os._exit(code)

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)

    def ended(self, seconds: float = 0.0) -> bool:
        """Tell, after some seconds, whether it has ended; it is still to be waited for."""
        time.sleep(seconds)
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, flags) is not None

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status = os.waitpid(self.pid, 0)
        errors = self._errors.read_text() if self._errors.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), errors)


def as_user(work: Callable[[], int]) -> Callable[[], int]:
    """Return some work that is refused what the modes of files forbid, as root is not with capabilities 1 and 2."""

    def without_privilege() -> int:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable ones, twice 32 bits
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.capget(header, sets):
            raise OSError(ctypes.get_errno(), "capget")
        sets[0] &= ~0b110
        if libc.capset(header, sets):
            raise OSError(ctypes.get_errno(), "capset")
        return work()

    return without_privilege


def command(name: str, inputs: Path, out: Path) -> Callable[[], int]:
    """Return what does a command, from inputs to an output folder."""
    words = [
        word.replace("IN/", f"{inputs}/").replace("OUT/", f"{out}/") for word in COMMANDS[name]
    ]
    return lambda: cli.run(words)


def write_rows(folder: Path) -> int:
    """Write the rows of a run as a trainer's callback does, from where its log ends."""
    path = folder / "r0.3.jsonl"
    done = max((int(row["step"]) for row in read_rows(path)), default=-1) if path.exists() else -1
    run = ProbeRun(run_id="r0.3", domain_ratio=0.3, model_params=1e6, seed=0)
    resume = max(done - 1, 0)  # a trainer's checkpoint is older than its last evaluation
    writer = ProbeLogWriter(folder, run, resume_step=resume, planned_steps=ROWS_OF_A_RUN)
    for step in range(resume, ROWS_OF_A_RUN + 1):
        losses = {"general": 3 + 0.01 * step, "domain": 2 - 0.01 * step}
        writer.write(step, 1000.0 * step, losses)
    writer.end(ROWS_OF_A_RUN)
    return 0


def quickstart(spec: Path, out: Path) -> int:
    """Do the whole flow with a small sweep, without worker processes."""
    with patch("probes.sweep.make_executor", InProcess):
        run_quickstart(out, spec=spec, workers=1)
    return 0


def prepare(inputs: Path, *, has_runs: bool) -> Path:
    """Write the inputs of every command to a folder, and return the spec of a sweep, which is run on demand."""
    torch.set_num_threads(1)
    inputs.mkdir(parents=True)
    (inputs / "log.csv").write_bytes(LOG.read_bytes())
    (inputs / "table.csv").write_bytes((CORPUS / "table.csv").read_bytes())
    world(3, 8).to_csv(inputs / "mix.csv", index=False)
    spec = faults.write_spec(inputs / "corpora", steps=40, ratios=[0.5])
    (inputs / "spec.yaml").write_text(
        yaml.safe_dump(
            read_spec(spec).model_dump() | {"name": "torture"},
        )
    )
    if has_runs:
        run_here(read_spec(inputs / "spec.yaml"), inputs / "runs")
        shutil.copytree(inputs / "runs", inputs / "unfinished")
        for probe in (inputs / "unfinished" / "probes").iterdir():
            shutil.rmtree(probe)
    (inputs / "rows").mkdir()
    write_rows(inputs / "rows")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for name in ("fit", "mix fit", "plan"):
            if command(name, inputs, inputs)():
                raise SystemExit(f"{name} could not write its file")
    return inputs / "spec.yaml"


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their names, without temporary ones of killed processes."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(TEMPORARY_PREFIX)
    }
