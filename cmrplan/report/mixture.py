"""Fits and plans of mixtures in a few lines of plain text, for a terminal."""

from __future__ import annotations

from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.mixture_plan import BindingConstraint, MixturePlan
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
    lines = [
        f"{'recommended mixture':<26}{'share':>8}"
        + (f"   {level} interval of the best mixture" if has_draws else "")
    ]
    for name in plan.largest_first():
        line = f"{name:<26}{plan.shares[name]:>8.3f}"
        best = plan.best_shares[name]
        if best.low is not None and best.high is not None:
            line += f"   {best.low:.3f} to {best.high:.3f}"
        if name in plan.epochs:
            line += f"   {plan.epochs[name]:.2f} passes"
        lines.append(line)
    if plan.binding:
        lines += [
            f"{'what binds' if not k else '':<26}{_binding_text(binding)}"
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


def _binding_text(binding: BindingConstraint) -> str:
    what = f"{binding.kind} of {binding.corpus}: {_BINDS[binding.kind]}"
    unit = "0.01 nats" if binding.kind == "tolerance" else "0.01 of share"
    return (
        f"{what} ({binding.setting:.4g}; {unit} more room is worth {0.01 * binding.price:.2g} nats)"
    )
