"""A hundred hostile names of runs, corpora, files and sweeps stay texts: nothing runs, nothing is written elsewhere."""

import ast
import json
import os
import shlex
import subprocess
from collections import Counter
from html.parser import HTMLParser

import pytest
import yaml
from hostile_names import NAMES, PLAIN, log_of, readable

import cmrplan as cp
from cmrplan.cli.app import run as run_command
from cmrplan.errors import InputError
from cmrplan.export.export import TARGETS
from cmrplan.files import sealed
from probes.job_scripts import SweepJobs, kubernetes_job, sbatch_script, skypilot_task


def test_there_are_a_hundred():
    assert len(set(NAMES)) == 100


class Shape(HTMLParser):
    """Counts the tags and attributes of a page."""

    def __init__(self):
        super().__init__()
        self.seen = Counter()

    def handle_starttag(self, tag, attrs):
        self.seen.update([(tag, *(name for name, _ in attrs))])


@pytest.mark.slow
def test_a_log_of_such_runs_gives_pages_and_pictures_of_the_same_shape(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = readable(tmp_path)
    assert len(names) > 75
    shapes = {}
    for kind, chosen in (("hostile", names), ("plain", PLAIN[: len(names)])):
        folder = tmp_path / kind
        folder.mkdir()
        log_of(chosen).to_csv(folder / "log.csv", index=False)
        fitting = ["fit", f"{kind}/log.csv", "--law", "dcpt", "--bootstrap", "0"]
        assert run_command([*fitting, "--out", f"{kind}/fit.json"]) == 0
        for words in (
            ["report", f"{kind}/fit.json", "--quick", "--out", f"{kind}/report.html"],
            ["plot", f"{kind}/fit.json", "curves", "--out", f"{kind}/curves.svg"],
        ):
            assert run_command(words) == 0
        page = Shape()
        page.feed((folder / "report.html").read_text())
        shapes[kind] = page.seen
        assert not any(name.startswith("on") for _, *attrs in page.seen for name in attrs)
    assert shapes["hostile"] == shapes["plain"]
    written = {path.name for path in tmp_path.rglob("*")}
    assert written == {
        *("hostile", "plain", "one.csv", "log.csv", "fit.json", "report.html", "curves.svg")
    }


def plan_of(names, path):
    """Write the plan of a mixture of some corpora."""
    shares = dict.fromkeys(names, 1 / len(names))
    asked = {"available": dict.fromkeys(names, 1e10), "max_epochs": 4.0}
    path.write_text(json.dumps(sealed({"shares": shares, "train_tokens": 1e9, "asked": asked})))
    return path


def skeleton(text, suffix):
    """Return what stays of a file of settings when its texts are taken out."""
    if suffix == ".py":
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = ""
        return ast.dump(tree)
    if suffix == ".txt":
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return len(shlex.split("\n".join(lines)))
    value = yaml.safe_load(text)

    def bare(part):
        if isinstance(part, dict):
            return [bare(value) for value in part.values()]
        if isinstance(part, list):
            return [bare(value) for value in part]
        return type(part)

    return bare(value)


def in_fours(names):
    return [names[at : at + 4] for at in range(0, len(names), 4)]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_an_export_of_such_corpora_has_the_shape_of_one_of_others(target, tmp_path):
    path = tmp_path / "plan.json"
    refusals = []
    for hostile, plain in zip(in_fours(NAMES), in_fours(PLAIN), strict=True):
        texts = []
        for names in (hostile, plain):
            where = {name: f"/data/{name}" for name in names}
            rows = dict.fromkeys(names, 1000.0)
            plan = plan_of(names, path)
            try:
                texts.append(cp.export(plan, target.name, paths=where, tokens_per_row=rows).text)
            except InputError as error:
                refusals.append((names, str(error)))
        if len(texts) == 2:
            assert skeleton(texts[0], target.suffix) == skeleton(texts[1], target.suffix), hostile
    assert all(message.isprintable() for _, message in refusals)
    assert not any(names in in_fours(PLAIN) for names, _ in refusals)
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Return a function that runs a script with a stub of the command, and returns the words that it was given."""
    words = tmp_path / "words"
    stub = tmp_path / "bin" / "cmrplan"
    stub.parent.mkdir()
    stub.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" > {words}\n")
    stub.chmod(0o755)
    (tmp_path / "work").mkdir()
    path = f"{stub.parent}:{os.environ['PATH']}"

    def run(script, **environment):
        words.unlink(missing_ok=True)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=tmp_path / "work",
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert not any((tmp_path / "work").iterdir())
        return words.read_bytes().decode().split("\0")[:-1]

    return run


def test_a_job_file_starts_the_command_with_such_names_as_they_are(started):
    for number, name in enumerate(NAMES):
        run_id = (
            name if name.isprintable() else "r0.3-s0"
        )  # sizes, and so runs, have printable names
        paths = f"/srv/{name}/spec.yaml", f"/srv/{name}"
        jobs = SweepJobs(name, *paths, "cpu", ["first", run_id], image="i", claim="c")
        expected = [
            "probe",
            "run",
            jobs.spec,
            "--out",
            jobs.out,
            "--device",
            "cpu",
            "--only",
            run_id,
        ]
        which = ("sbatch", "sky", "k8s")[number % 3]
        if which == "sbatch":
            assert started(sbatch_script(jobs), SLURM_ARRAY_TASK_ID="1") == expected
        elif which == "sky":
            task = yaml.safe_load(skypilot_task(jobs))
            assert started(task["run"], RUN_ID=run_id) == expected
        else:
            pod = yaml.safe_load(kubernetes_job(jobs))["spec"]["template"]["spec"]
            script = pod["containers"][0]["command"][2].replace("$$(", "$(")
            assert started(script, JOB_COMPLETION_INDEX="1") == expected
