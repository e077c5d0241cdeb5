"""The same log and seed give the same predictions and plans whatever processor the linear algebra is made for.

numpy brings several versions of its linear algebra and takes the one for the processor it runs on; they add in another
order. OPENBLAS_CORETYPE asks for one of them.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parent / "processor_numbers.py"
CORE_TYPES = ("Haswell", "Prescott", "SkylakeX", "Zen")
ALLOWED = 1e-6  # relative, of every number
LOGS = (
    "published",
    "probes",
    "probes, residual",
    "mixture",
    "mixture of own shares",
    "mixture in a valley",
    "seven ratios",
    "four ratios",
    "three ratios",
    "three inner ratios",
)


@pytest.fixture(scope="module")
def by_type():
    """Return the answers by processor type, for the types that run here."""
    answers = {}
    for core in CORE_TYPES:
        environment = os.environ | {"OPENBLAS_CORETYPE": core, "OPENBLAS_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPT.parent), *sys.path])
        command = [sys.executable, str(SCRIPT)]
        ended = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False
        )
        if ended.returncode == 0:
            answers[core] = json.loads(ended.stdout)
        else:  # a type whose instructions this processor lacks ends by a signal, not by an error of ours
            assert ended.returncode < 0, ended.stderr
    return answers


def test_linear_algebra_of_several_processors_was_used(by_type):
    if platform.machine() == "x86_64":
        assert len({tuple(sorted(answer["made_for"])) for answer in by_type.values()}) >= 2


@pytest.mark.parametrize("log", LOGS)
def test_predictions_and_plans_agree(by_type, log):
    first, *others = by_type.values()
    assert len(others) >= 1
    for other in others:
        assert list(other["numbers"][log]) == list(first["numbers"][log])
        for name, expected in first["numbers"][log].items():
            got = other["numbers"][log][name]
            np.testing.assert_allclose(got, expected, rtol=ALLOWED, err_msg=name)
