"""Prepared datasets made for measuring: the shape of a CHAOS fold, and the size of the Synapse set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from measuring import Sizes
from numpy.typing import NDArray

from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec, load_dataset_spec
from episodes.store.store import SourceScan, Store, new_store

DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# Depth, then first and last slice of liver, right kidney, left kidney and spleen, of the first eight scans
# of the prepared CHAOS set: four are a fold, the next is its support.
CHAOS = (
    (37, (12, 35), (12, 25), (14, 29), (18, 31)),
    (31, (7, 28), (2, 15), (3, 16), (13, 23)),
    (36, (9, 27), (6, 18), (3, 18), (12, 25)),
    (36, (5, 32), (8, 21), (9, 22), (20, 30)),
    (34, (4, 31), (2, 19), (4, 20), (5, 25)),
    (36, (12, 32), (8, 21), (10, 23), (19, 29)),
    (36, (13, 33), (1, 14), (1, 16), (14, 25)),
    (31, (10, 29), (0, 15), (2, 19), (13, 26)),
)
# row, column and radius of the tested classes, as shares of the side
PLACES = (
    (0.35, 0.31, 0.15),
    (0.66, 0.35, 0.07),
    (0.66, 0.66, 0.07),
    (0.37, 0.72, 0.09),
)


def chaos_store(path: Path, sizes: Sizes) -> Store:
    """Write scans as deep as those of CHAOS whose organs span the same slices; a fold has four scans."""
    spec = spec_like("chaost2", (0, 4, sizes.scans), sizes)
    shapes = [
        (
            -(-depth // sizes.thin),
            [range(first // sizes.thin, last // sizes.thin + 1) for first, last in ranges],
        )
        for depth, *ranges in CHAOS[: sizes.scans]
    ]
    return written_store(path, spec, shapes, felzenszwalb=True)


def ct_store(path: Path, sizes: Sizes) -> Store:
    """Write a CT set of the size of Synapse's, five folds; its superpixels are squares, to be quick."""
    scans, depth = sizes.large
    spec = spec_like("sabs", tuple(scans * fold // 5 for fold in range(6)), sizes)
    return written_store(path, spec, [(depth, [range(depth // 6, depth - depth // 6)] * 4)] * scans, False)


def spec_like(like: str, borders: tuple[int, ...], sizes: Sizes) -> DatasetSpec:
    """Return the facts of a shipped dataset with other folds and slices of `sizes.side` pixels."""
    facts = load_dataset_spec(like)
    return DatasetSpec(
        name="bench", title="made for measuring", modality=facts.modality, classes=facts.classes,
        tested=facts.tested, scans=(), fold_borders=borders, image_size=sizes.side, patient_threshold=50.0,
        superpixel_min_size=max(1, 400 * sizes.side**2 // 256**2), sources=(),
    )  # fmt: skip


def written_store(
    path: Path, spec: DatasetSpec, shapes: Iterable[tuple[int, Sequence[range]]], felzenszwalb: bool
) -> Store:
    """Write scans of (depth, range of slices of each tested class); superpixels are found, or squares."""
    with new_store(path, spec) as writer:
        for number, (depth, ranges) in enumerate(shapes):
            image, labels = _scan(number, depth, ranges, spec)
            if felzenszwalb:
                found = volume_superpixels(image, 50.0, spec.superpixel_min_size)
            else:
                found = _squares(image.shape)
            sha256 = f"{number:064x}"
            writer.add(
                SourceScan(
                    str(number), image, labels, found, (7.7, 1.25, 1.25), (0.0, 0.0, 0.0), DIRECTION, sha256,
                    sha256,
                )
            )  # fmt: skip
    return Store.open(path)


def _scan(
    number: int, depth: int, ranges: Sequence[range], spec: DatasetSpec
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return a noisy body with a round organ of each tested class in its range of slices."""
    side = spec.image_size
    draw = np.random.Generator(np.random.PCG64(number))
    rows, columns = np.mgrid[:side, :side] / side
    body = ((rows - 0.5) / 0.39) ** 2 + ((columns - 0.5) / 0.47) ** 2 < 1
    image = draw.normal(150, 25, (depth, side, side)).astype(np.float32) * body
    labels = np.zeros(image.shape, dtype=np.uint8)
    for name, (row, column, radius), shown in zip(spec.tested, PLACES, ranges, strict=True):
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        labels[shown.start : shown.stop, inside] = spec.classes[name]
        image[shown.start : shown.stop, inside] += 60 * (1 + spec.tested.index(name))
    return image.clip(0).astype(np.int16), labels


def _squares(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """Return superpixels that are eight by eight squares of the slice."""
    rows, columns = np.mgrid[: shape[1], : shape[2]]
    squares = 1 + rows * 8 // shape[1] * 8 + columns * 8 // shape[2]
    return np.broadcast_to(squares.astype(np.uint16), shape)
