"""The same log gives the same numbers whatever processor the linear algebra is made for.

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
SAME = 1e-6  # relative


def numbers_under(core_type):
    """Return the answer of a process of its own, or None where the processor lacks an instruction it needs."""
    environment = os.environ | {"OPENBLAS_CORETYPE": core_type, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, SCRIPT], capture_output=True, env=environment, check=False
    )
    if run.returncode < 0:
        return None
    assert run.returncode == 0, run.stderr.decode()
    return json.loads(run.stdout)


@pytest.mark.slow
def test_every_processor_gives_the_same_predictions_and_plans():
    answers = {core: answer for core in CORE_TYPES if (answer := numbers_under(core)) is not None}
    if platform.machine() == "x86_64":
        assert len({tuple(sorted(answer["made_for"])) for answer in answers.values()}) >= 2
    first, *others = answers
    for other in others:
        for log, numbers in answers[first]["numbers"].items():
            for name, expected in numbers.items():
                np.testing.assert_allclose(
                    answers[other]["numbers"][log][name],
                    expected,
                    rtol=SAME,
                    err_msg=f"{log}, {name}: {other} against {first}",
                )
