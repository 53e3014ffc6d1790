"""Sacred keeps the provenance of each cell: configuration, host, losses, artefacts. Tables never read it.

Its own seeding and configuration checks are not relied on: seeds come from names and configuration is
parsed by us (Sacred lets type changes and nested typos pass).
"""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def record_run(
    folder: Path,
    configuration: Mapping[str, Any],
    result: float | None,
    losses: Path | None,
    artefacts: Sequence[Path],
) -> str:
    """Write one Sacred run into `folder` and return its id.

    `result` is the cell's mean Dice in [0,1]; `losses` is the model's losses.csv, logged as metrics. Sacred
    is imported here: it takes half a second, which no training need wait for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
        from sacred import SETTINGS, Experiment
        from sacred.observers import FileStorageObserver

    SETTINGS.CAPTURE_MODE = "no"
    SETTINGS.DISCOVER_SOURCES = "none"
    SETTINGS.DISCOVER_DEPENDENCIES = "none"
    SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    experiment = Experiment("fewshot", save_git_info=False)
    observer = FileStorageObserver(os.fspath(folder))
    experiment.observers.append(observer)
    experiment.add_config(cell=dict(configuration))  # type: ignore[no-untyped-call]

    @experiment.main  # type: ignore[untyped-decorator]
    def _cell(_run: Any) -> float | None:
        if losses is not None and losses.is_file():
            _log_losses(_run, losses)
        for artefact in artefacts:
            _run.add_artifact(os.fspath(artefact))
        return result

    run = experiment.run(options={"--loglevel": "ERROR", "--force": True})
    return str(run._id)


def _log_losses(run: Any, losses: Path) -> None:
    with losses.open(newline="") as stream:
        for row in csv.DictReader(stream):
            step = int(row.pop("step"))
            for name, text in row.items():
                if text:
                    run.log_scalar(f"training.{name}", float(text), step)
