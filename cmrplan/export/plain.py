"""The mixture without a framework: every number of it, as JSON or YAML."""

from __future__ import annotations

import json
from typing import Any

from cmrplan.export.request import ExportRequest
from cmrplan.export.target import ExportTarget, TrainerSettings, yaml_text


def _content(request: ExportRequest) -> dict[str, Any]:
    """Return the numbers; weights of rows and passes only where what they need is known."""
    shares = request.shares
    passes = request.passes
    content: dict[str, Any] = {
        "cmrplan_export": 1,
        "plan": request.planned.fingerprint,
        "train_tokens": request.planned.train_tokens,
        "shares": shares,
        "left_out": request.left_out,
        "share_tolerance": request.share_tolerance,
        "paths": {name: request.path(name) for name in shares},
        "passes": {name: passes.get(name) for name in shares},
        "max_passes": {name: request.planned.max_epochs.get(name) for name in shares},
        "seed": request.seed,
    }
    if shares.keys() <= request.row_tokens.keys():
        content["tokens_per_row"] = {name: request.row_tokens[name] for name in shares}
        content["row_weights"] = request.row_weights("json")
    return content


def _json(request: ExportRequest) -> TrainerSettings:
    return TrainerSettings(request.shares, json.dumps(_content(request), indent=2) + "\n")


def _yaml(request: ExportRequest) -> TrainerSettings:
    return TrainerSettings(request.shares, yaml_text(_content(request)))


PLAIN_TARGETS = (
    ExportTarget("json", "plain JSON", "token", ".json", _json),
    ExportTarget("yaml", "plain YAML", "token", ".yaml", _yaml),
)
