"""What a sweep would take, against numbers worked out by hand."""

import pytest
import torch

from cmrplan.errors import CmrplanError, InputError
from probes import calibration
from probes.calibration import Pace, calibrate
from probes.data.prepared import DataIdentity
from probes.design import design_sweep
from probes.jobs import Job
from probes.models.source import ModelShape, count_params, flops_per_token
from probes.planned_runs import sweep_settings


def test_design_by_hand(spec):
    design = design_sweep(spec, tokens_per_second={"nano": 1000.0}, workers=2, device="cpu")
    assert (design.num_bases, design.num_probes) == (1, 3)
    assert (design.base_tokens, design.probe_tokens) == (64 * 60, 3 * 64 * 48)
    assert design.evaluation_train_tokens == (384, 768, 1536, 3072)
    # one evaluation of the base and four of each probe; two corpora, 24 sequences of 16 tokens
    assert design.evaluation_tokens == (1 + 3 * 4) * 2 * 24 * 16
    shape = ModelShape(16, 1, 2, 24, True, 257)
    work = design.base_tokens + design.probe_tokens + design.evaluation_tokens / 3
    assert design.flops == pytest.approx(work * flops_per_token(shape, 16))
    # the base with both cores, two of three equal probes side by side, and the third with both cores again
    base, probe = 3840 + 768 / 3, 3072 + 4 * 768 / 3
    assert design.seconds == pytest.approx((base / 1.8 + probe + probe / 1.8) / 1000)
    # weights and two moments in fp32, of a probe also the sum of the weights; the base keeps one checkpoint, two runs
    # in work have up to three each; five evaluations a probe (with token 0), one of the base
    checkpoints = (12 + 2 * 3 * 16) * count_params(shape).total
    assert design.disk_bytes == checkpoints + (1 + 3 * 5) * 2 * 24 * 4
    assert (design.gpu_hours, design.price) == (0.0, None)


@pytest.mark.parametrize("changes", [{"schedule": "cosine"}, {"separate_runs": True}])
def test_runs_of_one_budget_each_evaluate_at_all_budgets(make_spec, values, changes):
    values["probes"] |= changes
    design = design_sweep(make_spec(values), tokens_per_second={"nano": 1e3}, device="cpu")
    assert design.evaluation_train_tokens == (384, 768, 1536, 3072)


def test_table_of_sizes_adds_up(make_spec, values):
    values["sizes"].append(values["sizes"][0] | {"name": "micro", "layers": 2})
    values["base"] = {"tokens_per_param": 2}
    design = design_sweep(make_spec(values), tokens_per_second={"nano": 1e3, "micro": 5e2})
    assert [size.name for size in design.sizes] == ["nano", "micro"]
    assert sum(size.flops for size in design.sizes) == pytest.approx(design.flops)
    assert sum(size.base_tokens for size in design.sizes) == design.base_tokens
    for size in design.sizes:
        assert abs(size.base_tokens - 2 * size.params_non_embedding) <= 32


def test_branches_keep_checkpoints_of_trunk_and_branch(make_spec, values):
    values["probes"] |= {"schedule": "branches", "warmup_steps": 2}
    design = design_sweep(make_spec(values), tokens_per_second={"nano": 1e3}, workers=1)
    checkpoint = 12 * count_params(ModelShape(16, 1, 2, 24, True, 257)).total
    # two of the newest, two of the trunk, one being written
    assert design.disk_bytes == (1 + 5) * checkpoint + (1 + 3 * 5) * 2 * 24 * 4


def test_averaged_runs_keep_the_sum_of_their_weights(make_spec, values):
    values["probes"] |= {"schedule": "averaged", "warmup_steps": 2}
    design = design_sweep(make_spec(values), tokens_per_second={"nano": 1e3}, workers=1)
    params = count_params(ModelShape(16, 1, 2, 24, True, 257)).total
    # a base of 12 bytes a parameter; two checkpoints of 16 and the one being written
    assert design.disk_bytes == 12 * params + 3 * 16 * params + (1 + 3 * 5) * 2 * 24 * 4


def test_price_is_that_of_the_hours(spec):
    design = design_sweep(spec, tokens_per_second={"nano": 1.0}, device="cpu", price_per_hour=2.5)
    assert design.price == pytest.approx(design.seconds / 3600 * 2.5)


def test_gpu_hours_and_price_of_a_gpu(spec):
    speed = {"nano": 10.0}
    design = design_sweep(
        spec, tokens_per_second=speed, device="cuda", workers=1, price_per_hour=3.0
    )
    # one worker, hence one GPU; all the work of test_design_by_hand at 10 tokens/s
    work = (3840 + 768 / 3) + 3 * (3072 + 4 * 768 / 3)
    assert design.gpu_hours == pytest.approx(work / 10 / 3600)
    assert design.price == pytest.approx(3 * design.gpu_hours)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_no_gpu_to_measure_on(spec):
    with pytest.raises(InputError, match="there is no GPU here"):
        design_sweep(spec, device="cuda")


def test_pace_by_hand(spec):
    base, probes = sweep_settings(spec, DataIdentity("", "bytes", 257), device="cpu")
    pace = Pace(100.0, 400.0, setup_seconds=5.0, checkpoint_seconds=0.6)
    # 3072 tokens, 4 evaluations of 768 tokens, a checkpoint every 30 s of training
    assert pace.seconds(Job((probes[0],))) == pytest.approx(
        5 + 3072 / 100 + 4 * 768 / 400 + 3072 / 100 / 30 * 0.6
    )
    (run,) = base.values()
    # and one at the end of a base
    assert pace.seconds(Job((run,))) == pytest.approx(
        5 + 3840 / 100 + 768 / 400 + (3840 / 100 / 30 + 1) * 0.6
    )


def test_speed_is_measured_when_not_given(spec, monkeypatch):
    monkeypatch.setattr("probes.calibration.MEASURED_SECONDS", 0.5)
    calibrations = []

    def calibrate_and_keep(*arguments, **options):
        calibrations.append(calibrate(*arguments, **options))
        return calibrations[-1]

    monkeypatch.setattr("probes.design.calibrate", calibrate_and_keep)
    said = []
    design = design_sweep(spec, device="cpu", workers=2, say=said.append)
    assert [line for line in said if "measur" in line] == [
        "starting the processes that measure the speed",
        "measuring size nano, 1 at once (1 of 1)",  # its probes are one batch
    ]
    (size,) = design.sizes
    assert 0 < size.tokens_per_second < size.evaluation_tokens_per_second
    (calibration,) = calibrations
    assert calibration.start_seconds > 0.2  # no process imports torch in less
    # what starting takes is in it
    work = design.base_tokens + design.probe_tokens
    assert design.seconds > calibration.start_seconds + work / size.tokens_per_second / 2


@pytest.mark.parametrize("ended_before_its_task", [False, True])
def test_measuring_that_fails_says_why(spec, monkeypatch, ended_before_its_task):
    monkeypatch.setattr("probes.calibration.ENVIRONMENT", {"PYTHONHOME": "/nowhere"})
    if ended_before_its_task:
        start = calibration._start

        def start_and_wait(*arguments):
            process = start(*arguments)
            process.wait()
            return process

        monkeypatch.setattr("probes.calibration._start", start_and_wait)
    with pytest.raises(CmrplanError, match="the speed could not be measured: "):
        design_sweep(spec, device="cpu", workers=1)


def test_nothing_is_written(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    design_sweep(spec, tokens_per_second={"nano": 1e3})
    assert list(tmp_path.iterdir()) == []


def test_missing_speed_is_named(spec):
    with pytest.raises(InputError, match="tokens_per_second has no size 'nano'"):
        design_sweep(spec, tokens_per_second={})


def test_evaluations_that_do_not_fit(make_spec, values):
    values["probes"]["evaluations"] = 40
    with pytest.raises(InputError, match="40 do not fit in 48 steps of 64 tokens"):
        design_sweep(make_spec(values), tokens_per_second={"nano": 1e3})
