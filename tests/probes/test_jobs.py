"""The queue and the estimate of wall time, worked out by hand."""

from dataclasses import replace

import pytest

from probes.jobs import ATTEMPTS, Job, JobQueue, makespan
from probes.models.decoder import ModelShape
from probes.settings import Numerics, RunSettings
from probes.training.schedule import Schedule

BASE = RunSettings(
    stage="base",
    size="a",
    model=ModelShape(16, 1, 1, 16, True, 257),
    domain_ratio=0.0,
    seed=0,
    evaluation_steps=(10,),
    schedule=Schedule("constant", 1e-3, warmup_steps=1),
    inherits_optimizer=False,
    weight_decay=0.1,
    gradient_clip=1.0,
    batch_size=2,
    sequence_length=8,
    evaluation_sequences=6,
    data_fingerprint="d",
    tokenizer="bytes",
    base="",
    device="cpu",
    numerics=Numerics("fp32", micro_batch_size=2),
)
OTHER_BASE = replace(BASE, size="b", evaluation_steps=(30,))


def probe(base, steps):
    return replace(base, stage="probe", evaluation_steps=(steps,), base=base.run_id)


def sizes(jobs):
    return [(job.settings.stage, job.settings.size, job.settings.steps) for job in jobs]


class TestCost:
    def test_work_counts_evaluations_a_third(self):
        # 10 steps of 16 tokens; one evaluation of two corpora, six sequences of 8 tokens each
        assert Job(BASE).work_tokens == 160 + 2 * 6 * 8 / 3


class TestQueue:
    def test_bases_first_then_costliest_probe_of_a_finished_base(self):
        jobs = [Job(s) for s in (probe(BASE, 5), BASE, probe(BASE, 50), OTHER_BASE)]
        queue = JobQueue(jobs)
        first, second = queue.take(), queue.take()
        assert sizes([first, second]) == [("base", "b", 30), ("base", "a", 10)]
        assert queue.take() is None
        queue.finished(OTHER_BASE.run_id)
        assert queue.take() is None
        queue.finished(BASE.run_id)
        assert sizes([queue.take(), queue.take()]) == [("probe", "a", 50), ("probe", "a", 5)]

    def test_a_run_whose_worker_died_has_two_attempts(self):
        queue = JobQueue([Job(BASE)])
        for _ in range(ATTEMPTS - 1):
            assert queue.put_back(queue.take())
        assert not queue.put_back(queue.take())
        assert len(queue) == 0

    def test_probes_of_a_failed_base_leave_the_queue(self):
        jobs = [Job(BASE), Job(OTHER_BASE), Job(probe(BASE, 5)), Job(probe(OTHER_BASE, 5))]
        queue = JobQueue(jobs)
        assert queue.drop_probes(BASE.run_id) == [jobs[2]]
        assert len(queue) == 3


class TestMakespan:
    def seconds(self, job):
        return float(job.settings.steps)

    @pytest.mark.parametrize(("workers", "expected"), [(1, 10 + 7 + 5 + 5), (2, 10 + 10), (3, 17)])
    def test_probes_wait_for_their_base(self, workers, expected):
        # two workers: the base alone (10), then 7 beside 5 and 5
        probes = [probe(BASE, steps) for steps in (5, 7)] + [replace(probe(BASE, 5), seed=1)]
        assert makespan([Job(s) for s in [BASE, *probes]], workers, self.seconds) == expected

    def test_bases_of_several_sizes_run_side_by_side(self):
        jobs = [Job(s) for s in (BASE, OTHER_BASE, probe(BASE, 8), probe(OTHER_BASE, 4))]
        # worker 1: base b to 30, its probe to 34; worker 2: base a to 10, its probe to 18
        assert makespan(jobs, 2, self.seconds) == 34

    def test_nothing_to_do_takes_no_time(self):
        assert makespan([], 2, self.seconds) == 0
