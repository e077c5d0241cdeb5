"""The queue and the estimate of wall time, worked out by hand."""

from dataclasses import replace

import pytest
from settings_by_hand import BASE

from probes.jobs import Job, JobQueue, makespan

OTHER_BASE = replace(BASE, size="b", evaluation_steps=(30,))


def probe(base, steps):
    return replace(base, stage="probe", evaluation_steps=(steps,), base=base.run_id)


def sizes(jobs):
    return [(run.stage, run.size, run.steps) for job in jobs for run in job.runs]


class TestCost:
    def test_work_counts_evaluations_a_third(self):
        # 10 steps of 16 tokens; one evaluation of two corpora, six sequences of 8 tokens each
        assert Job((BASE,)).work_tokens == 160 + 2 * 6 * 8 / 3


class TestQueue:
    def test_bases_first_then_costliest_probe_of_a_finished_base(self):
        jobs = [Job((s,)) for s in (probe(BASE, 5), BASE, probe(BASE, 50), OTHER_BASE)]
        queue = JobQueue(jobs)
        first, second = queue.take(), queue.take()
        assert sizes([first, second]) == [("base", "b", 30), ("base", "a", 10)]
        assert queue.take() is None
        queue.finished(OTHER_BASE.run_id)
        assert queue.take() is None
        queue.finished(BASE.run_id)
        assert sizes([queue.take(), queue.take()]) == [("probe", "a", 50), ("probe", "a", 5)]

    def test_a_job_that_is_put_back_is_next(self):
        queue = JobQueue([Job((BASE,)), Job((OTHER_BASE,))])
        first, second = queue.take(), queue.take()
        queue.put_back(first)
        queue.put_back(second)
        assert queue.take() == second

    def test_a_job_that_another_process_holds_is_passed_over(self):
        queue = JobQueue([Job((BASE,)), Job((OTHER_BASE,))])
        assert sizes([queue.take(lambda job: job.size == "a")]) == [("base", "a", 10)]
        assert queue.take(lambda job: job.size == "a") is None

    def test_several_runs_are_one_job(self):
        probes = tuple(replace(probe(BASE, 5), domain_ratio=ratio) for ratio in (0.1, 0.2, 0.3))
        queue = JobQueue([Job(probes), Job((BASE,))])
        assert queue.take().run_ids == (BASE.run_id,)
        queue.finished(BASE.run_id)
        job = queue.take()
        assert job.run_ids == tuple(run.run_id for run in probes)
        assert job.name == f"{probes[0].run_id} and 2 more"
        assert job.work_tokens == 3 * Job(probes[:1]).work_tokens

    def test_probes_of_a_failed_base_leave_the_queue(self):
        jobs = [Job((s,)) for s in (BASE, OTHER_BASE, probe(BASE, 5), probe(OTHER_BASE, 5))]
        queue = JobQueue(jobs)
        assert queue.drop_probes(BASE.run_id) == [jobs[2]]
        assert len(queue) == 3


class TestMakespan:
    def seconds(self, job):
        return float(job.runs[0].steps)

    @pytest.mark.parametrize(("workers", "expected"), [(1, 10 + 7 + 5 + 5), (2, 10 + 10), (3, 17)])
    def test_probes_wait_for_their_base(self, workers, expected):
        # two workers: the base alone (10), then 7 beside 5 and 5
        probes = [probe(BASE, steps) for steps in (5, 7)] + [replace(probe(BASE, 5), seed=1)]
        assert makespan([Job((s,)) for s in [BASE, *probes]], workers, self.seconds) == expected

    def test_bases_of_several_sizes_run_side_by_side(self):
        jobs = [Job((s,)) for s in (BASE, OTHER_BASE, probe(BASE, 8), probe(OTHER_BASE, 4))]
        # worker 1: base b to 30, its probe to 34; worker 2: base a to 10, its probe to 18
        assert makespan(jobs, 2, self.seconds) == 34

    def test_the_last_job_gets_the_threads_of_idle_workers(self):
        halves = replace(BASE, batch_size=2, numerics=replace(BASE.numerics, micro_batch_size=1))
        jobs = [Job((replace(halves, seed=seed),)) for seed in range(3)]
        # two side by side to 10, then the third with two threads, 2 * 0.9 times as fast
        assert makespan(jobs, 2, self.seconds) == pytest.approx(10 + 10 / 1.8)

    def test_nothing_to_do_takes_no_time(self):
        assert makespan([], 2, self.seconds) == 0
