"""What reads a file that others made, each with a small sound file to start from, and what it lies among."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

sys.path.append(str(Path(__file__).parents[1]))
sys.path.append(str(Path(__file__).parents[1] / "probes"))
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import faults
import many_runs
from importer_files import FILES, changes_of
from known_mixtures import world
from tiny_checkpoints import END, trained_tokenizer

import cmrplan as cp
from cmrplan import cli
from cmrplan.errors import CmrplanError
from cmrplan.export.planned import planned_mixture
from cmrplan.fit.file import read_fit, write_fit
from cmrplan.log.cells import LogFinding
from cmrplan.log.files import check_log, read_log
from cmrplan.log.importers import import_log
from cmrplan.log.importers.changes import Changes
from cmrplan.log.importers.mapping_file import read_mapping
from cmrplan.mixture.file import read_mixture_fit, write_mixture_fit
from probes.callbacks.description import ProbeRun
from probes.callbacks.folder import collect_logs
from probes.callbacks.rows import ProbeLogWriter
from probes.collect import collect, read_ledger
from probes.data.checkpoint_tokenizer import read_tokenizer
from probes.data.prepared import load_corpora
from probes.data.readers import read_file
from probes.ledger import Ledger
from probes.runs import SweepFolder
from probes.spec.file import read_spec
from probes.status import read_status
from probes.sweep import prepare_sweep
from probes.training.checkpoint import Checkpoints, Position

CORPUS = Path(__file__).parent / "corpus"
FITS = Path(__file__).parents[1] / "reference" / "fits" / "0.2.0"
SIZE = {"model_params": "7e7"}
POSITION = Position(0, 8)
_SEEDS = tempfile.TemporaryDirectory()  # removed when the process ends
Numbers = frozenset[object]


@dataclass(frozen=True)
class Reader:
    """A reader, and a sound file for it.

    Parameters
    ----------
    write : callable
        Writes the file, and what belongs beside it, to an empty folder, and returns the file.
    read : callable
        Reads the file.
    numbers : callable, optional
        What the file is evidence of, from what was read: of an edited file, no more than of the sound one.
    """

    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    numbers: Callable[[object], Numbers] | None = None
    names: Callable[[object], bool] = lambda value: False
    """Whether what was read names a part that is damaged."""


def _copy(seed: Path) -> Callable[[Path], Path]:
    return lambda folder: Path(shutil.copy(seed, folder))


def _imported(form: str, **changes: dict[str, str]) -> Callable[[Path], object]:
    return lambda path: import_log(form, path, Changes(**changes))


def _log(path: Path) -> object:
    findings: list[LogFinding] = check_log(path)
    return findings and read_log(path)


def _parquet(seed: Path) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pd.read_csv(seed).to_parquet(folder / "log.parquet", index=False)
        return folder / "log.parquet"

    return write


def _packed(folder: Path) -> Path:
    path = folder / "log.jsonl.gz"
    path.write_bytes(gzip.compress((CORPUS / "log.jsonl").read_bytes(), mtime=0))
    return path


def _texts(path: Path) -> object:
    return list(read_file(path, text_field="run_id", separator=None))


def _written(name: str, text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder / name

    return write


def _project(path: Path) -> None:
    """Take the defaults of a project file; what the command line says of a wrong one is raised."""
    said = StringIO()
    with redirect_stdout(StringIO()), redirect_stderr(said):
        code = cli.run(["--project", str(path), "fit", "--help"])
    if "internal error" in said.getvalue():
        raise AssertionError(said.getvalue())
    if code:
        raise CmrplanError(said.getvalue().removesuffix("\n"))


@cache
def _sealed_files() -> Path:
    """Return a folder with a fit and a plan of each kind, as this version writes them."""
    folder = Path(_SEEDS.name, "sealed")
    folder.mkdir()
    fit, mixture = read_fit(FITS / "two_corpora.json"), read_mixture_fit(FITS / "mixture.json")
    write_fit(fit, folder / "fit.json")
    write_mixture_fit(mixture, folder / "mixture.json")
    kriged = cp.fit_mixture(world(3, 24), "data_mixing", bootstrap=2, residual="gp")
    write_mixture_fit(kriged, folder / "kriged-mixture.json")
    asked = ["--model-params", "1.8e9", "--train-tokens", "1e10", "--max-general-rise", "3%"]
    tokens = ["--train-tokens", "1e9", "--out", str(folder / "mixture-plan.json")]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        cli.run(["plan", str(folder / "fit.json"), *asked, "--out", str(folder / "plan.json")])
        cli.run(["mix", "plan", str(folder / "mixture.json"), *tokens])
    return folder


def _sealed(name: str) -> Callable[[Path], Path]:
    return lambda folder: _copy(_sealed_files() / name)(folder)


def _content(fit: object) -> Numbers:
    assert isinstance(fit, cp.Fit | cp.MixtureFit)
    return frozenset([json.dumps(fit.as_dict(), sort_keys=True)])


def _shares(plan: object) -> Numbers:
    return frozenset(plan.shares.items())


@cache
def _sweep() -> Path:
    """Return the folder of a small sweep of two probes that are finished, with invented losses."""
    folder = Path(_SEEDS.name, "sweep")
    spec = faults.write_spec(folder / "in", steps=40, ratios=[0.25, 0.5])
    sweep, generator = SweepFolder(folder / "runs"), np.random.default_rng(0)
    with patch("os.fsync", lambda descriptor: None):
        for settings in prepare_sweep(read_spec(spec), sweep, device="cpu", progress=False):
            many_runs.write_run(sweep.plan(settings), settings, generator)
        Ledger(sweep.ledger).catch_up(sweep.all_runs())
    return folder / "runs"


def _in_sweep(pattern: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        shutil.copytree(_sweep(), folder / "runs")
        return sorted((folder / "runs").glob(pattern))[0]

    return write


def _of_sweep(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what reads the sweep in which a file lies."""

    def of_sweep(path: Path) -> object:
        (runs,) = (parent for parent in path.parents if parent.name == "runs")
        return read(runs)

    return of_sweep


def _all_of(runs: Path) -> object:
    """Read a sweep in each way that a command does."""
    read_status(runs)
    read_ledger(runs)
    return collect(runs)


def _rows(collected: object) -> Numbers:
    assert isinstance(collected, tuple)
    # A mean of the same losses differs in its last digits from processor to processor, so they are not compared.
    rounded = collected[0].map(lambda cell: f"{cell:.11g}" if isinstance(cell, float) else cell)
    return frozenset(tuple(row.items()) for row in rounded.to_dict("records"))


def _has_damaged(collected: object) -> bool:
    assert isinstance(collected, tuple)
    return "damaged" in set(collected[1]["state"])


def _callbacks(suffix: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        for ratio in (0.1, 0.3):
            run = ProbeRun(run_id=f"r{ratio}", domain_ratio=ratio, model_params=1e6)
            writer = ProbeLogWriter(folder, run, planned_steps=2)
            for step in range(3):
                losses = {"general": 2.8 + ratio / 10, "domain": 3.0 - step / 20}
                writer.write(step, 1e6 * step, losses)
            writer.end(2)
        return folder / f"r0.3{suffix}"

    return write


def _checkpoint(folder: Path) -> Path:
    Checkpoints(folder, "0123").save(POSITION, {"weight": torch.arange(32.0)})
    return Checkpoints(folder, "0123").path(POSITION)


def _tensors(path: Path) -> object:
    return Checkpoints(path.parent, "0123").load(POSITION)


def _values(tensors: object) -> Numbers:
    return frozenset(
        {} if tensors is None else {n: tuple(t.tolist()) for n, t in tensors.items()}.items()
    )


def _tokenizer(folder: Path) -> Path:
    (folder / "tokenizer.json").write_text(trained_tokenizer().to_str())
    return folder / "tokenizer.json"


IMPORTERS = {
    f"import {form}": Reader(
        lambda folder, write=write: Path(write(folder)),
        lambda path, form=form: import_log(form, path, changes_of(form)),
    )
    for form, (write, _, _) in FILES.items()
}
SWEEP_FILES = {
    "run settings": "probes/*/settings.json",
    "run metrics": "probes/*/metrics.jsonl",
    "run losses": "probes/*/losses/*.npz",
    "run outcome": "probes/*/outcome.json",
    "run progress": "probes/*/progress.json",
    "sweep ledger": "ledger.jsonl",
    "sweep spec": "spec.yaml",
    "sweep corpora": "corpora/manifest.json",
}
RUN_FOLDERS = {
    name: Reader(_in_sweep(pattern), _of_sweep(_all_of), _rows, _has_damaged)
    for name, pattern in SWEEP_FILES.items()
}
EVIDENCE = {
    "sealed fit": Reader(_sealed("fit.json"), read_fit, _content),
    "sealed mixture": Reader(_sealed("mixture.json"), read_mixture_fit, _content),
    "kriged mixture": Reader(_sealed("kriged-mixture.json"), read_mixture_fit, _content),
    "plan": Reader(_sealed("plan.json"), planned_mixture, _shares),
    "mixture plan": Reader(_sealed("mixture-plan.json"), planned_mixture, _shares),
    "callback rows": Reader(
        _callbacks(".jsonl"), lambda path: collect_logs(path.parent), _rows, _has_damaged
    ),
    "callback state": Reader(
        _callbacks(".run.json"), lambda path: collect_logs(path.parent), _rows, _has_damaged
    ),
    "checkpoint": Reader(_checkpoint, _tensors, _values),
    **RUN_FOLDERS,
}
EDITED = (
    *(
        "sealed fit",
        "sealed mixture",
        "kriged mixture",
        "plan",
        "mixture plan",
        "callback rows",
        "callback state",
    ),
    *("run settings", "run metrics", "run outcome", "run progress", "sweep corpora"),
)  # files of JSON whose numbers an edit could change
READERS: dict[str, Reader] = {
    "csv": Reader(_copy(CORPUS / "log.csv"), _log),
    "jsonl": Reader(_copy(CORPUS / "log.jsonl"), _log),
    "parquet": Reader(_parquet(CORPUS / "log.csv"), _log),
    "table": Reader(_copy(CORPUS / "table.csv"), _imported("table")),
    "chinchilla": Reader(_copy(CORPUS / "chinchilla.csv"), _imported("chinchilla")),
    "mixinglaws": Reader(_copy(CORPUS / "70M.txt"), _imported("mixinglaws")),
    "wandb_chart": Reader(
        _copy(CORPUS / "chart.csv"),
        _imported(
            "wandb_chart", names={"r010": "0.1"}, constants=SIZE | {"tokens_per_step": "1000"}
        ),
    ),
    "wandb_chart parquet": Reader(
        _parquet(CORPUS / "chart.csv"),
        _imported(
            "wandb_chart", names={"r010": "0.1"}, constants=SIZE | {"tokens_per_step": "1000"}
        ),
    ),
    "trainer_state": Reader(
        _copy(CORPUS / "trainer_state.json"),
        _imported("trainer_state", constants=SIZE | {"domain_ratio": "0.3"}),
    ),
    "trainer_steps": Reader(
        _copy(CORPUS / "trainer_state.json"),
        _imported(
            "trainer_state",
            constants=SIZE | {"domain_ratio": "0.3", "tokens_per_step": "1000"},
        ),
    ),
    **IMPORTERS,
    "mapping": Reader(
        _written(
            "map.yaml",
            "format: table\nmap:\n  tokens_B: train_tokens\nscale: {train_tokens: 1e9}\n",
        ),
        read_mapping,
    ),
    "project": Reader(
        _written("cmrplan.toml", '[fit]\nlaw = "dcpt"\nbootstrap = 20\n[plan]\nmax-epochs = 4.0\n'),
        _project,
    ),
    "spec": Reader(_copy(CORPUS / "spec.yaml"), read_spec),
    "fit": Reader(_copy(FITS / "two_corpora.json"), read_fit),
    "mixture": Reader(_copy(FITS / "mixture.json"), read_mixture_fit),
    **EVIDENCE,
    "corpus": Reader(_copy(CORPUS / "log.jsonl"), _texts),
    "corpus gz": Reader(_packed, _texts),
    "corpus parquet": Reader(_parquet(CORPUS / "log.csv"), _texts),
    "corpus text": Reader(_written("corpus.txt", "One document.\n\nAnother, ü.\n"), _texts),
    "prepared corpora": Reader(
        _in_sweep("corpora/manifest.json"), lambda path: load_corpora(path.parent)
    ),
    "tokenizer": Reader(_tokenizer, lambda path: read_tokenizer(path.parent, end_of_document=END)),
}
