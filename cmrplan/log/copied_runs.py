"""Runs that stand in a log twice, under two names: an average takes the copy for a second witness."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cmrplan.errors import Code
from cmrplan.log.cells import LogFinding, listed, shown
from cmrplan.log.columns import share_columns

_FEWEST_ROWS = 3  # after the base; fewer losses of few digits may be the same by chance


def copied_run_findings(log: pd.DataFrame, source: str) -> list[LogFinding]:
    """Return a finding where runs of one size, mixture and seed have the same loss at every token count and corpus."""
    rows = log[log["train_tokens"] > 0]
    if not rows.duplicated(["eval_corpus", "train_tokens", "loss"]).any():
        return []
    mixture = ["domain_ratio"] if "domain_ratio" in rows else share_columns(rows)
    settings = [*mixture, *(["seed"] if "seed" in rows else [])]
    content = rows[["model_params", *settings, "eval_corpus", "train_tokens", "loss"]]
    marks = pd.util.hash_pandas_object(content, index=False).to_numpy()
    runs = pd.DataFrame({"run_id": rows["run_id"].to_numpy(), "mark": marks.astype(np.uint64)})
    whole = runs.groupby("run_id", sort=False)["mark"].agg(["sum", "size"])
    whole = whole[whole["size"] >= _FEWEST_ROWS].reset_index()
    copies = whole[whole.duplicated(["sum", "size"], keep=False)]
    if copies.empty:
        return []
    (_, first), *more = copies.groupby(["sum", "size"], sort=False)["run_id"]
    others = f", and {len(more)} more such group{'s' * (len(more) > 1)}" if more else ""
    extra = copies[copies.duplicated(["sum", "size"])]
    message = (
        f"{source}: the runs {listed(first.tolist())} have the same losses in every row{others}; two runs never agree "
        "so, and one is a copy, which counts as a further witness: leave copies out"
    )
    return [
        LogFinding(
            Code.COPIED_RUN,
            message,
            source,
            column="run_id",
            value=shown(str(first.iloc[1])),
            num_rows=int(extra["size"].sum()),
        )
    ]
