"""The published laws, one family a file; each is a :class:`~cmrplan.laws.law.Law`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from cmrplan.laws.cmr import critical_ratio_law, domain_token_law, general_token_law, ratio_law
from cmrplan.laws.dcpt import dcpt_law
from cmrplan.laws.law import Law

LAW_BUILDERS: dict[str, Callable[..., Law]] = {
    "dcpt": dcpt_law,
    "dcpt_exp": partial(dcpt_law, is_power=False),
    "cmr_ratio": ratio_law,
    "cmr_domain_tokens": domain_token_law,
    "cmr_general_tokens": general_token_law,
    "cmr": critical_ratio_law,
}


def build_law(name: str, options: dict[str, Any]) -> Law:
    """Return the law of a name with the options it was declared with."""
    return LAW_BUILDERS[name](**options)
