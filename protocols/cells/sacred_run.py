"""Sacred runs: the provenance of each cell (configuration, host, losses, artefacts). Tables never read it.

Sacred neither seeds nor checks anything here: seeds come from names, and our own code parses the
configuration, because Sacred accepts type changes and nested typos.
"""

from __future__ import annotations

import csv
import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fewshot.files.atomic_io import cannot_write
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
        folder: holds a folder for each run.
        configuration: the cell.
        result: the cell's mean Dice in [0,1].
        losses: the model's losses.csv; the run holds its path and a summary, not its lines.
        artefacts: files to copy into the run.
        databases: URLs of further observers (protocols/cells/tracking.py).

    Raises:
        UserError: the run cannot be written.
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
    failures = _kept_errors(observer)
    experiment.observers += [observer, *others]
    experiment.add_config(cell=dict(configuration))  # type: ignore[no-untyped-call]

    @experiment.main  # type: ignore[untyped-decorator]
    def _cell(_run: Any) -> float | None:
        if losses is not None and losses.is_file():
            _run.info["losses"] = {"file": os.path.relpath(losses, folder), **_summary(losses)}
        for artefact in artefacts:
            _run.add_artifact(os.fspath(artefact))
        return result

    try:
        run = experiment.run(options={"--loglevel": "CRITICAL", "--force": True})
    except OSError as error:
        raise cannot_write(folder, error) from error
    if failures:
        raise cannot_write(folder, failures[0]) from failures[0]
    return str(run._id)


def _kept_errors(observer: Any) -> list[OSError]:
    """Return a list that receives the observer's errors of writing: Sacred itself logs most and continues."""
    errors: list[OSError] = []

    def keeping(write: Callable[..., None]) -> Callable[..., None]:
        def kept(*arguments: Any, **named: Any) -> None:
            try:
                write(*arguments, **named)
            except OSError as error:
                errors.append(error)
                raise

        return kept

    for name in ("save_json", "save_file", "save_cout"):
        setattr(observer, name, keeping(getattr(observer, name)))
    return errors


def _summary(losses: Path) -> dict[str, Any]:
    """Return the steps of a losses.csv, and first and last value of each part of the loss."""
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    steps = 0
    with losses.open(newline="") as stream:
        for row in csv.DictReader(stream):
            steps = int(row.pop("step"))
            values = {name: float(text) for name, text in row.items() if text}
            first = {**values, **first}
            last |= values
    return {"steps": steps, "first": first, "last": last}
