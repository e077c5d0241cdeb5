"""The fitted laws of both validation losses.

A :class:`Fit` is what everything downstream reads: the planner, the plots, the report. It keeps the rows it
was fitted to, one model per validation corpus, the base losses and how everything was made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cmrplan.arrays import Array
from cmrplan.errors import CmrplanError, Finding, InputError
from cmrplan.fit.base_tokens import base_tokens_at
from cmrplan.fit.corpus_model import (
    Columns,
    CorpusModel,
    Prediction,
    new_run_shifts,
    top_weighted_laws,
)
from cmrplan.fit.diagnosis.levels import FEWEST_LEVELS
from cmrplan.fit.diagnosis.parameters import parameter_findings
from cmrplan.fit.fitted_log import FIT_FILE_VERSION, FittedLog
from cmrplan.fit.general_loss import GeneralLoss
from cmrplan.fit.law_model import fitted_values, row_inputs
from cmrplan.fit.noise import run_noise, seed_noise
from cmrplan.fit.probed import (
    Probed,
    base_loss_at,
    is_among,
    other_base,
    probed_of,
    require_plausible_base,
    rise_carried,
)
from cmrplan.fit.schedule_areas import RunSchedule, longest_schedule
from cmrplan.fit.size_prior import drawn_at, scattered_from
from cmrplan.fit.supply import require_repeats_read
from cmrplan.log import CORPORA
from cmrplan.numbers import CountOrText, given_places, parse_named_count

if TYPE_CHECKING:
    from lmfit.model import ModelResult  # type: ignore[import-untyped]


@dataclass(frozen=True)
class WithoutEarly:
    """A fit again without the early evaluations that lie outside its laws.

    Parameters
    ----------
    first_tokens : float
        From here on evaluations were kept.
    fit : Fit
        For estimates alone: from the optima of the whole fit, without resamples and findings.
    """

    first_tokens: float
    fit: Fit


@dataclass(frozen=True, repr=False)
class Fit(FittedLog):
    """Fitted laws of the general and the domain loss.

    Parameters
    ----------
    without_early : WithoutEarly, optional
        Where early evaluations lie outside the laws.
    planned : callable, optional
        Takes the schedule of the log that a run would follow, and returns that of the run; see
        :func:`~cmrplan.fit.planned_schedule.under_schedule`. The other parameters are those of :class:`FittedLog`.

    Attributes
    ----------
    probed : Probed
        What the log holds.
    """

    without_early: WithoutEarly | None = None
    planned: Callable[[RunSchedule], RunSchedule] | None = field(default=None, compare=False)
    probed: Probed = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows = {corpus: self.rows(corpus) for corpus in self.models}
        object.__setattr__(self, "probed", probed_of(self.log, self.models, rows))

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
            Tokens that the domain corpus holds before it repeats, for fits that read them; by default those of probes
            that repeat theirs, else it never does.
        new_run : bool
            Widen the draws by the noise of a run and of an evaluation: what one new run would measure,
            rather than the mean of many.

        Raises
        ------
        InputError
            If a number is out of its range, or domain tokens are given to a fit that reads none.
        CmrplanError
            If that corpus was not fitted, or the law cannot answer there.
        """
        if unique_domain_tokens is not None:
            unique_domain_tokens = parse_named_count("unique_domain_tokens", unique_domain_tokens)
            require_repeats_read(self.models)
        size = parse_named_count("model_params", model_params)
        self.probed.require_unit_of_sizes(size)
        if isinstance(train_tokens, str):
            train_tokens = parse_named_count("train_tokens", train_tokens)
        ratio, tokens = given_places(self.ratio_or_only(domain_ratio), train_tokens)
        flat = self._predict_flat(corpus, size, tokens.ravel(), ratio.ravel(), unique_domain_tokens)
        draws = self.of_new_run(corpus, flat.draws) if new_run else flat.draws
        return Prediction(
            {name: values.reshape(ratio.shape) for name, values in flat.inputs.items()},
            flat.loss.reshape(ratio.shape),
            draws.reshape(len(draws), *ratio.shape),
        )

    def of_new_run(self, corpus: str, draws: Array) -> Array:
        """Return draws ``(B, n)`` widened by the noise of a run and of an evaluation."""
        shifts = self.new_run_shifts(corpus, len(draws))
        if shifts is None:
            raise CmrplanError(
                "the noise of a new run is estimated by a law across runs, which CMR's are not; fit law = 'dcpt'"
            )
        return self.model_of(corpus).with_shifts(draws, shifts)

    def parts(
        self,
        corpus: str,
        *,
        model_params: float,
        train_tokens: float,
        domain_ratio: float,
        unique_domain_tokens: float | None = None,
    ) -> tuple[float, float]:
        """Return the estimate of :meth:`predict` by the laws alone, and what the residual adds, in nats."""
        columns = {
            "model_params": np.array([model_params]),
            "train_tokens": np.array([train_tokens]),
            "domain_ratio": np.array([domain_ratio]),
        }
        completed = self.completed(corpus, columns, unique_domain_tokens)
        law, residual = self.model_of(corpus).parts(completed)
        return float(law[0]), float(residual[0])

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
            prediction = model.predict(self.completed(corpus, columns, unique))
            return replace(prediction, inputs=columns)

        prediction, probed = at_size(size), self.probed.losses[corpus].sizes
        if (
            model.follows_rows
            or not len(prediction.draws)
            or len(probed) >= FEWEST_LEVELS
            or is_among(probed, size)
        ):
            return prediction
        draws = drawn_at(size, probed, lambda there: at_size(there).draws, self.settings.seed)
        return replace(prediction, draws=draws)

    def general_loss_from_base(
        self,
        model_params: float,
        train_tokens: float | Array,
        domain_ratio: Array,
        base_loss: float | None = None,
    ) -> GeneralLoss | None:
        """Return the general loss of a model that counts it from the base loss of its size; else None.

        A given base loss is that of the checkpoint to be trained: where it is not that of the probed one, the loss goes
        with it. At another size, once known, it narrows the draws.
        """
        followed = self.model_of("general").follows_rows
        measured, sizes = self.base_loss.get("general", {}), self.probed.losses["general"].sizes
        if not followed or not set(sizes.tolist()) <= set(measured):
            return None
        require_plausible_base("base_loss", base_loss, measured, model_params)

        def there(size: float, tokens: float | Array, ratio: Array) -> Prediction:
            return self.predict(
                "general", model_params=size, train_tokens=tokens, domain_ratio=ratio
            )

        own = there(model_params, train_tokens, domain_ratio)
        counted_from, findings = base_loss_at(measured, model_params)
        base, said = (counted_from, findings) if base_loss is None else (base_loss, [])
        is_probed = is_among(sizes, model_params)
        other = other_base(base, counted_from, model_params) if is_probed else []
        if other or not is_probed:
            scale = base / counted_from
            own = replace(own, loss=own.loss * scale, draws=own.draws * scale)
        if is_probed:
            return GeneralLoss(own, base, (*said, *other))
        if base_loss is not None or is_among(np.array(list(measured)), model_params):
            own = scattered_from(sizes, there, own, self.log, self.settings.seed)
        return GeneralLoss(own, base, (*said, rise_carried(self.log, model_params, sizes)))

    def completed(
        self, corpus: str, columns: Columns, unique_domain_tokens: float | None
    ) -> Columns:
        """Return columns at ``n`` points of one size with what else the model of a corpus reads.

        Domain tokens whose number is not given are those of probes that repeat them, else fresh. The learning rate
        follows the log's schedule (:mod:`~cmrplan.fit.schedule_areas`).

        Raises
        ------
        InputError
            If the law cannot do without the unique tokens.
        """
        model, supply = self.model_of(corpus), self.probed.supply
        if unique_domain_tokens is None and supply is not None:
            unique_domain_tokens = supply.unique_tokens
        whole = {name: np.asarray(values, dtype=float) for name, values in columns.items()}
        tokens, reads = whole["train_tokens"], model.more_columns
        if unique_domain_tokens is not None:
            whole["unique_domain_tokens"] = np.full_like(tokens, unique_domain_tokens)
        elif "unique_domain_tokens" in reads:
            raise InputError(
                f"the law {model.law} reads the unique tokens of the domain corpus; give unique_domain_tokens"
            )
        if "s1_cpt" in reads:
            known = longest_schedule(self.log, model.law, float(whole["model_params"][0]))
            whole |= (
                known.at(tokens, model.is_of_finished_runs)
                if self.planned is None
                else self.planned(known).finished(tokens)
            )
        if "base_loss" in reads:
            base, _ = base_loss_at(self.base_loss.get(corpus, {}), float(whole["model_params"][0]))
            whole["base_loss"] = np.full_like(tokens, base)
        if "base_tokens" in reads:
            seen = base_tokens_at(self.log, float(whole["model_params"][0]))
            whole["base_tokens"] = np.full_like(tokens, seen)
        return whole

    def new_run_shifts(self, corpus: str, count: int) -> Array | None:
        """Return what the noise of a run and of an evaluation adds, in residual units, ``(B, 1)``.

        None where the fit does not tell it: no law across runs was fitted.
        """
        own = self.models[corpus].noise
        noise = own or (self.noise if top_weighted_laws(self.models) else None)
        return None if noise is None else new_run_shifts(noise, count, self.settings.seed)

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

    def as_dict(self) -> dict[str, Any]:
        """Return all that the file of the fit holds, the laws without early evaluations included."""
        from cmrplan.fit.model_records import dump_model  # takes a tenth of a second to import

        whole, early = super().as_dict(), self.without_early
        if early is not None:
            models = {corpus: dump_model(model) for corpus, model in early.fit.models.items()}
            whole["state"]["without_early"] = {"first_tokens": early.first_tokens, "models": models}
        return whole

    def parameter_findings(self) -> list[Finding]:
        """Return what the parameters of both losses mean where the data do not settle them."""
        return [
            finding
            for corpus, model in self.models.items()
            if not model.follows_rows
            for finding in parameter_findings(corpus, model.summary(self.settings.confidence))
        ]

    def without_resamples(self) -> Fit:
        """Return the fit for estimates alone, where leaving out the resamples saves time."""
        models = {corpus: model.without_resamples() for corpus, model in self.models.items()}
        return replace(self, models=models)

    def left_out_before(self, first_tokens: float) -> WithoutEarly:
        """Return the fit again, from its optima, to the evaluations from ``first_tokens`` on."""
        models = {c: m.refitted_from(self.rows(c), first_tokens) for c, m in self.models.items()}
        return WithoutEarly(first_tokens, replace(self, models=models, warnings=()))
