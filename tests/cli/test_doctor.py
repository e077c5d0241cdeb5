"""The doctor, on packages that work, raise, crash, hang, are missing or of another version."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from cmrplan.cli import installation
from cmrplan.cli.installation import required_packages

MODULES = {
    "goodpack": "",
    "badpack": "raise ValueError('no such symbol')",
    "crashpack": "import os\nprint('printed by a package')\nos._exit(3)",
    "sleepypack": "import time\ntime.sleep(60)",
    "oldpack": "",
}
EXTRAS = {
    "good": "goodpack>=1",
    "bad": "badpack>=1",
    "crash": "crashpack>=1",
    "old": "oldpack>=2",
    "missing": "missingpack>=1",
    "test": "goodpack>=1",
}


def install(folder, extras):
    """Install the packages above and a cmrplan that asks for them, in a folder."""
    for name, text in MODULES.items():
        (folder / f"{name}.py").write_text(text)
        write_metadata(folder, name, f"Version: 1.0\nName: {name}", f"{name}.py,,\n")
    lines = [f'Requires-Dist: {asked}; extra == "{extra}"' for extra, asked in extras.items()]
    write_metadata(folder, "cmrplan", "\n".join(["Version: 0", "Name: cmrplan", *lines]), "")


def write_metadata(folder, name, text, record):
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{text}\n")
    (info / "RECORD").write_text(record)


@pytest.fixture
def ask(call, tmp_path, monkeypatch):
    """Return a function that installs extras, asks the doctor, and returns its answer and the extras in it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    (tmp_path / "nofit.py").write_text('print(\'{"note": "", "devices": []}\')')
    monkeypatch.setattr(installation, "BASE_TEST", "nofit")

    def asked(extras, *options):
        install(tmp_path, extras)
        importlib.invalidate_caches()
        answer = call("doctor", "--json", *options)
        return answer, {extra["name"]: extra for extra in answer.json()["extras"]}

    return asked


def test_says_of_each_extra_whether_it_works(ask):
    answer, extras = ask(EXTRAS, "--seconds", "120")
    assert {name: extra["state"] for name, extra in extras.items()} == {
        "base": "works",
        "good": "works",
        "bad": "broken",
        "crash": "broken",
        "old": "works",
        "missing": "absent",
    }
    assert "no such symbol" in extras["bad"]["message"]
    assert "exit code 3" in extras["crash"]["message"]
    assert "oldpack 1.0 is none of the tested versions, >=2" in extras["old"]["message"]
    assert extras["missing"]["message"].endswith("pip install 'cmrplan[missing]'")
    assert extras["good"]["packages"] == [{"name": "goodpack", "required": ">=1", "version": "1.0"}]
    assert answer.code == 1
    assert answer.json()["works"] is False


def test_what_is_missing_or_late_is_no_failure(ask):
    answer, extras = ask({"late": "sleepypack>=1", "missing": "missingpack>=1"}, "--seconds", "1")
    assert extras["late"]["state"] == "unknown"
    assert "--seconds" in extras["late"]["message"]
    assert answer.code == 0
    assert [device["name"] for device in answer.json()["devices"]] == ["cpu"]


def test_extras_are_those_of_the_installed_package():
    assert required_packages().keys() >= {"base", "probes", "parquet", "ray", "slurm"}
    assert not required_packages().keys() & {"dev", "test", "site"}
    assert "torch" in {package.name for package in required_packages()["probes"]}


@pytest.mark.parametrize("extra", ["base", "parquet", "slurm", "tensorboard", "probes"])
def test_a_smoke_test_works_here(extra):
    module = installation.BASE_TEST if extra == "base" else "probes.smoke"
    command = [sys.executable, "-P", "-m", module, json.dumps({extra: []})]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "note" in json.loads(done.stdout)


def test_an_extra_that_shares_a_process_fails_or_is_late_alone(ask, monkeypatch):
    shared = {"first": "goodpack>=1", "second": "badpack>=1", "third": "sleepypack>=1"}
    monkeypatch.setattr(installation, "SHARED", tuple(shared))
    _, extras = ask(shared, "--seconds", "10")
    states = {name: extra["state"] for name, extra in extras.items() if name != "base"}
    assert states == {"first": "works", "second": "broken", "third": "unknown"}
    assert "no such symbol" in extras["second"]["message"]


def test_what_follows_a_crash_in_its_process_is_told_broken(ask, monkeypatch):
    shared = {"first": "goodpack>=1", "second": "crashpack>=1", "third": "goodpack>=1"}
    monkeypatch.setattr(installation, "SHARED", tuple(shared))
    _, extras = ask(shared, "--seconds", "60")
    assert [extras[name]["state"] for name in shared] == ["works", "broken", "broken"]


def test_the_time_to_start_and_print_is_within_the_seconds(ask, monkeypatch):
    limits = []

    def late(command, *, timeout, **options):
        limits.append(timeout)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(installation.subprocess, "run", late)
    _, extras = ask({"late": "sleepypack>=1"}, "--seconds", "5")
    assert extras["late"]["state"] == "unknown"
    assert 0 < min(limits) <= max(limits) <= 4.5


def test_a_cmrplan_that_is_not_installed_is_told(call, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    answer = call("doctor")
    assert answer.code == 2
    assert "pip install -e" in answer.err
