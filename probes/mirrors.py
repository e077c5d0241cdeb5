"""A mirror shows a sweep's evaluations in TensorBoard or Weights & Biases.

The sweep's own process reads the metrics files as they grow and passes every new row on. The files stay the only
record: a mirror can be begun late, left out or thrown away. A row that a resumed run writes again is passed on
once.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from cmrplan.errors import InputError, printable
from probes.executors.scheduler import Watcher
from probes.jobs import Job
from probes.run_settings import RunSettings
from probes.runs import RunFolder, RunState, SweepFolder
from probes.training.metrics import read_rows


class Page(Protocol):
    """One run in a mirror."""

    last_step: int
    """Step of the newest row it has, or -1."""

    def add(self, row: dict[str, Any]) -> None:
        """Add a row of the metrics file."""

    def close(self) -> None:
        """Write out what was added."""


class TensorBoardPage:
    """A folder of TensorBoard events for one run, over training tokens.

    Parameters
    ----------
    folder : Path
        Folder of all runs.
    settings : RunSettings
        The run; its id names its folder.
    """

    def __init__(self, folder: Path, settings: RunSettings) -> None:
        from torch.utils.tensorboard import SummaryWriter

        path = folder / settings.run_id
        newest = _newest_tensorboard_step(path)
        self.last_step = newest // settings.step_tokens if newest >= 0 else -1
        self._writer = SummaryWriter(str(path))

    def add(self, row: dict[str, Any]) -> None:
        """Add a row's losses and its share of domain data so far."""
        for name, value in _numbers(row).items():
            self._writer.add_scalar(name, value, global_step=row["train_tokens"])
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


def _newest_tensorboard_step(path: Path) -> int:
    """Return the largest step in a folder's event files, or -1."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps = [
        event.step
        for file in sorted(path.glob("events.*"))
        for event in EventFileLoader(str(file)).Load()
        if event.HasField("summary")
    ]
    return max(steps, default=-1)


class WandbPage:
    """A Weights & Biases run for one run; started again, it goes on.

    Parameters
    ----------
    project : str
        The project.
    settings : RunSettings
        The run; its id is the id of the Weights & Biases run.
    """

    def __init__(self, project: str, settings: RunSettings) -> None:
        import wandb

        config = settings.as_dict()
        if settings.is_pretrained:  # The folder of a checkpoint is nobody else's business.
            config["model"]["checkpoint"] = settings.base_model
        self._run = wandb.init(
            project=project,
            id=settings.run_id,
            name=settings.run_id,
            config=config,
            resume="allow",
            reinit="create_new",
        )
        self.last_step = self._run.starting_step - 1

    def add(self, row: dict[str, Any]) -> None:
        """Add a row's losses and its share of domain data so far."""
        self._run.log(_numbers(row) | {"train_tokens": row["train_tokens"]}, step=row["step"])

    def close(self) -> None:
        """Finish the Weights & Biases run."""
        self._run.finish()


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    names = [name for name in row if name.endswith("_loss")] + ["realized_domain_ratio"]
    return {name: row[name] for name in names if row.get(name) is not None}


class Mirrors:
    """All mirrors of a sweep; a context manager that closes them.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep.
    makers : iterable of callable
        Each makes the page of a run.
    """

    def __init__(self, sweep: SweepFolder, makers: Iterable[Callable[[RunSettings], Page]]) -> None:
        self._sweep = sweep
        self._makers = list(makers)
        self._pages: dict[str, list[Page]] = {}
        self._sizes: dict[str, int] = {}

    def __enter__(self) -> Mirrors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for run_id in [*self._pages]:
            self._close(run_id)

    def beside(self, watcher: Watcher) -> Watcher:
        """Return a watcher that passes everything on to another, and new rows to the mirrors."""
        if not self._makers:
            return watcher
        for run in self._sweep.all_runs():
            self.pull(run)
            if run.state() is RunState.FINISHED:
                self._close(run.path.name)
        return _Beside(self, watcher)

    def pull(self, run: RunFolder, *, last: bool = False) -> None:
        """Pass the rows of a run on that are new; ``last`` says that no more will come."""
        size = run.metrics.stat().st_size if run.metrics.exists() else 0
        if size == self._sizes.get(run.path.name, 0):
            rows = []
        else:
            self._sizes[run.path.name] = size
            rows = read_rows(run.metrics)
        try:
            if rows and run.path.name not in self._pages:
                settings = run.read_settings()
                self._pages[run.path.name] = [make(settings) for make in self._makers]
            for page in self._pages.get(run.path.name, ()):
                for row in rows:
                    if row["step"] > page.last_step:
                        page.add(row)
                        page.last_step = row["step"]
            if last:
                self._close(run.path.name)
        except Exception as error:  # a mirror must never end a sweep
            self._makers = []
            self._pages.clear()
            print(
                printable(f"no longer mirrored: {type(error).__name__}: {error}"), file=sys.stderr
            )

    def pull_settings(self, run: RunSettings, *, last: bool = False) -> None:
        """Do :meth:`pull` for the folder of a run."""
        if self._makers:
            self.pull(self._sweep.run(run), last=last)

    def _close(self, run_id: str) -> None:
        for page in self._pages.pop(run_id, ()):
            page.close()


class _Beside:
    def __init__(self, mirrors: Mirrors, watcher: Watcher) -> None:
        self._mirrors = mirrors
        self._watcher = watcher

    def tick(self, active: Sequence[Job]) -> None:
        for job in active:
            for run in job.runs:
                self._mirrors.pull_settings(run)
        self._watcher.tick(active)

    def ended(self, run: RunSettings, state: RunState, reason: str) -> None:
        self._mirrors.pull_settings(run, last=True)
        self._watcher.ended(run, state, reason)


_PAGES: dict[str, Callable[[str, RunSettings], Page]] = {
    "tensorboard": lambda folder, run: TensorBoardPage(Path(folder), run),
    "wandb": WandbPage,
}
"""Makes a page, by the name of the mirror, of where it is and the run."""


def open_mirrors(sweep: SweepFolder, targets: Mapping[str, str]) -> Mirrors:
    """Return the mirrors that are asked for.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep.
    targets : mapping of str to str
        ``tensorboard`` with a folder, ``wandb`` with a project, or both, or none.

    Raises
    ------
    InputError
        If there is no mirror of a name, or the package of one is not installed.
    """
    for name in targets:
        if name not in _PAGES:
            raise InputError(f"mirrors are {' and '.join(_PAGES)}, got '{name}'")
        if not importlib.util.find_spec(name):
            raise InputError(f"--{name} needs {name}: pip install 'cmrplan[{name}]'")
    return Mirrors(sweep, [partial(_PAGES[name], target) for name, target in targets.items()])
