"""What a sweep would take, against numbers worked out by hand."""

import pytest

from cmrplan.errors import InputError
from probes.design import design_sweep
from probes.models.decoder import ModelShape, count_params
from probes.models.source import flops_per_token


def test_design_by_hand(spec):
    found = design_sweep(spec, tokens_per_second={"nano": 1000.0}, workers=2, device="cpu")
    assert (found.num_bases, found.num_probes) == (1, 3)
    assert (found.base_tokens, found.probe_tokens) == (64 * 60, 3 * 64 * 48)
    assert found.evaluation_train_tokens == (384, 768, 1536, 3072)
    # one evaluation of the base and four of each probe; two corpora, 24 sequences of 16 tokens
    assert found.evaluation_tokens == (1 + 3 * 4) * 2 * 24 * 16
    shape = ModelShape(16, 1, 2, 24, True, 257)
    work = found.base_tokens + found.probe_tokens + found.evaluation_tokens / 3
    assert found.flops == pytest.approx(work * flops_per_token(shape, 16))
    # the base alone, then three equal probes on two workers
    base, probe = 3840 + 768 / 3, 3072 + 4 * 768 / 3
    assert found.seconds == pytest.approx((base + 2 * probe) / 1000)
    # weights and two moments in fp32; five evaluations a probe (with token 0), one of the base
    checkpoint = 12 * count_params(shape).total
    assert found.disk_bytes == 4 * checkpoint + (1 + 3 * 5) * 2 * 24 * 4


def test_table_of_sizes_adds_up(make_spec, values):
    values["sizes"].append(values["sizes"][0] | {"name": "micro", "layers": 2})
    values["base"] = {"tokens_per_param": 2}
    found = design_sweep(make_spec(values), tokens_per_second={"nano": 1e3, "micro": 5e2})
    assert [size.name for size in found.sizes] == ["nano", "micro"]
    assert sum(size.flops for size in found.sizes) == pytest.approx(found.flops)
    assert sum(size.base_tokens for size in found.sizes) == found.base_tokens
    for size in found.sizes:
        assert abs(size.base_tokens - 2 * size.params_non_embedding) <= 32


def test_speed_is_measured_when_not_given(spec):
    found = design_sweep(spec, device="cpu")
    assert found.sizes[0].tokens_per_second > 0
    assert found.as_dict()["sizes"][0]["name"] == "nano"


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
