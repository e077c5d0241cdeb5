"""Forgetting with injected general data, as a law of the rise of the general loss.

``L_pt - L_pt0 = A D_ft^beta / ((1 + B p) N)^alpha``

D_ft is ``unique_domain_tokens``, p is ``replay_ratio``, the share of general data that is mixed in, N is
``model_params``; L_pt0 is the general loss of the base at the same size, so the fit takes differences from
it, in nats per token. The paper's regime is little data over many epochs, where one percent of general
data is enough; continual pre-training on billions of tokens is outside it.

References
----------
Bethune et al., Scaling Laws for Forgetting, ICML 2025, arXiv:2502.06042.
"""

from __future__ import annotations

from cmrplan.laws.law import Exponent, Law, OnePlusPower, Power, Term


def forgetting_law() -> Law:
    """Return ``dL = A D_ft^beta / ((1 + B p) N)^alpha``, a law of differences from the base."""
    return Law(
        name="forgetting",
        formula="dL = A*D_ft^beta/((1+B*p)*N)^alpha",
        latex=r"\Delta L = \frac{A\,D_{\mathrm{ft}}^{\beta}}{\left((1+B\,p)\,N\right)^{\alpha}}",
        reference="Bethune et al. 2025, arXiv:2502.06042",
        needs="Rises of the general loss over the base loss at 3 or more sizes, unique domain token counts and "
        "replay ratios, 0 among them.",
        exponents=(
            Exponent("beta", 0.01, 5.0),
            Exponent("B", 0.1, 1e5),
            Exponent("alpha", 0.01, 5.0),
        ),
        terms=(
            Term(
                "A",
                (
                    Power("unique_domain_tokens", "beta"),
                    OnePlusPower("replay_ratio", "B", "alpha"),
                    Power("model_params", "alpha", -1),
                ),
            ),
        ),
        link="identity",
        scaled=("model_params", "unique_domain_tokens"),
    )
