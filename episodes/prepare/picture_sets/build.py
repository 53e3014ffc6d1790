"""Build a store from pictures and masks: every pair is checked first, then resized and written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from episodes.io.pictures import fit_mask, fit_picture, read_mask, read_picture
from episodes.phantoms.skin import grey_of
from episodes.prepare.picture_sets.layouts import PictureFolder, PicturePair
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError
from fewshot.files.atomic_io import sha256_of

COLOURS = ("red", "green", "blue")
UNIT_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def picture_spec(spec: DatasetSpec, folder: PictureFolder, kinds: set[int]) -> DatasetSpec:
    """Return a dataset's facts with the folds of its folder, and its channels (3: colours, 1: grey)."""
    channels = COLOURS if 3 in kinds else ()
    return replace(spec, fold_borders=folder.fold_borders, channels=channels)


def build_picture_store(
    folder: PictureFolder,
    spec: DatasetSpec,
    destination: Path,
    *,
    overwrite: bool = False,
    workers: int = 0,
    on_progress: Callable[[int], None] = lambda _count: None,
    finish: Callable[[Store], object] | None = None,
) -> Store:
    """Check every pair, write the store and return it opened; a picture is a scan of one slice.

    Args:
        folder: the pictures and their folds.
        spec: facts of the dataset; `image_size` is the side to which pictures are resized.
        destination: folder of the store.
        overwrite: replace an existing store.
        workers: threads, 0 for one per usable core.
        on_progress: called with 1 after each check, and after each picture written.
        finish: as in `new_store`.

    Raises:
        UserError: a file is no picture, a mask is no mask, or the two differ in size; as `new_store`.
    """
    kinds = set()
    for pair in folder.pairs.values():
        kinds.add(len(_read_pair(pair)[0]))
        on_progress(1)
    facts = picture_spec(spec, folder, kinds)
    side = facts.image_size
    if isinstance(facts.patient_threshold, str):
        raise UserError(
            f"{facts.name}: patient_threshold is {facts.patient_threshold!r}, expected a number for "
            "pictures; give one below the grey of the skin, such as 0"
        )
    threshold = facts.patient_threshold
    with new_store(destination, facts, overwrite=overwrite, prepared_by="fewshot", finish=finish) as writer:
        for scan, pair in folder.pairs.items():
            picture, mask = _read_pair(pair)
            channels = fit_picture(picture, side)[:, None]
            if facts.channels and len(channels) == 1:
                channels = np.repeat(channels, len(facts.channels), axis=0)
            image = grey_of(channels) if facts.channels else channels[0]
            labels = fit_mask(mask, side)[None] * np.uint8(next(iter(facts.classes.values())))
            superpixels = volume_superpixels(image, threshold, facts.superpixel_min_size, workers)
            writer.add(
                SourceScan(
                    scan, image, labels, superpixels, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), UNIT_DIRECTION,
                    sha256_of(pair.image), sha256_of(pair.mask), channels if facts.channels else None,
                    sentences=(pair.sentence,) if pair.sentence else (),
                )
            )  # fmt: skip
            on_progress(1)
    return Store.open(destination)


def same_pictures(store: Store, folder: PictureFolder) -> bool:
    """Return whether a store was prepared from exactly these files and sentences."""
    hashes = {scan: (sha256_of(pair.image), sha256_of(pair.mask)) for scan, pair in folder.pairs.items()}
    if store.sources() != hashes or store.spec.fold_borders != folder.fold_borders:
        return False
    return all(
        store.scan_once(scan).sentences == ((pair.sentence,) if pair.sentence else ())
        for scan, pair in folder.pairs.items()
    )


def _read_pair(pair: PicturePair) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return channels (C,H,W) and mask (H,W) of a pair; `UserError` if they differ in size."""
    picture, mask = read_picture(pair.image), read_mask(pair.mask)
    if picture.shape[1:] != mask.shape:
        raise UserError(
            f"{pair.image} has {picture.shape[1]} x {picture.shape[2]} pixels, its mask {pair.mask} "
            f"{mask.shape[0]} x {mask.shape[1]}, expected equal sizes; save the mask again"
        )
    return picture, mask
