"""How far a question lies from what was probed."""

from __future__ import annotations

from cmrplan.errors import Finding
from cmrplan.fits import Fit
from cmrplan.fitting.curves import Curves

ROUNDING = 0.01  # a size given to two digits is still the probed one


def ratio_range(fit: Fit) -> tuple[float, float]:
    """Return the smallest and largest ratio at which both losses were fitted."""
    lows, highs = [], []
    for corpus, model in fit.models.items():
        ratios = fit.rows(corpus)["domain_ratio"].tolist()
        if isinstance(model, Curves):  # the ratio law does not hold at 0, nor everywhere at 1
            ratios = [c.domain_ratio for curves in model.sizes.values() for c in curves]
        lows.append(float(min(ratios)))
        highs.append(float(max(ratios)))
    return max(lows), min(highs)


def extrapolation_findings(
    fit: Fit, *, model_params: float, train_tokens: float, domain_ratio: float | None = None
) -> list[Finding]:
    """Return a finding for each input that lies outside the fitted range, with the distance."""
    rows = fit.log[fit.log["train_tokens"] > 0]
    findings = []
    for code, name, value in (
        ("extrapolates_size", "model_params", model_params),
        ("extrapolates_tokens", "train_tokens", train_tokens),
    ):
        largest, smallest = float(rows[name].max()), float(rows[name].min())
        if value > largest * (1 + ROUNDING):
            text = f"{value / largest:.3g} times the largest fitted ({largest:.4g})"
        elif value < smallest * (1 - ROUNDING):
            text = f"{value / smallest:.3g} times the smallest fitted ({smallest:.4g})"
        else:
            continue
        findings.append(Finding(code, f"{name} = {value:.4g} is {text}"))
    if domain_ratio is not None:
        low, high = ratio_range(fit)
        if not low <= domain_ratio <= high:
            findings.append(
                Finding(
                    "extrapolates_ratio",
                    f"domain_ratio = {domain_ratio:g} is outside the fitted ratios {low:g} to {high:g}; predictions "
                    "there can be far off, above all near 0 and 1",
                )
            )
    return findings
