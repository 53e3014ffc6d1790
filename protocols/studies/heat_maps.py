"""Heat-maps of a recorded cell of a landmark method, computed again from the cell's model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from episodes.store.slices import SliceReader
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef
from fewshot.files.names import path_in
from fewshot.regimes.landmarks import LandmarkLearner
from protocols.rules.spec import load_protocol
from protocols.studies.explain import intensities_for
from protocols.training.models import open_model
from results.records.record import Record


@dataclass(frozen=True)
class HeatMaps:
    """The heat-maps of slices from a landmark learner.

    Attributes:
        learner: in evaluation mode, on `device`; it has `heat`.
        reader: of the store that holds the slices.
    """

    learner: LandmarkLearner
    reader: SliceReader
    device: torch.device

    def __call__(self, ref: SliceRef) -> NDArray[np.float32]:
        """Return the maps (C,H,W) of a slice on the pixels that the learner sees; bilinear.

        Raises:
            UserError: the result of `heat` has another form, or a value that is not finite.
        """
        with torch.inference_mode():
            made = self.learner.heat(self.reader.images([ref]).to(self.device))
        name = type(self.learner).__name__
        if made.dim() != 4 or len(made) != 1 or not made.shape[1]:
            raise UserError(f"heat of {name} has the shape {tuple(made.shape)}, expected (1, C, h, w)")
        if not made.isfinite().all():
            raise UserError(
                f"heat of {name} for scan {ref.scan}, slice {ref.z} has values that are not finite"
            )
        size = (self.reader.image_size, self.reader.image_size)
        maps = F.interpolate(made.float(), size=size, mode="bilinear", align_corners=False)
        heat: NDArray[np.float32] = maps[0].cpu().numpy()
        return heat


def open_heat_maps(
    work: Path, record: Record, open_store: Callable[[str], Store], device: torch.device,
    typed: str | None = None,
) -> HeatMaps | None:  # fmt: skip
    """Return the heat-maps of a record's model; None if its method is no landmark learner or has no `heat`.

    Args:
        work: holds the model.
        record: of the cell.
        open_store: returns the store of a dataset's name.
        device: where the model runs.
        typed: the method as the user named it; a user's own file runs only if the user names it.

    Raises:
        UserError: the model is missing or differs from that of the record, or the store is another one.
    """
    if record.method.regime != LandmarkLearner.regime:
        return None
    key = record.model.key
    folder = None if key is None else path_in(work / "models", "model", key)
    if folder is None or not folder.is_dir():
        raise UserError(
            f"model {key or 'from elsewhere'} of the cell is not under {work / 'models'}, and heat-maps need "
            "it; add --no-heat for a picture without them"
        )
    method, spec, model = open_model(folder, device, typed)
    if not method.learner.has_heat():
        return None
    store, home = open_store(record.dataset.name), open_store(spec["dataset"])
    scan = record.scores[0].scan
    protocol = load_protocol(record.protocol.name)
    intensities = intensities_for(spec, folder.name, protocol, home, store, scan)
    return HeatMaps(model.learner, SliceReader(store, intensities), device)
