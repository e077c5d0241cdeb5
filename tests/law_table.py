"""The table of the laws in docs/laws.md, written by their registry: ``python tests/law_table.py`` renews it."""

from __future__ import annotations

import re
from pathlib import Path

from cmrplan.laws.registry import REGISTRY, FitKind, LawEntry

PAGE = Path(__file__).parent.parent / "docs" / "laws.md"
TABLE = re.compile(r"(?<=<!-- laws -->\n).*?(?=<!-- /laws -->)", re.DOTALL)


def fitted_by(entry: LawEntry) -> str:
    if entry.part_of:
        return f"a part of `{entry.part_of}`"
    if entry.kind is FitKind.DOMAINS:
        return "`cp.fit_domains`"
    return f"`{entry.kind.command}`" + (", `auto`" if entry.is_averaged else "")


def law_table() -> str:
    rows = ["| law | formula | needs | use it | fitted by |", "| --- | --- | --- | --- | --- |"]
    for entry in REGISTRY.values():
        formula = entry.formula if "`" in entry.formula else f"`{entry.formula}`"
        rows.append(
            f"| `{entry.name}` | {formula} | {entry.needs} | {entry.use} | {fitted_by(entry)} |"
        )
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda found: law_table(), PAGE.read_text()))
