"""Which runs are trained batched."""

from dataclasses import replace

import pytest
from settings_by_hand import BASE
from sweeping import run_here

from cmrplan.errors import InputError
from probes.grouping import group_bytes, group_runs, step_seconds
from probes.models.source import ModelShape
from probes.run_settings import Numerics
from probes.runs import RunFolder, RunState
from probes.training.metrics import read_rows

RATIOS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)
GIB = 2**30


def a_run(width, layers, *, batch_size=8, ratio=0.0, device="cuda", **changes):
    """Return a probe at 512 tokens a sequence, of the sizes that the estimates were made for."""
    shape = ModelShape(width, layers, width // 32, 8 * width // 3, True, 257)
    values = {
        "stage": "probe",
        "size": "small",
        "model": shape,
        "domain_ratio": ratio,
        "batch_size": batch_size,
        "sequence_length": 512,
        "evaluation_sequences": 8,
        "base": "base",
        "device": device,
        "numerics": Numerics("bf16", micro_batch_size=batch_size),
    }
    return replace(BASE, **(values | changes))


def group(run, *, batched="auto", free=70 * GIB, slots=1):
    runs = [replace(run, domain_ratio=ratio) for ratio in RATIOS]
    return group_runs(runs, batched=batched, free_bytes=free, slots=slots)


def sizes(grouping):
    return [len(one) for one in grouping.groups]


class TestAuto:
    @pytest.mark.parametrize(
        ("width", "layers", "batch_size"), [(128, 5, 8), (128, 5, 16), (320, 8, 8)]
    )
    def test_small_models_on_a_gpu_go_together(self, width, layers, batch_size):
        grouping = group(a_run(width, layers, batch_size=batch_size))
        assert sizes(grouping) == [9]
        (reason,) = grouping.reasons
        assert reason.startswith("small, 9 probes: batched by 9: a step takes about ")

    @pytest.mark.parametrize(("width", "layers", "batch_size"), [(320, 8, 32), (768, 14, 8)])
    def test_models_that_fill_a_gpu_stay_alone(self, width, layers, batch_size):
        grouping = group(a_run(width, layers, batch_size=batch_size))
        assert sizes(grouping) == [1] * 9
        assert grouping.reasons[0].startswith("small, 9 probes: separate: a step takes about ")

    def test_replayed_steps_leave_less_to_gain(self):
        run = a_run(128, 5, batch_size=32)
        replayed = replace(run, numerics=replace(run.numerics, cuda_graphs=True))
        assert sizes(group(run)) == [9]
        assert sizes(group(replayed)) == [1] * 9

    def test_never_on_a_cpu(self):
        grouping = group(a_run(128, 5, device="cpu"))
        assert sizes(grouping) == [1] * 9
        assert "on a CPU one model keeps a core busy" in grouping.reasons[0]


class TestGroups:
    def test_every_run_is_in_one_group(self):
        small, large = a_run(128, 5), replace(a_run(320, 8), size="large")
        base = replace(small, stage="base", base="")
        runs = [
            replace(one, domain_ratio=r, seed=s)
            for one in (small, large)
            for r in RATIOS
            for s in (0, 1)
        ]
        grouping = group_runs([base, *runs], free_bytes=70 * GIB)
        assert sorted(map(repr, [base, *runs])) == sorted(
            repr(r) for g in grouping.groups for r in g
        )
        assert sizes(grouping) == [1, 18, 18]
        assert len(grouping.reasons) == 2  # one base has no neighbor to go with

    def test_other_budgets_or_rates_are_other_groups(self):
        run = a_run(128, 5)
        others = [replace(run, evaluation_steps=(5,)), replace(run, gradient_clip=2.0)]
        assert sizes(group_runs([run, *others], free_bytes=70 * GIB)) == [1, 1, 1]

    def test_memory_limits_a_group(self):
        run = a_run(128, 5)
        grouping = group(run, free=4.2 * group_bytes(run) / 0.8)
        assert sizes(grouping) == [3, 3, 3]
        assert "batched by 4 (as many as fit" in grouping.reasons[0]

    def test_no_worker_is_left_idle(self):
        assert sizes(group(a_run(128, 5), slots=4)) == [3, 3, 3]

    def test_asked_for(self):
        assert sizes(group(a_run(768, 14), batched="always", free=1e15)) == [9]
        assert sizes(group(a_run(128, 5, device="cpu"), batched="always")) == [9]
        grouping = group(a_run(128, 5), batched="never")
        assert sizes(grouping) == [1] * 9
        assert grouping.reasons == ("small, 9 probes: separate, as asked",)

    def test_runs_on_several_processes_stay_alone(self):
        run = a_run(128, 5)
        wide = replace(run, numerics=replace(run.numerics, processes=2))
        assert "separate: takes 2 processes a run" in group(wide).reasons[0]
        with pytest.raises(InputError, match="batched 'always': small takes 2 processes"):
            group(wide, batched="always")


class TestEstimates:
    @pytest.mark.parametrize(
        ("width", "layers", "feedforward", "measured"),
        [(96, 3, 256, 95e6), (128, 5, 336, 190e6), (192, 7, 512, 375e6)],
    )
    def test_memory_of_a_member(self, width, layers, feedforward, measured):
        """Growth of the resident memory a member, 16 sequences of 128 bytes in float32 on a CPU."""
        run = a_run(width, layers, batch_size=16, sequence_length=128)
        shape = replace(run.model, feedforward=feedforward)
        run = replace(run, model=shape, numerics=replace(run.numerics, precision="fp32"))
        assert group_bytes(run) == pytest.approx(measured, rel=0.2)

    def test_host_time_by_hand(self):
        # 64 + 138 * 5 operations of 5.5 microseconds
        assert step_seconds(a_run(128, 5))[0] == pytest.approx(754 * 5.5e-6)


class TestSweep:
    def test_batched_sweep_gives_the_numbers_of_separate_runs(
        self, finished_sweep, spec, tmp_path, capfd
    ):
        """To the tolerance of float32, measured in docs/batched-training.md."""
        ledger = run_here(spec, tmp_path / "runs", batched="always", progress=True)
        assert set(ledger["state"]) == {RunState.FINISHED}
        assert "nano, 3 probes: batched by 3, as asked" in capfd.readouterr().err
        for path in sorted((finished_sweep / "probes").iterdir()):
            mine = RunFolder(tmp_path / "runs" / "probes" / path.name)
            rows, others = read_rows(mine.metrics), read_rows(RunFolder(path).metrics)
            for row, other in zip(rows, others, strict=True):
                assert row == pytest.approx(other, abs=1e-4)
