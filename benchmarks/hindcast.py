"""Plan from the cheap part of a sweep, then look at what the expensive part measured.

    python benchmarks/hindcast.py data/probes/log.csv --max-general-rise 5%

The plan is for the largest size at its largest budget. It sees the smaller sizes and the first quarter of the tokens,
the smaller sizes alone, or the first quarter of the tokens of the largest size. Where fewer than three evaluations
lie in the first quarter of the tokens, it is the first quarter of the evaluations, three at least. The truth is the
measured losses, mean over seeds, joined between ratios. Beside the plan by several laws stand fixed ratios and the
largest ratio that kept the tolerance in the runs that were seen (largest of their sizes, largest of their budgets).
Without base rows the rise is counted from the smallest probed ratio at the same size and the target's budget; these
losses of every size are then told to the plan as base losses. Takes logs, and folders to look for them in.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from held_out import logs_in

import cmrplan as cp
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses
from cmrplan.numbers import parse_tolerance
from cmrplan.plan.loss_curves import best_ratio
from cmrplan.validate.backtest import FEWEST_BUDGETS, Truth

LAWS = ("auto", "dcpt", "dcpt_exp", "cmr")
RULES = (0.05, 0.1, 0.3, 0.5)
QUARTER = 0.25
RESAMPLES = 400


@dataclass(frozen=True)
class Question:
    """The measured target, what is tolerated there, and the parts of the log to plan from."""

    log: pd.DataFrame
    truth: Truth
    tolerance: str
    over: str

    @classmethod
    def of(cls, log: pd.DataFrame, tolerance: str, over: str) -> Question:
        """Return the question of a log at its largest size and budget."""
        rows = {corpus: fitted_rows(log, corpus, 0.0) for corpus in CORPORA}
        size, tokens = (float(log[name].max()) for name in ("model_params", "train_tokens"))
        return cls(log, Truth.of(rows, size, tokens), tolerance, over)

    def reference(self, size: float, tokens: float) -> float:
        """Return the loss the rise is counted from: the base, or the smallest ratio at that budget."""
        base = base_losses(self.log, "general")
        if base and self.over == "base":
            return base[size]
        rows = fitted_rows(self.log, "general", 0.0)
        rows = rows[(rows["model_params"] == size) & (rows["train_tokens"] == tokens)]
        return float(rows.groupby("domain_ratio")["loss"].mean().iloc[0])

    def told(self, seen: pd.DataFrame) -> tuple[pd.DataFrame, float]:
        """Return the rows that were seen with a base loss of every size, and that of the target."""
        base, tokens = base_losses(self.log, "general"), self.truth.train_tokens
        if base:
            return seen, base[self.truth.model_params]
        rows = seen[seen["eval_corpus"] == "general"].drop_duplicates("model_params")
        level = [self.reference(size, tokens) for size in rows["model_params"]]
        rows = rows.assign(train_tokens=0.0, loss=level)
        return pd.concat([rows, seen]), self.reference(self.truth.model_params, tokens)

    def limit(self, size: float, tokens: float) -> float:
        """Return the largest general loss allowed there."""
        return parse_tolerance(self.tolerance).limit(self.reference(size, tokens))

    def windows(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """Yield names of the parts to plan from, and their rows."""
        size, tokens = self.log["model_params"], self.log["train_tokens"]
        budgets = np.unique(tokens[tokens > 0])
        early = int(np.sum(budgets <= QUARTER * budgets[-1]))
        if early < FEWEST_BUDGETS:
            early = max(FEWEST_BUDGETS, int(QUARTER * len(budgets)))
        is_early, is_small = tokens <= budgets[early - 1], size < size.max()
        until = f"D <= {budgets[early - 1]:.3g}"
        if is_small.any():
            yield f"smaller sizes, {until}", self.log[is_small & is_early]
            yield "smaller sizes", self.log[is_small]
        yield f"largest size, {until}", self.log[~is_small & is_early]

    def best_probed(self, seen: pd.DataFrame) -> float:
        """Return the largest ratio that kept the tolerance at the largest size and budget that were seen."""
        size, tokens = float(seen["model_params"].max()), float(seen["train_tokens"].max())
        rows = fitted_rows(seen, "general", 0.0)
        rows = rows[(rows["model_params"] == size) & (rows["train_tokens"] == tokens)]
        measured = rows.groupby("domain_ratio")["loss"].mean()
        return float(measured.index[measured <= self.limit(size, tokens)].max())

    def answers(self, seen: pd.DataFrame) -> Iterator[tuple[str, float, str]]:
        """Yield strategy, ratio (NaN where there is none) and interval."""
        told, base_loss = self.told(seen)
        told = told.reset_index(drop=True)
        for law in LAWS:
            try:
                made = cp.plan(
                    cp.fit(told, law, bootstrap=RESAMPLES),
                    model_params=self.truth.model_params,
                    train_tokens=self.truth.train_tokens,
                    max_general_rise=self.tolerance,
                    rise_over=self.over,
                    base_loss=base_loss,
                )
            except cp.CmrplanError as error:
                yield f"plan, {law}", np.nan, f"refused: {'; '.join(str(error).split('; ')[:3])}"
                continue
            if not made.is_feasible:
                yield f"plan, {law}", np.nan, f"none: {'; '.join(made.reason.split('; ')[:3])}"
                continue
            low, high = made.domain_ratio_low, made.domain_ratio_high
            yield f"plan, {law}", made.domain_ratio, f"{low:.3f} to {high:.3f}"
            yield f"point estimate, {law}", made.ratio.estimate, ""
        for rule in RULES:
            yield f"always {100 * rule:g} %", rule, ""
        yield "best probed ratio", self.best_probed(seen), ""


def tables(title: str, question: Question) -> None:
    truth = question.truth
    limit = question.limit(truth.model_params, truth.train_tokens)
    curves = truth.general[None, :], truth.domain[None, :]
    best = float(best_ratio(truth.grid, *curves, limit)[0])
    print(
        f"\n### {title}\n\nTarget {truth.model_params:.3g} parameters, {truth.train_tokens:.3g} tokens; a rise of "
        f"{question.tolerance} over {question.reference(truth.model_params, truth.train_tokens):.4f} ({question.over}) "
        f"allows a domain ratio of {best:.3f}, as measured."
    )
    for name, seen in question.windows():
        print(f"\nseen: {name} ({len(seen)} rows)\n")
        print("| strategy | ratio | ratio error | regret | excess | 90 % interval |")
        print("| --- | --- | --- | --- | --- | --- |")
        for strategy, ratio, interval in question.answers(seen.reset_index(drop=True)):
            is_known = truth.ratio[0] <= ratio <= truth.ratio[-1]
            cells = ["-" if np.isnan(ratio) else f"{ratio:.3f}", "-", "-", "-"]
            if is_known:
                regret = truth.domain_at(ratio) - truth.domain_at(best)
                excess = max(truth.general_at(ratio) - limit, 0.0)
                cells[1:] = [f"{ratio - best:+.3f}", f"{regret:+.4f}", f"{excess:.4f}"]
            print(f"| {strategy} | " + " | ".join([*cells, interval]) + " |", flush=True)


def logs_of(paths: list[Path]) -> Iterator[tuple[str, pd.DataFrame]]:
    for path in paths:
        if path.is_dir():
            yield from ((title, log) for title, kind, log in logs_in(path) if kind == "mixture")
        else:
            yield path.parent.name, cp.read_log(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", type=Path, help="logs, or folders to look for them in")
    parser.add_argument("--max-general-rise", default="5%")
    parser.add_argument("--rise-over", choices=("base", "replay"), default="base")
    asked = parser.parse_args()
    print("Losses in nats per token. A negative regret is bought by breaking the limit (excess).")
    for title, log in logs_of(asked.logs):
        tables(title, Question.of(log, asked.max_general_rise, asked.rise_over))


if __name__ == "__main__":
    main()
