"""The parts of the sweep of the prediction test ask for what data/sweep2/README.md says of them."""

import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from probes.planned_probes import planned_probes
from probes.planned_runs import base_tokens
from probes.spec.file import parse_spec

sys.path.insert(0, str(Path(__file__).parents[2] / "data" / "sweep2"))
import stages

PLAN = yaml.safe_load((stages.HERE / "stages.yaml").read_text())
SIZES = ("small", "middle", "large")
PARAMS = {"150k": 150_976, "440k": 443_232, "1M": 974_208}


def spec_of(part):
    return parse_spec(stages.spec_of(PLAN, part, Path("corpora")))


@pytest.mark.parametrize("part", SIZES)
def test_a_size_has_eight_ratios_two_seeds_at_four_and_eight_tokens_a_parameter(part):
    spec = spec_of(part)
    (size,) = spec.sizes
    ratios = {
        seed: [p.domain_ratio for p in planned_probes(spec) if p.seed == seed] for seed in (0, 1)
    }
    assert len(ratios[0]) == 8
    assert {0, 0.01, 1} <= set(ratios[0])
    assert len(ratios[1]) == 4
    assert set(ratios[1]) <= set(ratios[0])
    assert spec.probes.evaluations == 6
    assert spec.probes.train_tokens >= 8 * PARAMS[size.name]
    assert base_tokens(spec, size, 257) >= 20 * PARAMS[size.name]


@pytest.mark.parametrize("part", PLAN["parts"])
def test_every_part_is_annealed_and_leaves_near_duplicates_out(part):
    spec = spec_of(part)
    assert spec.probes.schedule == "branches"
    assert spec.base.cooldown_share > 0
    assert spec.corpora.near_duplicates == "drop"


def test_arms_differ_from_the_small_size_in_one_thing():
    small, mature = spec_of("small"), spec_of("mature")
    assert mature.base.tokens_per_param == 3 * small.base.tokens_per_param
    tokens = small.probes.train_tokens
    assert spec_of("unique_8").corpora.unique_domain_tokens == tokens / 8
    assert spec_of("unique_32").corpora.unique_domain_tokens == tokens / 32
    rate = small.probes.learning_rate
    assert spec_of("rate_half").probes.learning_rate == rate / 2
    assert spec_of("rate_double").probes.learning_rate == rate * 2
    assert {Path(spec_of(part).corpora.domain.source).stem for part in ("small", "c_headers", "french")} == {
        "python", "c_headers", "french",
    }  # fmt: skip


def test_a_part_borrows_what_another_has_prepared(tmp_path):
    """The rate arm has the corpora and the base of the small size, the mature arm its corpora alone."""
    for part in ("small", "french"):
        spec = stages.spec_of(PLAN, part, tmp_path)
        (tmp_path / f"{part}.yaml").write_text(yaml.safe_dump(spec))
        for file in ("corpora/manifest.json", f"bases/{part}/outcome.json"):
            path = tmp_path / part / file
            path.parent.mkdir(parents=True)
            path.write_text(part)
    for part in ("rate_half", "mature", "unique_8"):
        stages.borrow(stages.spec_of(PLAN, part, tmp_path), tmp_path / part, tmp_path)
    assert (tmp_path / "rate_half" / "corpora" / "manifest.json").read_text() == "small"
    assert (tmp_path / "rate_half" / "bases" / "small" / "outcome.json").read_text() == "small"
    assert (tmp_path / "mature" / "corpora" / "manifest.json").exists()
    assert not (tmp_path / "mature" / "bases").exists()
    assert not (tmp_path / "unique_8").exists()


def test_parts_may_stand_behind_the_folders_as_the_readme_has_them(monkeypatch, tmp_path):
    asked = []

    def train(part, spec, options, *, ends):
        asked.append((part, options.workers))
        return True

    monkeypatch.setattr(stages, "train", train)
    line = f"train --corpora corpora --out {tmp_path} middle large --workers 2"
    monkeypatch.setattr(sys, "argv", ["stages.py", *line.split()])
    stages.main()
    assert asked == [("middle", 2), ("large", 2)]


def test_a_table_keeps_the_rows_of_runs_whose_folders_are_gone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("run_id,loss,note\na,2.5000,\nb,2.25,old\n")
    stages.write_merged(path, pd.DataFrame({"run_id": ["b", "c"], "loss": [2.0, 0.1]}), "run_id")
    assert path.read_text() == "run_id,loss,note\na,2.5000,\nb,2.0,\nc,0.1,\n"


def test_parts_of_one_domain_share_a_log():
    logs = {part: stages.log_of(PLAN, part) for part in PLAN["parts"]}
    assert {logs[part] for part in SIZES} == {"log"}
    assert logs["middle_french"] == logs["french"] == "french"
    assert logs["c_headers"] == "c_headers"
    assert logs["mature"] == "mature"
