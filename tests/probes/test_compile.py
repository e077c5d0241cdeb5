"""torch.compile: close to the eager run, and a resumed run still equals an unbroken one."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from killing import Killed

from cmrplan.errors import InputError
from cmrplan.files import write_json
from probes.data.prepared import load_corpora
from probes.runner import final_losses, final_state, make_trainee
from probes.runs import RunFolder, SweepFolder
from probes.training import trainee
from probes.training.group import GroupMember
from probes.training.loop import train


@pytest.fixture
def probe(finished_sweep):
    """Return the sweep and the settings of its probe of ratio 0.3."""
    sweep = SweepFolder(finished_sweep)
    run = next(run for run in sweep.all_runs() if "-r0.3-" in run.path.name)
    return sweep, run.read_settings()


def compiled(settings):
    return replace(settings, numerics=replace(settings.numerics, compile=True))


def train_in(folder, sweep, settings, **options):
    """Train a probe in a folder of its own, from where that stands."""
    run = RunFolder(folder / settings.run_id)
    write_json(run.settings, settings.as_dict())
    base = sweep.base(settings.base)
    member = GroupMember(settings, run, start=final_state(base), start_losses=final_losses(base))
    train(make_trainee([settings]), [member], load_corpora(sweep.corpora), **options)
    return run


def losses(run, settings):
    with np.load(run.losses(settings.steps)) as stored:
        return np.concatenate([stored["general"], stored["domain"]])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.filterwarnings("ignore")  # of the compiler's own modules, other ones in each version
def test_resumed_equals_unbroken_and_is_near_the_eager_run(probe, tmp_path):
    sweep, eager = probe
    settings = compiled(eager)
    unbroken = train_in(tmp_path / "unbroken", sweep, settings)
    asked = iter(range(1000))

    def kill_at_step_20():
        if next(asked) == 20:
            raise Killed
        return ""

    folder = tmp_path / "resumed"
    with pytest.raises(Killed):
        train_in(folder, sweep, settings, should_stop=kill_at_step_20, checkpoint_seconds=0)
    resumed = train_in(folder, sweep, settings)
    assert resumed.metrics.read_bytes() == unbroken.metrics.read_bytes()
    assert np.array_equal(losses(resumed, settings), losses(unbroken, settings))
    plain = train_in(tmp_path / "eager", sweep, eager)
    # float32 rounding, grown over 48 steps; a loss is about 2
    assert np.allclose(losses(plain, eager), losses(unbroken, settings), atol=2e-4, rtol=0)


def test_missing_compiler_is_named(probe, monkeypatch):
    monkeypatch.setattr(trainee.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(InputError, match=r"numerics\.compile needs a C\+\+ compiler"):
        make_trainee([compiled(probe[1])])
