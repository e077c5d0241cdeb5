"""How far batched runs are from separate ones, and what changes no bit.

Trains the same runs both ways on words drawn at random, and prints a Markdown table of the largest
differences after so many steps: of training losses, of the losses of unseen sequences, of weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import click
import numpy as np
import torch
from batched import SHAPES, make_run

from probes.run_settings import RunSettings
from probes.runner import make_trainee

WORDS = "the cat sat on a mat and saw one more bird near old green hill".split()
UNSEEN = 10**6
"""Number of the batch that is evaluated."""


@dataclass(frozen=True)
class Trained:
    """Where runs ended: losses of every step ``(K, steps)``, losses ``(K, B)``, and weights."""

    losses: np.ndarray
    unseen: np.ndarray
    weights: list[dict[str, torch.Tensor]]


@click.command()
@click.option("--size", "sizes", type=click.Choice(list(SHAPES)), multiple=True, default=["toy"])
@click.option("--batch-size", type=int, default=4, show_default=True)
@click.option("--sequence-length", type=int, default=32, show_default=True)
@click.option("--steps", type=int, default=100, show_default=True)
@click.option("--learning-rate", type=float, default=1e-3, show_default=True)
def main(
    sizes: tuple[str, ...], batch_size: int, sequence_length: int, steps: int, learning_rate: float
) -> None:
    """Compare three batched runs with themselves alone, and with other neighbors."""
    print("| size | arithmetic | head | against | steps | loss | unseen loss | weights |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for size in sizes:
        for precision, is_tied in (("fp64", True), ("fp64", False), ("fp32", True)):
            run = make_run(
                size, batch_size, sequence_length, precision=precision, tied_embeddings=is_tied
            )
            run = replace(run, schedule=replace(run.schedule, learning_rate=learning_rate))
            cell = f"| {size} | {precision} | {'tied' if is_tied else 'untied'} |"
            three = _train(run, [0, 1, 2], steps)
            alone = [_train(run, [member], steps) for member in range(3)]
            _print(f"{cell} separate runs | {steps} |", three, _joined(alone))
            nudged = [_train(run, [member], steps, is_nudged=True) for member in range(3)]
            name = "separate runs, with themselves a last digit apart"
            _print(f"{cell} {name} | {steps} |", _joined(nudged), _joined(alone))
            if precision == "fp32":
                few = _train(run, [0, 1, 2], 20)
                for other in ([0, 1, 2], [0, 1], list(range(9)), [2, 1, 0]):
                    other_run = _train(run, other, 20)
                    name = "group of members " + ", ".join(map(str, other))
                    _print(f"{cell} {name} | 20 |", *_common(few, [0, 1, 2], other_run, other))


def _train(run: RunSettings, members: list[int], steps: int, *, is_nudged: bool = False) -> Trained:
    """Train members from the same weights, or from the next larger ones that the arithmetic has."""
    trainee = make_trainee([run] * len(members))
    if is_nudged:
        with torch.no_grad():
            for weight in trainee.model.parameters():
                weight.copy_(torch.nextafter(weight, torch.full_like(weight, torch.inf)))
    losses = []
    for step in range(steps):
        batches = [_batch(run, member, step) for member in members]
        trainee.update(batches, learning_rate=run.schedule.rate(step, run.segments[0]))
        losses.append(trainee._seen[-1].reshape(2, -1)[0].numpy())
    numbers = range(len(members))
    states = [{n: t.clone() for n, t in trainee.state(number).items()} for number in numbers]
    return Trained(np.transpose(losses), trainee.sequence_losses(_batch(run, UNSEEN, 0)), states)


def _joined(alone: list[Trained]) -> Trained:
    return Trained(
        np.concatenate([one.losses for one in alone]),
        np.concatenate([one.unseen for one in alone]),
        [one.weights[0] for one in alone],
    )


def _common(
    one: Trained, members: list[int], other: Trained, others: list[int]
) -> tuple[Trained, Trained]:
    """Return both groups with the members that they share, in the same order."""
    shared = [member for member in members if member in others]

    def take(trained: Trained, order: list[int]) -> Trained:
        rows = [order.index(member) for member in shared]
        weights = [trained.weights[row] for row in rows]
        return Trained(trained.losses[rows], trained.unseen[rows], weights)

    return take(one, members), take(other, others)


def _print(start: str, one: Trained, other: Trained) -> None:
    weights = max(
        (mine[name] - theirs[name]).abs().max().item()
        for mine, theirs in zip(one.weights, other.weights, strict=True)
        for name in mine
    )
    losses, unseen = (
        np.abs(one.losses - other.losses).max(),
        np.abs(one.unseen - other.unseen).max(),
    )
    print(f"{start} {losses:.1e} | {unseen:.1e} | {weights:.1e} |", flush=True)


@cache
def _text() -> np.ndarray:
    words = np.random.default_rng(0).choice(WORDS, size=60_000)
    return np.frombuffer(" ".join(words).encode(), dtype=np.uint8).astype(np.int64)


def _batch(run: RunSettings, member: int, step: int) -> np.ndarray:
    generator = np.random.default_rng((member, step))
    length = run.sequence_length + 1
    starts = generator.integers(len(_text()) - length, size=run.batch_size)
    return np.stack([_text()[start : start + length] for start in starts])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
