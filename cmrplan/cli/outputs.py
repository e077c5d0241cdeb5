"""What a command may write to: no input, no file of another kind, nothing with the wrong suffix.

Every option of a command that names a file to write comes from :func:`out_option`, and its file is checked before the
work begins. :mod:`cmrplan.files` then writes it, and refuses devices, folders and protected files by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cmrplan.errors import InputError
from cmrplan.files import writable_target

_HEAD_BYTES = 2**16
_LOG_COLUMNS = {"run_id", "train_tokens", "eval_corpus", "loss"}


@dataclass(frozen=True)
class OutputKind:
    """A kind of file that commands write.

    Parameters
    ----------
    name : str
        What messages call it.
    suffixes : tuple of str
        The suffixes it may have.
    recognises : callable
        Tells from the first bytes of a file, and its path, whether it is of this kind.
    """

    name: str
    suffixes: tuple[str, ...]
    recognises: Callable[[bytes, Path], bool]


def _begins_with_keys(*first_keys: bytes) -> Callable[[bytes, Path], bool]:
    def recognises(head: bytes, path: Path) -> bool:
        begin = b"".join(head.split())
        return any(begin.startswith(b'{"' + key + b'":') for key in first_keys)

    return recognises


def _is_log(head: bytes, path: Path) -> bool:
    if head.startswith(b"PAR1"):
        import pyarrow.parquet  # takes a quarter of a second to import

        return set(pyarrow.parquet.read_schema(path).names) >= _LOG_COLUMNS
    line = head.decode("utf-8-sig", errors="replace").partition("\n")[0]
    try:
        names = json.loads(line) if line.startswith("{") else line.split(",")
    except ValueError:
        return False
    return {str(name).strip().strip('"') for name in names} >= _LOG_COLUMNS


def _is_picture(head: bytes, path: Path) -> bool:
    return b"cmrplan" in path.read_bytes()  # The metadata of a PDF stand at its end.


FIT_FILE = OutputKind("a fit", (".json",), _begins_with_keys(b"cmrplan_fit"))
PLAN_FILE = OutputKind("a plan", (".json",), _begins_with_keys(b"domain_ratio", b"shares"))
LOG_FILE = OutputKind("a probe log", (".csv", ".jsonl", ".parquet"), _is_log)
PICTURE = OutputKind("a picture of cmrplan", (".png", ".svg", ".pdf"), _is_picture)
WRITTEN_BY = "# Written by cmrplan next"
SWEEP_FILE = OutputKind(
    "a sweep file of cmrplan",
    (".yaml", ".yml"),
    lambda head, path: head.startswith(WRITTEN_BY.encode()),
)
EXPORT_FILE = OutputKind(
    "an export of cmrplan",
    (".yaml", ".yml", ".py", ".txt", ".json"),
    lambda head, path: (
        head.startswith(b"# Written by cmrplan export")
        or _begins_with_keys(b"cmrplan_export")(head, path)
    ),
)
MAPPING = OutputKind(
    "a mapping of logs import",
    (".yaml", ".yml", ".json"),
    _begins_with_keys(b"format", b"map", b"set", b"run_pattern"),
)
JOB_FILE = OutputKind(
    "a file of cmrplan for a scheduler",
    (".sh", ".sbatch", ".yaml", ".yml"),
    lambda head, path: b"# Written by cmrplan probe export" in head[:200],
)
LEDGER = OutputKind(
    "a run ledger", (".csv",), lambda head, path: head.startswith(b"run_id,") and b"state" in head
)


class OutputPath(click.Path):
    """The name of a file that a command writes."""

    def __init__(self, kind: OutputKind) -> None:
        super().__init__()
        self.kind = kind


def out_option(
    what: str, kind: OutputKind, *, name: str = "--out", required: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of a command that names a file to write; the file is checked before the command begins.

    A command that has one also has ``--force``, from :func:`force_option`.
    """
    return click.option(name, type=OutputPath(kind), required=required, help=f"Write {what} here.")


def force_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--force``, and check every file that the command is to write before it begins."""

    @wraps(command)
    def checked(*args: Any, **options: Any) -> Any:
        for param in click.get_current_context().command.params:
            if isinstance(param.type, OutputPath) and options.get(str(param.name)):
                check_output(options[str(param.name)], param.type.kind, option=param.opts[0])
        return command(*args, **options)

    return click.option(
        "--force",
        is_flag=True,
        expose_value=False,
        callback=_remember,
        help="Overwrite a file that is none of ours.",
    )(checked)


def _remember(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    ctx.meta["overwrites"] = value


def may_overwrite() -> bool:
    """Return whether the command was given ``--force``."""
    return bool(click.get_current_context().meta.get("overwrites"))


def check_output(path: str | os.PathLike[str], kind: OutputKind, *, option: str = "--out") -> None:
    """Refuse a file that the command must not write.

    Raises
    ------
    InputError
        If its suffix is wrong, it is an input of the command, it cannot be written (see
        :func:`cmrplan.files.writable_target`), or it is there, is of another kind, and ``--force`` was not given.
    """
    target = writable_target(path)
    suffix = Path(path).suffix.lower()
    if suffix not in kind.suffixes:
        others = f" (or {', '.join(kind.suffixes[1:])})" if kind.suffixes[1:] else ""
        raise InputError(
            f"{option} must be a {kind.suffixes[0]} file{others}, got {os.fspath(path)!r}"
        )
    if not target.exists():
        return
    for read in _inputs():
        if os.path.exists(read) and os.path.samefile(read, target):
            raise InputError(
                f"{option} {path} is the file that is read; it would be lost, give another name"
            )
    if may_overwrite() or not target.stat().st_size:
        return
    if not _recognised(kind, target):
        raise InputError(
            f"{option} {path} is there and is not {kind.name}; give another name, or --force to overwrite it"
        )


def _recognised(kind: OutputKind, target: Path) -> bool:
    try:
        with open(target, "rb") as stream:
            return kind.recognises(stream.read(_HEAD_BYTES), target)
    except (OSError, ValueError, ImportError):
        return False


def _inputs() -> Iterable[str]:
    """Return the files and folders that the command was given to read."""
    ctx = click.get_current_context()
    given = [
        ctx.params[str(param.name)]
        for param in ctx.command.params
        if isinstance(param.type, click.Path)
        and not isinstance(param.type, OutputPath)
        and ctx.params.get(str(param.name))
    ]
    return [path for paths in given for path in ([paths] if isinstance(paths, str) else paths)]
