"""What documented commands print on the logs in data/, and how two printings are compared.

Texts must be equal and numbers equal to one unit of their last printed digit, so that a number that lies on the edge
between two printed ones does not tell processors apart.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent / "reference" / "golden"
ROOT = Path(__file__).parents[1]

PROBES = "--model-params 974208 --train-tokens 1.6M --max-general-rise 5%"
# Name of the text, and the command; {usage1} and {probes} are fits that were made before.
COMMANDS = {
    "fit_usage1": "fit data/published/dcpt_usage1_log.csv --out {usage1}",
    "plan_usage1": "plan {usage1} --model-params 1.8B --train-tokens 10B --max-general-rise 3%",
    "fit_probes": "fit data/probes/log.csv --min-train-tokens 160k --out {probes}",
    "plan_probes": f"plan {{probes}} {PROBES} --domain-tokens 1M --max-ratio 0.9",
    "plan_over_replay": f"plan {{probes}} {PROBES} --rise-over replay --table critical-sizes",
    "plan_other_size": "plan {probes} --model-params 3M --train-tokens 3M --max-general-rise 20%",
    "plan_infeasible": "plan {probes} --model-params 974208 --train-tokens 1.6M --max-general-rise 0.001%",
    "next_probes": f"next {{probes}} --budget 20Mtokens {PROBES}",
    "compare_probes": "compare data/probes/log.csv --min-train-tokens 600k",
}
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w]*\d)")


def text_of(answer, folder: Path) -> str:
    """Return what a command printed and how it exited, without the folder's name."""
    text = f"{answer.out}--- exit code {answer.code}\n{answer.err}"
    return text.replace(str(folder), "FOLDER").replace(f"{ROOT}/", "")


def differences(expected: str, got: str) -> list[str]:
    """Return the lines that differ by more than one unit of a last printed digit."""
    old, new = expected.splitlines(), got.splitlines()
    if len(old) != len(new):
        return [f"{len(old)} lines were expected, got {len(new)}", *new]
    return [f"- {a}\n+ {b}" for a, b in zip(old, new, strict=True) if not _is_same_line(a, b)]


def _is_same_line(old: str, new: str) -> bool:
    if _words(old) != _words(new):
        return False
    pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    return all(_is_same_number(a, b) for a, b in pairs)


def _words(line: str) -> list[str]:
    """Return the line without its numbers; how wide they are printed does not count."""
    return _NUMBER.sub("#", line).split()


def _is_same_number(old: str, new: str) -> bool:
    unit = max(_last_digit(old), _last_digit(new))
    return abs(float(old) - float(new)) <= 1.01 * unit


def _last_digit(number: str) -> float:
    mantissa, _, exponent = number.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return float(10.0 ** (int(exponent or 0) - decimals))
