"""The training loop of bases and probes: one function, resumable at any moment.

It trains the members of a group side by side: runs of one shape, one schedule and the same budgets
that differ in ratio and seed; mostly a group of one. After given steps every member evaluates both
corpora and appends a row to its metrics. What a step does depends only on the settings, the step
number and the state before it, so a run that was killed and resumed ends with the same numbers,
bit for bit, as one that was not. An evaluation that was written once is not done again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from cmrplan.errors import CmrplanError
from cmrplan.files import atomic_write, write_json
from probes.data.prepared import PreparedCorpora
from probes.data.sampling import domain_sequences
from probes.run_settings import RunSettings
from probes.runs import RunFolder, RunState
from probes.training.checkpoint import Checkpoints, Place
from probes.training.feed import Feed
from probes.training.metrics import append_row, cut_torn
from probes.training.ranks import Alone, Ranks
from probes.training.schedule import Leg
from probes.training.trainee import Diverged, Trainee

CHECKPOINT_SECONDS = 30.0
"""Longest time between two checkpoints; a kill loses at most this much work."""

PROGRESS_SECONDS = 1.0
"""Time between two updates of the progress file."""

STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 50}
"""Steps after which losses and gradients are looked at; on a GPU looking means waiting."""

ALONE = Alone()


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Parameters
    ----------
    state : RunState
        ``FINISHED``, ``FAILED`` or ``STOPPED``.
    reason : str
        Why it failed or stopped; what was unusual on the way when finished, mostly nothing.
    seconds : float
        Time spent training and evaluating, over all starts of the run.
    """

    state: RunState
    reason: str
    seconds: float


@dataclass(frozen=True)
class Member:
    """One run of a group.

    Parameters
    ----------
    settings : RunSettings
        What to do.
    run : RunFolder
        Where metrics, losses and checkpoints go; its lock must be held.
    start : mapping of str to Tensor, optional
        The state that the run starts from; the trainee's own weights when left out.
    start_losses : mapping of str to ndarray, shape (E,), optional
        Losses per corpus of the weights to start from; written as the row of token 0.
    keeps_checkpoint : bool
        Whether the last checkpoint stays when the run is finished.
    """

    settings: RunSettings
    run: RunFolder
    start: Mapping[str, Tensor] | None = None
    start_losses: Mapping[str, np.ndarray] | None = None
    keeps_checkpoint: bool = True


def train(
    trainee: Trainee,
    members: Sequence[Member],
    corpora: PreparedCorpora,
    *,
    should_stop: Callable[[], str] = lambda: "",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ranks: Ranks = ALONE,
    on_failure: Callable[[int, Outcome], None] = lambda number, outcome: None,
) -> list[Outcome]:
    """Train a group of runs to their end, from their checkpoints if there are any.

    Parameters
    ----------
    trainee : Trainee
        The models, as many as there are members.
    members : sequence of Member
        The runs; their settings differ in ratio and seed only.
    corpora : PreparedCorpora
        The sequences to train and evaluate on.
    should_stop : callable
        Asked before every step; returns why to stop, or an empty string.
    checkpoint_seconds : float
        Longest time between two checkpoints.
    ranks : Ranks
        This process among those that train the group together; the main one writes.
    on_failure : callable
        Told at once, on the main process, the number and outcome of a member that failed; the others
        go on.

    Returns
    -------
    list of Outcome
        One a member.

    Raises
    ------
    InputError
        If a checkpoint is of other settings.
    CmrplanError
        If a damaged checkpoint leaves nothing to go on from.
    """
    group = _Group(trainee, members, corpora, ranks, on_failure)
    legs = members[0].settings.legs
    place = group.resume()
    while place.leg < len(legs):
        leg = legs[place.leg]
        if leg.is_branch and place.step == leg.start:
            if group.has_rows(leg.stop):
                place = Place(place.leg + 1, place.step)
                continue
            if place.leg + 1 < len(legs):
                group.save(place)  # the trunk, to come back to
        while place.step < leg.stop and group.is_alive:
            group.write_progress_now_and_then(place)
            is_decision = place.step % ranks.steps_between_decisions == 0
            if is_decision and (reason := ranks.agree(should_stop())):
                group.save(place)
                return group.outcomes(RunState.STOPPED, reason)
            group.step(place)
            place = Place(place.leg, place.step + 1)
            is_late = group.seconds_since_save() > checkpoint_seconds
            if is_decision and ranks.agree("late" * is_late) and group.is_sound(place):
                group.save(place)
        if not group.is_sound(place):
            break
        if leg.evaluates and not group.has_rows(leg.stop):
            group.evaluate(leg)
            if not group.is_alive:
                break
        has_more = place.leg + 1 < len(legs)
        if leg.is_branch and has_more:
            place = group.back_to_trunk(Place(place.leg, leg.start))
        else:
            place = Place(place.leg + 1, place.step)
    return group.finish(place)


class _Group:
    """The members in work: who still trains, what is written, and what was unusual."""

    def __init__(
        self,
        trainee: Trainee,
        members: Sequence[Member],
        corpora: PreparedCorpora,
        ranks: Ranks,
        on_failure: Callable[[int, Outcome], None],
    ) -> None:
        self._ranks = ranks
        self._trainee = trainee
        self._members = members
        self._corpora = corpora
        self._on_failure = on_failure
        is_ahead = members[0].settings.device == "cuda"
        self._feed = Feed([member.settings for member in members], corpora, is_ahead=is_ahead)
        self._legs = members[0].settings.legs
        self._checkpoints = [
            Checkpoints(member.run.checkpoints, member.settings.fingerprint) for member in members
        ]
        self._failures = [""] * len(members)
        self._clocks = [_Clock(member, share=1 / len(members)) for member in members]
        rows = [_begin(member) for member in members] if ranks.is_main else []
        self._rows = [set(steps) for steps in json.loads(ranks.agree(json.dumps(rows)))]
        self._saved_at = time.monotonic()
        self._steps_since_check = 0

    @property
    def is_alive(self) -> bool:
        """Whether a member is still in training."""
        return not all(self._failures)

    def resume(self, *, before: Place | None = None) -> Place:
        """Restore the newest place that all members in training have, and return it."""
        for place in self._common_places():
            if (before is None or place < before) and self._restore(place):
                return place
        for number in self._in_training():
            member = self._members[number]
            if member.start is not None:
                moments = member.settings.inherits_optimizer
                self._trainee.restore(number, member.start, moments=moments)
            elif before is not None:
                raise CmrplanError(
                    f"{self._checkpoints[number].path(before)} was damaged and there is none "
                    "before it; start the sweep again"
                )
        return Place(0, 0)

    def back_to_trunk(self, start: Place) -> Place:
        """Go back to where a finished branch left the trunk; further back if that is damaged."""
        if not self._restore(start):
            return self.resume(before=start)
        return Place(start.leg + 1, start.step)

    def step(self, place: Place) -> None:
        """Do one step of all members."""
        lead = self._members[0].settings
        self._trainee.update(
            self._feed.batches(place.step),
            learning_rate=lead.schedule.rate(place.step, self._legs[place.leg]),
        )
        self._steps_since_check += 1
        if self._steps_since_check >= STEPS_BETWEEN_CHECKS[lead.device]:
            self._check(place.step + 1)

    def is_sound(self, place: Place) -> bool:
        """Look at the losses since the last look; False when no member is left in training."""
        if self._steps_since_check:
            self._check(place.step)
        return self.is_alive

    def has_rows(self, step: int) -> bool:
        """Whether every member in training has evaluated after a step."""
        return all(
            failure or step in rows
            for failure, rows in zip(self._failures, self._rows, strict=True)
        )

    def evaluate(self, leg: Leg) -> None:
        """Evaluate both corpora after a leg and write the row of every member that lacks it."""
        step = leg.stop
        schedule = self._members[0].settings.schedule
        rate = schedule.rate(step - 1, leg) if step else None
        losses = {
            name: self._trainee.sequence_losses(sequences)
            for name, sequences in self._corpora.evaluation.items()
        }
        for number, member in enumerate(self._members):
            if self._failures[number] or step in self._rows[number]:
                continue
            mine = {name: values[number] for name, values in losses.items()}
            try:
                check_finite(mine)
            except Diverged as trouble:
                self._fail(number, str(trouble), step)
                continue
            if self._ranks.is_main:
                _record(member, step, mine, learning_rate=rate)
            self._rows[number].add(step)
        self.write_progress(step)

    def save(self, place: Place) -> None:
        """Write a checkpoint of every member in training, then delete what is not needed."""
        alive = self._in_training()
        for number in alive:
            self._write(number, place)
        if self._ranks.is_main:
            for number in alive:
                own = self._checkpoints[number]
                own.keep(self._needed(own.places()))
        self.write_progress(place.step)
        self._saved_at = time.monotonic()

    def seconds_since_save(self) -> float:
        """Return the seconds since the last checkpoint."""
        return time.monotonic() - self._saved_at

    def write_progress_now_and_then(self, place: Place) -> None:
        """Write the progress files if the last ones are old."""
        if self._clocks[0].is_due:
            self.write_progress(place.step)

    def write_progress(self, step: int) -> None:
        """Write the progress file of every member."""
        if self._ranks.is_main:
            for clock in self._clocks:
                clock.write(step)

    def outcomes(self, state: RunState, reason: str) -> list[Outcome]:
        """Return how the members ended; those that failed before say so."""
        return [
            Outcome(RunState.FAILED, failure, clock.seconds())
            if failure
            else Outcome(state, reason or "; ".join(clock.notes), clock.seconds())
            for failure, clock in zip(self._failures, self._clocks, strict=True)
        ]

    def finish(self, place: Place) -> list[Outcome]:
        """Write the last checkpoint where it is to stay, delete the others, return the outcomes."""
        for number in self._in_training():
            member, own = self._members[number], self._checkpoints[number]
            if member.keeps_checkpoint:
                self._write(number, place)
            if self._ranks.is_main:
                own.keep([place] if member.keeps_checkpoint else [])
        if self.is_alive:
            self.write_progress(place.step)
        return self.outcomes(RunState.FINISHED, "")

    def _restore(self, place: Place) -> bool:
        """Take the members in training to a place; False, with a note, if a checkpoint is damaged."""
        alive = {number: self._checkpoints[number] for number in self._in_training()}
        loaded = [own.load(place) for own in alive.values()] if self._ranks.is_main else []
        if self._ranks.agree("damaged" * any(state is None for state in loaded)):
            self._note(f"the checkpoint of step {place.step} was damaged")
            return False
        for order, (number, own) in enumerate(alive.items()):
            state = loaded[order] if loaded else own.load(place)
            assert state is not None, "read by the main process a moment ago"
            self._trainee.restore(number, state)
        return True

    def _common_places(self) -> list[Place]:
        """Return the places that every member in training has a checkpoint of, newest first."""
        own_places = [set(self._checkpoints[number].places()) for number in self._in_training()]
        common = set.intersection(*own_places)
        listed = json.dumps(sorted((place.leg, place.step) for place in common))
        return [Place(*place) for place in reversed(json.loads(self._ranks.agree(listed)))]

    def _in_training(self) -> list[int]:
        """Return the numbers of the members that have not failed."""
        return [number for number, failure in enumerate(self._failures) if not failure]

    def _write(self, number: int, place: Place) -> None:
        """Write the checkpoint of a member; every process gives its part of the state."""
        state = self._trainee.state(number)
        if self._ranks.is_main:
            self._checkpoints[number].save(place, state)

    def _needed(self, places: Sequence[Place]) -> list[Place]:
        """Return the two newest places, and the two newest on the trunk."""
        trunk = [
            place
            for place in places
            if not self._legs[place.leg].is_branch or place.step == self._legs[place.leg].start
        ]
        return [*places[:2], *trunk[:2]]

    def _check(self, step: int) -> None:
        self._steps_since_check = 0
        for number, trouble in enumerate(self._trainee.trouble()):
            if trouble and not self._failures[number]:
                self._fail(number, trouble, step)

    def _fail(self, number: int, trouble: str, step: int) -> None:
        reason = f"{trouble} at step {step}; a lower learning_rate may help"
        self._failures[number] = reason
        if self._ranks.is_main:
            seconds = self._clocks[number].seconds()
            self._on_failure(number, Outcome(RunState.FAILED, reason, seconds))

    def _note(self, note: str) -> None:
        for clock in self._clocks:
            clock.notes.append(note)


def check_finite(losses: Mapping[str, np.ndarray]) -> None:
    """Refuse losses that are no numbers.

    Raises
    ------
    Diverged
        If one of them is NaN or infinite.
    """
    for name, values in losses.items():
        if not np.isfinite(values).all():
            raise Diverged(f"{name} validation loss was {np.mean(values)}")


def _begin(member: Member) -> list[int]:
    """Make a member's metrics whole and return the steps that it has evaluated after."""
    rows = cut_torn(member.run.metrics)
    if member.start_losses is not None and not rows:
        _record(member, 0, member.start_losses, learning_rate=None)
    return [row["step"] for row in rows]


def _record(
    member: Member, step: int, losses: Mapping[str, np.ndarray], *, learning_rate: float | None
) -> None:
    """Write one evaluation: the losses of all sequences, then the metrics row."""
    with atomic_write(member.run.losses(step)) as temporary, open(temporary, "wb") as stream:
        np.savez(stream, allow_pickle=False, **losses)
    settings = member.settings
    num_domain = domain_sequences(
        step, settings.batch_size, settings.domain_ratio, seed=settings.seed
    )
    row: dict[str, Any] = {
        "step": step,
        "train_tokens": step * settings.step_tokens,
        "domain_tokens": num_domain * settings.sequence_length,
        "realized_domain_ratio": num_domain / (step * settings.batch_size) if step else None,
        "learning_rate": learning_rate,
    }
    for name, values in losses.items():
        row[f"{name}_loss"] = float(np.mean(values, dtype=np.float64))
    append_row(member.run.metrics, row)


class _Clock:
    """Counts the seconds of a run over all its starts and writes its progress file.

    The members of a group share its time.
    """

    def __init__(self, member: Member, *, share: float) -> None:
        self._run = member.run
        self._settings = member.settings
        self._share = share
        before = member.run.read_progress() or {"seconds": 0.0, "notes": []}
        self._earlier: float = before["seconds"]
        self.notes: list[str] = list(before["notes"])
        self._began = self._written = time.monotonic()

    def seconds(self) -> float:
        return self._earlier + self._share * (time.monotonic() - self._began)

    @property
    def is_due(self) -> bool:
        is_old = time.monotonic() - self._written > PROGRESS_SECONDS
        return is_old or not self._run.progress.exists()

    def write(self, step: int) -> None:
        self._written = time.monotonic()
        write_json(
            self._run.progress,
            {
                "step": step,
                "steps": self._settings.steps,
                "train_tokens": step * self._settings.step_tokens,
                "seconds": round(self.seconds(), 3),
                "notes": self.notes,
            },
        )
