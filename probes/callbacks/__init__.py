"""Callbacks make probes of runs in other trainers: they write probe-log rows as the run goes.

======================  ==============================================  ============================
name                    what it is                                      needs
======================  ==============================================  ============================
``ProbeRun``            what is the same in every row of a run          nothing
``ProbeLogWriter``      one run's log file, for a training loop of      nothing
                        your own
``ProbeLogCallback``    for the Trainer of ``transformers``             ``cmrplan[probes]``
``LightningProbeLog``   for the Trainer of Lightning                    ``cmrplan[lightning]``
======================  ==============================================  ============================

A trainer's package is imported when its callback is first named, not before.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from probes.callbacks.description import ProbeRun
from probes.callbacks.rows import ProbeLogWriter

if TYPE_CHECKING:
    from probes.callbacks.lightning_callback import LightningProbeLog
    from probes.callbacks.transformers_callback import ProbeLogCallback

__all__ = ["LightningProbeLog", "ProbeLogCallback", "ProbeLogWriter", "ProbeRun"]

_MODULES = {
    "LightningProbeLog": "probes.callbacks.lightning_callback",
    "ProbeLogCallback": "probes.callbacks.transformers_callback",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
