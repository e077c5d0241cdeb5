"""Words and numbers as they stand on pictures."""

from __future__ import annotations

from cmrplan.numbers import Unit
from cmrplan.plan.plan import Plan

LAW_NAMES = {
    "dcpt": "D-CPT law",
    "dcpt_exp": "D-CPT law with an exponential ratio term",
    "dcpt_no_mixture": "D-CPT law without the mixture term",
    "dcpt_sum": "D-CPT law with an additive mixture term",
    "dcpt_product_exp": "D-CPT law with an exponential ratio and a mixture term",
    "dcpt_sum_exp": "D-CPT law with an exponential ratio and an additive mixture term",
    "cmr": "CMR law",
}
LONGEST_NAME = 28
LEAST_WIDTH = 5e-5  # of an interval that two decimals of a percentage show


def law_title(law: str) -> str:
    """Return a law's name in words; two where the losses got different ones.

    Examples
    --------
    >>> law_title("dcpt"), law_title("dcpt+cmr"), law_title("average(dcpt, dcpt_exp)+dcpt")
    ('D-CPT law', 'D-CPT law and CMR law', 'average of 2 laws and D-CPT law')
    >>> law_title("gp(dcpt)"), law_title("gp(relearning)+average(dcpt, gp(bilinear))")
    ('D-CPT law with a residual', 'laws with a residual')
    """
    if "gp(" in law:
        mean = law.removeprefix("gp(").removesuffix(")")
        return f"{LAW_NAMES.get(mean, mean) if mean.isidentifier() else 'laws'} with a residual"
    return " and ".join(
        f"average of {name.count(',') + 1} laws"
        if name.startswith("average(")
        else LAW_NAMES.get(name, name)
        for name in law.split("+")
    )


def percent(ratio: float) -> str:
    """Return a ratio or a confidence as a percentage with up to three digits.

    Examples
    --------
    >>> percent(0.05), percent(1 / 3)
    ('5%', '33.3%')
    """
    return f"{100 * ratio:.3g}%"


def choice_name(plan: Plan) -> str:
    """Return what a plan's ratio is called; without a recommended one its losses are another's."""
    if plan.is_feasible:
        return "recommended"
    is_best = plan.evaluated_ratio == plan.ratio.estimate
    return "none holds; best estimate" if is_best else "none holds; least rise"


def choice_label(plan: Plan) -> str:
    """Return what a legend calls a plan's ratio."""
    return f"{choice_name(plan)} {recommendation(plan)}"


def allowed_title(plan: Plan) -> str:
    """Return what a picture of the recommended ratio over something else shows."""
    if plan.asked.tolerance is None:
        return "Recommended ratio"
    return f"Ratio that a general rise of {plan.max_general_rise} allows"


def no_ratio_text(plan: Plan) -> str:
    """Return that no ratio holds the tolerance of a plan, and which would do."""
    over = "pure replay" if plan.asked.rise_over == "replay" else "the base"
    return (
        f"No ratio holds a rise of {plan.max_general_rise} over {over} with {percent(plan.confidence)}; a rise of "
        f"{plan.least_tolerance} would do."
    )


def shown_interval(plan: Plan) -> tuple[float, float] | None:
    """Return the interval of the best ratio where a plan's ratio is one; that of the least rise is none."""
    low, high = plan.domain_ratio_low, plan.domain_ratio_high
    is_best = plan.is_feasible or plan.evaluated_ratio == plan.ratio.estimate
    return None if low is None or high is None or not is_best else (low, high)


def recommendation(plan: Plan) -> str:
    """Return the recommended ratio with its interval, such as ``31% (27–35%)``.

    There are enough decimals to tell the ends of the interval apart; one without a width is left out.
    """
    low, high = shown_interval(plan) or (plan.evaluated_ratio,) * 2
    width = high - low
    if width < LEAST_WIDTH:
        return percent(plan.evaluated_ratio)
    decimals = 0 if width >= 0.05 else 1 if width >= 0.005 else 2
    shown = [f"{100 * ratio:.{decimals}f}" for ratio in (plan.evaluated_ratio, low, high)]
    return f"{shown[0]}% ({shown[1]}–{shown[2]}%)"


def rise_label(unit: Unit, over: str) -> str:
    """Return what an axis of rises of the general loss is called.

    Examples
    --------
    >>> rise_label("fraction", "base")
    'allowed rise over the base (percent of the loss)'
    """
    shown = {
        "nats": "nats per token",
        "fraction": "percent of the loss",
        "perplexity_fraction": "percent of perplexity",
        "perplexity": "perplexity",
    }[unit]
    return f"allowed rise over {'the base' if over == 'base' else 'pure replay'} ({shown})"


def plain(text: str) -> str:
    """Return text from a log so that a picture shows it as it is, shortened.

    Dollar signs do not start a formula, unprintable characters become ``?``, and a leading underscore
    does not hide a legend entry.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    if len(shown) > LONGEST_NAME:
        shown = shown[: LONGEST_NAME - 1] + "…"
    return shown.replace("$", r"\$").replace("_", " _", 1 if shown.startswith("_") else 0)


def heading(corpus: str) -> str:
    """Return the title of a panel of one corpus."""
    return f"{plain(corpus).capitalize()} loss"
