"""The fitted laws of both validation losses.

A :class:`Fit` is what everything downstream reads: the planner, the plots, the report. It keeps the rows it
was fitted to, one model per validation corpus, the base losses and how everything was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrplan.arrays import Array, is_among
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fit.bootstrap import student_scale
from cmrplan.fit.corpus_model import CorpusModel, top_weighted_laws
from cmrplan.fit.diagnosis.burn_in import find_burn_in
from cmrplan.fit.diagnosis.levels import FEWEST_LEVELS
from cmrplan.fit.diagnosis.parameters import parameter_findings
from cmrplan.fit.fitted_log import FIT_FILE_VERSION, FittedLog
from cmrplan.fit.law_columns import completed
from cmrplan.fit.law_inputs import row_inputs
from cmrplan.fit.law_model import fitted_values
from cmrplan.fit.noise import run_noise, seed_noise
from cmrplan.fit.prediction import Prediction
from cmrplan.fit.random_streams import RandomStream
from cmrplan.fit.size_prior import drawn_at
from cmrplan.log import CORPORA
from cmrplan.numbers import CountOrText, parse_named_count, require_fraction, require_positive

if TYPE_CHECKING:
    from lmfit.model import ModelResult  # type: ignore[import-untyped]


@dataclass(frozen=True, repr=False)
class Fit(FittedLog):
    """Fitted laws of the general and the domain loss; the fields are those of :class:`FittedLog`."""

    def predict(
        self,
        corpus: str,
        *,
        model_params: CountOrText,
        train_tokens: CountOrText | Array,
        domain_ratio: Array | Sequence[float] | float | None = None,
        unique_domain_tokens: CountOrText | None = None,
        new_run: bool = False,
    ) -> Prediction:
        """Return the loss of a corpus at one or more ratios.

        Parameters
        ----------
        corpus : {"general", "domain"}
        model_params : float or str
            Counted as in the log; ``1.8e9`` or ``"1.8B"``.
        train_tokens, domain_ratio : float or array
            Tokens of the continual phase, above 0 (one number also as a text), and ratios in [0, 1]; they are broadcast
            against each other. The ratio may be left out where it changes nothing, see :meth:`ratio_or_only`.
        unique_domain_tokens : float or str, optional
            Tokens that the domain corpus holds before it repeats, for the laws that read them; without it none do.
        new_run : bool
            Widen the draws by the noise of a run and of an evaluation: what one new run would measure,
            rather than the mean of many.

        Raises
        ------
        InputError
            If a number is out of its range.
        CmrplanError
            If that corpus was not fitted, or the law cannot answer there.
        """
        ratio = np.atleast_1d(np.asarray(self.ratio_or_only(domain_ratio), dtype=float))
        if unique_domain_tokens is not None:
            unique_domain_tokens = parse_named_count("unique_domain_tokens", unique_domain_tokens)
        size = parse_named_count("model_params", model_params)
        if isinstance(train_tokens, str):
            train_tokens = parse_named_count("train_tokens", train_tokens)
        for extreme in (np.min(train_tokens), np.max(train_tokens)):
            require_positive("train_tokens", float(extreme))
        if not np.all((ratio >= 0) & (ratio <= 1)):
            require_fraction("domain_ratio", float(ratio[~((ratio >= 0) & (ratio <= 1))][0]))
        ratio, tokens = np.broadcast_arrays(ratio, np.asarray(train_tokens, dtype=float))
        flat = self._predict_flat(corpus, size, tokens.ravel(), ratio.ravel(), unique_domain_tokens)
        draws = flat.draws
        if new_run:
            shift = self._new_run_shifts(len(draws))
            law = self.model_of(corpus).top_weighted
            is_log = law is not None and law.fit.law.link == "log"
            draws = draws * np.exp(shift) if is_log else draws + shift
        return Prediction(
            {name: values.reshape(ratio.shape) for name, values in flat.inputs.items()},
            flat.loss.reshape(ratio.shape),
            draws.reshape(len(draws), *ratio.shape),
        )

    def ratio_or_only(
        self, domain_ratio: Array | Sequence[float] | float | None
    ) -> Array | Sequence[float] | float:
        """Return a ratio that was given, or that of a log with one; where no law reads it the first serves.

        Raises
        ------
        InputError
            If there is none, and a law reads it.
        """
        if domain_ratio is not None:
            return domain_ratio
        ratios = np.unique(self.log["domain_ratio"].to_numpy(dtype=float))
        if len(ratios) > 1 and any(model.reads_mixture for model in self.models.values()):
            raise InputError(
                f"domain_ratio must be given: the log has {len(ratios)} and the law {self.law} reads it"
            )
        return float(ratios[0])

    def _predict_flat(
        self, corpus: str, size: float, tokens: Array, ratio: Array, unique: float | None
    ) -> Prediction:
        """Return the loss at ``n`` places of one size, with what few probed sizes leave open about the level."""
        model = self.model_of(corpus)

        def at_size(model_params: float) -> Prediction:
            sizes = np.full(ratio.shape, model_params)
            columns = {"model_params": sizes, "train_tokens": tokens, "domain_ratio": ratio}
            law = model.top_weighted
            if law is None:
                return model.predict(columns)
            base = self.base_loss.get(corpus, {})
            prediction = model.predict(completed(columns, law, self.log, base, unique))
            return replace(prediction, inputs=columns)

        prediction, probed = at_size(size), self.sizes_of(corpus)
        if not len(prediction.draws) or len(probed) >= FEWEST_LEVELS or is_among(probed, size):
            return prediction
        draws = drawn_at(size, probed, lambda there: at_size(there).draws, self.settings.seed)
        return replace(prediction, draws=draws)

    def _new_run_shifts(self, count: int) -> Array:
        """Return what the noise of a run and of an evaluation adds, in residual units, ``(B, 1)``."""
        if not top_weighted_laws(self.models):
            raise CmrplanError(
                "the noise of a new run is estimated by a law across runs, which the CMR laws are not; fit with law = "
                "'dcpt'"
            )
        noise = self.noise
        generator = RandomStream.NEW_RUN.generator(self.settings.seed)
        scale = student_scale(generator.random((count, 1)), noise.degrees_of_freedom)
        spread = np.hypot(noise.run, noise.checkpoint)
        return np.asarray(spread * scale * generator.standard_normal((count, 1)))

    def model_of(self, corpus: str) -> CorpusModel:
        """Return the fitted model of a corpus.

        Raises
        ------
        CmrplanError
            If that corpus was not fitted.
        """
        if corpus not in self.models:
            raise CmrplanError(
                f"the {corpus} loss was not fitted: the log has no rows with eval_corpus = {corpus}; add them "
                "and fit again"
            )
        return self.models[corpus]

    def fitted_ratios(self, corpus: str) -> Array:
        """Return the domain ratio of each row, or for the CMR laws of each run, that a law was fitted to."""
        return self.model_of(corpus).fitted_ratios(self.rows(corpus))

    @property
    def holds_per_size(self) -> bool:
        """Whether a loss was fitted by laws that hold at the probed sizes alone."""
        return any(model.only_sizes is not None for model in self.models.values())

    @property
    def law(self) -> str:
        """Name of the fitted law; two names where the losses got different ones."""
        return "+".join(dict.fromkeys(model.law for model in self.models.values()))

    def to_lmfit(self, corpus: str) -> ModelResult:
        """Return the fit of a corpus as an lmfit result at the same optimum.

        See :func:`cmrplan.solve.lmfit_bridge.to_lmfit`. Its errors count rows as independent. Where laws were
        averaged it is the one with the largest weight.

        Raises
        ------
        CmrplanError
            If the corpus was not fitted, or by the CMR laws, which are one law per run and budget.
        """
        from cmrplan.solve.lmfit_bridge import to_lmfit  # takes a second to import

        law = self.model_of(corpus).top_weighted
        if law is None:
            raise CmrplanError(
                f"the {corpus} loss was fitted by the CMR laws, one per run and budget, so there is no single "
                "lmfit result; fit with law = 'dcpt', or pass one ratio_fit to "
                "cmrplan.solve.lmfit_bridge.to_lmfit"
            )
        rows = self.rows(corpus)
        inputs = row_inputs(corpus, rows)
        return to_lmfit(law.fit, inputs, fitted_values(law.law, inputs, rows))

    def summary(self) -> dict[str, Any]:
        """Return the figures of every corpus and of the whole, as plain values."""
        figures = {
            corpus: model.summary(self.settings.confidence) for corpus, model in self.models.items()
        }
        for corpus, values in figures.items():
            rows, law = self.rows(corpus), self.models[corpus].top_weighted
            repeated = seed_noise(rows)
            left = None if law is None else run_noise([law.residuals(rows)])
            values["noise"] = None if left is None else asdict(left)
            values["seed_noise"] = None if repeated is None else asdict(repeated)
            values["warnings"] = [w.as_dict() for w in parameter_findings(corpus, values)]
        return figures

    def figures(self) -> dict[str, Any]:
        """Return the figures of both losses as plain values: what ``cmrplan fit --json`` prints."""
        figures = self.summary()
        return {
            "cmrplan_fit": FIT_FILE_VERSION,
            "kind": "two_corpora",
            **{corpus: figures.get(corpus) for corpus in CORPORA},
            **self._common_figures(),
        }

    def parameter_findings(self) -> list[Finding]:
        """Return what the parameters of both losses mean where the data do not settle them."""
        return [
            finding
            for corpus, model in self.models.items()
            for finding in parameter_findings(corpus, model.summary(self.settings.confidence))
        ]

    def without_resamples(self) -> Fit:
        """Return the fit for estimates alone, where leaving out the resamples saves time."""
        models = {corpus: model.without_resamples() for corpus, model in self.models.items()}
        return replace(self, models=models)

    def without_burn_in(self) -> tuple[float, Fit]:
        """Return from which tokens on the laws hold, and the fit from there on, without resamples.

        The laws are fitted again from their optima.
        """
        laws = top_weighted_laws(self.models)
        rows = {corpus: self.rows(corpus) for corpus in self.models}
        first = find_burn_in(laws, {corpus: rows[corpus] for corpus in laws}).chosen
        models = {c: model.refitted_from(rows[c], first) for c, model in self.models.items()}
        return first, replace(self, models=models, warnings=())
