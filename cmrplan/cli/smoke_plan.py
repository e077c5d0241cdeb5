"""The smoke test of the base is a fit and a plan whose answer is known by hand.

Started as ``python -m cmrplan.cli.smoke_plan`` a process does it alone; see :mod:`cmrplan.cli.installation`.
"""

from __future__ import annotations

import json


def plan_by_hand() -> None:
    """Fit losses of ``1 + 0.1 / (s + 0.1) + 100 (s / D)^0.5`` at a share s, and plan the ratio 0.5.

    At D = 4e6 and s = 0.5 the loss is 1 + 0.166667 + 0.035355, which is 0.102022 above a base loss of 1.1.
    """
    import pandas as pd

    from cmrplan.fit.fit_log import fit
    from cmrplan.plan.plan import plan

    rows = []
    for ratio in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        for tokens in (0.0, 1e6, 2e6, 4e6):
            for corpus, share in (("general", 1 - ratio), ("domain", ratio)):
                loss = 1 + 0.1 / (share + 0.1) + 100 * (share / tokens) ** 0.5 if tokens else 1.1
                row = {"run_id": f"r{ratio}", "model_params": 1e6, "train_tokens": tokens}
                rows.append(row | {"domain_ratio": ratio, "eval_corpus": corpus, "loss": loss})
    fitted = fit(pd.DataFrame(rows), "dcpt", bootstrap=0)
    answer = plan(fitted, model_params=1e6, train_tokens=4e6, max_general_rise="0.102022nats")
    if abs(answer.domain_ratio - 0.5) > 0.01:
        raise RuntimeError(
            f"a plan answered the ratio {answer.domain_ratio:.4f} where 0.5 is right"
        )


if __name__ == "__main__":
    try:
        plan_by_hand()
        answer = {"note": "", "devices": []}
    except Exception as error:
        answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    print(json.dumps(answer))
