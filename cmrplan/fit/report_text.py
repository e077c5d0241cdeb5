"""A fit as text: its statistics, then what each parameter came out as, in the manner of lmfit's reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cmrplan.arrays import Array
from cmrplan.fit.parameter_table import ParameterStatus, status_of, top_law, uncertainty
from cmrplan.numbers import compact_exact

if TYPE_CHECKING:
    from cmrplan.fit.fitted_log import FittedLog

MOST_SIZES = 4  # by name; of more the first and the last are named


def report_text(fit: FittedLog) -> str:
    """Return the statistics of a fit and the parameters of each corpus."""
    lines = ["[[Fit Statistics]]", *_statistics(fit)]
    for corpus, figures in fit.summaries():
        title = corpus + _place_text(figures)
        lines += [f"[[{title}]]", *_corpus_statistics(figures)]
        lines += [f"[[Variables of {title}]]", *_variables(figures)]
    if fit.warnings:
        lines += ["[[Warnings]]", *(f"    {w.code}: {w.message}" for w in fit.warnings)]
    return "\n".join(lines)


def sizes_text(sizes: Array) -> str:
    """Return the sizes of a log in a few words.

    Examples
    --------
    >>> import numpy as np
    >>> sizes_text(np.array([1.8e9])), sizes_text(np.array([1e6, 2e6, 3e6, 4e6, 5e6]))
    ('size 1.8B', '5 sizes from 1M to 5M')
    """
    names = [compact_exact(size) for size in sizes]
    if len(names) > MOST_SIZES:
        return f"{len(names)} sizes from {names[0]} to {names[-1]}"
    return f"size{'s' if len(names) > 1 else ''} {', '.join(names)}"


def r2_text(figures: dict[str, Any]) -> str:
    """Return R², which losses that never change do not have."""
    return "not defined" if figures["r2"] is None else f"{figures['r2']:.4f}"


def _statistics(fit: FittedLog) -> list[str]:
    settings = fit.settings
    objective = (
        f"{settings.objective} of {settings.residuals} residuals, {settings.weights} weights"
    )
    return _named(
        [
            ("law", settings.law),
            ("rows", str(fit.num_rows)),
            ("runs", str(fit.num_runs)),
            ("sizes", ", ".join(compact_exact(size) for size in fit.sizes)),
            ("objective", objective),
            ("first tokens", compact_exact(settings.min_train_tokens)),
            ("resamples", f"{fit.num_draws}, intervals at {100 * settings.confidence:g} %"),
        ]
    )


def _corpus_statistics(figures: dict[str, Any]) -> list[str]:
    delta = "" if figures["delta"] is None else f" (Huber, delta {figures['delta']:.3g})"
    laws = figures.get("members", [])
    weights = ", ".join(f"{law['law']} {100 * law['weight']:.0f} %" for law in laws)
    rows = [
        ("law", top_law(figures)),
        ("weights", f"{weights}; what follows is of the first" if len(laws) > 1 else ""),
        ("formula", figures["formula"]),
        ("reference", figures["reference"]),
        ("rows", f"{figures['n_rows']} of {figures['n_runs']} runs"),
        ("objective", f"{figures['objective']:.6g}{delta}"),
        ("R-squared", r2_text(figures)),
        ("mean abs. error", f"{figures['mae']:.4g} nats per token"),
        ("status", figures["status"]),
        ("token laws", _token_laws_text(figures.get("token_laws", []))),
    ]
    return _named([(name, text) for name, text in rows if text])


def _token_laws_text(laws: list[dict[str, Any]]) -> str:
    fitted = sum(law["params"] is not None for law in laws)
    return f"of {fitted} of {len(laws)} runs" if laws else ""


def _variables(figures: dict[str, Any]) -> list[str]:
    width = max(len(name) for name in figures["params"])
    return [
        f"    {name + ':':<{width + 2}}{_variable_text(figures, name)}"
        for name in figures["params"]
    ]


def _variable_text(figures: dict[str, Any], name: str) -> str:
    """Return the estimate of a parameter with its standard error, its interval and what limits it."""
    estimate = figures["params"][name]
    stderr, low, high = uncertainty(figures, name)
    text = "n/a" if estimate is None else f"{estimate:.7g}"
    if stderr is not None:
        text += f" +/- {stderr:.4g}"
        text += f" ({100 * abs(stderr / estimate):.2f}%)" if estimate else ""
    if low is not None:
        text += f"  [{low:.4g}, {high:.4g}]"
    status = status_of(figures, name)
    return text if status is ParameterStatus.FREE else f"{text}  {status}"


def _place_text(figures: dict[str, Any]) -> str:
    """Return the size and budget at which a law holds, if it holds at one alone."""
    if "model_params" not in figures:
        return ""
    size, tokens = (compact_exact(figures[name]) for name in ("model_params", "train_tokens"))
    return f", {size} parameters, {tokens} tokens"


def _named(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"    {name:<17}= {text}" for name, text in rows]
