"""A group of runs does its steps, evaluations and checkpoints, and knows which of its members failed.

The order in which these are done is that of :func:`probes.training.loop.train`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from cmrplan.errors import CmrplanError
from probes.data.prepared import PreparedCorpora
from probes.run_settings import RunSettings
from probes.runs import Outcome, RunFolder, RunState
from probes.training.average import Average, copied
from probes.training.checkpoint import Checkpoints, Position
from probes.training.evaluations import Clock, begin, record
from probes.training.feed import Feed
from probes.training.ranks import Ranks
from probes.training.schedule import Segment
from probes.training.trainee import Diverged, Trainee

STEPS_BETWEEN_CHECKS = {"cpu": 1, "cuda": 50}
"""Steps after which losses and gradients are looked at; on a GPU looking means waiting."""


@dataclass(frozen=True)
class GroupMember:
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


class Group:
    """The members in work: who still trains, what is written, and what was unusual.

    The parameters are those of :func:`probes.training.loop.train`.
    """

    def __init__(
        self,
        trainee: Trainee,
        members: Sequence[GroupMember],
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
        self._segments = members[0].settings.segments
        self._checkpoints = [
            Checkpoints(member.run.checkpoints, member.settings.fingerprint) for member in members
        ]
        self._failures = [""] * len(members)
        self._clocks = [
            Clock(member.run, member.settings, share=1 / len(members)) for member in members
        ]
        rows = (
            [begin(member.run, member.settings, member.start_losses) for member in members]
            if ranks.is_main
            else []
        )
        self._rows = [set(steps) for steps in json.loads(ranks.agree(json.dumps(rows)))]
        self._saved_at = time.monotonic()
        self._steps_since_check = 0
        self._averages = [Average() for _ in members]

    @property
    def is_alive(self) -> bool:
        """Whether a member is still in training."""
        return not all(self._failures)

    def resume(self, *, before: Position | None = None) -> Position:
        """Restore the newest position that all members in training have, and return it."""
        for position in self._common_positions():
            if (before is None or position < before) and self._restore(position):
                return position
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
        return Position(0, 0)

    def back_to_trunk(self, start: Position) -> Position:
        """Go back to where a finished cooldown branch left the trunk; further back if that is damaged."""
        if not self._restore(start):
            return self.resume(before=start)
        return Position(start.segment + 1, start.step)

    def step(self, position: Position) -> None:
        """Do one step of all members."""
        lead = self._members[0].settings
        segment = self._segments[position.segment]
        self._trainee.update(
            self._feed.batches(position.step),
            learning_rate=lead.schedule.rate(position.step, segment),
        )
        if segment.averages:
            for number in self._in_training():
                self._averages[number].add(
                    self._trainee.state(number), position.step - segment.start
                )
        self._steps_since_check += 1
        if self._steps_since_check >= STEPS_BETWEEN_CHECKS[lead.device]:
            self._check(position.step + 1)

    def is_sound(self, position: Position) -> bool:
        """Look at the losses since the last look; False when no member is left in training."""
        if self._steps_since_check:
            self._check(position.step)
        return self.is_alive

    def has_rows(self, step: int) -> bool:
        """Whether every member in training has evaluated after a step."""
        return all(
            failure or step in rows
            for failure, rows in zip(self._failures, self._rows, strict=True)
        )

    def evaluate(self, segment: Segment) -> None:
        """Evaluate both corpora after a segment and write the row of every member that lacks it."""
        step = segment.stop
        losses = self._averaged_losses() if segment.averages else self._losses()
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
                record(member.run, member.settings, step, mine)
            self._rows[number].add(step)
        self.write_progress(step)

    def _losses(self) -> dict[str, np.ndarray]:
        """Return the losses of all sequences of each corpus, ``(members, S)``."""
        return {
            name: self._trainee.sequence_losses(sequences)
            for name, sequences in self._corpora.evaluation.items()
        }

    def _averaged_losses(self) -> dict[str, np.ndarray]:
        """Return the losses of the averaged weights; the trunk goes on from its own."""
        alive = self._in_training()
        kept = {number: copied(self._trainee.state(number)) for number in alive}
        for number in alive:
            self._trainee.restore(number, kept[number] | self._averages[number].mean())
        losses = self._losses()
        for number in alive:
            self._trainee.restore(number, kept[number])
        return losses

    def save(self, position: Position) -> None:
        """Write a checkpoint of every member in training, then delete what is not needed."""
        alive = self._in_training()
        for number in alive:
            self._write(number, position)
        if self._ranks.is_main:
            for number in alive:
                own = self._checkpoints[number]
                own.keep(self._needed(own.positions()))
        self.write_progress(position.step)
        self._saved_at = time.monotonic()

    def seconds_since_save(self) -> float:
        """Return the seconds since the last checkpoint."""
        return time.monotonic() - self._saved_at

    def write_progress_now_and_then(self, position: Position) -> None:
        """Write the progress files if the last ones are old."""
        if self._clocks[0].is_due:
            self.write_progress(position.step)

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

    def finish(self, position: Position) -> list[Outcome]:
        """Write the last checkpoint where it is to stay, delete the others, return the outcomes."""
        for number in self._in_training():
            member, own = self._members[number], self._checkpoints[number]
            if member.keeps_checkpoint:
                self._write(number, position)
            if self._ranks.is_main:
                own.keep([position] if member.keeps_checkpoint else [])
        if self.is_alive:
            self.write_progress(position.step)
        return self.outcomes(RunState.FINISHED, "")

    def _restore(self, position: Position) -> bool:
        """Take the members in training to a position; False, with a note, if a checkpoint is damaged."""
        alive = {number: self._checkpoints[number] for number in self._in_training()}
        loaded = [own.load(position) for own in alive.values()] if self._ranks.is_main else []
        if self._ranks.agree("damaged" * any(state is None for state in loaded)):
            self._note(f"the checkpoint of step {position.step} was damaged")
            return False
        for order, (number, own) in enumerate(alive.items()):
            state = loaded[order] if loaded else own.load(position)
            assert state is not None, "read by the main process a moment ago"
            self._trainee.restore(number, state)
            self._averages[number] = Average.of(state)
        return True

    def _common_positions(self) -> list[Position]:
        """Return the positions that every member in training has a checkpoint of, newest first."""
        own_positions = [
            set(self._checkpoints[number].positions()) for number in self._in_training()
        ]
        common = set.intersection(*own_positions)
        listed = json.dumps(sorted((position.segment, position.step) for position in common))
        return [Position(*position) for position in reversed(json.loads(self._ranks.agree(listed)))]

    def _in_training(self) -> list[int]:
        """Return the numbers of the members that have not failed."""
        return [number for number, failure in enumerate(self._failures) if not failure]

    def _write(self, number: int, position: Position) -> None:
        """Write the checkpoint of a member; every process gives its part of the state."""
        state = self._trainee.state(number)
        segment = next(iter(self._segments[position.segment :]), None)
        if segment and segment.averages and segment.start < position.step:
            state |= self._averages[number].state()
        if self._ranks.is_main:
            self._checkpoints[number].save(position, state)

    def _needed(self, positions: Sequence[Position]) -> list[Position]:
        """Return the two newest positions, and the two newest on the trunk."""
        trunk = [
            position
            for position in positions
            if not self._segments[position.segment].is_cooldown
            or position.step == self._segments[position.segment].start
        ]
        return [*positions[:2], *trunk[:2]]

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
