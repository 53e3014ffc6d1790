"""Sacred runs: the provenance of each cell (configuration, host, losses, artefacts). Tables never read it.

Sacred neither seeds nor checks anything here: seeds come from names, and our own code parses the
configuration, because Sacred accepts type changes and nested typos.
"""

from __future__ import annotations

import csv
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.cells.tracking import database_observer


def record_run(
    folder: Path,
    configuration: Mapping[str, Any],
    result: float | None,
    losses: Path | None,
    artefacts: Sequence[Path],
    databases: Sequence[str] = (),
) -> str:
    """Write one Sacred run into `folder` and return its id.

    Sacred is imported here because its import takes half a second.

    Args:
        folder: of the file observer.
        configuration: what the run is about.
        result: the cell's mean Dice in [0,1].
        losses: the model's losses.csv, logged as metrics.
        artefacts: files of the run.
        databases: URLs of further observers (protocols/cells/tracking.py).
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
        from sacred import SETTINGS, Experiment
        from sacred.observers import FileStorageObserver, MongoObserver, SqlObserver

    SETTINGS.CAPTURE_MODE = "no"
    SETTINGS.DISCOVER_SOURCES = "none"
    SETTINGS.DISCOVER_DEPENDENCIES = "none"
    SETTINGS.CONFIG.READ_ONLY_CONFIG = False
    experiment = Experiment("fewshot", save_git_info=False)
    # by default Sacred silences the root logger
    experiment.logger = logging.getLogger("sacred")  # type: ignore[assignment]
    observer = FileStorageObserver(os.fspath(folder))
    others = [database_observer(url, MongoObserver, SqlObserver) for url in databases]
    experiment.observers += [observer, *others]
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
