"""The recommended ratio as it stands, and as it is expected to stand after probes that were not run yet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fits import Fit, require_positive
from cmrplan.fitting.surface import Surface
from cmrplan.laws.law import Array
from cmrplan.planning.choice import best_ratio
from cmrplan.planning.expected import (
    conditioned,
    explained_share,
    log_losses,
    noise_of,
    simulated_fits,
)
from cmrplan.planning.extrapolation import extrapolation_findings, ratio_range
from cmrplan.planning.noise import RunNoise
from cmrplan.planning.tolerance import Tolerance, base_loss_at

NUM_SIMULATED = 200
NUM_GRID = 401
RATIO_STEP = 0.02
FEWEST_STEPS = 10  # a narrower range of ratios is divided more finely
LONGER = 2.0  # a probe may be this many times as long as the longest of its size
BUDGET_SHARES = (1.0, 0.5, 0.25, 0.125)  # of the longest probe worth running
FEWEST_EVALUATIONS = 3
SAME = 1e-9  # difference below which two ratios are the same


@dataclass(frozen=True)
class Question:
    """What is planned.

    Parameters
    ----------
    model_params, train_tokens : float
        The full-scale run.
    limit : float
        Largest general loss allowed, nats per token.
    confidence : float
        Level of the interval.
    ratio : array (G,)
        Ascending ratios to choose from.
    """

    model_params: float
    train_tokens: float
    limit: float
    confidence: float
    ratio: Array

    def answers(self, general: Array, domain: Array) -> Array:
        """Return the best feasible ratio of each pair of curves, ``(B,)``; the lowest where none is."""
        found = best_ratio(self.ratio, general, domain, self.limit)
        return np.asarray(np.where(np.isnan(found), self.ratio[0], found))

    def interval(self, answers: Array) -> tuple[float, float]:
        """Return the ends of the interval."""
        tail = (1 - self.confidence) / 2
        low, high = np.quantile(answers, [tail, 1 - tail])
        return float(low), float(high)


@dataclass(frozen=True)
class Candidates:
    """Runs that could be made, ``c`` of them, each evaluated ``m`` times, at last at its end.

    Parameters
    ----------
    model_params, domain_ratio, train_tokens : array (c,)
    evaluated : array (c, m)
        Token counts of the evaluations, ascending.
    """

    model_params: Array
    domain_ratio: Array
    train_tokens: Array
    evaluated: Array


class Outlook:
    """Simulated fits of both losses: what they recommend, and what each candidate would show.

    :meth:`add` takes a probe as run; all answers after it are those expected then.

    Parameters
    ----------
    fit : Fit
    question : Question
    candidates : Candidates
    seed : int
    """

    def __init__(self, fit: Fit, question: Question, candidates: Candidates, *, seed: int) -> None:
        self.question = question
        self.candidates = candidates
        self.noise: dict[str, RunNoise] = {}
        self._curves: dict[str, Array] = {}
        self._seen: dict[str, Array] = {}
        shape = candidates.evaluated.shape
        tokens = candidates.evaluated.ravel()
        sizes = np.repeat(candidates.model_params, shape[1])
        ratios = np.repeat(candidates.domain_ratio, shape[1])
        ones = np.ones_like(question.ratio)
        target = (question.model_params * ones, question.train_tokens * ones, question.ratio)
        for number, corpus in enumerate(("general", "domain")):
            surface = _surface(fit, corpus)
            noise = noise_of(surface, fit)
            optima = simulated_fits(
                surface, fit, noise, count=NUM_SIMULATED, seed=2 * seed + number
            )
            seen = log_losses(surface, optima, sizes, tokens, ratios)
            self.noise[corpus] = noise
            self._curves[corpus] = log_losses(surface, optima, *target)
            self._seen[corpus] = seen.reshape(-1, *shape)

    def answers(self) -> Array:
        """Return the best ratio of each simulated fit, ``(B,)``."""
        curves = {corpus: np.exp(losses) for corpus, losses in self._curves.items()}
        return self.question.answers(curves["general"], curves["domain"])

    def width(self) -> float:
        """Return the width of the interval of the simulated answers."""
        low, high = self.question.interval(self.answers())
        return high - low

    def narrowing(self) -> Array:
        """Return the share by which each candidate should narrow the interval, ``(c,)``.

        The two losses are fitted apart, so what they tell adds up.
        """
        answers = self.answers()
        answers = np.clip(answers, *self.question.interval(answers))  # beyond it nothing widens it
        told = np.zeros(len(self.candidates.train_tokens))
        for corpus, seen in self._seen.items():
            covariance = self.noise[corpus].covariance(seen.shape[2])
            for row in range(len(told)):
                told[row] += max(explained_share(answers, seen[:, row], covariance), 0.0)
        return np.asarray(1 - np.sqrt(1 - np.minimum(told, 1.0)))

    def add(self, row: int) -> None:
        """Take a candidate as run."""
        for corpus, seen in self._seen.items():
            covariance = self.noise[corpus].covariance(seen.shape[2])
            flat = seen.reshape(len(seen), -1)
            after = conditioned(np.hstack([self._curves[corpus], flat]), seen[:, row], covariance)
            self._curves[corpus] = after[:, : len(self.question.ratio)]
            self._seen[corpus] = after[:, len(self.question.ratio) :].reshape(seen.shape)


def question_of(
    fit: Fit,
    *,
    model_params: float,
    train_tokens: float,
    tolerance: Tolerance,
    base_loss: float | None,
    confidence: float,
) -> tuple[Question, list[Finding]]:
    """Return what is planned, with remarks on the fit and the target."""
    require_positive("model_params", model_params)
    require_positive("train_tokens", train_tokens)
    if not 0 < confidence < 1:
        raise InputError(f"confidence must be between 0 and 1, got {confidence:g}")
    findings = list(fit.warnings)
    if base_loss is None:
        base_loss, remarks = base_loss_at(fit.base_loss.get("general", {}), model_params)
        findings += remarks
    else:
        require_positive("base_loss", base_loss)
    findings += extrapolation_findings(fit, model_params=model_params, train_tokens=train_tokens)
    ratio = np.linspace(*ratio_range(fit), NUM_GRID)
    limit = tolerance.limit(base_loss)
    return Question(model_params, train_tokens, limit, confidence, ratio), findings


def current_answer(fit: Fit, question: Question) -> tuple[float, float, float]:
    """Return the best ratio and the ends of its interval, as :func:`cmrplan.plan` has them.

    Raises
    ------
    CmrplanError
        If the fit has no resamples.
    """
    general, domain = (
        fit.predict(
            corpus,
            model_params=question.model_params,
            train_tokens=question.train_tokens,
            domain_ratio=question.ratio,
        )
        for corpus in ("general", "domain")
    )
    if not len(general.draws):
        raise CmrplanError("the fit has no resamples, so no interval; fit with --bootstrap 200")
    point = question.answers(general.loss[None, :], domain.loss[None, :])
    return float(point[0]), *question.interval(question.answers(general.draws, domain.draws))


def candidates_of(fit: Fit, train_tokens: float) -> Candidates:
    """Return the runs worth considering: probed sizes, new ratios within the probed range, several lengths.

    The longest is no longer than the target, and at most twice as long as the longest so far. All are evaluated
    equally often, from the log's first evaluation on: a fit counts rows, so each run then counts alike.
    """
    rows = fit.log[fit.log["train_tokens"] > 0]
    runs = rows.groupby("run_id")["train_tokens"].nunique()
    count = max(int(runs.median()), FEWEST_EVALUATIONS)
    lines, evaluated = [], []
    for size, group in rows.groupby("model_params", sort=True):
        tokens = group["train_tokens"].to_numpy(dtype=float)
        longest = min(LONGER * tokens.max(), train_tokens)
        lengths = [share * longest for share in BUDGET_SHARES if share * longest > tokens.min()]
        used = group["domain_ratio"].to_numpy(dtype=float)
        for ratio in _new_ratios(*ratio_range(fit), used):
            for length in lengths or [longest]:
                lines.append((float(size), ratio, length))  # type: ignore[arg-type]
                evaluated.append(np.geomspace(min(tokens.min(), length / 2), length, count))
    return Candidates(*np.array(lines).T, evaluated=np.array(evaluated))


def _new_ratios(low: float, high: float, used: Array) -> list[float]:
    """Return evenly spaced ratios that were not probed, more closely spaced where most were."""
    steps = max(round((high - low) / RATIO_STEP), FEWEST_STEPS)
    while True:
        ratios = np.round(np.linspace(low, high, steps + 1), 6)
        new = ratios[np.min(np.abs(ratios[:, None] - used[None, :]), axis=1) > SAME]
        if len(new) >= steps / 2:
            return [float(ratio) for ratio in new]
        steps *= 2


def _surface(fit: Fit, corpus: str) -> Surface:
    model = fit.models.get(corpus)
    if model is None:
        raise CmrplanError(f"the {corpus} loss was not fitted; the next probes need both losses")
    if not isinstance(model, Surface):
        raise CmrplanError(
            f"the {corpus} loss was fitted by the law {model.law}, one per run and budget; the next probes need a law "
            "over ratio and tokens: fit with --law dcpt"
        )
    return model
