"""Markdown tables of the evidence page: read, cut to what the page shows, and judged, losses as losses."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

NOMINAL = 0.9  # of the intervals
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


@dataclass(frozen=True)
class Table:
    """A Markdown table.

    Parameters
    ----------
    header : list of str
    rows : list of list of str
        Cells without marks of bold type.
    """

    header: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> int:
        """Return the position of a column."""
        return self.header.index(name)


def cells_of(line: str) -> list[str]:
    """Return the cells of a line of a table.

    Examples
    --------
    >>> cells_of("| auto | 0.99 / **0.0062** |  |")
    ['auto', '0.99 / 0.0062', '']
    """
    return [cell.strip().replace("**", "") for cell in line.strip().strip("|").split("|")]


def tables_of(text: str) -> list[Table]:
    """Return the tables of a text in order."""
    tables: list[Table] = []
    is_inside = False
    for line in text.splitlines():
        if not line.startswith("|"):
            is_inside = False
        elif not is_inside:
            tables.append(Table(cells_of(line), []))
            is_inside = True
        elif not set(line) <= set("|- "):
            tables[-1].rows.append(cells_of(line))
    return tables


def kept(text: str, first_cells: frozenset[str]) -> str:
    """Return a text whose tables have only the rows that begin with one of some cells; all rows where none is named.

    Tables without such a row, and sentences on processor time, are left out.
    """
    if not first_cells:
        return text
    paragraphs = []
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0].startswith("|"):
            lines = [*lines[:2], *(line for line in lines[2:] if cells_of(line)[0] in first_cells)]
            if len(lines) == 2:
                continue
        if not paragraph.startswith("Processor time"):
            paragraphs.append("\n".join(lines))
    return "\n\n".join(paragraphs)


def last_number(cell: str) -> float:
    """Return the last number of a cell, as the error in "R² / error"; NaN without one.

    Examples
    --------
    >>> last_number("0.999 / 0.0062"), last_number("0.22 ± 0.14")
    (0.0062, 0.22)
    """
    numbers = NUMBER.findall(cell.split(" ± ")[0].split(" (")[0])
    return float(numbers[-1]) if numbers else np.nan


def errors_beside(table: Table, ours: str) -> list[str]:
    """Return a sentence a column: by how much one predictor's error is below, or above, the lowest of the others."""
    mine = next(row for row in table.rows if row[0] == ours)
    sentences = []
    for position, name in enumerate(table.header[1:], 1):
        error = last_number(mine[position])
        others = {
            row[0]: last_number(row[position])
            for row in table.rows
            if not row[0].startswith(ours) and np.isfinite(last_number(row[position]))
        }
        if not others or np.isnan(error):
            continue
        best = min(others, key=lambda other: others[other])
        verdict = "won" if error < others[best] else "lost" if error > others[best] else "drawn"
        sentences.append(f"- {name}: **{verdict}**, {error:g} against {others[best]:g} of {best}")
    return sentences


def accuracy(tables: list[Table]) -> list[str]:
    """Judge the default predictor in the first table."""
    return [
        "`auto`, the default, against that of all others which turns out best, by mean absolute error:",
        "",
        *errors_beside(tables[0], "auto"),
    ]


def authors(tables: list[Table]) -> list[str]:
    """Judge the default at hidden ratios, and beside what the authors of Table 2 predict."""
    table = tables[1]
    errors = {
        name: last_number(cell)
        for name, cell in zip(table.header, table.rows[-1], strict=True)
        if np.isfinite(last_number(cell))
    }
    theirs, ours = errors["its authors"], errors["auto"]
    verdict = "lost" if ours > theirs else "won"
    closer = [name for name, error in errors.items() if error < theirs]
    return [
        *accuracy(tables),
        f"- Table 2 at 0.25: **{verdict}**, {ours:g} against {theirs:g} of its authors; "
        f"closer than these: {', '.join(closer) or 'none'}",
    ]


def strategies(tables: list[Table]) -> list[str]:
    """Count what each strategy answers, breaks and costs over the tables of questions in hindsight."""
    counts: dict[str, list[tuple[float, float, float]]] = {}
    for table in (one for one in tables if "regret" in one.header):
        at = [table.column(name) for name in ("ratio", "regret", "excess")]
        name_at = table.column("strategy")
        for row in table.rows:
            ratio, regret, excess = (last_number(row[k]) for k in at)
            counts.setdefault(row[name_at], []).append((ratio, regret, excess))
    lines = [
        "| strategy | questions | answers | limit broken | mean regret where kept | mean excess where broken |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, rows in counts.items():
        measured = [row for row in rows if np.isfinite(row[2])]
        broken = [excess for _, _, excess in measured if excess > 0]
        regrets = [regret for _, regret, excess in measured if excess == 0]
        cells = [name, len(rows), sum(np.isfinite(row[0]) for row in rows), len(broken)]
        means = [f"{np.mean(v):.4f}" if v else "-" for v in (regrets, broken)]
        lines.append("| " + " | ".join(map(str, [*cells, *means])) + " |")
    return lines


def decided(tables: list[Table]) -> list[str]:
    """Judge the plan beside the strategies without a fit, over all worlds at each budget."""
    sentences = []
    for table, budget in zip(tables, ("the largest budget", "twice it"), strict=False):
        if "strategy" not in table.header:
            continue
        for name in ("broken", "refused", "mean regret"):
            at, by = table.column(name), table.column("strategy")
            values = {row[by]: last_number(row[at]) for row in table.rows if row[0] == "all"}
            plan, others = values.pop("plan"), values
            best = min(others, key=lambda other: others[other])
            verdict = "won" if plan < others[best] else "lost" if plan > others[best] else "drawn"
            sentences.append(
                f"- {name} at {budget}: **{verdict}**, {plan:g} against {others[best]:g} of {best}"
            )
    return ["The plan against the better of the two others:", "", *sentences]


def covered(tables: list[Table]) -> list[str]:
    """Name the shares of intervals that are more than two standard errors from the nominal one."""
    low, high, number = [], [], 0
    for table, kind in zip(tables, ("mean loss", "new run"), strict=False):
        for row in table.rows:
            for name, cell in zip(table.header[1:], row[1:], strict=True):
                match = re.match(r"([\d.]+) ± ([\d.]+)", cell)
                if not match:
                    continue
                number += 1
                share, spread = map(float, match.groups())
                text = f"{kind}, {row[0]}, {name} ({share:.2f} ± {spread:.2f})"
                if share + 2 * spread < NOMINAL:
                    low.append(text)
                elif share - 2 * spread > NOMINAL:
                    high.append(text)
    return [
        f"Of {number} shares of nominal {NOMINAL:g}, by more than two standard errors",
        "",
        f"- **too low**: {'; '.join(low) or 'none'}",
        f"- too high, that is too wide: {'; '.join(high) or 'none'}",
    ]


def predicted(tables: list[Table]) -> list[str]:
    """Judge predictions of the default that were committed before their runs: errors, intervals, broken limits."""
    errors, decisions = tables
    corpus, mae, held = (errors.column(name) for name in ("eval_corpus", "mae", "held"))
    lines = []
    for own in (row for row in errors.rows if row[0] == "default"):
        others = {
            row[0]: last_number(row[mae])
            for row in errors.rows
            if row[0] != "default" and row[corpus] == own[corpus]
        }
        best = min(others, key=lambda other: others[other])
        verdict = "won" if last_number(own[mae]) < others[best] else "lost"
        lines.append(
            f"- {own[corpus]} loss: **{verdict}**, {own[mae]} against {others[best]:g} of {best}; "
            f"{own[held]} of its 90 % intervals hold"
        )
    default = next(row for row in decisions.rows if row[0] == "default")
    asked, broken = (default[decisions.column(name)] for name in ("questions", "broken"))
    verdict = "kept" if broken == "0" else "lost"
    lines.append(f"- limits: **{verdict}**, {broken} of {asked} plans break theirs")
    return [*lines, *_cost_of_keeping(decisions, default)]


def _cost_of_keeping(decisions: Table, default: list[str]) -> list[str]:
    """Return a line on the regret beside the cheapest other that answers all and breaks nothing; none if it breaks."""
    names = ("questions", "answered", "broken", "regret_where_kept")
    asked, answered, broken, regret = (decisions.column(name) for name in names)

    def is_safe(row: list[str]) -> bool:
        return row[answered] == row[asked] and row[broken] == "0"

    others = [row for row in decisions.rows if is_safe(row) and not row[0].startswith("default")]
    if not is_safe(default) or not others:
        return []
    best = min(others, key=lambda row: last_number(row[regret]))
    verdict = "won" if last_number(default[regret]) < last_number(best[regret]) else "lost"
    return [
        f"- regret: **{verdict}**, {default[regret]} against {best[regret]} of {best[0]}, the lowest of those that "
        "answer every question and keep every limit"
    ]
