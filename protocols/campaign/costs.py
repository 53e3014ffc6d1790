"""Estimated seconds of trainings and evaluations: from measured costs of finished work, else reckoned.

WORK/logs holds what earlier trainings and evaluations took. Without them the estimate is in units U of
docs/performance.md, with the seconds of one U measured on one machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from protocols.campaign.stage_keys import StageKey
from protocols.campaign.units import Unit
from protocols.training.training_time import FOLDER

PRETRAINING = "densecl"
MEASURED, RECKONED = "measured", "reckoned"
# U: one float32 forward of ResNet-101 on one 256 x 256 slice (docs/performance.md); seconds by kind of device
# cpu: bench/amd-epyc-2-cores.txt; cuda: 90 GFLOP of U at an assumed 20 TFLOP/s, not measured
SECONDS_OF_U = {"cpu": 0.45, "cuda": 0.0045}
STEP = 6.1  # U: forward and backward of support and query, and the optimiser
PICTURE = 4.0  # U: a picture of a pre-training, its query view forward and backward, its key view forward
SLICE = 0.98  # U: one encoded slice, and its masks
# multiply-adds of a forward beside ResNet-101's, stride 8 (bench/campaign/scaling.py counts them)
ENCODERS = {"resnet18": 0.27, "resnet50": 0.57, "resnet101": 1.0}
COMMAND = 4.0  # seconds to start a command


@dataclass(frozen=True)
class Cost:
    """Seconds on one device, and whether all of them were measured."""

    seconds: float
    basis: str

    def __add__(self, other: Cost) -> Cost:
        """Return the sum; it is measured if both are."""
        basis = MEASURED if {self.basis, other.basis} == {MEASURED} else RECKONED
        return Cost(self.seconds + other.seconds, basis)


class Costs:
    """Costs by what they depend on: method, encoder, image size, batch, precision, kind of device."""

    def __init__(self, work: Path, device: str) -> None:
        """Read the measured costs under WORK/logs; `device`: "cpu" or "cuda"."""
        self._device = device
        self._steps = _rates(work / "logs" / FOLDER, device, _step_factors, "steps")
        self._slices = _rates(work / "logs", device, _slice_factors, "slices")

    def training(self, stages: Sequence[StageKey]) -> Cost:
        """Return the cost of the steps that are left of some stages, with the start of a command."""
        total = Cost(COMMAND, MEASURED)
        for stage in stages:
            if stage.steps_left:
                total = total + self._stage(stage)
        return total

    def evaluation(self, unit: Unit) -> Cost:
        """Return the cost of evaluating the missing cells of a unit."""
        request, method = unit.run.request, unit.run.method
        encoder = None if method.recipe is None else method.recipe.encoder
        factors = {
            "method": method.description["name"],
            "encoder": encoder,
            "image_size": request.store.spec.image_size,
            "protocol": request.protocol.name,
            "precision": request.eval_precision,
        }
        rate = self._slices.get(_slice_factors(factors))
        if rate is not None:
            return Cost(rate * unit.slices, MEASURED)
        if encoder is None:
            return Cost(0.0, RECKONED)
        size = (factors["image_size"] / 256) ** 2
        return Cost(unit.slices * SLICE * ENCODERS.get(encoder, 1.0) * size * self._u, RECKONED)

    @property
    def _u(self) -> float:
        return SECONDS_OF_U[self._device]

    def _stage(self, stage: StageKey) -> Cost:
        rate = self._steps.get(_step_factors(stage.factors))
        if rate is not None:
            return Cost(rate * stage.steps_left, MEASURED)
        factors = stage.factors
        pixels = (factors["image_size"] / 256) ** 2 * factors["batch"]
        step = PICTURE if factors["method"] == PRETRAINING else STEP
        total = step * ENCODERS.get(factors["encoder"], 1.0) * pixels * stage.steps_left
        return Cost(total * self._u, RECKONED)


def _step_factors(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(
        entry.get(name) for name in ("method", "encoder", "image_size", "batch", "precision", "compiled")
    )


def _slice_factors(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(name) for name in ("method", "encoder", "image_size", "protocol", "precision"))


def _rates(folder: Path, device: str, factors: Any, unit: str) -> dict[tuple[Any, ...], float]:
    """Return factors -> median seconds a unit of the log files in a folder that name the unit."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for entry in _entries(folder):
        if entry.get("device") == device and entry.get(unit):
            seconds = entry["seconds"] if "seconds" in entry else entry["evaluation_seconds"]
            found.setdefault(factors(entry), []).append(seconds / entry[unit])
    return {place: median(rates) for place, rates in found.items()}


def _entries(folder: Path) -> Iterable[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))
