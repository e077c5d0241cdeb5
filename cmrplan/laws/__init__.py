"""The published laws, one family a file; each is a :class:`~cmrplan.laws.law.Law`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from cmrplan.errors import InputError
from cmrplan.laws.chinchilla import chinchilla_law
from cmrplan.laws.cmr import critical_ratio_law, domain_token_law, general_token_law, ratio_law
from cmrplan.laws.cross_domain import cross_domain_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.forgetting import forgetting_law
from cmrplan.laws.law import Law
from cmrplan.laws.learning_rate import learning_rate_law
from cmrplan.laws.mixtures import (
    autoscale_law,
    bimix_law,
    data_mixing_law,
    optimal_mixture_law,
)
from cmrplan.laws.repetition import repeated_builder

LAW_BUILDERS: dict[str, Callable[..., Law]] = {
    "chinchilla": chinchilla_law,
    "chinchilla_repetition": repeated_builder(chinchilla_law),
    "dcpt": dcpt_law,
    "dcpt_exp": partial(dcpt_law, mixture="none", is_power=False),
    "dcpt_no_mixture": partial(dcpt_law, mixture="none"),
    "dcpt_product_exp": partial(dcpt_law, is_power=False),
    "dcpt_sum": partial(dcpt_law, mixture="sum"),
    "dcpt_sum_exp": partial(dcpt_law, mixture="sum", is_power=False),
    "dcpt_repetition": repeated_builder(dcpt_law),
    "dcpt_exp_repetition": repeated_builder(partial(dcpt_law, mixture="none", is_power=False)),
    "cross_domain": cross_domain_law,
    "cmr_ratio": ratio_law,
    "cmr_domain_tokens": domain_token_law,
    "cmr_general_tokens": general_token_law,
    "cmr": critical_ratio_law,
    "learning_rate": learning_rate_law,
    "learning_rate_replay": partial(learning_rate_law, has_replay=True),
    "data_mixing": data_mixing_law,
    "bimix": bimix_law,
    "optimal_mixture": optimal_mixture_law,
    "autoscale": autoscale_law,
    "forgetting": forgetting_law,
}


def build_law(name: str, options: dict[str, Any]) -> Law:
    """Return the law of a name with the options it was declared with.

    Raises
    ------
    InputError
        If there is no such law, or an option that it needs is missing or unknown.
    """
    if name not in LAW_BUILDERS:
        raise InputError(f"unknown law {name!r}; the laws are {', '.join(LAW_BUILDERS)}")
    builder = LAW_BUILDERS[name]
    try:
        inspect.signature(builder).bind(**options)
    except TypeError as error:
        raise InputError(f"law {name} cannot be built from {sorted(options)}: {error}") from None
    return builder(**options)


def required_options(name: str) -> tuple[str, ...]:
    """Return the options that :func:`build_law` cannot do without, such as the corpora of a mixture."""
    parameters = inspect.signature(LAW_BUILDERS[name]).parameters.values()
    return tuple(p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY)
