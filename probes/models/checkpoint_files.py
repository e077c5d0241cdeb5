"""A checkpoint in the format of ``transformers`` is looked up here, and its files are checked.

Only JSON and safetensors are read, so that reading a checkpoint never runs code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cmrplan.errors import InputError
from cmrplan.files import fingerprint, read_json

FILES = (
    "config.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
"""What is fetched from the hub."""


def checkpoint_folder(checkpoint: str, revision: str | None = None) -> Path:
    """Return the folder of a checkpoint; one of the hub is fetched, unless it is there already.

    Parameters
    ----------
    checkpoint : str
        An absolute path, or an id of the hub.
    revision : str, optional
        Branch, tag or commit on the hub.

    Raises
    ------
    InputError
        If it is not there, or is no checkpoint.
    """
    if not Path(checkpoint).is_absolute():
        folder = _fetched(checkpoint, revision)
    elif not (folder := Path(checkpoint)).is_dir():
        raise InputError(
            f"{checkpoint}: no such folder; give the folder of a checkpoint, or an id of the Hugging Face hub "
            "such as EleutherAI/pythia-70m"
        )
    elif revision is not None:
        raise InputError(f"{checkpoint}: a folder has no revision {revision}; leave revision out")
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{checkpoint} has no config.json; give a folder that model.save_pretrained(folder) wrote"
        )
    return folder


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files that hold the weights.

    Raises
    ------
    InputError
        If there are none, or one is missing.
    """
    names = ["model.safetensors"]
    if not (folder / names[0]).exists() and (folder / "model.safetensors.index.json").exists():
        index = read_json(folder / "model.safetensors.index.json")
        try:
            names = sorted(set(index["weight_map"].values()))
        except (AttributeError, KeyError, TypeError):
            raise InputError(f"{folder}/model.safetensors.index.json has no weight_map") from None
    missing = next((name for name in names if not (folder / name).is_file()), None)
    if missing is None:
        return [folder / name for name in names]
    pickles = sorted(path.name for path in folder.glob("*.bin"))
    if missing == "model.safetensors" and pickles:
        raise InputError(
            f"{folder} has its weights as {pickles[0]} (pickle), which is not read because it can run code; "
            "load it where you trust it and save it again with model.save_pretrained(folder)"
        )
    raise InputError(
        f"{folder} has no {missing}; copy it there, or take a revision that has its weights as safetensors"
    )


def checkpoint_fingerprint(folder: Path) -> str:
    """Return 12 hex digits that identify configuration and weights; reads all of them."""
    digests = {}
    for path in [folder / "config.json", *weight_files(folder)]:
        with open(path, "rb") as stream:
            digests[path.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return fingerprint(digests)


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is no such file.

    Raises
    ------
    InputError
        If it holds something else.
    """
    if not path.exists():
        return {}
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold a JSON object")
    return values


def _fetched(checkpoint: str, revision: str | None) -> Path:
    """Return the folder in the hub's cache; its name is the commit."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(checkpoint, revision=revision, allow_patterns=list(FILES)))
    except Exception as error:  # those of the hub and of the network have no base in common
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)
        at = f" at revision {revision}" if revision else ""
        raise InputError(
            f"{checkpoint} is neither a folder beside the spec nor a model that the Hugging Face hub gave{at}: {reason}"
        ) from None
