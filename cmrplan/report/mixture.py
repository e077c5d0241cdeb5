"""Fits and plans of mixtures in a few lines of plain text, for a terminal."""

from __future__ import annotations

import pandas as pd

from cmrplan.log.columns import SHARE_PREFIX
from cmrplan.mixture.levels import LEAST_PREFIX
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import MOST_LISTED, BindingConstraint, MixturePlan
from cmrplan.mixture.plan_findings import is_past
from cmrplan.mixture.remedies import MixtureRemedy
from cmrplan.mixture.search import BOUND_WAYS
from cmrplan.numbers import compact

_BINDS = {
    "tolerance": "its loss may not rise further",
    "available": "more would repeat it too often",
    "ceiling": "no more was wanted",
    "floor": "no less was wanted",
    "probed_high": "no larger share was probed",
    "probed_low": "no smaller share was probed",
}


def mixture_fit_text(fit: MixtureFit) -> str:
    """Return a fit as a table: laws and quality for each validation corpus."""
    lines = [f"{'loss on':<24}{'rows':>6}{'runs':>6}{'R²':>9}{'error':>9}  law by held-out error"]
    for corpus, figures in sorted(fit.summary().items()):
        r2 = "n/a" if figures["r2"] is None else f"{figures['r2']:.4f}"
        laws = ", ".join(f"{m['law']} {100 * m['weight']:.0f} %" for m in figures["members"])
        if "residual" in figures:
            laws += f"; with a residual {figures['residual']['left_out_mae']:.4f} on runs left out"
        lines.append(
            f"{corpus:<24}{figures['n_rows']:>6}{figures['n_runs']:>6}{r2:>9}{figures['mae']:>9.4f}  {laws}"
        )
    return "\n".join([*lines, "error: mean absolute, nats per token, of the first law"])


def mixture_plan_text(plan: MixturePlan) -> str:
    """Return a plan as the shares, what binds, and the losses."""
    level = f"{100 * plan.confidence:g} %"
    has_draws = plan.num_resamples > 0
    lines = [] if plan.is_feasible else [no_mixture_sentence(plan), ""]
    lines.append(
        f"{plan.evaluated_name:<26}{'share':>8}"
        + (f"   {level} interval of the best mixture" if has_draws else "")
    )
    for name in plan.largest_first():
        line = f"{name:<26}{plan.evaluated_shares[name]:>8.3f}"
        best = plan.best_shares[name]
        if best.low is not None and best.high is not None:
            line += f"   {best.low:.3f} to {best.high:.3f}"
        if name in plan.epochs:
            line += f"   {plan.epochs[name]:.2f} passes"
        lines.append(line)
    if plan.binding:
        lines += [
            f"{'what binds' if not k else '':<26}{_binding_text(binding, plan)}"
            for k, binding in enumerate(plan.binding)
        ]
    else:
        lines.append(f"{'what binds':<26}none: no limit holds the mixture back")
    if plan.violation_probability is not None:
        lines.append(f"{'chance to break a limit':<26}{100 * plan.violation_probability:.0f} %")
    lines += [
        f"{'weighted loss':<26}{plan.objective.text(4)}",
        f"{'gain over the natural mix':<26}{plan.gain_text}",
        f"{'asked for':<26}N = {compact(plan.model_params)} parameters, D = {compact(plan.train_tokens)} tokens, law "
        f"{plan.law}",
        f"{'loss on':<26}{'loss':>8}{'rise':>9}{'limit':>9}",
    ]
    for corpus, loss in plan.losses.items():
        rise = "-" if loss.rise is None else f"{loss.rise.estimate:+.4f}"
        limit = "-" if loss.limit is None else f"{loss.limit:.4f}"
        estimate, *bounds = loss.loss.text(4).split(" ", 1)
        lines.append(f"{corpus:<26}{estimate:>8}{rise:>9}{limit:>9}  {' '.join(bounds)}".rstrip())
    return "\n".join(lines)


def mixture_ways_text(plan: MixturePlan, remedy: MixtureRemedy | None) -> str:
    """Return what would make a mixture feasible: runs, where they are known to help, else what gives way."""
    near = shares_text(plan.candidates["nearest"].shares)
    if remedy is not None:
        return f"{remedy.text}: {near}"
    bounds = [
        BOUND_WAYS[b.kind].format(b.corpus, b.setting) for b in plan.binding if b.kind in BOUND_WAYS
    ]
    text = (
        "no runs of up to half the run's compute are expected to"
        if plan.num_resamples
        else "nothing is known to"
    )
    wider = "; allow wider tolerances" + "".join(f"; or change {way}" for way in bounds)
    return f"{text} make the nearest mixture hold ({near}){wider}"


def no_mixture_sentence(plan: MixturePlan) -> str:
    """Return that no mixture keeps every tolerance, and what the best estimate does."""
    over = "the base" if plan.asked.reference is None else "the reference mixture"
    kept = ", ".join(f"{c} within {plan.asked.tolerance(c)}" for c in plan.asked.protected)
    if not plan.num_resamples:
        return f"No mixture keeps {kept} of {over} by the estimates; below is the one that comes nearest."
    text = f"No mixture keeps {kept} of {over} with {100 * plan.confidence:g} %."
    if "point" not in plan.candidates:
        return f"{text} The estimates alone allow none either; below is the mixture that comes nearest."
    chance = plan.violation_probability
    often = (
        "" if chance is None else f", which breaks a limit in {100 * chance:.0f} % of the resamples"
    )
    return f"{text} The best estimates allow the one below{often}."


def mixture_levels_text(levels: pd.DataFrame, num_resamples: int) -> str:
    """Return what each confidence allows, a line each."""
    return "\n".join(
        f"{f'with {level}' if num_resamples else level:<26}{told} {mixture}"
        for level, told, mixture in level_rows(levels, num_resamples)
    )


def level_rows(levels: pd.DataFrame, num_resamples: int) -> list[tuple[str, str, str]]:
    """Return for each confidence whether a mixture holds, else the tolerances that one would, and that mixture.

    Without resamples the estimates stand in the place of a confidence.
    """
    shares = [name for name in levels.columns if name.startswith(SHARE_PREFIX)]
    least = [name for name in levels.columns if name.startswith(LEAST_PREFIX)]
    rows = []
    for _, row in levels.iterrows():
        ways = _tolerances_text({n.removeprefix(LEAST_PREFIX): row[n] for n in least if row[n]})
        told = f"none holds, but {ways} would:" if ways else "none holds; the nearest is"
        if row["is_feasible"]:
            told = _held_text(row, num_resamples)
        mixture = shares_text({name.removeprefix(SHARE_PREFIX): row[name] for name in shares})
        level = f"{100 * row['confidence']:g} %" if num_resamples else "by the estimates"
        rows.append((level, told, mixture))
    return rows


def _held_text(row: pd.Series, num_resamples: int) -> str:
    """Return that a mixture holds, or that the resamples are too few to tell."""
    chance = row["violation_probability"]
    if not is_past(chance, row["confidence"], num_resamples):
        return "this one holds:"
    return f"{num_resamples} resamples are too few to tell; about {100 * chance:.0f} % of new ones break this one:"


def _tolerances_text(tolerances: dict[str, str]) -> str:
    """Return tolerances by corpus; those of many corpora at once where they are alike."""
    alike = set(tolerances.values())
    if len(alike) == 1 and len(tolerances) > 1:
        return f"{alike.pop()} on each of {', '.join(tolerances)}"
    return ", ".join(f"{corpus} {text}" for corpus, text in tolerances.items())


def shares_text(shares: dict[str, float]) -> str:
    """Return a mixture in a line, the largest shares first."""
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    most = len(ordered) if len(ordered) <= MOST_LISTED + 1 else MOST_LISTED
    told = [f"{name} {shares[name]:.3f}" for name in ordered[:most]]
    if len(ordered) > most:
        told.append(
            f"{len(ordered) - most} more {sum(shares[name] for name in ordered[most:]):.3f}"
        )
    return ", ".join(told)


def _binding_text(binding: BindingConstraint, plan: MixturePlan) -> str:
    what = f"{binding.kind} of {binding.corpus}: {_BINDS[binding.kind]}"
    if not plan.is_feasible:
        return f"{what} ({binding.setting:.4g})"
    unit = "0.01 nats" if binding.kind == "tolerance" else "0.01 of share"
    return (
        f"{what} ({binding.setting:.4g}; {unit} more room is worth {0.01 * binding.price:.2g} nats)"
    )
