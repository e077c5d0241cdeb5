r"""What the names of runs say of their mixture, for the message where nothing else says it.

Names such as ``r0.1-s0`` and ``r0.25-s1`` have two numbers between the same texts. The one that lies in [0, 1] in every
name and varies most is taken for the ratio, a whole number behind ``s`` or ``seed`` for the seed:
``r(?P<domain_ratio>[\d.]+)-s(?P<seed>\d+)``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence

from cmrplan.errors import InputError
from cmrplan.log.cells import listed, shown
from cmrplan.log.columns import REPLAY_RATIO, SHARE_PREFIX
from cmrplan.log.importers.run_facts import EXAMPLE_PATTERN
from cmrplan.log.phases import is_phase_column

_NUMBER_IN_NAME = re.compile(r"\d+(?:\.\d+)?")
_SPECIAL = re.compile(r"([.^$*+?{}\[\]\\|()])")
_BEFORE_SEEDS = re.compile(r"(^|[^a-z])(s|seed)[-_=]?$", re.IGNORECASE)


def pattern_of(names: Sequence[str]) -> str:
    r"""Return a pattern that reads the ratio, and the seed, from every one of some names, "" if none is seen.

    Examples
    --------
    >>> pattern_of(["r0.1-s0", "r0.25-s1"])
    'r(?P<domain_ratio>[\\d.]+)-s(?P<seed>\\d+)'
    >>> pattern_of(["base", "long"])
    ''
    """
    return _pattern_of(names, names) or _pattern_of([_last_part(name) for name in names], names)


def _last_part(name: str) -> str:
    """Return the name of a run without the folders that tell it from others."""
    return name.rsplit("/", 1)[-1]


def _pattern_of(names: Sequence[str], whole: Sequence[str]) -> str:
    """Return a pattern from names that reads the same from the whole ones, "" if none is seen."""
    texts = {tuple(_NUMBER_IN_NAME.split(name)) for name in names}
    if len(texts) != 1 or not names:
        return ""
    before = texts.pop()
    columns = list(zip(*(_NUMBER_IN_NAME.findall(name) for name in names), strict=True))
    seed = next((k for k in range(len(columns)) if _BEFORE_SEEDS.search(before[k])), None)
    fractions = [k for k, cells in enumerate(columns) if k != seed and max(map(float, cells)) <= 1]
    if not fractions:
        return ""
    ratio = max(fractions, key=lambda k: (len(set(columns[k])), any("." in c for c in columns[k])))
    slots = {ratio: r"(?P<domain_ratio>[\d.]+)"}
    if "replay" in before[ratio].lower():
        slots[ratio] = r"(?P<replay_ratio>[\d.]+)"
    if seed is not None and all(map(str.isdigit, columns[seed])):
        slots[seed] = r"(?P<seed>\d+)"
    start = min(slots)
    pattern = "" if before[start] else "^"
    for k in range(start, max(slots) + 1):
        pattern += _SPECIAL.sub(r"\\\1", before[k]) + slots.get(k, r"[\d.]+")
    is_read = all(
        (match := re.search(pattern, name)) and number in match.groups()
        for name, number in zip(whole, columns[ratio], strict=True)
    )
    return pattern if is_read else ""


def require_mixture(
    source: str, run: str, runs: Sequence[str], given: Collection[str], settings: Collection[str]
) -> None:
    """Refuse a run whose mixture nothing says.

    Parameters
    ----------
    source : str
        Its file.
    run : str
        Its name.
    runs : sequence of str
        The names of all runs.
    given : collection of str
        The columns of the probe log that are known of the run.
    settings : collection of str
        The names of what it was set to.

    Raises
    ------
    InputError
        With the options that say it.
    """
    if any(
        name in ("domain_ratio", REPLAY_RATIO)
        or name.startswith(SHARE_PREFIX)
        or is_phase_column(name)
        for name in given
    ):
        return
    own = pattern_of(runs)
    pattern = f"--run-pattern {shlex.quote(own or EXAMPLE_PATTERN)}"
    by_name = (
        f"its name seems to: add {pattern}"
        if own
        else f"if its name does, add {pattern}, changed to fit it"
    )
    setting = (
        f", or --map OLD=domain_ratio of its settings {listed(list(settings))}" if settings else ""
    )
    raise InputError(
        f"{source} does not say the domain ratio of run {shown(run)}; {by_name}; or add --join RUNS.csv, a table "
        f"with a row for each run (run_id, domain_ratio), or --set domain_ratio=0.1 where all have one{setting}"
    )
