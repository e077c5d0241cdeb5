"""Search the best mixture under all limits, those beside it, and what would make a question feasible."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cmrplan.arrays import Array
from cmrplan.mixture.bounds import Box, binding_bounds, probed_box
from cmrplan.mixture.loss_functions import LossFunctions, loss_functions_of, needed_draws
from cmrplan.mixture.mixture_fit import MixtureFit
from cmrplan.mixture.request import MixturePlanRequest
from cmrplan.mixture.simplex import ACTIVE, Prices, SimplexOptimum, SimplexProblem, prices, solve

NUM_DRAWN = 100  # resamples whose own best mixture is sought, for the intervals of the shares
NUM_PROBED_STARTS = 2
BIAS = 2  # resamples that break for each that the best mixture lies at the limits of
_DUST = 1e-12  # a share below which is none: less than a token of any run
BOUND_WAYS = {
    "probed_high": "the largest probed share of {}, {:.3g}: probe larger ones",
    "probed_low": "the smallest probed share of {}, {:.3g}: probe smaller ones",
    "ceiling": "the ceiling of {}, {:.3g}: raise it",
    "floor": "the floor of {}, {:.3g}: lower it",
    "available": "what is available of {}, a share of {:.3g}: give more, or allow more passes over it",
}
# How much wider than the rises at the nearest mixture the tolerances are that an infeasible question is told, in turn,
# and by how much the smallest that has an answer may be wider than one that has none.
WIDENINGS = (1.0, 1.05, 1.25, 2.0, 8.0)
FINEST_WIDENING = 1.02


@dataclass(frozen=True)
class MixtureSolution:
    """The best mixture of a problem, and those beside it by name, each ``(m,)``.

    Where none is feasible ``best`` is the nearest to the tolerances, which stands among ``candidates`` then.
    ``by_draws`` is the best one that the resamples alone allow, where the best estimate breaks a limit there.
    """

    problem: SimplexProblem
    best: SimplexOptimum
    candidates: dict[str, Array]
    by_draws: Array | None = None

    @property
    def evaluated(self) -> Array:
        """The best mixture; where none is feasible that of the estimates, and without it the nearest."""
        if self.best.is_feasible:
            return self.best.shares
        return self.candidates.get("point", self.best.shares)

    def prices(self) -> Prices:
        """Return what holds the best mixture; where none is feasible what keeps the nearest from being it."""
        return prices(self.problem, self.best.shares, is_relaxed=not self.best.is_feasible)


def search(
    fit: MixtureFit, asked: MixturePlanRequest, functions: LossFunctions, box: Box
) -> MixtureSolution:
    """Return the best mixture, feasible or as near to it as the search comes, and those beside it."""
    excess = functions.excess if asked.protected else None
    needed = needed_draws(fit.num_draws, asked.confidence)
    natural = _natural(fit, asked)
    problem = SimplexProblem(
        functions.objective, box.low, box.high, excess, needed, natural, plane=box.plane
    )
    probed = fit.mixtures()
    value = functions.objective(probed)
    near = probed[np.argsort(value, kind="stable")[:NUM_PROBED_STARTS]]
    starts = [np.full(len(fit.corpora), 1 / len(fit.corpora)), natural, *near]
    starts.append(0.5 * near[0] + 0.5 / len(fit.corpora))
    if (mixture := asked.reference_mixture) is not None:
        starts.append(fit.shares_of(mixture))
    wide = probed_box(fit)
    free = solve(replace(problem, low=wide.low, high=wide.high, excess=None, needed=0), starts)
    starts.append(free.shares)
    point = None
    if asked.protected and fit.num_draws:
        estimates = SimplexProblem(
            functions.objective,
            box.low,
            box.high,
            functions.estimated_excess,
            1,
            plane=box.plane,
        )
        point = solve(estimates, starts)
        starts.append(point.shares)
    problem, best = unbiased(problem, solve(problem, starts), starts)
    by_draws = None
    if fit.num_draws and best.is_feasible and functions.breaking_estimates(best.shares):
        by_draws = best.shares
        problem = replace(problem, excess=functions.excess_by_both, num_held=1, needed=needed)
        problem, best = unbiased(problem, solve(problem, [*starts, by_draws]), starts)
    candidates = {"unconstrained": free.shares, "natural": natural, "best_probed": near[0]}
    if not best.is_feasible:
        candidates = {"nearest": best.shares, **candidates}
    if point is not None and point.is_feasible:
        candidates = {"point": point.shares, **candidates}
    return MixtureSolution(problem, best, candidates, by_draws)


def unbiased(
    problem: SimplexProblem, best: SimplexOptimum, starts: list[Array]
) -> tuple[SimplexProblem, SimplexOptimum]:
    """Return a problem, and its best mixture, whose limits hold as surely in resamples that the search has not seen.

    The best mixture lies at the limits of some resamples, where the others are kind to it: see :func:`fresh_violation`.
    So the more it touches, the more have to hold.
    """
    asked = problem.needed
    while problem.excess is not None and best.is_feasible:
        excess = _largest_excess(problem, best.shares)
        needed = min(asked + BIAS * _num_touching(excess, best.shares), len(excess))
        if needed <= problem.needed:
            break
        problem = replace(problem, needed=needed)
        nearby = solve(problem, [best.shares])
        best = nearby if nearby.is_feasible else solve(problem, starts)
    return problem, best


def fresh_violation(solution: MixtureSolution) -> float | None:
    """Return how often resamples that the search has not seen break a limit at the best mixture; None without limits.

    Of ``B`` resamples the mixture breaks ``k`` and lies at the limits of ``s``. Were those that may break chosen
    without a look at the others, ``(k + s) / (B + 1)`` of new ones would; they are chosen as the mixture likes it best,
    and ``(k + 2 s) / (B + 1)`` do (measured by ``benchmarks/mixture_coverage.py --plans``).

    References
    ----------
    Campi & Garatti 2011, A sampling-and-discarding approach to chance-constrained optimization, J. Optim. Theory Appl.
    """
    if solution.problem.excess is None:
        return None
    excess = _largest_excess(solution.problem, solution.best.shares)
    broken = np.count_nonzero(excess > 0) + BIAS * _num_touching(excess, solution.best.shares)
    return float(min(broken / (len(excess) + 1), 1.0))


def _largest_excess(problem: SimplexProblem, shares: Array) -> Array:
    """Return by how much each draw that may break exceeds its limits at most, ``(B,)``."""
    assert problem.excess is not None
    return np.asarray(problem.excess(shares[None, :])[:, problem.num_held :, 0].max(axis=0))


def _num_touching(excess: Array, shares: Array) -> int:
    """Return how many draws lie at their limits at a mixture since it was chosen so.

    A choice of ``m`` shares that sum to 1 can be held by ``m - 1`` draws. More lie at their limits only where the
    mixture is the one that rises count from: there new draws do too, and none of them breaks.
    """
    touching = int(np.count_nonzero(np.abs(excess) <= ACTIVE))
    return touching if touching < len(shares) else 0


def _natural(fit: MixtureFit, asked: MixturePlanRequest) -> Array:
    """Return shares in proportion to the tokens at hand; equal ones where a corpus's are not known."""
    if all(name in asked.unique_tokens for name in fit.corpora):
        tokens = np.array([asked.unique_tokens[name] for name in fit.corpora])
        return np.asarray(tokens / tokens.sum())
    return np.full(len(fit.corpora), 1 / len(fit.corpora))


def infeasible_text(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    functions: LossFunctions,
    box: Box,
    nearest: MixtureSolution,
) -> str:
    """Return why no mixture keeps the tolerances, and tolerances that one keeps."""
    over = "the base" if asked.reference is None else "the reference mixture"
    how = f"with confidence {asked.confidence:g}" if functions.num_draws else "by the estimates"
    text = (
        f"no mixture keeps {', '.join(f'{c} within {asked.tolerance(c)}' for c in asked.protected)} of {over} "
        f"{how} at train_tokens = {asked.tokens:.4g}"
    )
    if allowed := feasible_tolerances(fit, asked, functions, box, nearest):
        ways = ", ".join(f"{corpus} {tolerance}" for corpus, tolerance in allowed.items())
        text += f"; smallest feasible tolerance: {ways}"
    largest = sorted(zip(nearest.best.shares, fit.corpora, strict=True), reverse=True)[:3]
    text += f" (at shares {', '.join(f'{name} {round(share, 6):.3g}' for share, name in largest)})"
    if "point" in nearest.candidates:
        chance = functions.violation(nearest.candidates["point"])
        how_often = "without a margin" if chance is None else f"but break with {100 * chance:.0f} %"
        text += f"; the best estimates would allow it, {how_often}"
    if nearest.by_draws is not None:
        text += "; the resamples would allow it, but the best estimate breaks the limit of "
        text += ", ".join(functions.breaking_estimates(nearest.best.shares))
    if bounds := binding_bounds(fit, box, nearest.prices()):
        ways = "; and ".join(BOUND_WAYS[b.kind].format(b.corpus, b.setting) for b in bounds)
        text += f"; what binds there is {ways}"
    return text


def feasible_tolerances(
    fit: MixtureFit,
    asked: MixturePlanRequest,
    functions: LossFunctions,
    box: Box,
    nearest: MixtureSolution,
) -> dict[str, str]:
    """Return tolerances, as they are typed, under which this search gives a feasible mixture.

    The rises at the nearest mixture are allowed there, but a search that starts elsewhere may end before it comes
    there, and more resamples have to hold where it lies at their limits. So the question is asked again with them, and
    with wider ones until it has an answer, and then with narrower ones as long as it has one.
    """
    there, num_held = nearest.best.shares, nearest.problem.num_held
    kept = nearest.problem.kept(there)[num_held:] - num_held
    rises = [rise[kept, 0] for rise in functions.rises(there[None, :])]
    if num_held:
        by_estimate = functions.rises(there[None, :], by_estimate=True)
        rises = [np.append(*both) for both in zip(rises, by_estimate, strict=True)]
    largest = {c: float(rise.max()) for c, rise in zip(asked.protected, rises, strict=True)}

    def widened(widening: float) -> tuple[dict[str, str], bool]:
        allowed = {
            corpus: str(tolerance.least_above(rise * widening))
            for corpus, rise in largest.items()
            if rise > (tolerance := asked.tolerance(corpus)).largest_rise
        }
        wider = replace(asked, protected={**asked.protected, **allowed})
        losses = loss_functions_of(fit, wider, functions.base)
        return allowed, search(fit, wider, losses, box).best.is_feasible

    failing = 1.0
    for holding in WIDENINGS:
        allowed, is_feasible = widened(holding)
        if is_feasible:
            break
        failing = holding
    else:
        return {}
    while holding > FINEST_WIDENING * failing:
        middle = float(np.sqrt(failing * holding))
        narrower, is_feasible = widened(middle)
        if is_feasible:
            allowed, holding = narrower, middle
        else:
            failing = middle
    return allowed


def drawn_optima(
    functions: LossFunctions, asked: MixturePlanRequest, box: Box, solution: MixtureSolution
) -> Array:
    """Return the best mixture of some resamples, ``(S, m)``; NaN where none is feasible."""
    count = functions.num_draws
    which = np.unique(np.linspace(0, count - 1, min(count, NUM_DRAWN)).round()).astype(int)
    starts = [solution.evaluated]  # feasible in most resamples
    ends = np.full((len(which) if count else 0, len(box.low)), np.nan)
    for row, draw in enumerate(which if count else []):
        objective, excess = functions.of_draw(int(draw))
        problem = replace(
            solution.problem, objective=objective, excess=excess, needed=1, num_held=0
        )
        end = solve(problem, starts)
        if end.is_feasible:
            ends[row] = end.shares
    return ends


def without_dust(shares: Array) -> Array:
    """Return shares in which what rounding left beside 0 is 0, and beside 1 is 1."""
    whole = np.round(shares)
    return np.where(np.abs(shares - whole) < _DUST, whole + 0.0, shares)
