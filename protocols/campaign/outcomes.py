"""Files that submitit leaves of a job: its outcome and its logs; read without submitit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from fewshot.base.errors import UserError


def outcome(folder: Path, job_id: str) -> int | None:
    """Return the status that a job's command ended with; None for a job without an outcome.

    The file is read without building any object. A job that raised an error has no outcome.
    """
    path = folder / f"{job_id}_0_result.pkl"
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        kind, value = _PlainUnpickler(stream).load()
    return int(value) if kind == "success" else None


def log_file(folder: Path, job_id: str | None) -> Path | None:
    """Return the file of what a job wrote to its standard error; None for a job that never ran."""
    path = folder / f"{job_id}_0_log.err"
    return path if job_id is not None and path.is_file() else None


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler of texts, numbers and tuples alone."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class."""
        raise UserError(f"an outcome of a job holds {module}.{name}, expected plain values; delete it")
