"""Batches of contrastive pre-training: two random views of each of B pictures, and the boxes of their crops.

Batch t depends only on the pictures, the seed and t, so a resumed pre-training gives the same bytes.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import torch

from episodes.contrastive.images import Pictures
from episodes.contrastive.view_transforms import REACH, crop, crop_box, draw_views, recolour
from fewshot.base.errors import UserError
from fewshot.base.seeds import seed_for
from fewshot.pretraining.positive_matches import ViewPair

CPU = torch.device("cpu")


class ContrastBatches:
    """Draws batches of `batch` pictures in `size` x `size` views, each picture at most once an epoch.

    Every epoch has its own order; the last incomplete batch is dropped. Colours are changed on `device`, and
    the batch stays there. With several `processes`, whose number divides `batch`, each reads and returns only
    the share of its `rank`. Raises `UserError` for fewer pictures than a batch and for views too small to
    blur.
    """

    def __init__(
        self, pictures: Pictures, *, batch: int, size: int, seed: int, device: torch.device = CPU,
        rank: int = 0, processes: int = 1,
    ) -> None:  # fmt: skip
        if batch < 1:
            raise UserError(f"a batch of {batch} pictures, expected at least 1; choose a larger batch")
        if len(pictures) < batch:
            raise UserError(
                f"{pictures.source} has {len(pictures)} pictures, expected at least a batch of {batch}; "
                "choose a smaller batch or give more pictures"
            )
        if size <= REACH:
            raise UserError(f"views of {size} pixels, expected more than {REACH}; choose a larger size")
        self._pictures, self._batch, self._size, self._seed = pictures, batch, size, seed
        self._device = device
        self._share = slice(rank * batch // processes, (rank + 1) * batch // processes)
        self._readers = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="pictures")

    @property
    def steps_per_epoch(self) -> int:
        """Number of complete batches in one pass over the pictures."""
        return len(self._pictures) // self._batch

    def batch(self, step: int) -> ViewPair:
        """Return the batch of `step`, counted from 0 over all epochs; its label covers all shares."""
        epoch, place = divmod(step, self.steps_per_epoch)
        numbers = self._order(epoch)[place * self._batch : (place + 1) * self._batch]
        digest = hashlib.sha256(repr(numbers).encode()).hexdigest()[:8]
        drawn = draw_views(2 * self._batch, _generator("contrast views", self._seed, step))
        numbers, drawn = numbers[self._share], drawn.of(2 * self._share.start, 2 * self._share.stop)
        views = torch.empty(2 * len(numbers), 3, self._size, self._size)
        boxes = torch.empty(2 * len(numbers), 5, dtype=torch.int64)
        # decoding releases the GIL; resizing uses torch's own threads
        for number, picture in enumerate(self._readers.map(self._pictures.read, numbers)):
            for view in (2 * number, 2 * number + 1):
                box = crop_box(drawn, view, picture.shape[1], picture.shape[2])
                boxes[view] = torch.tensor((*box, int(drawn.flipped[view])))
                views[view] = crop(picture, box, self._size)
        coloured = recolour(views.to(self._device), drawn)
        return ViewPair(
            coloured.view(len(numbers), 2, *coloured.shape[1:]),
            boxes.view(len(numbers), 2, 5).to(self._device),
            f"contrast:{epoch}:{place}:{digest}",
            tuple(numbers),
        )

    def _order(self, epoch: int) -> list[int]:
        generator = _generator("contrast order", self._seed, epoch)
        order: list[int] = torch.randperm(len(self._pictures), generator=generator).tolist()
        return order


def _generator(*names: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(*names))
