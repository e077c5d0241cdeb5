"""Settings of a run small enough to work out by hand."""

from probes.models.source import ModelShape
from probes.run_settings import Numerics, RunSettings
from probes.training.schedule import Schedule

BASE = RunSettings(
    stage="base",
    size="a",
    model=ModelShape(16, 1, 1, 16, True, 257),
    domain_ratio=0.0,
    seed=0,
    evaluation_steps=(10,),
    schedule=Schedule("constant", 1e-3, warmup_steps=1),
    inherits_optimizer=False,
    weight_decay=0.1,
    gradient_clip=1.0,
    batch_size=2,
    sequence_length=8,
    evaluation_sequences=6,
    data_fingerprint="d",
    tokenizer="bytes",
    base="",
    device="cpu",
    numerics=Numerics("fp32", micro_batch_size=2),
)
"""Ten steps of two sequences of eight tokens."""
