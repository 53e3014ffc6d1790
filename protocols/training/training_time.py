"""What a training costs: WORK/logs/trainings/KEY.json holds its steps and seconds, for later estimates.

Seconds depend on the machine, so they lie in no record and beside no model.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import torch

from fewshot.files.atomic_io import write_json
from fewshot.training.loop import TrainingResult

FOLDER = "trainings"  # under WORK/logs


def log_training(
    work: Path, key: str, result: TrainingResult, about: dict[str, Any], device: torch.device
) -> None:
    """Write steps and seconds of a training; a call that found it finished writes nothing.

    Args:
        work: folder with `logs`.
        key: of the model or backbone.
        result: steps of the last call and their seconds.
        about: what the cost of a step depends on: method, encoder, image size, batch, precision, compiled.
        device: that trained.
    """
    if result.taken:
        entry = {"training": key, "device": device.type, "host": socket.gethostname(), **about}
        measured = {"steps": result.taken, "seconds": round(result.seconds, 3)}
        write_json(work / "logs" / FOLDER / f"{key}.json", entry | measured)
