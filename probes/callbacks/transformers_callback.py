"""The callback here writes probe-log rows from the Trainer of ``transformers``."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from cmrplan.errors import InputError
from cmrplan.log.cells import listed, shown
from probes.callbacks.description import ProbeRun
from probes.callbacks.params import with_counted_params
from probes.callbacks.rows import ProbeLogWriter

try:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
except ImportError as error:
    raise ImportError(
        f"ProbeLogCallback needs transformers ({error}): pip install 'cmrplan[probes]'"
    ) from None

_PREFIX = "eval_"


class ProbeLogCallback(TrainerCallback):
    """Writes a probe-log row for each evaluation and corpus of a ``Trainer``.

    Give the Trainer ``eval_dataset={"general": ..., "domain": ...}`` (or corpora of any names) and this in
    ``callbacks=``. A Trainer that resumes from a checkpoint goes on in the same file.

    Parameters
    ----------
    folder : path
        Where ``<run_id>.jsonl`` goes; all runs of a study may share it.
    run : ProbeRun
        The run. Left out, ``model_params`` is counted, and ``seed``, ``schedule``, ``base_model`` and ``tokenizer``
        are those of the Trainer.
    tokens_per_step : int, optional
        Tokens of an optimizer step over all devices and accumulated batches. Left out, the Trainer counts the tokens
        of its batches (``include_num_input_tokens_seen``, which is set to ``"all"`` where it is ``"no"``: padding
        counts then, ``"non_padding"`` leaves it out).
    eval_corpora : collection of str, optional
        The corpora to log, each of which must be evaluated; left out, all that are.
    base_row : bool, default True
        Evaluate before the first step (``eval_on_start``), for the row of the base checkpoint.

    Raises
    ------
    InputError
        If the run, the Trainer's settings or its metrics do not give a probe log.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        run: ProbeRun,
        *,
        tokens_per_step: int | None = None,
        eval_corpora: Collection[str] | None = None,
        base_row: bool = True,
    ) -> None:
        if tokens_per_step is not None and not tokens_per_step > 0:
            raise InputError(f"tokens_per_step must be above 0, got {shown(tokens_per_step)}")
        self._folder = folder
        self._run = run
        self._tokens_per_step = tokens_per_step
        self._eval_corpora = None if eval_corpora is None else set(eval_corpora)
        self._base_row = base_row
        self._counted: ProbeRun | None = None
        self._writer: ProbeLogWriter | None = None
        self._is_training = False
        self._first_step = 0
        self._evaluated: set[str] = set()  # since the last step
        self._learning_rate: float | None = None

    def on_init_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        """Count the parameters, before anything is sharded."""
        if model is not None:
            self._counted = with_counted_params(self._run, model)

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        """Open the log at the step the Trainer starts from, and see that tokens are counted."""
        if args.eval_strategy == "no":
            raise InputError(
                "eval_strategy is 'no', so there is nothing to log; set eval_strategy='steps' and eval_steps"
            )
        self._count_tokens(args, state)
        self._is_training = True
        self._first_step = state.global_step
        self._evaluated = set()
        if self._base_row and state.global_step == 0:
            args.eval_on_start = True
        if not state.is_world_process_zero:
            return
        run = self._counted or with_counted_params(self._run, model)
        self._writer = ProbeLogWriter(
            self._folder,
            run.completed(
                seed=args.seed,
                schedule=str(getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)),
                base_model=getattr(model, "name_or_path", None) or None,
                tokenizer=getattr(processing_class, "name_or_path", None) or None,
            ),
            resume_step=state.global_step,
            planned_steps=state.max_steps if state.max_steps > 0 else None,
        )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Check that the evaluation before this step had every corpus."""
        self._check_evaluated()

    def on_optimizer_step(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Note the learning rate of the step, before the schedule moves on."""
        self._learning_rate = max(float(group["lr"]) for group in optimizer.param_groups)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the row of one corpus; the Trainer calls this once for each."""
        is_repeated = (
            state.global_step == self._first_step > 0
        )  # a look at the checkpoint it resumes from
        if not self._is_training or is_repeated:
            return
        corpus, loss = evaluated_corpus(metrics or {})
        if corpus is None or (self._eval_corpora is not None and corpus not in self._eval_corpora):
            return
        self._evaluated.add(corpus)
        if self._writer is not None:
            self._writer.write(
                state.global_step,
                self._train_tokens(state),
                {corpus: loss},
                learning_rate=self._learning_rate if state.global_step else None,
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note that the run has ended; evaluations after it are not of this run."""
        self._is_training = False
        if self._writer is not None:
            self._writer.end(state.global_step)
        self._check_evaluated()

    def _count_tokens(self, args: TrainingArguments, state: TrainerState) -> None:
        if self._tokens_per_step is not None:
            return
        if state.global_step > 0 and state.num_input_tokens_seen == 0:
            raise InputError(
                f"tokens_per_step must be given: the checkpoint of step {state.global_step} was trained without "
                "counting tokens (include_num_input_tokens_seen)"
            )
        if args.include_num_input_tokens_seen == "no":
            args.include_num_input_tokens_seen = "all"

    def _train_tokens(self, state: TrainerState) -> int:
        if self._tokens_per_step is not None:
            return state.global_step * self._tokens_per_step
        return int(state.num_input_tokens_seen)

    def _check_evaluated(self) -> None:
        lacking = sorted((self._eval_corpora or set()) - self._evaluated)
        if self._evaluated and lacking:
            raise InputError(
                f"eval_corpora names {listed(lacking)}, and the Trainer evaluated {listed(sorted(self._evaluated))}; "
                "name them alike in eval_dataset={...}"
            )
        self._evaluated = set()


def evaluated_corpus(metrics: Mapping[str, float]) -> tuple[str | None, float]:
    """Return the corpus that a Trainer's metrics are of, and its loss; no corpus for other metrics.

    Examples
    --------
    >>> evaluated_corpus({"eval_code_loss": 1.9, "eval_code_runtime": 3.2, "epoch": 1.0})
    ('code', 1.9)
    """
    # Every evaluation has its duration, whatever compute_metrics adds.
    prefixes = [name.removesuffix("_runtime") for name in metrics if name.endswith("_runtime")]
    prefix = min(prefixes, key=len, default="")
    if prefix == _PREFIX.removesuffix("_"):
        raise InputError(
            "eval_dataset is one set without a name; name the corpora: eval_dataset={'general': ..., 'domain': ...}"
        )
    if not prefix.startswith(_PREFIX):
        return None, 0.0
    corpus = prefix.removeprefix(_PREFIX)
    if f"{prefix}_loss" not in metrics:
        raise InputError(
            f"the evaluation of {shown(corpus)} has no {prefix}_loss, only {listed(sorted(metrics))}; "
            "give the eval set labels, so that the model returns a loss"
        )
    return corpus, float(metrics[f"{prefix}_loss"])
