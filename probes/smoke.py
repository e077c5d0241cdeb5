"""A smoke test of an extra is a little work with its packages, which says whether they work here.

Started as ``python -m probes.smoke '{"NAME": ["PACKAGE", ...], ...}'`` a process tests extras one after the other. Each
has a line on standard output as soon as it is tested, a JSON object: ``note``, a sentence or nothing, and ``devices``,
or ``error``, why it does not work.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

Answer = dict[str, Any]


def smoke_test(extra: str, packages: Sequence[str]) -> Answer:
    """Work a little with the packages of an extra and return what is worth a word.

    An extra without a test of its own has its packages imported.

    Raises
    ------
    Exception
        Whatever the packages raise.
    """
    if extra in _TESTS:
        return _TESTS[extra]()
    for module in importable_modules(packages):
        importlib.import_module(module)
    return {}


def importable_modules(packages: Sequence[str]) -> list[str]:
    """Return the top-level modules that these distributions install, without private ones."""
    wanted = {_plain(package) for package in packages}
    return sorted(
        module
        for module, distributions in packages_distributions().items()
        if wanted & set(map(_plain, distributions)) and module.isidentifier() and module[0] != "_"
    )


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _require(package: str, answer: object, expected: object) -> None:
    if answer != expected:
        raise RuntimeError(f"{package} answered {answer!r} where {expected!r} is right")


def _test_probes() -> Answer:
    """Tokenize, store and take one training step of a tiny decoder on each device."""
    import datasketch  # noqa: F401
    import torch
    import yaml
    from safetensors.torch import load, save
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    from probes.models.decoder import Decoder
    from probes.models.source import ModelShape

    import transformers  # noqa: F401  # isort: skip

    _require("tokenizers", Tokenizer(WordLevel({"a": 3}, unk_token="a")).encode("a").ids, [3])
    _require("pyyaml", yaml.safe_load("a: 3"), {"a": 3})
    _require("safetensors", load(save({"a": torch.ones(2)}))["a"].tolist(), [1.0, 1.0])
    shape = ModelShape(
        width=8, layers=1, heads=2, feedforward=8, vocab_size=16, tied_embeddings=True
    )
    devices = []
    for device in ("cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))):
        model = Decoder(shape).to(device)
        loss = model(torch.arange(8, device=device)[None]).float().square().mean()
        loss.backward()
        if not torch.isfinite(loss):
            raise RuntimeError(f"a training step on {device} gave the loss {float(loss)}")
        if device != "cpu":
            properties = torch.cuda.get_device_properties(device)
            devices.append(
                {"name": device, "model": properties.name, "bytes": properties.total_memory}
            )
    return {"devices": devices}


def _test_parquet() -> Answer:
    import pyarrow
    import pyarrow.parquet

    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"loss": [2.5]}), buffer)
    read = pyarrow.parquet.read_table(pyarrow.BufferReader(buffer.getvalue()))
    _require("pyarrow", read.to_pydict(), {"loss": [2.5]})
    return {}


def _test_baselines() -> Answer:
    from sklearn.linear_model import LinearRegression

    line = LinearRegression().fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    _require("scikit-learn", round(float(line.coef_[0]), 9), 2.0)
    return {}


def _test_datasets() -> Answer:
    from datasets import Dataset

    _require("datasets", Dataset.from_dict({"text": ["a", "b"]})[1]["text"], "b")
    return {}


def _test_lightning() -> Answer:
    from lightning.pytorch import Callback

    from probes.callbacks.lightning_callback import LightningProbeLog

    _require("lightning", issubclass(LightningProbeLog, Callback), True)
    return {}


def _test_ray() -> Answer:
    import ray.cloudpickle

    doubled = ray.cloudpickle.loads(ray.cloudpickle.dumps(lambda x: 2 * x))
    _require("ray", doubled(3), 6)
    return {}


def _test_slurm() -> Answer:
    import submitit

    with tempfile.TemporaryDirectory() as folder:
        answer = submitit.DebugExecutor(folder).submit(divmod, 7, 2).result()
    _require("submitit", answer, (3, 1))
    if shutil.which("sbatch"):
        return {}
    return {"note": "There is no sbatch on the PATH: no job can be submitted from here."}


def _test_tensorboard() -> Answer:
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    with tempfile.TemporaryDirectory() as folder:
        EventFileWriter(folder).close()
        (file,) = Path(folder).iterdir()
        first = next(iter(EventFileLoader(str(file)).Load()))
    _require("tensorboard", first.file_version.startswith("brain.Event"), True)
    return {}


def _test_wandb() -> Answer:
    import wandb

    wandb.init(mode="disabled", project="smoke-test").finish()
    return {}


_TESTS: dict[str, Callable[[], Answer]] = {
    "probes": _test_probes,
    "parquet": _test_parquet,
    "baselines": _test_baselines,
    "datasets": _test_datasets,
    "lightning": _test_lightning,
    "ray": _test_ray,
    "slurm": _test_slurm,
    "tensorboard": _test_tensorboard,
    "wandb": _test_wandb,
}


def main() -> None:
    """Test the extras that the command line names; what packages print goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for extra, packages in json.loads(sys.argv[1]).items():
        try:
            answer = {"note": "", "devices": []} | smoke_test(extra, packages)
        except Exception as error:
            answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
        print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    main()
