"""TensorBoard and Weights & Biases see each evaluation once, however often a sweep is started."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest

from cmrplan.errors import InputError
from probes.mirrors import open_mirrors
from probes.runs import RunState, SweepFolder
from probes.training.metrics import read_rows


@pytest.fixture
def sweep(finished_sweep, tmp_path):
    shutil.copytree(finished_sweep, tmp_path / "runs")
    return SweepFolder(tmp_path / "runs")


def mirror_twice_in_parts(sweep, **targets):
    """Mirror a probe's first two rows, then start anew with all but torn ones, then with all."""
    run = next(run for run in sweep.all_runs() if "-r0.3-" in run.path.name)
    settings, lines = run.read_settings(), run.metrics.read_bytes().splitlines(keepends=True)
    for part in (b"".join(lines[:2]), b"".join(lines[:4]) + lines[4][:10], b"".join(lines)):
        run.metrics.write_bytes(part)
        with open_mirrors(sweep, targets) as mirrors:
            told = []
            watcher = SimpleNamespace(tick=told.append, ended=lambda run, *how: None)
            beside = mirrors.beside(watcher)
            beside.tick([SimpleNamespace(runs=[settings])])
            beside.ended(settings, RunState.FINISHED, "")
            assert len(told) == 1
    return settings, read_rows(run.metrics)


class TestTensorBoard:
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own imports
    def test_each_evaluation_once(self, sweep, tmp_path):
        loader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
        settings, rows = mirror_twice_in_parts(sweep, tensorboard=tmp_path / "board")
        events = [
            (event.step, value.tag, value.tensor.float_val[0])
            for file in sorted((tmp_path / "board" / settings.run_id).iterdir())
            for event in loader.EventFileLoader(str(file)).Load()
            for value in event.summary.value
        ]
        for name in ("general_loss", "domain_loss"):
            mine = sorted((step, value) for step, tag, value in events if tag == name)
            assert [step for step, _ in mine] == [row["train_tokens"] for row in rows]
            assert [value for _, value in mine] == pytest.approx([row[name] for row in rows])
        assert len(list((tmp_path / "board").iterdir())) == 4  # a folder a run


class FakeWandb:
    """Keeps what it is told, and refuses steps that go back, as the service ignores them."""

    def __init__(self):
        self.rows = {}

    def init(self, *, project, id, name, config, resume, reinit):
        assert (project, resume, reinit) == ("p", "allow", "create_new")
        json.dumps(config)
        rows = self.rows.setdefault(id, [])

        def log(values, *, step):
            assert not rows or step > rows[-1][0]
            rows.append((step, values))

        start = rows[-1][0] + 1 if rows else 0
        return SimpleNamespace(starting_step=start, log=log, finish=lambda: None)


class TestWandb:
    @pytest.fixture
    def wandb(self, monkeypatch):
        fake = FakeWandb()
        monkeypatch.setitem(sys.modules, "wandb", fake)
        monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
        return fake

    def test_each_evaluation_once(self, sweep, wandb):
        settings, rows = mirror_twice_in_parts(sweep, wandb="p")
        told = wandb.rows[settings.run_id]
        assert [step for step, _ in told] == [row["step"] for row in rows]
        assert [values["domain_loss"] for _, values in told] == [row["domain_loss"] for row in rows]
        assert len(wandb.rows) == 4

    def test_a_service_that_fails_does_not_end_the_sweep(self, sweep, wandb, capsys):
        def init(**settings):
            raise ConnectionError("no network")

        wandb.init = init
        mirror_twice_in_parts(sweep, wandb="p")
        assert "no longer mirrored: ConnectionError: no network" in capsys.readouterr().err


def test_missing_package(sweep, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError) as caught:
        open_mirrors(sweep, {"tensorboard": "board"})
    assert (
        str(caught.value) == "--tensorboard needs tensorboard: pip install 'cmrplan[tensorboard]'"
    )


def test_without_mirrors_nothing_stands_between(sweep):
    with open_mirrors(sweep, {}) as mirrors:
        watcher = SimpleNamespace()
        assert mirrors.beside(watcher) is watcher
