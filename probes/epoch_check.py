"""Each run may go through a corpus as often as its spec allows, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cmrplan.errors import CmrplanError
from probes.run_settings import RunSettings
from probes.spec.corpora import CorporaSpec

LEAST_TOLD = 1.005
"""Passes that are told as 1.01: fewer are one pass and the rest of a whole step."""


def corpus_epochs(run: RunSettings, corpus: str, unique_tokens: float) -> float:
    """Return how often a run goes through the training tokens of ``general`` or ``domain``."""
    share = run.domain_ratio if corpus == "domain" else 1.0 - run.domain_ratio
    return run.train_tokens * share / unique_tokens


def check_epochs(
    corpora: CorporaSpec,
    runs: Iterable[RunSettings],
    counts: Mapping[str, Mapping[str, Any]],
    say: Callable[[str], None],
) -> None:
    """Refuse runs that go through a corpus more often than allowed; say where data are repeated.

    Parameters
    ----------
    corpora : CorporaSpec
        ``max_epochs`` of each corpus; without it any number is allowed and said.
    runs : iterable of RunSettings
        Bases and probes. Each counts for itself: a probe may train on what its base has seen.
    counts : mapping
        ``corpora`` of the manifest: ``train_tokens`` of each corpus.
    say : callable
        Takes a notice.

    Raises
    ------
    CmrplanError
        If a run would go through a corpus more often than its ``max_epochs``.
    """
    runs = list(runs)
    for name, count in counts.items():
        unique = count["train_tokens"]
        run = max(runs, key=lambda run: corpus_epochs(run, name, unique))
        epochs = corpus_epochs(run, name, unique)
        allowed = getattr(corpora, name).max_epochs
        if allowed is not None and epochs > allowed:
            raise CmrplanError(
                f"corpora.{name} has {unique} training tokens, and {run.short_name} would go through them {epochs:.6g} "
                f"times; max_epochs is {allowed:g}: give more text, fewer train_tokens or a larger max_epochs"
            )
        if epochs > LEAST_TOLD:
            say(
                f"corpora.{name} repeats: {run.short_name} goes {epochs:.3g} times through its {unique} training tokens"
            )
