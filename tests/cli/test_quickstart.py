"""The whole flow on a sweep small enough for a test: same numbers twice, and after kill -9."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

SPEC = """
name: small
corpora:
  general: {source: embedded:english}
  domain: {source: embedded:python}
sequence_length: 32
batch_size: 8
evaluation_sequences: 16
sizes:
  - {name: tiny, width: 16, layers: 1, heads: 2, feedforward: 32}
base: {train_tokens: 20480, learning_rate: 4e-3}
probes:
  train_tokens: 20480
  evaluations: 4
  learning_rate: 4e-3
  grid: {domain_ratio: [0, 0.1, 0.25, 0.5, 0.75, 0.9, 1], seed: [0]}
"""
RUN = "import sys; from cmrplan.cli.quickstart_flow import run_quickstart as run; run(sys.argv[1], spec=sys.argv[2])"
HANGS = 900  # seconds after which a run is taken to hang; one takes about a minute
NUMBERS = ("log.csv", "fit.json", "plan.json", "summary.md")


def start(out, spec):
    return subprocess.Popen(
        [sys.executable, "-c", RUN, str(out), str(spec)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "small.yaml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def report(spec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quickstart") / "report"
    process = start(folder, spec)
    _, errors = process.communicate(timeout=HANGS)
    assert process.returncode == 0, errors
    return folder


@pytest.mark.slow
class TestReport:
    def test_leaves_log_fit_plan_pictures_and_page(self, report):
        names = {path.name for path in report.iterdir()}
        assert names == {
            *NUMBERS, "report.html", "log.runs.csv", "runs", "tradeoff.png", "ratio.png", "curves.png",
        }  # fmt: skip
        page = (report / "summary.md").read_text()
        plan = json.loads((report / "plan.json").read_text())
        assert f"Recommended: a domain ratio of {plan['domain_ratio']:.3f}" in page
        for name in names - {"runs", "summary.md"}:
            assert name in page

    def test_killed_and_started_again_ends_with_the_same_numbers(self, report, spec, tmp_path):
        folder = tmp_path / "report"
        for seen in (1, 4):  # after the base, and half way through the probes
            process = start(folder, spec)
            deadline = time.monotonic() + HANGS
            while len(list(folder.glob("runs/*/*/outcome.json"))) < seen:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        assert not (folder / "plan.json").exists()
        process = start(folder, spec)
        _, errors = process.communicate(timeout=HANGS)
        assert process.returncode == 0, errors
        for name in NUMBERS:
            assert (folder / name).read_bytes() == (report / name).read_bytes(), name
