"""The runs of a sweep are done from their folders: loaded, trained or resumed, their outcomes written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmrplan._version import __version__
from cmrplan.errors import CmrplanError
from cmrplan.files import sealed, write_json
from probes.data.prepared import load_corpora
from probes.locks import locked
from probes.models.build import build_model
from probes.models.source import ModelShape
from probes.run_settings import RunSettings
from probes.runs import CHECKPOINT_SECONDS, Outcome, RunFolder, RunState, SweepFolder
from probes.training.batched import Batched
from probes.training.checkpoint import Checkpoints
from probes.training.group import GroupMember
from probes.training.loop import ALONE, train
from probes.training.ranks import Ranks
from probes.training.threads import Threads
from probes.training.trainee import Single, Trainee


def execute_runs(
    sweep: SweepFolder,
    paths: Sequence[Path],
    *,
    should_stop: Callable[[], str] = lambda: "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    keep_checkpoints: bool = False,
    ranks: Ranks = ALONE,
    threads: Threads = lambda: 1,
) -> list[Outcome]:
    """Train the runs in ``paths`` side by side to their end; write and return their outcomes.

    A run that has an outcome is not trained again; a stopped run keeps its checkpoint and has no
    outcome yet.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, with prepared corpora and, for probes, the finished base.
    paths : sequence of Path
        The runs' folders: one run, or several that differ in ratio and seed only.
    should_stop : callable
        Asked before every step; returns why to stop, or an empty string.
    checkpoint_seconds : float
        Longest time between two checkpoints.
    keep_checkpoints : bool
        Whether finished probes keep their last checkpoint; bases that were trained always do.
    ranks : Ranks
        This process among those that train the runs together; the main one writes.
    threads : callable
        Says how many threads of this process a single run may have; asked at every step.

    Raises
    ------
    InputError
        If another process works on a run, or a checkpoint is of other settings.
    """
    runs = [RunFolder(path) for path in paths]
    with ExitStack() as stack:
        if ranks.is_main:
            for run in runs:
                stack.enter_context(locked(run.path))
        done = ranks.agree(" ".join(run.path.name for run in runs if run.read_outcome())).split()
        todo = [run for run in runs if run.path.name not in done]
        outcomes = []
        if todo:
            members = [_member(sweep, run, keep_checkpoints) for run in todo]
            trainee = make_trainee([member.settings for member in members], ranks, threads)
            outcomes = train(
                trainee,
                members,
                load_corpora(sweep.corpora),
                should_stop=should_stop,
                checkpoint_seconds=checkpoint_seconds,
                ranks=ranks,
                on_failure=lambda number, outcome: write_outcome(todo[number], outcome),
            )
        return _settled(runs, todo, outcomes, ranks)


def _settled(
    runs: Sequence[RunFolder],
    todo: Sequence[RunFolder],
    outcomes: Sequence[Outcome],
    ranks: Ranks,
) -> list[Outcome]:
    """Write the outcomes of finished runs; return those of all, of stopped ones too."""
    stopped = {}
    for run, outcome in zip(todo, outcomes, strict=True):
        if outcome.state is RunState.STOPPED:
            stopped[run.path] = outcome
        elif ranks.is_main and outcome.state is RunState.FINISHED:
            write_outcome(run, outcome)
    ranks.agree("written")
    return [stopped.get(run.path) or run.read_finished() for run in runs]


def make_trainee(
    settings: Sequence[RunSettings], ranks: Ranks = ALONE, threads: Threads = lambda: 1
) -> Trainee:
    """Return what trains the models of a group, each with the weights its base starts from."""
    lead = settings[0]
    models = [
        build_model(
            one.model,
            seed=one.seed,
            gradient_checkpointing=one.numerics.gradient_checkpointing,
        ).to(one.device)
        for one in settings
    ]
    if lead.numerics.precision == "fp64":
        models = [model.double() for model in models]
    is_alone = len(models) == 1 and lead.numerics.processes == 1
    replays = is_alone and lead.numerics.cuda_graphs and isinstance(lead.model, ModelShape)
    if len(models) > 1 or replays:
        return Batched(models, lead)
    (model,) = models
    if lead.numerics.processes > 1:
        from probes.training.distributed import Distributed, TorchRanks

        if not isinstance(ranks, TorchRanks):
            raise CmrplanError(f"{lead.run_id} is trained by torchrun, on several processes")
        return Distributed(model, lead, ranks)
    return Single(model, lead, threads)


def write_outcome(run: RunFolder, outcome: Outcome, *, retry: bool = False) -> None:
    """Write how a run ended; ``retry`` says that the next start of the sweep tries it again."""
    content = {
        "state": outcome.state,
        "reason": outcome.reason,
        "retry": retry,
        "seconds": round(outcome.seconds, 3),
        "torch_version": torch.__version__,
        "code_version": __version__,
    }
    write_json(run.outcome, sealed(content))


def write_failure(run: RunFolder, reason: str, *, retry: bool) -> None:
    """Write that a run failed, with the time it was trained so far; ``retry`` as in :func:`write_outcome`."""
    progress = run.read_progress()
    seconds = progress["seconds"] if progress else 0.0
    write_outcome(run, Outcome(RunState.FAILED, reason, seconds), retry=retry)


def final_losses(run: RunFolder) -> dict[str, np.ndarray]:
    """Return the evaluation losses of a finished run's last step, each ``(E,)``."""
    with np.load(run.losses(run.read_settings().steps), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def final_state(run: RunFolder) -> dict[str, Tensor]:
    """Return weights and moments at the end of a finished base.

    Raises
    ------
    CmrplanError
        If they are gone or damaged.
    """
    checkpoints = Checkpoints(run.checkpoints, run.read_settings().fingerprint)
    for position in checkpoints.positions():
        if (state := checkpoints.load(position)) is not None:
            return state
    raise CmrplanError(
        f"{run.path} has no readable checkpoint; delete that folder to train this base anew"
    )


def _member(sweep: SweepFolder, run: RunFolder, keep_checkpoints: bool) -> GroupMember:
    settings = run.read_settings()
    if settings.stage == "base":
        return GroupMember(settings, run, keeps_checkpoint=not settings.is_pretrained)
    base = sweep.base(settings.base)
    return GroupMember(
        settings,
        run,
        start=None if settings.is_pretrained else final_state(base),
        start_losses=final_losses(base),
        keeps_checkpoint=keep_checkpoints,
    )
