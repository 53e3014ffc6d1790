"""Phantom datasets: stores of synthetic scans, fixed by the dataset's name, the scan's id and the size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from episodes.phantoms import abdomen, heart
from episodes.phantoms.cells import CELLS, CELLS_ALONE, cell_picture
from episodes.phantoms.pathology import PATHOLOGY, SEQUENCES, paint_pathology
from episodes.phantoms.shapes import (
    SUBSLICES,
    Canvas,
    Field,
    PoseRanges,
    frame_of,
    generator_for,
    labels_of,
    smooth_noise,
    thick_slices,
)
from episodes.phantoms.skin import SKIN, grey_of, skin_picture
from episodes.phantoms.spine import FIELD_OF_VIEW_MM as SPINE_MM
from episodes.phantoms.spine import SLICE_MM, SPINE, spine_picture
from episodes.phantoms.tissues import CONTRASTS, TissueContrast
from episodes.pseudo_labels.patient_threshold import threshold_of
from episodes.pseudo_labels.superpixels import volume_superpixels
from episodes.store.dataset import DatasetSpec, load_dataset_spec
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError, short, unknown_name

VERSION = 1  # raise it whenever a voxel would change
LARGEST, MOST_SLICES = 1024, 500
SMALLEST = 48  # pixels; with fewer, a kidney is smaller than a cell of the feature map
UNIT_DIRECTION = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
FIELD_OF_VIEW_MM = 320.0


@dataclass(frozen=True)
class _Kind:
    """The parts of a phantom dataset; `slices`: mean number of slices; `covered_mm`: height of the stack."""

    poses: PoseRanges
    paint: Callable[[Canvas, np.random.Generator], None]
    contrast: TissueContrast
    slices: int
    covered_mm: float


KINDS = {
    "phantom-mri": _Kind(abdomen.POSES, abdomen.paint_abdomen, CONTRASTS["t2-spir"], 20, 240.0),
    "phantom-ct": _Kind(abdomen.POSES, abdomen.paint_abdomen, CONTRASTS["ct-portal"], 24, 240.0),
    "phantom-cmr": _Kind(heart.POSES, heart.paint_heart, CONTRASTS["bssfp"], 10, 100.0),
    PATHOLOGY: _Kind(heart.POSES, paint_pathology, CONTRASTS["bssfp-pathology"], 10, 100.0),
}


PICTURES = (SKIN, CELLS, CELLS_ALONE)  # a scan is one picture
ONE_SLICE = (*PICTURES, SPINE)  # kinds whose scans are one slice
PHANTOMS = (*KINDS, *ONE_SLICE)


def phantom_spec(name: str, size: int | None = None) -> DatasetSpec:
    """Return the facts of a phantom dataset with slices of `size` x `size` pixels (None: as shipped).

    `superpixel_min_size` is proportional to the area, 400 pixels at 256 x 256. Raises `UserError` for an
    unknown name, and for a size that is not a multiple of 8 from 48 to 1,024.
    """
    if name not in PHANTOMS:
        raise unknown_name("phantom", name, PHANTOMS)
    spec = load_dataset_spec(name)
    if size is None or size == spec.image_size:
        return spec
    if size % 8 or not SMALLEST <= size <= LARGEST:
        raise UserError(
            f"phantoms of {short(size)} pixels a side: expected a multiple of 8 from {SMALLEST} to {LARGEST}"
        )
    smallest = max(1, round(400 * (size / 256) ** 2))
    return replace(spec, image_size=size, superpixel_min_size=smallest)


def phantom_scan(
    spec: DatasetSpec, scan: str, slices: int | None = None, sequence: str = ""
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return image (int16 for MR, uint8 for CT) and labels (uint8) of one phantom, (Z,size,size) each.

    A picture of skin or cells is a scan of one slice whose image is its grey picture, uint8. Both depend only
    on the dataset's name, the scan's id, the size, `slices` and `sequence`. `slices` is the mean number of
    slices per scan (None: that of the dataset); a scan has up to a fifth more or fewer. `sequence` is one of
    `SEQUENCES`, for another contrast of the same anatomy; "" is that of the dataset.
    """
    if spec.name in ONE_SLICE and slices is not None:
        raise UserError(f"{spec.name} has one slice a picture: leave out the number of slices")
    if spec.name == SPINE:
        made = spine_picture(spec.image_size, VERSION, scan)
        return made.image, made.labels
    if spec.name in (CELLS, CELLS_ALONE):
        return cell_picture(spec.name, spec.image_size, VERSION, scan)[:2]
    if spec.name == SKIN:
        channels, mask = skin_picture(spec.image_size, VERSION, scan)
        return grey_of(channels), mask
    kind, size = KINDS[spec.name], spec.image_size
    mean_depth = kind.slices if slices is None else slices
    if mean_depth < 8:
        raise UserError(f"phantoms of {mean_depth} slices: expected at least 8, or an organ may be missing")
    if mean_depth > MOST_SLICES:
        raise UserError(f"phantoms of {short(mean_depth)} slices: expected {MOST_SLICES} or fewer")
    draw = generator_for(spec.name, VERSION, scan, "anatomy")
    depth = round(mean_depth * draw.uniform(0.85, 1.2))
    pose = kind.poses.draw(draw)
    frame = frame_of(pose, depth * SUBSLICES, size, generator_for(spec.name, VERSION, scan, "warp"))
    look = generator_for(spec.name, VERSION, scan, "look", *([sequence] if sequence else []))
    shape = (depth * SUBSLICES, size, size)
    grain = _grain(look, shape)
    contrast = CONTRASTS[SEQUENCES[sequence]] if sequence else kind.contrast
    grey = {
        tissue: value * float(np.exp(contrast.spread * np.clip(look.standard_normal(), -2, 2)))
        for tissue, value in contrast.grey.items()
    }
    texture = {tissue: np.float32(amount) * grain for tissue, amount in contrast.grain.items()}
    canvas = Canvas(frame, grey, texture, np.zeros(shape, dtype=np.float32))
    if sequence:
        paint_pathology(canvas, draw, sequence)
    else:
        kind.paint(canvas, draw)
    stored = {name: part for name, part in canvas.share.items() if name in spec.classes}
    image = _scanned(thick_slices(canvas.image), contrast, look)
    return image.astype(np.uint8 if spec.modality == "ct" else np.int16), labels_of(stored, spec.classes)


def prepare_phantom(
    spec: DatasetSpec,
    destination: Path,
    *,
    slices: int | None = None,
    overwrite: bool = False,
    workers: int = 0,
    on_progress: Callable[[int], None] = lambda _count: None,
    finish: Callable[[Store], object] | None = None,
) -> Store:
    """Generate every scan of a phantom dataset, write the store and return it opened.

    Args:
        spec: facts of the dataset, from `phantom_spec`.
        destination: folder of the store.
        slices: mean number of slices per scan; None: that of the dataset.
        overwrite: replace an existing store.
        workers: threads for superpixels, 0 for one per usable core.
        on_progress: called with 1 after each scan.
        finish: as in `new_store`.

    Raises:
        UserError: as `phantom_scan` and `new_store`.
    """
    with new_store(destination, spec, overwrite=overwrite, prepared_by="fewshot", finish=finish) as writer:
        for scan in spec.scans:
            image, labels = phantom_scan(spec, scan, slices)
            threshold = threshold_of(image, spec.patient_threshold, spec.modality)
            found = volume_superpixels(image, threshold, spec.superpixel_min_size, workers)
            writer.add(
                SourceScan(
                    scan, image, labels, found, _spacing(spec, len(image)), (0.0, 0.0, 0.0),
                    UNIT_DIRECTION, _sha256(image), _sha256(labels), _channels(spec, scan, slices),
                    sentences=_sentences(spec, scan), points=_points(spec, scan),
                )
            )  # fmt: skip
            on_progress(1)
    return Store.open(destination)


def same_phantoms(store: Store, spec: DatasetSpec, slices: int | None = None) -> bool:
    """Return whether `store` holds the phantoms of `spec` and `slices`; compares only the first scan."""
    first = spec.scans[0]
    if store.spec != spec or first not in store.sources():
        return False
    image, labels = phantom_scan(spec, first, slices)
    return store.sources()[first] == (_sha256(image), _sha256(labels))


def _grain(draw: np.random.Generator, shape: tuple[int, int, int]) -> Field:
    """Draw texture (Z,Y,X), about N(0,1), with blotches of two sizes; the finer ones are two pixels wide."""
    fine = ndimage.gaussian_filter(draw.standard_normal(shape, dtype=np.float32), (0.5, 1.0, 1.0))
    coarse = smooth_noise(draw, shape, (max(4, shape[0] // 3), 14, 14))
    mixed = 0.75 * fine / fine.std() + 0.65 * coarse
    grain: Field = mixed.astype(np.float32)
    return grain


def _scanned(image: Field, contrast: TissueContrast, draw: np.random.Generator) -> NDArray[np.float32]:
    """Simulate a scanner: spatially varying gain, noise, and rounding to integers from 0 to `contrast.top`.

    MR noise is Rician, so air is dark but not 0; in CT air is 0.
    """
    if contrast.bias:
        field = contrast.bias * smooth_noise(draw, image.shape, (2, 3, 3)).astype(np.float64)
        gain = np.exp(field).astype(np.float32)
        noisy = np.hypot(
            image * gain + contrast.noise * draw.standard_normal(image.shape, dtype=np.float32),
            contrast.noise * draw.standard_normal(image.shape, dtype=np.float32),
        )
    else:
        noise = ndimage.gaussian_filter(draw.standard_normal(image.shape, dtype=np.float32), (0, 0.6, 0.6))
        noisy = np.where(image > 2, image + contrast.noise * noise / noise.std(), 0)
    scanned: NDArray[np.float32] = np.clip(np.rint(noisy), 0, contrast.top)
    return scanned


def _channels(spec: DatasetSpec, scan: str, slices: int | None) -> NDArray[Any] | None:
    """Return the channels (C,Z,size,size) of a phantom that has several, else None."""
    if spec.name == PATHOLOGY:
        return np.stack([phantom_scan(spec, scan, slices, name)[0] for name in spec.channels])
    return skin_picture(spec.image_size, VERSION, scan)[0] if spec.name == SKIN else None


def _points(spec: DatasetSpec, scan: str) -> dict[str, tuple[float, float, float]] | None:
    """Return the landmarks of a phantom of a spine; None for another phantom."""
    return spine_picture(spec.image_size, VERSION, scan).points if spec.name == SPINE else None


def _sentences(spec: DatasetSpec, scan: str) -> tuple[str, ...]:
    """Return the sentence of a picture of cells; () for another phantom."""
    if spec.name not in (CELLS, CELLS_ALONE):
        return ()
    return (cell_picture(spec.name, spec.image_size, VERSION, scan)[2],)


def _spacing(spec: DatasetSpec, depth: int) -> tuple[float, float, float]:
    if spec.name in PICTURES:
        return (1.0, 1.0, 1.0)
    if spec.name == SPINE:
        return (SLICE_MM, SPINE_MM / spec.image_size, SPINE_MM / spec.image_size)
    pixel = FIELD_OF_VIEW_MM / spec.image_size
    return (KINDS[spec.name].covered_mm / depth, pixel, pixel)


def _sha256(array: NDArray[Any]) -> str:
    """Return the sha256 of an array's bytes, which replaces the hash of a source file."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
