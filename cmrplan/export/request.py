"""A mixture to set a trainer to, with what is known of its corpora; weights follow from it in each unit."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real

from cmrplan.errors import CmrplanError, InputError
from cmrplan.export.planned import PlannedMixture
from cmrplan.numbers import CountOrText, compact, parse_named_count

ACHIEVED_WITHIN = 0.01
"""How far the achieved share of tokens may lie from the asked one where nothing else is said."""

EXPORTED_DIGITS = 12  # 0.076 is then written so, and not as 0.07599999999999996
SMALLEST_SHARE = 1e-9  # what the search for a mixture leaves of a share of 0
_SAME_PASSES = 1e-6  # a plan that a corpus binds asks for just the passes that are allowed


@dataclass(frozen=True)
class ExportRequest:
    """Everything that is asked of an export. Checked when it is built; texts become numbers.

    Parameters
    ----------
    planned : PlannedMixture
    paths : mapping of str to path
        Where each corpus is, in the form that the framework takes; a placeholder stands for an absent one.
    tokens_per_row : mapping of str to float or str
        Mean tokens of a row (a document, a sample) of each corpus, by the tokenizer of the run.
    available : mapping of str to float or str
        Unique tokens of each corpus; they stand above those of the plan.
    share_tolerance : float
        How far the achieved share of tokens may lie from the asked one, in (0, 1).
    seed : int
        Of the draws of the trainer, 0 or more.

    Raises
    ------
    InputError
        If a corpus is none of the plan's, or a number is out of its range.
    CmrplanError
        If a corpus would be passed over more often than the plan allows.
    """

    planned: PlannedMixture
    paths: Mapping[str, str | os.PathLike[str]] = field(default_factory=dict)
    tokens_per_row: Mapping[str, CountOrText] = field(default_factory=dict)
    available: Mapping[str, CountOrText] = field(default_factory=dict)
    share_tolerance: float = ACHIEVED_WITHIN
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("paths", "tokens_per_row", "available"):
            self._check_names(name)
        for name in ("tokens_per_row", "available"):
            parsed = {
                corpus: parse_named_count(f"{name} of {corpus}", given)
                for corpus, given in getattr(self, name).items()
            }
            object.__setattr__(self, name, parsed)
        object.__setattr__(self, "available", {**self.planned.available, **self.available})
        self._check_numbers()
        self._check_paths()
        self._refuse_repetition()

    def _check_numbers(self) -> None:
        tolerance, seed = self.share_tolerance, self.seed
        if not isinstance(tolerance, Real) or not 0 < tolerance < 1:
            raise InputError(f"share_tolerance must be between 0 and 1, got {tolerance!r}")
        if not isinstance(seed, Integral) or seed < 0:
            raise InputError(f"seed must be 0 or more, a whole number, got {seed!r}")

    def _check_paths(self) -> None:
        for name, path in self.paths.items():
            if not isinstance(path, str | os.PathLike):
                raise InputError(
                    f"paths: {name} must have one path, a text or a Path, got {path!r}; of several files give the "
                    "folder or the pattern by which the framework takes them"
                )

    def _check_names(self, argument: str) -> None:
        known = sorted(self.planned.shares)
        for name in getattr(self, argument):
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]}" if near else ""
                raise InputError(
                    f"{argument}: the plan has no corpus {name!r}{hint}; it has {', '.join(known)}"
                )

    def _refuse_repetition(self) -> None:
        for name, passes in self.passes.items():
            allowed = self.planned.max_epochs.get(name)
            if allowed is not None and passes > allowed * (1 + _SAME_PASSES):
                tokens = self.planned.train_tokens * self.shares[name]
                raise CmrplanError(
                    f"{name} would be passed over {passes:.3g} times ({compact(tokens)} of its tokens are planned, it "
                    f"has {compact(self.unique_tokens[name])}), and the plan allows {allowed:g} (--max-epochs): "
                    "plan again with these tokens and the passes that you allow"
                )

    @property
    def shares(self) -> dict[str, float]:
        """Asked share of tokens of each corpus that has one; they sum to 1."""
        kept = {n: share for n, share in self.planned.shares.items() if share > SMALLEST_SHARE}
        total = sum(kept.values())
        return {name: round(share / total, EXPORTED_DIGITS) for name, share in kept.items()}

    @property
    def left_out(self) -> list[str]:
        """The corpora whose share is 0."""
        return [name for name in self.planned.shares if name not in self.shares]

    @property
    def passes(self) -> dict[str, float]:
        """Passes over each corpus whose unique tokens are known."""
        unique = self.unique_tokens
        return {
            name: self.planned.train_tokens * share / unique[name]
            for name, share in self.shares.items()
            if name in unique
        }

    @property
    def unique_tokens(self) -> dict[str, float]:
        """Unique tokens of each corpus for which they are known."""
        return {name: float(tokens) for name, tokens in self.available.items()}

    @property
    def row_tokens(self) -> dict[str, float]:
        """Mean tokens of a row of each corpus for which they were given."""
        return {name: float(tokens) for name, tokens in self.tokens_per_row.items()}

    def path(self, name: str) -> str:
        """Return where a corpus is, or a placeholder."""
        placeholder = f"PATH/TO/{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
        return os.fspath(self.paths.get(name, placeholder))

    def row_weights(self, target: str) -> dict[str, float]:
        """Return the probability of a row of each corpus: proportional to share over mean tokens a row.

        Raises
        ------
        InputError
            If the mean tokens of a row are missing for a corpus.
        """
        tokens = self.row_tokens
        missing = [name for name in self.shares if name not in tokens]
        if missing:
            raise InputError(
                f"{target} weighs rows and the plan tokens: give the mean tokens of a row of {' and '.join(missing)}, "
                f"such as --tokens-per-row {missing[0]}=400, or --corpora with a folder of prepared corpora"
            )
        rows = {name: share / tokens[name] for name, share in self.shares.items()}
        total = sum(rows.values())
        return {name: round(row / total, EXPORTED_DIGITS) for name, row in rows.items()}

    def tokens_of_a_row(self, weights: Mapping[str, float]) -> float:
        """Return the mean tokens of a row of the mixture whose rows have these probabilities."""
        tokens = self.row_tokens
        return sum(weight * tokens[name] for name, weight in weights.items())

    def all_passes(self, target: str) -> dict[str, float]:
        """Return the passes over every corpus.

        Raises
        ------
        InputError
            If the unique tokens of a corpus are not known.
        """
        missing = [name for name in self.shares if name not in self.passes]
        if missing:
            raise InputError(
                f"{target} counts passes over a corpus: give the unique tokens of {' and '.join(missing)}, such as "
                f"--available {missing[0]}=50B"
            )
        return {name: round(passes, EXPORTED_DIGITS) for name, passes in self.passes.items()}
