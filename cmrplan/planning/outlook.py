"""The recommended ratio as it stands, and as it is expected to stand after probes that were not run yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmrplan.errors import CmrplanError
from cmrplan.fits import Fit, Prediction
from cmrplan.fitting.curves import Curves
from cmrplan.laws.law import Array
from cmrplan.noise import Noise
from cmrplan.planning.candidates import Candidates
from cmrplan.planning.constraints import Window, window_of
from cmrplan.planning.expected import (
    conditioned,
    explained_share,
    run_covariance,
    transform_after,
)
from cmrplan.planning.landscape import Landscape, survey
from cmrplan.planning.limits import Limits

FEWEST_DRAWS = 50  # fewer say little of how two losses go together


class Outlook:
    """The resamples of a fit: what each recommends, and what each candidate would show in it.

    :meth:`add` takes a candidate as run; everything asked after it is what is expected then.

    Parameters
    ----------
    fit : Fit
        Of both losses, by laws of ratio and tokens, with resamples.
    limits : Limits
    model_params, train_tokens : float
        The full-scale run.
    candidates : Candidates

    Raises
    ------
    CmrplanError
        If the fit cannot say what a run would show.
    """

    def __init__(
        self,
        fit: Fit,
        limits: Limits,
        *,
        model_params: float,
        train_tokens: float,
        candidates: Candidates,
    ) -> None:
        _refuse(fit)
        self.window: Window = window_of(
            fit, limits, model_params=model_params, train_tokens=train_tokens
        )
        self.land: Landscape = survey(
            fit,
            limits,
            model_params=model_params,
            train_tokens=train_tokens,
            marks=self.window.marks,
        )
        self.noise: Noise = fit.noise
        self.candidates = candidates
        self._limits = limits
        self._is_log = fit.settings.link == "log"
        self._covariance = run_covariance(self.noise, candidates.evaluated.shape[1])
        self._seen = {corpus: self._shown(fit, corpus) for corpus in ("general", "domain")}
        # a loss that is not finite in some resample cannot be reckoned with
        self._is_known = np.all(
            [np.isfinite(seen).all(axis=(0, 2)) for seen in self._seen.values()], axis=0
        )
        for seen in self._seen.values():
            seen[:, ~self._is_known] = 0.0

    def answers(self) -> Array:
        """Return the best ratio of each resample, ``(B,)``."""
        return self.land.drawn_ratios(self.window.low, self.window.high)

    def interval(self) -> tuple[float, float]:
        """Return the ends of the interval of the best ratio."""
        tail = (1 - self._limits.confidence) / 2
        low, high = np.quantile(self.answers(), [tail, 1 - tail])
        return float(low), float(high)

    def narrowing(self) -> Array:
        """Return the share by which each candidate should narrow the interval, ``(c,)``.

        The two losses are fitted apart, so what they tell adds up.
        """
        answers = np.clip(self.answers(), *self.interval())  # what lies beyond widens nothing
        told = np.zeros(len(self._is_known))
        for row in np.flatnonzero(self._is_known):
            for seen in self._seen.values():
                told[row] += max(explained_share(answers, seen[:, row], self._covariance), 0.0)
        return np.asarray(1 - np.sqrt(1 - np.minimum(told, 1.0)))

    def add(self, row: int) -> None:
        """Take a candidate as run."""
        after = {
            corpus: transform_after(seen[:, row], self._covariance)
            for corpus, seen in self._seen.items()
        }

        def moved(corpus: str, known: Prediction) -> Prediction:
            return replace(
                known, draws=self._loss(conditioned(self._scale(known.draws), after[corpus]))
            )

        land = self.land
        self.land = land.with_losses(
            self._limits,
            moved("general", land.general),
            moved("domain", land.domain),
            None if land.replay is None else moved("general", land.replay),
        )
        self._seen = {
            corpus: conditioned(seen, after[corpus]) for corpus, seen in self._seen.items()
        }

    def _shown(self, fit: Fit, corpus: str) -> Array:
        """Return what each candidate would show in each resample, ``(B, c, m)``, in the scale of residuals."""
        evaluated, sizes = self.candidates.evaluated, self.candidates.model_params
        shown = np.empty((len(self.land.general.draws), *evaluated.shape))
        for size in np.unique(sizes):
            mine = sizes == size
            draws = fit.predict(
                corpus,
                model_params=float(size),
                train_tokens=evaluated[mine].ravel(),
                domain_ratio=np.repeat(self.candidates.domain_ratio[mine], evaluated.shape[1]),
            ).draws
            with np.errstate(all="ignore"):
                shown[:, mine] = self._scale(draws).reshape(len(draws), -1, evaluated.shape[1])
        return shown

    def _scale(self, loss: Array) -> Array:
        return np.log(loss) if self._is_log else loss

    def _loss(self, scaled: Array) -> Array:
        return np.exp(scaled) if self._is_log else scaled


def _refuse(fit: Fit) -> None:
    for corpus in ("general", "domain"):
        if corpus not in fit.models:
            raise CmrplanError(
                f"the {corpus} loss was not fitted, and the next probes need both; add rows with eval_corpus = {corpus}"
            )
        if isinstance(fit.models[corpus], Curves):
            raise CmrplanError(
                f"the {corpus} loss was fitted by the CMR laws, one per run and budget; the next probes need a law "
                "over ratio and tokens: fit with --law dcpt"
            )
    if fit.settings.bootstrap < FEWEST_DRAWS:
        raise CmrplanError(
            f"the fit has {fit.settings.bootstrap} resamples; the next probes need {FEWEST_DRAWS} or more: fit "
            "with --bootstrap 200"
        )
