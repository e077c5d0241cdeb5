"""What the arms of the sweep teach, beside its smallest size: tables from the committed logs.

    python data/sweep2/lessons.py [transfer maturity repetition rates domains order]

- ``transfer``: the ratio that each arm measured as best, and what that of ``small`` would have cost there;
- ``maturity``: losses and ratios of the arm whose base saw three times the tokens, predicted from ``small`` and the
  arm's base, with and without what the bases had seen; the arm stands as another size, two percent above;
- ``repetition``: the rise of the general loss over pure replay in the arms with little domain data, as a multiple of
  that of ``small``; their domain loss and plans, predicted by a fit of ``small`` that never saw a repeat; and R*,
  fitted with the arms;
- ``rates``: losses of the arms with another peak rate, predicted by a fit of ``small`` that is told the rate;
- ``domains``: the cross-domain law with K from the first evaluation and from the whole run;
- ``order``: runs of ``small`` taken one after the other as ``cmrplan next`` names them, and in other orders.

Questions are 2, 3 and 5 % over the base and over pure replay at the largest budget; the truth is the cubic through the
means over seeds. Losses in nats per token.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from comparison import compare
from preregister import CONFIDENCE, of_default, shown
from scipy.interpolate import PchipInterpolator
from targets import Target, questions

import cmrplan as cp
from cmrplan.errors import CmrplanError
from cmrplan.fit.fitted_log import fitted_rows
from cmrplan.log import CORPORA
from cmrplan.log.files import base_losses
from cmrplan.numbers import parse_tolerance
from cmrplan.validate.backtest import Truth

HERE = Path(__file__).parent
ARMS = ("mature", "c_headers", "french", "rate_half", "rate_double", "unique_8", "unique_32")
DOMAINS = {"python": "small", "c_headers": "c_headers", "french": "french"}
SUPPLIES = ("unique_8", "unique_32")
RATES = {"rate_half": 5e-4, "rate_double": 2e-3}
PILOT = (0.0, 0.2, 0.6, 1.0)
BATCH = 2
ORDERS = 5  # random ones


@cache
def log_of(part: str) -> pd.DataFrame:
    """Return the log of an arm, or of the smallest size."""
    log = cp.read_log(HERE / ("log.csv" if part == "small" else f"{part}.csv"))
    return log[log["model_params"] == log["model_params"].min()].reset_index(drop=True)


def measured_arms() -> list[str]:
    return [arm for arm in ARMS if (HERE / f"{arm}.csv").exists()]


class Site:
    """What one log measured at its largest budget, and the limits that each question means there."""

    def __init__(self, log: pd.DataFrame) -> None:
        rows = {corpus: fitted_rows(log, corpus, 0.0) for corpus in CORPORA}
        self.size, self.tokens = log["model_params"].max(), log["train_tokens"].max()
        self.truth = Truth.of(rows, self.size, self.tokens)
        self.base = base_losses(log, "general")[self.size]

    def limit(self, tolerance: str, reference: str) -> float:
        over = self.base if reference == "base" else float(self.truth.general[0])
        return parse_tolerance(tolerance).limit(over)

    def best(self, tolerance: str, reference: str) -> float:
        limit = self.limit(tolerance, reference)
        return self.truth.best_ratio(self.truth.general, self.truth.domain, limit)

    def asked(self, tolerance: str, reference: str) -> dict[str, object]:
        """Return a question as a plan takes it."""
        place = {"model_params": self.size, "train_tokens": self.tokens, "confidence": CONFIDENCE}
        return place | {"max_general_rise": tolerance, "rise_over": reference}

    def judged(self, ratio: float, question: tuple[str, str]) -> tuple[float, float]:
        """Return the general loss above the limit, and the domain loss above that of the best ratio."""
        excess = self.truth.general_at(ratio) - self.limit(*question)
        return excess, self.truth.domain_at(ratio) - self.truth.domain_at(self.best(*question))


def transfer() -> None:
    """Print the best ratio of each arm, and the price of taking that of the smallest size instead."""
    home = Site(log_of("small"))
    rows = []
    for part in ("small", *measured_arms()):
        site = Site(log_of(part))
        for question in questions():
            own, carried = site.best(*question), home.best(*question)
            excess, regret = site.judged(carried, question)
            named = {"part": part, "tolerance": question[0], "rise_over": question[1], "best": own}
            prices = {"carried": carried, "excess": max(excess, 0.0), "regret": regret}
            rows.append(named | (prices if part != "small" else {}))
    print("\nbest ratio of each part, and what the ratio of `small` would have cost there\n")
    print(shown(pd.DataFrame(rows)))


def maturity() -> None:
    """Print what is said of the older base from the younger one, by tokens and by tokens over the base's."""
    small, arm = log_of("small"), log_of("mature")
    as_other_size = arm.assign(model_params=np.round(1.02 * arm["model_params"]))
    rows = arm[arm["train_tokens"] > 0]
    target = Target(
        float(as_other_size["model_params"].iloc[0]),
        tuple(sorted(rows["train_tokens"].unique())),
        tuple(sorted(rows["domain_ratio"].unique())),
        {corpus: float(next(iter(base_losses(arm, corpus).values()))) for corpus in CORPORA},
        float(arm["base_tokens"].iloc[0]),
    )
    for name, log in (("without", small.drop(columns="base_tokens")), ("with", small)):
        errors, decisions = compare(as_other_size, target, *of_default(log, target))
        print(f"\nthe older base, predicted from the younger one {name} base_tokens\n")
        print(f"{shown(errors)}\n\n{shown(decisions)}")


def missed(fit: cp.Fit, log: pd.DataFrame, corpus: str, supply: float | None = None) -> np.ndarray:
    """Return predicted minus measured loss of the rows after token 0."""
    rows = fitted_rows(log, corpus, 0.0)
    said = fit.predict(
        corpus,
        model_params=float(rows["model_params"].iloc[0]),
        train_tokens=rows["train_tokens"].to_numpy(float),
        domain_ratio=rows["domain_ratio"].to_numpy(float),
        unique_domain_tokens=supply,
    )
    return said.loss - rows["loss"].to_numpy(float)


def error_row(name: str, corpus: str, errors: np.ndarray) -> dict[str, object]:
    figures = {"mae": np.abs(errors).mean(), "bias": errors.mean(), "largest": np.abs(errors).max()}
    return {"predicted by": name, "eval_corpus": corpus} | figures


def rises_over_replay(part: str) -> pd.DataFrame:
    """Return the general loss over that of pure replay, a row for a ratio and a column for a budget."""
    log = log_of(part)
    rows = log[(log["eval_corpus"] == "general") & (log["train_tokens"] > 0)]
    means = rows.pivot_table(index="domain_ratio", columns="train_tokens", values="loss")
    return means - means.loc[0.0]


def multiples_of_rises(arm: str) -> pd.DataFrame:
    """Return the rises of an arm over those of the smallest size, which are read off between its ratios."""
    home, own = rises_over_replay("small"), rises_over_replay(arm)
    between = PchipInterpolator(home.index.to_numpy(), home.to_numpy())(own.index.to_numpy())
    ratio = own.index.to_numpy()[:, None]
    passes = own.columns.to_numpy() * ratio / float(log_of(arm)["unique_domain_tokens"].max())
    cells = [
        f"{k:.2f} ({p:.1f})"
        for k, p in zip((own / between).to_numpy().flat, passes.flat, strict=True)
    ]
    table = pd.DataFrame(
        np.reshape(cells, own.shape),
        index=own.index,
        columns=[f"{tokens:.0f}" for tokens in own.columns],
    )
    return table[table.index >= 0.2].reset_index().assign(arm=arm)


def repetition() -> None:
    """Print how well repeats are predicted from fresh data, and what the arms say of R*."""
    print(
        "\nrise of the general loss over pure replay, times that of `small` (passes over the domain data)\n"
    )
    print(shown(pd.concat([multiples_of_rises(arm) for arm in SUPPLIES], ignore_index=True)))
    home, rows, plans = cp.fit(log_of("small")), [], []
    for arm in SUPPLIES:
        log = log_of(arm)
        supply = float(log["unique_domain_tokens"].max())
        rows.append({"arm": arm} | error_row("fresh tokens", "domain", missed(home, log, "domain")))
        site = Site(log)
        for question in questions():
            try:
                plan = cp.plan(home, **site.asked(*question), domain_tokens=supply, max_epochs=1000)
            except CmrplanError:
                continue
            excess, regret = site.judged(plan.domain_ratio, question)
            named = {"arm": arm, "tolerance": question[0], "rise_over": question[1]}
            answer = {"recommended": plan.domain_ratio, "best": site.best(*question)}
            plans.append(named | answer | {"excess": max(excess, 0.0), "regret": regret})
    print("\ndomain loss of the arms, predicted from `small` as if every token were fresh\n")
    print(shown(pd.DataFrame(rows)))
    print("\nplans from `small` for the supply of an arm\n")
    print(shown(pd.DataFrame(plans)))
    both = cp.fit(
        pd.concat([log_of("small"), *(log_of(arm) for arm in SUPPLIES)], ignore_index=True)
    )
    scale = both.model_of("domain").summary(CONFIDENCE).get("repeat_scale")
    print(f"\nR* of a fit of `small` with {', '.join(SUPPLIES)}: {scale}")


def rates() -> None:
    """Print how well another peak rate is predicted by a fit that is told it, and by one that is not."""
    home, rows = cp.fit(log_of("small")), []
    for arm, rate in RATES.items():
        fits = {"not told": home}
        try:
            fits["told the peak"] = cp.under_schedule(home, peak_rate=rate)
        except CmrplanError as error:
            print(f"\n{arm}: {error}")
        for corpus in CORPORA:
            for name, fit in fits.items():
                rows.append(
                    {"arm": arm} | error_row(name, corpus, missed(fit, log_of(arm), corpus))
                )
    print("\nlosses at another peak rate, predicted from `small`\n")
    print(shown(pd.DataFrame(rows)))


def short_run(log: pd.DataFrame, evaluations: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tokens and domain losses of the run of ratio 1, from the base to so many evaluations."""
    rows = log[(log["eval_corpus"] == "domain") & (log["domain_ratio"] == 1)]
    rows = rows[rows["seed"] == 0].sort_values("train_tokens").head(evaluations + 1)
    return rows["train_tokens"].to_numpy(float), rows["loss"].to_numpy(float)


def domains() -> None:
    """Print the cross-domain law with K from a sixteenth of the tokens, and from all."""
    logs = {name: log_of(part) for name, part in DOMAINS.items()}
    count = log_of("small")["train_tokens"].nunique() - 1
    rows = []
    for evaluations in (1, count):
        runs = {name: short_run(log, evaluations) for name, log in logs.items()}
        fit = cp.fit_domains(logs, runs)
        for name, coefficient in fit.coefficients.items():
            own = fitted_rows(logs[name], "domain", 0.0)
            off = []
            for tokens, group in own.groupby("train_tokens"):
                there = cp.predict_new_domain(
                    fit, runs[name], model_params=float(own["model_params"].iloc[0]),
                    train_tokens=float(tokens), domain_ratio=group["domain_ratio"].to_numpy(float),
                )  # fmt: skip
                off.append(there.loss - group["loss"].to_numpy(float))
            named = {"tokens of K": fit.short_tokens, "domain": name, "K": coefficient}
            rows.append(named | {"mae": np.abs(np.concatenate(off)).mean()})
    print("\ncross-domain law; the errors are in sample, since three domains leave none to hide\n")
    print(shown(pd.DataFrame(rows)))


# --- the order of runs -------------------------------------------------------------------------


Runs = list[str]
Choose = Callable[[Runs, Runs], Runs]
"""Names, of the runs taken and the runs left, the next ones."""


def runs_of(log: pd.DataFrame) -> dict[str, float]:
    """Return the ratio of each run."""
    return log.groupby("run_id")["domain_ratio"].first().to_dict()


def pilot(log: pd.DataFrame) -> Runs:
    seed = log.groupby("run_id")["seed"].first()
    return [run for run, ratio in runs_of(log).items() if ratio in PILOT and seed[run] == 0]


def nearest(ratio: float, left: Runs, ratios: dict[str, float]) -> str:
    return min(left, key=lambda run: (abs(ratios[run] - ratio), run))


def in_gaps(taken: Runs, left: Runs, ratios: dict[str, float]) -> Runs:
    """Return the run that is farthest from those taken."""
    far = {run: min(abs(ratios[run] - ratios[other]) for other in taken) for run in left}
    return [max(left, key=lambda run: (far[run], run))]


def d_optimal(taken: Runs, left: Runs, ratios: dict[str, float]) -> Runs:
    """Return the run that raises the determinant of a cubic in the ratio most."""

    def determinant(run: str) -> float:
        points = np.vander([ratios[r] for r in [*taken, run]], 4)
        return float(np.linalg.slogdet(points.T @ points)[1])

    return [max(left, key=lambda run: (determinant(run), run))]


def answers(log: pd.DataFrame, site: Site, asked: Sequence[tuple[str, str]]) -> Iterator[dict]:
    """Yield how near a plan from a log is to each question's best ratio."""
    fit = cp.fit(log.reset_index(drop=True))
    for question in asked:
        try:
            plan = cp.plan(fit, **site.asked(*question))
        except CmrplanError:
            yield {"answered": 0.0}
            continue
        excess, regret = site.judged(plan.domain_ratio, question)
        off = abs(plan.ratio.estimate - site.best(*question))
        kept = {"regret": regret} if excess <= 0 else {}
        yield {"answered": 1.0, "error": off, "broken": float(excess > 0)} | kept


def grown(
    way: str, log: pd.DataFrame, site: Site, asked: Sequence[tuple[str, str]], choose: Choose
) -> Iterator[dict[str, object]]:
    """Yield the answers after the pilot and after each batch of runs."""
    taken = pilot(log)
    left = [run for run in runs_of(log) if run not in taken]
    while True:
        own = log[log["run_id"].isin(taken)]
        for answer in answers(own, site, asked):
            yield {"way": way, "runs": len(taken)} | answer
        if len(left) < 2 * BATCH:
            return
        for _ in range(BATCH):
            (run, *_) = choose(taken, left)
            taken = [*taken, run]
            left = [other for other in left if other != run]


def by_next(log: pd.DataFrame, site: Site, question: tuple[str, str]) -> Choose:
    """Return a choice of the run whose ratio is nearest to what ``next_probes`` names."""
    ratios = runs_of(log)

    def choose(taken: Runs, left: Runs) -> Runs:
        fit = cp.fit(log[log["run_id"].isin(taken)].reset_index(drop=True))
        named = cp.next_probes(
            fit, budget=f"{site.tokens:.0f}tokens", most_probes=1, resolution=0,
            least_narrowing=0, **site.asked(*question),
        ).probes  # fmt: skip
        wanted = [probe.domain_ratio for probe in named if probe.domain_ratio is not None]
        if not wanted:
            return in_gaps(taken, left, ratios)
        return [nearest(wanted[0], left, ratios)]

    return choose


def order() -> None:
    """Print how near plans come with the runs, by the order in which these are taken."""
    log = log_of("small")
    site, ratios = Site(log), runs_of(log)
    asked = [q for q in questions() if np.isfinite(site.best(*q))]
    rows: list[dict[str, object]] = []
    for question in asked:
        choose = by_next(log, site, question)
        rows += grown("next", log, site, [question], choose)
    rows += grown("uniform", log, site, asked, lambda t, o: in_gaps(t, o, ratios))
    rows += grown("D-optimal", log, site, asked, lambda t, o: d_optimal(t, o, ratios))
    for seed in range(ORDERS):
        generator = np.random.default_rng(seed)
        rows += grown(
            "random", log, site, asked, lambda t, o, rng=generator: [o[rng.integers(len(o))]]
        )
    rows += [{"way": "all", "runs": len(ratios)} | answer for answer in answers(log, site, asked)]
    table = pd.DataFrame(rows).groupby(["way", "runs"], sort=False).mean().reset_index()
    print(f"\nplans from some runs of `small`, means over {len(asked)} questions\n")
    print(shown(table))


NEEDS = {
    "maturity": ("mature",),
    "repetition": SUPPLIES,
    "rates": tuple(RATES),
    "domains": ("c_headers", "french"),
}
PARTS = {f.__name__: f for f in (transfer, maturity, repetition, rates, domains, order)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all when left out")
    for name in parser.parse_args().parts or PARTS:
        missing = sorted(set(NEEDS.get(name, ())) - set(measured_arms()))
        if missing:
            print(f"\n{name}: {', '.join(missing)} are not trained yet; stages.py trains them")
        else:
            PARTS[name]()


if __name__ == "__main__":
    main()
