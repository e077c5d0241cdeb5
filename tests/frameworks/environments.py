"""The environments in which exports and job files are read back and logs written, one a framework: their pins clash.

A step is what one call of pip installs, torch in the build for a CPU where the package index has it. Frameworks whose
own requirements need a GPU's libraries come without them (``--no-deps``), beside what their readers import.
"""

import shutil
import subprocess
import sys
from pathlib import Path

TORCH = "torch==2.13.0"
MARIN = "0.2.227.dev40316220070"
MARIN_PARTS = ("levanter", "haliax", "rigging", "fray", "iris", "zephyr", "finestore")
STEPS = {
    "megatron": [[TORCH, "numpy", "pyyaml", "megatron-core==0.16.1"]],
    "megatron-bridge": [
        [TORCH, "numpy", "pyyaml", "megatron-core==0.16.1"],
        ["--no-deps", "megatron-bridge==0.3.1"],
    ],
    "torchtitan": [[TORCH, "torchtitan==0.3.0"]],
    "olmo-core": [[TORCH, "ai2-olmo-core==3.0.0"]],
    "llama-factory": [
        [TORCH, "transformers==5.6.0", "datasets==4.0.0", "peft==0.18.1", "accelerate==1.11.0"],
        ["trl==0.24.0", "omegaconf"],
        ["--no-deps", "llamafactory==0.9.5"],
    ],
    "nanotron": [[TORCH, "numpy", "packaging"], ["--no-deps", "nanotron==0.4"]],
    "axolotl": [
        [TORCH, "pydantic==2.12.5", "transformers==5.16.1", "datasets==4.8.4", "peft==0.20.0"],
        ["--no-deps", "--ignore-requires-python", "axolotl==0.21.0"],
    ],
    "mosaicml-streaming": [
        [TORCH, "numpy<2.2", "transformers<5", "Brotli", "python-snappy", "zstd", "xxhash<4"],
        ["catalogue", "boto3", "Pillow", "matplotlib"],
        ["--no-deps", "mosaicml-streaming==0.13.0"],
    ],
    "nemo-automodel": [
        [TORCH, "transformers==5.18.0", "datasets", "torchdata", "megatron-fsdp==0.5.0", "Pillow"],
        ["--no-deps", "nemo-automodel==0.7.0"],
    ],
    # Its parts have development releases alone, and are named so that nothing else comes as one.
    "levanter": [
        [f"marin-{part}=={MARIN}" for part in MARIN_PARTS]
        + ["marin-finelog==0.2.71.dev40003900277", "marin-iris-native==0.1.15.dev39984932175"],
    ],
    "kubernetes": [["kubernetes-validate==1.37.0", "pyyaml"]],
    "skypilot": [["skypilot==0.14.1"]],
}
NEEDS_PYTHON = {"levanter": (3, 12)}


def interpreter_of(framework: str) -> str | None:
    """Return this interpreter, or one on the PATH that the framework takes; None where there is none."""
    lowest = NEEDS_PYTHON.get(framework, (3, 11))
    if sys.version_info[:2] >= lowest:
        return sys.executable
    runs = f"import sys; sys.exit(sys.version_info[:2] < {lowest})"
    for minor in range(lowest[1], lowest[1] + 3):
        python = shutil.which(f"python3.{minor}")
        if python and subprocess.run([python, "-c", runs], check=False).returncode == 0:
            return python
    return None


def python_of(framework: str, folder: Path) -> Path:
    """Return the interpreter of an environment; the environment is made where it is not there yet."""
    environment = folder.resolve() / framework
    python, complete = environment / "bin" / "python", environment / "complete"
    if complete.exists():
        return python
    interpreter = interpreter_of(framework)
    assert interpreter is not None, f"{framework} needs Python {NEEDS_PYTHON[framework]}"
    subprocess.run([interpreter, "-m", "venv", "--clear", environment], check=True)
    for step in STEPS[framework]:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *step], check=True)
    complete.touch()
    return python
