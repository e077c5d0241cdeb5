"""Runs of Weights & Biases over its API: ``cmrplan logs import wandb_api ENTITY/PROJECT``, or ``ENTITY/PROJECT/RUN``.

``history()`` gives a sample of the lines, and a scan of several keys drops every line that lacks one of them. So each
key that is needed is scanned alone and whole, and its number of values is held against the one that the service keeps
of the key: a scan that lost values is refused. It needs the ``wandb`` package (``pip install 'cmrplan[wandb]'``) and
a login.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from cmrplan.errors import CmrplanError, InputError
from cmrplan.log.cells import shown
from cmrplan.log.importers.changes import Changes, Imported
from cmrplan.log.importers.run_cells import cells_of, flat_settings, unique_names
from cmrplan.log.importers.run_facts import expanded
from cmrplan.log.importers.run_layout import LINE_COUNTER, TrainerRun, evaluated_corpus, rates_of
from cmrplan.log.importers.runs import by_step, runs_to_log
from cmrplan.log.importers.wandb_offline import WANDB_LAYOUT


class ApiRun(Protocol):
    """What is used of ``wandb.apis.public.Run``."""

    id: str
    name: str
    config: dict[str, Any]
    history_keys: dict[str, Any]

    def scan_history(self, keys: list[str]) -> Iterable[dict[str, Any]]:
        """Yield the lines of history that have every key."""


def import_wandb_api(paths: Sequence[Path], changes: Changes) -> Imported:
    """Return the validation losses of runs on the service as a probe log.

    Raises
    ------
    InputError
        If an address is none, or wandb is not installed.
    CmrplanError
        If the service does not answer, or a scan lost values.
    """
    runs = [run for path in paths for run in _asked(path.as_posix())]
    return read_api_runs(runs, changes)


def read_api_runs(runs: Sequence[ApiRun], changes: Changes) -> Imported:
    """Return the validation losses of runs, as the API gives them, as a probe log; see :func:`import_wandb_api`."""
    if not runs:
        raise InputError(
            "the project has no runs; give ENTITY/PROJECT as in the address of its page"
        )
    names = unique_names([(run.id, run.name) for run in runs])
    read = []
    for name, run in zip(names, runs, strict=True):
        keys = (run.history_keys or {}).get("keys", {})
        wanted = [key for key in keys if _is_wanted(key, list(keys), changes)]
        rows = [row for key in wanted for row in _scanned(run, key, _number_of(keys[key]))]
        table = cells_of(rows)
        if len(table):
            whole = TrainerRun(name, f"run {shown(name)}", table, flat_settings(run.config))
            read.append(by_step(whole, LINE_COUNTER))
    if not read:
        raise InputError(
            f"none of {len(runs)} runs has a history with a validation loss; --map METRIC=general says what one is of"
        )
    return runs_to_log(read, WANDB_LAYOUT, changes)


def _is_wanted(key: str, keys: Sequence[str], changes: Changes) -> bool:
    return (
        evaluated_corpus(key) is not None
        or key
        in expanded(
            {old: new for old, new in changes.names.items() if "*" not in old or _fits(old, keys)},
            keys,
        )
        or key in WANDB_LAYOUT.steps
        or bool(rates_of([key]))
        or key.rsplit("/", 1)[-1] in WANDB_LAYOUT.tokens
    )


def _fits(pattern: str, keys: Sequence[str]) -> bool:
    start, _, end = pattern.partition("*")
    return any(key.startswith(start) and key.endswith(end) for key in keys)


def _number_of(key: dict[str, Any]) -> int | None:
    """Return how many values of a key the service counts, None where it does not say."""
    counts = key.get("typeCounts")
    return sum(int(count["count"]) for count in counts) if counts else None


def _scanned(run: ApiRun, key: str, number: int | None) -> list[dict[str, Any]]:
    """Return every line that has a key: its step, and its value."""
    if key == LINE_COUNTER:
        return []
    rows = [
        {LINE_COUNTER: row[LINE_COUNTER], key: row[key]}
        for row in run.scan_history(keys=[LINE_COUNTER, key])
    ]
    if number is not None and len(rows) != number:
        raise CmrplanError(
            f"the scan of {shown(key)} of run {shown(run.name)} gave {len(rows)} of {number} values; try again, or "
            "import "
            "the .wandb file of the run"
        )
    return rows


def _asked(address: str) -> list[ApiRun]:
    """Return the runs at an address on the service."""
    parts = address.strip("/").split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise InputError(
            f"{address} is no address of a project or run; give ENTITY/PROJECT or ENTITY/PROJECT/RUN"
        )
    try:
        import wandb
    except ImportError:
        raise InputError(
            "the API of Weights & Biases needs wandb; pip install 'cmrplan[wandb]'"
        ) from None
    try:
        api = wandb.Api()
        return [api.run(address)] if len(parts) == 3 else list(api.runs(address))
    except Exception as error:  # whatever the service and the network raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CmrplanError(
            f"Weights & Biases did not answer for {address} ({reason}); log in with wandb login"
        ) from None
