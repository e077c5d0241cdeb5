"""Do one run of a sweep from its folder: load, train or resume, write the outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from cmrplan import __version__
from cmrplan.files import write_json
from probes.data.prepared import load_corpora
from probes.locks import locked
from probes.models.decoder import Decoder
from probes.runs import RunFolder, RunState, SweepFolder
from probes.training.checkpoint import load_weights
from probes.training.train import CHECKPOINT_SECONDS, Outcome, train


def execute_run(
    sweep: SweepFolder,
    path: Path,
    *,
    should_stop: Callable[[], str] = lambda: "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Outcome:
    """Train the run in ``path`` to its end and write its outcome.

    A run that has an outcome is not trained again; a stopped run keeps its checkpoint and has no
    outcome yet.

    Parameters
    ----------
    sweep : SweepFolder
        The sweep, with prepared corpora and, for a probe, the finished base.
    path : Path
        The run's folder.
    should_stop : callable
        Asked before every step; returns why to stop, or an empty string.
    checkpoint_seconds : float
        Longest time between two checkpoints.

    Raises
    ------
    InputError
        If another process works on the run, or its checkpoint is of other settings.
    """
    run = RunFolder(path)
    with locked(path):
        if before := run.read_outcome():
            return Outcome(RunState(before["state"]), before["reason"], before["seconds"])
        settings = run.read_settings()
        model = Decoder(settings.shape, seed=settings.seed).to(settings.device)
        start_losses = None
        if settings.stage == "probe":
            base = sweep.base(settings.base)
            load_weights(base.checkpoint, model)
            start_losses = final_losses(base)
        outcome = train(
            model,
            settings,
            load_corpora(sweep.corpora),
            run,
            start_losses=start_losses,
            should_stop=should_stop,
            checkpoint_seconds=checkpoint_seconds,
        )
        if outcome.state is not RunState.STOPPED:
            write_outcome(run, outcome)
        return outcome


def write_outcome(run: RunFolder, outcome: Outcome, *, retry: bool = False) -> None:
    """Write how a run ended; ``retry`` says that the next start of the sweep tries it again."""
    write_json(
        run.outcome,
        {
            "state": outcome.state,
            "reason": outcome.reason,
            "retry": retry,
            "seconds": round(outcome.seconds, 3),
            "torch_version": torch.__version__,
            "code_version": __version__,
        },
    )


def final_losses(run: RunFolder) -> dict[str, np.ndarray]:
    """Return the evaluation losses of a finished run's last step, each ``(E,)``."""
    with np.load(run.losses(run.read_settings().steps), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
