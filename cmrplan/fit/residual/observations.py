"""What a Gaussian process of one corpus is fitted to: log losses at points, and which of them share noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmrplan.arrays import Array
from cmrplan.fit.corpus_model import row_columns
from cmrplan.fit.evaluation_bins import evaluation_counts
from cmrplan.fit.residual.maturity import mean_base_tokens
from cmrplan.fit.residual.mean_functions import Frame, Points
from cmrplan.fit.residual.replicates import POOLED, Differences, seed_means
from cmrplan.fit.schedule_areas import AREA_COLUMNS, RateScales
from cmrplan.fit.supply import COLUMN
from cmrplan.laws.registry import FEWEST_RATIOS

MOST_OBSERVATIONS = 360  # the work grows with their third power
FEWEST_BINS = (
    3  # of the evaluations of a run; where there is no room for so many, neighbors are pooled
)
FEWEST_ROWS = 8
ONE_BUDGET = 1.5  # most over fewest tokens, from which on a log says itself what tokens do
# Root mean square log loss over the base: between 0.06 and 0.10, and 0.12 and 0.31, in the two sweeps of data/
# (benchmarks/sweep_tables.py).
USUAL_EFFECT = {"general": 0.075, "domain": 0.19}


@dataclass(frozen=True)
class Observations:
    """``n`` log losses of one corpus.

    Parameters
    ----------
    rows : DataFrame
        As in a log; means of neighboring evaluations where there were too many.
    frame : Frame
    points : Points
    log_loss : array (n,)
        Over the base loss of its size where that is known for all sizes; the mean over the seeds of a size where these
        are complete.
    counts : array (n,)
        How many evaluations of one run each log loss is the mean of.
    seeds : array (n,)
        How many seeds, or runs that were pooled, it is the mean of.
    differences : list of Differences
        Between those seeds.
    run, step : int array (n,)
        Rows of one run, and rows of one step of one size and seed.
    is_anchored : bool
        Whether losses are counted from the base loss of their size.
    """

    rows: pd.DataFrame
    frame: Frame
    points: Points
    log_loss: Array
    counts: Array
    seeds: Array
    differences: list[Differences]
    run: NDArray[np.intp]
    step: NDArray[np.intp]
    is_anchored: bool

    @cached_property
    def effect(self) -> float | None:
        """Root mean square of the log losses over that of the sweeps that priors come from; None without base losses.

        Within a factor of ten.
        """
        if not self.is_anchored:
            return None
        own = float(np.sqrt(np.mean(self.log_loss**2)))
        return float(np.clip(own / USUAL_EFFECT[self.frame.corpus], 0.1, 10.0))

    @property
    def borrows_tokens(self) -> bool:
        """Whether the rows leave open what tokens do: they lie at one budget, and no domain data repeat."""
        return self.frame.repeat_scale is None and has_one_budget(self.rows)


def has_one_budget(rows: pd.DataFrame) -> bool:
    """Tell whether the tokens of all rows of one corpus lie close together."""
    return bool(rows["train_tokens"].max() < ONE_BUDGET * rows["train_tokens"].min())


def has_enough(rows: pd.DataFrame) -> bool:
    """Tell whether rows of one corpus show more than a law can hold: some ratios, and more rows than parameters."""
    return len(rows) >= FEWEST_ROWS and rows["domain_ratio"].nunique() >= FEWEST_RATIOS


def with_repeat_scale(observed: Observations, repeat_scale: float | None) -> Observations:
    """Return observations whose domain tokens past one pass count by another R*."""
    frame = replace(observed.frame, repeat_scale=repeat_scale)
    return replace(observed, frame=frame, points=frame.points(observed.points.columns))


def observations(
    corpus: str,
    rows: pd.DataFrame,
    base_loss: Mapping[float, float],
    *,
    by_rates: bool = False,
    most: int = MOST_OBSERVATIONS,
) -> Observations:
    """Return the observations of the rows of one corpus after the base checkpoint.

    Parameters
    ----------
    corpus : str
    rows : DataFrame
    base_loss : mapping of float to float
        By size; used where it is known for every size of the rows.
    by_rates : bool
        Whether tokens count by the learning rate at which they were trained on, where the rows have its areas.
    most : int
        Observations, about.
    """
    thin = thinned(rows, most)
    sizes = np.unique(thin["model_params"].to_numpy(dtype=float))
    is_anchored = all(float(size) in base_loss for size in sizes)
    means, differences = seed_means(thin)
    log_loss = np.log(means["loss"].to_numpy(dtype=float))
    if is_anchored:
        base = means["model_params"].map(dict(base_loss)).to_numpy(dtype=float)
        log_loss = log_loss - np.log(base)
    tokens = thin["train_tokens"].to_numpy(dtype=float)
    frame = Frame(
        corpus,
        float(np.exp(np.mean(np.log(sizes)))),
        float(np.exp(np.mean(np.log(tokens)))),
        rates=_rates(thin) if by_rates and "s1_cpt" in thin else None,
        base_tokens=mean_base_tokens(thin) if corpus == "general" and is_anchored else None,
        least_tokens=float(tokens.min()),
    )
    steps = ["model_params", "train_tokens", *(["seed"] if "seed" in means else [])]
    return Observations(
        rows=thin,
        frame=frame,
        points=frame.points(row_columns(means)),
        log_loss=log_loss,
        counts=means["count"].to_numpy(dtype=float),
        seeds=means["seeds"].to_numpy(dtype=float),
        differences=differences,
        run=pd.factorize(means["run_id"])[0].astype(np.intp),
        step=means.groupby(steps, dropna=False).ngroup().to_numpy().astype(np.intp),
        is_anchored=is_anchored,
    )


def _rates(rows: pd.DataFrame) -> RateScales:
    """Return the scales of the areas; where nothing anneals, S2 counts in thousandths of the largest S1.

    S2 is negative where a rate rises again, so its largest magnitude counts.
    """
    scales = []
    for size in np.unique(rows["model_params"].to_numpy(dtype=float)):
        part = rows[rows["model_params"] == size]
        ends = part.loc[part.groupby("run_id")["train_tokens"].idxmax()]
        tokens_per_rate = float(np.exp(np.mean(np.log(ends["train_tokens"] / ends["s1_cpt"]))))
        least = 1e-3 * float(part["s1_cpt"].max())
        scales.append((float(size), tokens_per_rate, max(float(part["s2_cpt"].abs().max()), least)))
    return RateScales(*(tuple(values) for values in zip(*scales, strict=True)))


def thinned(rows: pd.DataFrame, most: int = MOST_OBSERVATIONS) -> pd.DataFrame:
    """Return at most about ``most`` rows with a column ``count``.

    Where there are more, neighboring evaluations of a run become their mean: they share nearly all their noise. Log
    losses and log tokens are averaged in bins of equal numbers. Where even three bins a run are too many, the runs of
    neighboring ratios are pooled first, and count as so many seeds.
    """
    rows = rows.reset_index(drop=True).assign(count=evaluation_counts(rows), **{POOLED: 1.0})
    if len(rows) <= most:
        return rows
    if rows["run_id"].nunique() > most // FEWEST_BINS:
        rows = _pooled_runs(rows, most // FEWEST_BINS)
    num_runs = rows["run_id"].nunique()
    bins = max(most // num_runs, FEWEST_BINS)
    rank = rows.groupby("run_id")["train_tokens"].rank(method="first") - 1
    length = rows.groupby("run_id")["train_tokens"].transform("size")
    which = (rank * np.minimum(bins, length) / length).astype(int)
    logs = rows.assign(
        loss=np.log(rows["loss"]), train_tokens=np.log(rows["train_tokens"].astype(float))
    )
    averaged = {
        c: "first" for c in rows.columns if c not in ("run_id", "loss", "train_tokens", "count")
    }
    means = logs.groupby([rows["run_id"], which.rename("bin")], sort=False).agg(
        {**averaged, "loss": "mean", "train_tokens": "mean", "count": "sum"}
    )
    means[["loss", "train_tokens"]] = np.exp(means[["loss", "train_tokens"]])
    return means.reset_index(level="run_id").reset_index(drop=True)


def _pooled_runs(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return rows in which runs of neighboring ratios, of one size and supply, are one; about ``most`` of them.

    A row is the mean over its runs at one token count and areas of the rate: of the log losses, and of the ratios.
    """
    kinds = ["model_params", *([COLUMN] if COLUMN in rows else [])]
    order = [*kinds, "domain_ratio", *(["seed"] if "seed" in rows else [])]
    runs = rows.groupby("run_id", sort=False)[order].first().reset_index()
    runs = runs.sort_values(order, kind="stable", ignore_index=True)
    each = -(-len(runs) // most)
    kind = runs.groupby(kinds, sort=False, dropna=False)
    number = pd.factorize(pd.MultiIndex.from_arrays([kind.ngroup(), kind.cumcount() // each]))[0]
    pool = rows["run_id"].map(pd.Series(number, index=runs["run_id"]))
    cell = ["train_tokens", *(name for name in AREA_COLUMNS if name in rows)]
    names = ("loss", "domain_ratio", "count", POOLED)
    averaged = {c: "first" for c in rows.columns if c not in (*names, *cell)}
    means = rows.assign(loss=np.log(rows["loss"])).groupby([pool.rename("pool"), *cell])
    pooled = means.agg(
        {**averaged, "loss": "mean", "domain_ratio": "mean", "count": "mean", POOLED: "sum"}
    ).reset_index()
    pooled["loss"] = np.exp(pooled["loss"])
    pooled["run_id"] = pooled["pool"].map(pooled.groupby("pool")["run_id"].first())
    if "seed" in pooled:
        # A step is shared by the runs of one seed, and these had several.
        pooled["seed"] = pooled["pool"]
    return pooled.drop(columns="pool")
