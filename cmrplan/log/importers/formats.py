"""The formats that are read, each with what tells its files from others, and the files of a format in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cmrplan.errors import InputError
from cmrplan.log.cells import SUFFIXES, listed, named
from cmrplan.log.importers.changes import Changes, Imported, joined
from cmrplan.log.importers.chinchilla import import_chinchilla, is_chinchilla
from cmrplan.log.importers.lightning_csv import (
    import_lightning_csv,
    import_litgpt,
    is_lightning_csv,
    is_litgpt_csv,
)
from cmrplan.log.importers.llama_factory import import_llama_factory, is_llama_factory
from cmrplan.log.importers.megatron import import_megatron, is_megatron
from cmrplan.log.importers.mixinglaws import import_mixinglaws, is_mixinglaws
from cmrplan.log.importers.mlflow import import_mlflow, is_mlflow_database, is_mlruns_entry
from cmrplan.log.importers.nanotron import import_nanotron, is_nanotron
from cmrplan.log.importers.olmix import import_olmix, is_olmix
from cmrplan.log.importers.olmo_core import import_olmo_core, is_olmo_core
from cmrplan.log.importers.regmix import import_regmix, is_regmix
from cmrplan.log.importers.table import import_tables
from cmrplan.log.importers.tensorboard import import_tensorboard, is_event_file
from cmrplan.log.importers.trainer_state import import_trainer_state, is_trainer_state
from cmrplan.log.importers.wandb_api import import_wandb_api
from cmrplan.log.importers.wandb_chart import import_wandb_chart, is_wandb_chart
from cmrplan.log.importers.wandb_history import import_wandb_history, is_wandb_history
from cmrplan.log.importers.wandb_offline import import_wandb_offline, is_wandb_file

_COMPRESSED = (
    b"\x1f\x8b",
    b"PK\x03\x04",
    b"BZh",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)  # gz, zip, bz2, xz, zst
HEAD = 65_536  # bytes of a file that are looked at to tell its format
MOST_ENTRIES = 100_000  # files and folders that are looked at in a folder

Reader = Callable[[Sequence[Path], Changes], Imported]
Recogniser = Callable[[Path, bytes], bool]


@dataclass(frozen=True)
class LogFormat:
    """A format of other people's logs.

    Parameters
    ----------
    read : callable
        Files of the format -> a probe log.
    recognises : callable
        Whether a file, with its first :data:`HEAD` bytes, is of the format.
    help : str
        A line on it.
    takes_folders : bool
        Whether ``read`` looks for its files in a folder itself.
    """

    read: Reader
    recognises: Recogniser
    help: str
    takes_folders: bool = False


def one_by_one(read: Callable[[Path, Changes], Imported]) -> Reader:
    """Return a reader of several files from the reader of one."""

    def read_all(paths: Sequence[Path], changes: Changes) -> Imported:
        parts = [read(path, changes) for path in paths]
        return parts[0] if len(parts) == 1 else joined(parts, f"{len(parts)} files")

    return read_all


def is_table(path: Path, head: bytes) -> bool:
    """Tell whether a file is a table, by its name: this is asked last."""
    return path.suffix.lower() in SUFFIXES and bool(head.strip())


def is_on_a_service(path: Path, head: bytes) -> bool:
    """Tell that no file is an address on a service."""
    return False


# In the order in which they are asked: a format that others would take too stands before them.
LOG_FORMATS: dict[str, LogFormat] = {
    "trainer_state": LogFormat(
        import_trainer_state,
        is_trainer_state,
        "trainer_state.json of transformers, or a folder of runs",
    ),
    "wandb_offline": LogFormat(
        import_wandb_offline, is_wandb_file, "run-ID.wandb of Weights & Biases, or a folder"
    ),
    "mlflow": LogFormat(
        import_mlflow,
        lambda path, head: is_mlflow_database(path, head) or is_mlruns_entry(path, head),
        "mlflow.db, or an mlruns folder",
    ),
    "litgpt": LogFormat(import_litgpt, is_litgpt_csv, "metrics.csv of litgpt"),
    "olmix": LogFormat(
        import_olmix, is_olmix, "ratios.csv and metrics.csv of olmix: --loss-unit bpb", True
    ),
    "regmix": LogFormat(
        one_by_one(import_regmix),
        is_regmix,
        "SPLIT_mixture_SIZE.csv beside SPLIT_pile_loss_SIZE.csv, or their folder",
        True,
    ),
    "chinchilla": LogFormat(
        one_by_one(import_chinchilla), is_chinchilla, "a CSV file with model size, FLOPs and loss"
    ),
    "wandb_chart": LogFormat(
        one_by_one(import_wandb_chart),
        is_wandb_chart,
        "a chart exported as CSV (or Parquet): --map RUN=RATIO, --tokens-per-step",
        True,
    ),
    "wandb_history": LogFormat(
        import_wandb_history,
        is_wandb_history,
        "the history of a run of Weights & Biases, CSV or Parquet, a file a run",
    ),
    "lightning": LogFormat(
        import_lightning_csv, is_lightning_csv, "metrics.csv of Lightning: --tokens-per-step"
    ),
    "llama_factory": LogFormat(
        import_llama_factory, is_llama_factory, "trainer_log.jsonl: --map eval_loss=general"
    ),
    "olmo_core": LogFormat(
        import_olmo_core, is_olmo_core, "metrics_step<N>.json of OLMo-core, a folder a run"
    ),
    "mixinglaws": LogFormat(
        one_by_one(import_mixinglaws),
        is_mixinglaws,
        "SIZE.txt or their folder: checkpoint, validation file, loss",
        True,
    ),
    "megatron": LogFormat(
        import_megatron, is_megatron, "what Megatron-LM or NeMo printed, a file a run"
    ),
    "nanotron": LogFormat(import_nanotron, is_nanotron, "what nanotron printed, a file a run"),
    "tensorboard": LogFormat(
        import_tensorboard, is_event_file, "event files, a folder a run: --tokens-per-step"
    ),
    "table": LogFormat(
        import_tables,
        is_table,
        "CSV, JSONL or Parquet: a row an evaluation, or a checkpoint with loss_<corpus>",
    ),
    "wandb_api": LogFormat(import_wandb_api, is_on_a_service, "ENTITY/PROJECT on Weights & Biases"),
}


def files_of(format: str, paths: Sequence[Path]) -> list[Path]:
    """Return the files of a format among paths: those given, and those recognised in folders.

    Raises
    ------
    InputError
        If a folder holds none, or there are more than :data:`MOST_ENTRIES` entries.
    """
    kind = LOG_FORMATS[format]
    if kind.recognises is is_on_a_service or kind.takes_folders:
        return list(paths)
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = [file for file in files_in(path) if kind.recognises(file, head_of(file))]
        if not inside:
            raise InputError(f"{named(path)} holds no file of the format {format} ({kind.help})")
        files += inside
    return files


def recognised(paths: Sequence[Path]) -> tuple[str, list[Path], dict[str, int]]:
    """Return the format of files and folders, its files, and the number of files in other formats.

    Of several formats in a folder the one that stands first in :data:`LOG_FORMATS` is taken, as a trainer's own log
    beside the event files that it wrote too.

    Raises
    ------
    InputError
        If a file is of no format, or nothing in a folder is.
    """
    of_format: dict[str, list[Path]] = {}
    for path in paths:
        inside = files_in(path) if path.is_dir() else [path]
        for file in inside:
            format = _format_of(file)
            if format is not None:
                of_format.setdefault(format, []).append(file)
            elif not path.is_dir():
                raise InputError(
                    f"{named(file)} is of no format that is known ({_why(file)}); these are: {', '.join(LOG_FORMATS)}"
                )
    if not of_format:
        raise InputError(
            f"{named(paths[0])} holds no file of a known format; these are: {', '.join(LOG_FORMATS)}"
        )
    format = next(name for name in LOG_FORMATS if name in of_format)
    others = {name: len(files) for name, files in of_format.items() if name != format}
    return format, of_format[format], others


def _format_of(file: Path) -> str | None:
    head = head_of(file)
    return next((name for name, kind in LOG_FORMATS.items() if kind.recognises(file, head)), None)


def _why(file: Path) -> str:
    head = head_of(file)
    if head.startswith(_COMPRESSED):
        return "it is compressed; unpack it first"
    return (
        f"it begins with {listed([head[:12].decode('latin-1')])}"
        if head
        else "it is empty, or no file"
    )


def files_in(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted; hidden ones and symbolic links are left out.

    Raises
    ------
    InputError
        If there are too many.
    """
    files: list[Path] = []
    seen = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen += len(folders) + len(names)
        if seen > MOST_ENTRIES:
            raise InputError(
                f"{named(folder)} holds more than {MOST_ENTRIES:,} files; give the folder of the runs alone"
            )
        inside = [Path(parent, name) for name in sorted(names) if not name.startswith(".")]
        files += [file for file in inside if file.is_file() and not file.is_symlink()]
    return files


def head_of(file: Path) -> bytes:
    """Return the first bytes of a file, none where it is no file or cannot be read."""
    if not file.is_file():
        return b""
    try:
        with open(file, "rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b""
