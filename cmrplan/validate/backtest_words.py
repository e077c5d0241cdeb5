"""What a backtest says: the default in a sentence, and who could not answer where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from cmrplan.laws.registry import AUTO


def backtest_verdict(table: pd.DataFrame) -> str:
    """Return in a sentence how the default did in the windows of a backtest, beside the predictor that did best.

    The default is judged by what it recommends with confidence, with its best estimates beside. Best is whoever kept
    the limit in most windows, and of those the one with the lowest mean regret where it did.
    """
    judged = []
    windows_of_all = table["window"].nunique() if len(table) else 0
    for name, rows in table.groupby("predictor", sort=False) if len(table) else []:
        kept = rows[rows["domain_ratio"].notna() & (rows["excess"] <= 0)]
        judged.append((-len(kept), float(kept["regret"].mean()), str(name)))
    judged = [one for one in judged if one[0]]
    estimates = _estimates_text(table)
    if not judged:
        return f"no predictor kept the limit in any of {windows_of_all} windows{estimates}"

    def words(one: tuple[int, float, str]) -> str:
        return f"kept the limit in {-one[0]} of {windows_of_all} windows at a mean regret of {one[1]:.4f} nats"

    best = min(judged)
    own = next((one for one in judged if one[2] == AUTO), None)
    if own is None:
        return f"the default (auto) kept the limit in no window{estimates}; {best[2]} {words(best)}"
    if own[:2] == best[:2]:
        return f"the default (auto) {words(own)}, and nothing else did better{estimates}"
    return f"the default (auto) {words(own)}{estimates}; {best[2]} {words(best)}"


def _estimates_text(table: pd.DataFrame) -> str:
    """Return in how many windows the best estimates of the default kept the limit, in brackets."""
    if "confidence" not in table:
        return ""
    own = table[table["predictor"] == AUTO]
    if not len(own):
        return ""
    kept = int((own["point_excess"] <= 0).sum())
    level = f"{100 * own['confidence'].iloc[0]:g} %"
    return f" (as plan recommends with {level}; its best estimates in {kept})"


def left_out_lines(skipped: Mapping[tuple[str, str], str], num_windows: int) -> Iterator[str]:
    """Yield a line for each predictor that could not answer in some windows: in how many, and why in the first."""
    reasons: dict[str, list[str]] = {}
    for (_, name), reason in skipped.items():
        reasons.setdefault(name, []).append(reason)
    for name, of_windows in reasons.items():
        yield f"left out {name} in {len(of_windows)} of {num_windows} windows: {of_windows[0]}"
