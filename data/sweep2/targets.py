"""What is predicted before it is trained: a part of the sweep, known by its base, and the questions to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cmrplan.errors import InputError
from cmrplan.files import read_json
from cmrplan.log import CORPORA
from cmrplan.numbers import parse_tolerance

HERE = Path(__file__).parent
TOLERANCES = ("2%", "3%", "5%")
REFERENCES = ("base", "replay")
GRID = np.linspace(0, 1, 1001)


@dataclass(frozen=True)
class Target:
    """The part that is predicted: its size, budgets and ratios, and its base: tokens, and losses in nats per token."""

    model_params: float
    train_tokens: tuple[float, ...]
    domain_ratio: tuple[float, ...]
    base_loss: dict[str, float]
    base_tokens: float | None = None  # unknown to predictions from before it was counted

    def places(self) -> pd.DataFrame:
        """Return a row for each budget and ratio."""
        pairs = product(self.train_tokens, self.domain_ratio)
        rows = pd.DataFrame(pairs, columns=["train_tokens", "domain_ratio"])
        return rows.assign(model_params=self.model_params)

    def curve(self) -> pd.DataFrame:
        """Return a row for each ratio of a fine grid at the largest budget."""
        columns = {"model_params": self.model_params, "train_tokens": self.train_tokens[-1]}
        return pd.DataFrame({"domain_ratio": GRID}).assign(**columns)

    def limit(self, tolerance: str, reference: str, replay: float) -> float:
        """Return the largest general loss that a tolerance allows, where pure replay has a given one."""
        over = self.base_loss["general"] if reference == "base" else replay
        return parse_tolerance(tolerance).limit(over)


def questions() -> Iterator[tuple[str, str]]:
    """Yield each tolerance with what the rise is counted from."""
    return product(TOLERANCES, REFERENCES)


def target_of(part: str, folder: Path) -> Target:
    """Return a part of ``stages.yaml`` as a target; its base stands in ``bases.csv``."""
    from stages import spec_of

    from probes.spec.file import parse_spec
    from probes.training.schedule import evaluation_steps

    spec = parse_spec(spec_of(_plan(), part, folder))
    probes, step = spec.probes, spec.step_tokens
    steps = evaluation_steps(probes.train_tokens, step, evaluations=probes.evaluations)
    bases = pd.read_csv(folder / "bases.csv").set_index("part")
    if part not in bases.index:
        raise InputError(
            f"{folder / 'bases.csv'} has no base of {part}; train it: stages.py base {part}"
        )
    base = bases.loc[part]
    return Target(
        float(base["model_params"]),
        tuple(float(step * count) for count in steps),
        tuple(sorted({run.domain_ratio for run in probes.runs or []})),
        {corpus: float(base[f"{corpus}_loss"]) for corpus in CORPORA},
        float(base["base_tokens"]),
    )


def log_path(part: str, folder: Path) -> Path:
    """Return the log that has the smaller sizes of a part, and will have its probes."""
    from stages import log_of

    return folder / f"{log_of(_plan(), part)}.csv"


def _plan() -> dict[str, Any]:
    plan: dict[str, Any] = yaml.safe_load((HERE / "stages.yaml").read_text())
    return plan


def read_target(path: Path) -> Target:
    """Return the target that ``target.json`` describes."""
    stored: dict[str, Any] = read_json(path)
    return Target(
        stored["model_params"],
        tuple(stored["train_tokens"]),
        tuple(stored["domain_ratio"]),
        stored["base_loss"],
        stored.get("base_tokens"),
    )
