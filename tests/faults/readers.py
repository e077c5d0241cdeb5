"""What reads a file that others made, each with a small sound file to start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cmrplan.fit.file import read_fit
from cmrplan.log.cells import LogFinding
from cmrplan.log.files import check_log, read_log
from cmrplan.log.importers import import_log
from cmrplan.log.importers.changes import Changes
from cmrplan.mixture.file import read_mixture_fit
from probes.data.readers import read_file
from probes.spec.file import read_spec

CORPUS = Path(__file__).parent / "corpus"
FITS = Path(__file__).parents[1] / "reference" / "fits" / "0.2.0"
SIZE = {"model_params": "7e7"}


def _imported(form: str, **changes: dict[str, str]) -> Callable[[Path], object]:
    return lambda path: import_log(form, path, Changes(**changes))


def _log(path: Path) -> object:
    findings: list[LogFinding] = check_log(path)
    return findings and read_log(path)


READERS: dict[str, tuple[Path, Callable[[Path], object]]] = {
    "csv": (CORPUS / "log.csv", _log),
    "jsonl": (CORPUS / "log.jsonl", _log),
    "table": (CORPUS / "table.csv", _imported("table")),
    "chinchilla": (CORPUS / "chinchilla.csv", _imported("chinchilla")),
    "mixinglaws": (CORPUS / "70M.txt", _imported("mixinglaws")),
    "wandb_chart": (
        CORPUS / "chart.csv",
        _imported(
            "wandb_chart", names={"r010": "0.1"}, constants=SIZE | {"tokens_per_step": "1000"}
        ),
    ),
    "trainer_state": (
        CORPUS / "trainer_state.json",
        _imported("trainer_state", constants=SIZE | {"domain_ratio": "0.3"}),
    ),
    "trainer_steps": (
        CORPUS / "trainer_state.json",
        _imported(
            "trainer_state",
            constants=SIZE | {"domain_ratio": "0.3", "tokens_per_step": "1000"},
        ),
    ),
    "spec": (CORPUS / "spec.yaml", read_spec),
    "fit": (FITS / "two_corpora.json", read_fit),
    "mixture": (FITS / "mixture.json", read_mixture_fit),
    "corpus": (
        CORPUS / "log.jsonl",
        lambda path: list(read_file(path, text_field="run_id", separator=None)),
    ),
}
