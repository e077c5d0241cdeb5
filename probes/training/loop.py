"""The training loop of bases and probes is one function, which can be resumed at any moment.

It trains the members of a group side by side: runs of one shape, one schedule and the same budgets
that differ in ratio and seed; mostly a group of one. After given steps every member evaluates both
corpora and appends a row to its metrics. What a step does depends only on the settings, the step
number and the state before it, so a run that was killed and resumed ends with the same numbers,
bit for bit, as one that was not. An evaluation that was written once is not done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from probes.data.prepared import PreparedCorpora
from probes.runs import CHECKPOINT_SECONDS, Outcome, RunState
from probes.training.checkpoint import Position
from probes.training.group import Group, GroupMember
from probes.training.ranks import Alone, Ranks
from probes.training.schedule import Segment
from probes.training.trainee import Trainee

ALONE = Alone()


def train(
    trainee: Trainee,
    members: Sequence[GroupMember],
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
    members : sequence of GroupMember
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
    group = Group(trainee, members, corpora, ranks, on_failure)
    return _Loop(group, members[0].settings.segments, ranks, should_stop, checkpoint_seconds).run()


class _Loop:
    """The segments of a group in their order, with checkpoints and looks at whether to stop."""

    def __init__(
        self,
        group: Group,
        segments: Sequence[Segment],
        ranks: Ranks,
        should_stop: Callable[[], str],
        checkpoint_seconds: float,
    ) -> None:
        self._group = group
        self._segments = segments
        self._ranks = ranks
        self._should_stop = should_stop
        self._checkpoint_seconds = checkpoint_seconds
        self._stopped = ""  # why, once it was asked to stop

    def run(self) -> list[Outcome]:
        """Do what is left of all segments and return how the members ended."""
        group = self._group
        position = group.resume()
        while position.segment < len(self._segments):
            segment = self._segments[position.segment]
            has_more = position.segment + 1 < len(self._segments)
            if segment.is_cooldown and position.step == segment.start:
                if group.has_rows(segment.stop):
                    position = Position(position.segment + 1, position.step)
                    continue
                if has_more:
                    group.save(position)  # the trunk, to come back to
            position = self._run_to(segment.stop, position)
            if self._stopped:
                return group.outcomes(RunState.STOPPED, self._stopped)
            if not group.is_sound(position):
                break
            if segment.evaluates and not group.has_rows(segment.stop):
                group.evaluate(segment)
                if not group.is_alive:
                    break
            if segment.is_cooldown and has_more:
                position = group.back_to_trunk(Position(position.segment, segment.start))
            else:
                position = Position(position.segment + 1, position.step)
        return group.finish(position)

    def _run_to(self, stop: int, position: Position) -> Position:
        """Do the steps from a position to step ``stop`` and return where they ended.

        They end early, with a checkpoint, when asked to stop, and when no member is left.
        """
        group, ranks = self._group, self._ranks
        while position.step < stop and group.is_alive:
            group.write_progress_now_and_then(position)
            is_decision = position.step % ranks.steps_between_decisions == 0
            if is_decision and (reason := ranks.agree(self._should_stop())):
                group.save(position)
                self._stopped = reason
                return position
            group.step(position)
            position = Position(position.segment, position.step + 1)
            is_late = group.seconds_since_save() > self._checkpoint_seconds
            if is_decision and ranks.agree("late" * is_late) and group.is_sound(position):
                group.save(position)
        return position
