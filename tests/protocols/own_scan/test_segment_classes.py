"""Several classes, supports and support slices in one call, and the rules of the model's dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from episodes.io.nifti import NiftiImage, original_of, write_nifti
from episodes.io.original_grid import mask_to_original_grid
from episodes.store.dataset import DatasetSpec, known_datasets, load_dataset_spec
from fewshot.base.errors import UserError
from fewshot.base.types import Support
from protocols.own_scan.dataset_rules import rules_of
from protocols.own_scan.model_lookup import FoundModel
from protocols.own_scan.segment import SegmentedScan, segment_scan
from protocols.own_scan.segmentation_input import AnnotatedScan, SegmentationInput, read_segmentation_input

CPU = torch.device("cpu")
AXES = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SIZE = 64


class Marker:
    """Segments with the union of the support's masks on every slice and keeps its supports."""

    def __init__(self) -> None:
        self.supports: list[Support] = []

    def segment(self, support: Support, query: torch.Tensor) -> torch.Tensor:
        self.supports.append(support)
        return support.masks.any(dim=0, keepdim=True).float().expand(len(query), -1, -1)


def own_spec(**facts: object) -> DatasetSpec:
    """Return the facts of a dataset that is no shipped one."""
    plain = load_dataset_spec("chaost2")
    return replace(plain, name="mine", image_size=SIZE, **facts)  # type: ignore[arg-type]


def marker(spec: DatasetSpec | None = None, **facts: object) -> FoundModel:
    spec = own_spec() if spec is None else spec
    model = FoundModel(Marker(), "marker", spec.name, "mr", spec.image_size, "per-scan", None, "", spec)
    return replace(model, **facts)  # type: ignore[arg-type]


def volume(
    array: np.ndarray, direction: tuple[float, ...] = AXES,
    spacing: tuple[float, float, float] = (5.0, 1.25, 1.25),
) -> NiftiImage:  # fmt: skip
    return NiftiImage(Path("made.nii.gz"), array, spacing, (-30.0, 12.0, 5.0), direction)


def noise(seed: int, shape: tuple[int, int, int] = (10, SIZE, SIZE)) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(seed)).normal(100, 10, shape).astype(np.float32)


def annotated(seed: int, boxes: dict[int, tuple[slice, slice, slice]]) -> AnnotatedScan:
    mask = np.zeros((10, SIZE, SIZE), dtype=np.int32)
    for value, box in boxes.items():
        mask[box] = value
    return AnnotatedScan(volume(noise(seed)), volume(mask))


LARGE, SMALL = np.s_[2:8, 10:30, 10:30], np.s_[3:6, 25:35, 25:35]
TWO = {5: LARGE, 900: SMALL}


def segment(inputs: SegmentationInput, model: FoundModel, **more: object) -> SegmentedScan:
    settings = {"modality": None, "prepared": False, "device": CPU, "batch": 4, **more}
    return segment_scan(inputs, model, **settings)  # type: ignore[arg-type]


def test_several_classes_make_one_label_map_with_the_values_of_the_mask() -> None:
    first, second = annotated(1, {5: LARGE}), annotated(2, {900: SMALL})
    inputs = SegmentationInput((first, second), volume(noise(3)), (5, 900))
    segmented = segment(inputs, marker())
    assert segmented.supports == {5: (((0, 5),),), 900: (((1, 4),),)}  # each class from the scan that has it
    assert segmented.label_map.dtype == np.uint16 and segmented.label_map.shape == (10, SIZE, SIZE)
    assert (segmented.label_map[:, 25:35, 25:35] == 900).all()  # the smaller class wins the shared corner
    assert segmented.in_several == 10 * 5 * 5
    assert segmented.voxels(5) == 10 * (400 - 25) and segmented.voxels(900) == 10 * 100
    assert segmented.predicted_slices == tuple(range(10))


def test_a_channel_is_read_of_images_that_have_several(tmp_path: Path) -> None:
    boxes = annotated(1, {5: LARGE})
    for name, array in (("one", boxes.image.array), ("mask", boxes.mask.array), ("query", noise(2))):
        write_nifti(tmp_path / f"{name}.nii.gz", array, (5.0, 1.25, 1.25), (0.0, 0.0, 0.0), AXES)
    two = nibabel.Nifti1Image(np.stack([noise(3).T, noise(4).T], axis=-1), np.eye(4))
    two.header.set_xyzt_units("mm")
    nibabel.save(two, tmp_path / "two.nii.gz")
    supports = [(tmp_path / "one.nii.gz", tmp_path / "mask.nii.gz")]
    read = read_segmentation_input(supports, tmp_path / "two.nii.gz", channel=1)
    assert np.array_equal(read.query.array, noise(4))
    assert np.array_equal(read.supports[0].image.array, boxes.image.array)
    for channel, message in ((None, "--channel"), (2, "no frame 2"), (-1, "no frame -1")):
        with pytest.raises(UserError, match=message):
            read_segmentation_input(supports, tmp_path / "two.nii.gz", channel=channel)


def test_several_slices_of_several_supports_serve_as_shots_or_as_parts() -> None:
    inputs = SegmentationInput((annotated(1, TWO), annotated(2, {5: LARGE})), volume(noise(3)), (5,))
    model = marker()
    segmented = segment(inputs, model, support_slices=3)
    assert segmented.supports == {5: (((0, 3), (0, 5), (0, 7), (1, 3), (1, 5), (1, 7)),)}
    assert {support.images.shape[0] for support in model.learner.supports} == {6}
    ranged = segment(replace(inputs, slices=(0, 9)), model, support_slices=2)
    assert ranged.supports == {5: (((0, 3), (1, 3)), ((0, 6), (1, 6)))}


def test_own_rules_turn_resample_and_crop_and_the_mask_comes_back() -> None:
    """Files lie sagittal; the dataset's slices are axial, resampled and padded."""
    direction = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    rows = np.mgrid[:40, :50, :60]
    ball = sum(((rows[axis] - place) / 12) ** 2 for axis, place in enumerate((20, 25, 30))) < 1
    image = volume(noise(1, (40, 50, 60)), direction, (1.5, 1.5, 1.5))
    support = AnnotatedScan(image, volume(ball.astype(np.uint8), direction, (1.5, 1.5, 1.5)))
    spec = own_spec(orientation="axial", resample_mm=(3.0, 1.2, 1.2), crop_or_pad=True)
    model = marker(spec)
    rules = rules_of(model, "mr", prepared=False)
    assert rules.image(image).array.shape == (25, SIZE, SIZE)  # 50 rows of 1.5 mm become slices of 3 mm
    assert rules.text == (
        "turned to axial axes, resampled to 3 x 1.2 x 1.2 mm (z, y, x), cropped or padded to 64 x 64"
    )
    segmented = segment(SegmentationInput((support,), image, (1,)), model)
    assert segmented.label_map.shape == ball.shape and segmented.depth == 25 and segmented.notes == ()
    column = ball.max(axis=1)  # the middle slice, on every axial slice of the file
    found = segmented.label_map[:, 25] == 1
    assert 2 * (found & column).sum() / (found.sum() + column.sum()) > 0.95
    assert segment(SegmentationInput((support,), image, (1,)), model, grid="store").label_map.shape == (
        25,
        SIZE,
        SIZE,
    )
    with pytest.raises(UserError, match=r"slices of the file do not lie along.*leave it out"):
        segment(SegmentationInput((support,), image, (1,), (3, 9)), model)


@pytest.mark.parametrize("name", ["acdc", "cmr"])
def test_cardiac_scans_are_padded_and_acdc_rescaled(name: str) -> None:
    model = marker(load_dataset_spec(name))
    inputs = SegmentationInput((annotated(1, TWO),), volume(noise(3)), (5, 900))
    segmented = segment(inputs, model)
    assert segmented.label_map.shape == (10, SIZE, SIZE) and segmented.rules == f"as {name}"
    assert segmented.voxels(900) == 10 * 100
    image = rules_of(model, "mr", prepared=False).image(inputs.query)
    assert image.array.shape == (10, 256, 256) and (image.array.max() == 4095) == (name == "acdc")


DOWNLOADS = [
    name
    for name in known_datasets()
    if not name.startswith(("phantom-", "spine-")) and load_dataset_spec(name).modality != "picture"
]


def test_a_model_of_spines_segments_no_single_scan() -> None:
    model = marker(load_dataset_spec("spine-generic-t2w"))
    with pytest.raises(UserError, match="whose preparation of single scans is not known here"):
        rules_of(model, "mr", prepared=False)


@pytest.mark.parametrize("name", DOWNLOADS)
def test_every_shipped_dataset_has_rules_that_give_its_slices(name: str) -> None:
    spec = load_dataset_spec(name)
    image = volume(noise(1, (12, 340, 340)).round(), AXES, (5.0, 1.1, 1.1))
    rules = rules_of(marker(spec, modality=spec.modality), spec.modality, prepared=False)
    prepared = rules.image(image)
    mask = np.zeros(image.array.shape, dtype=np.uint8)
    mask[3:9, 120:220, 120:220] = 2
    label = rules.label(volume(mask, AXES, (5.0, 1.1, 1.1)), (1, 2))
    assert label.array.shape == prepared.array.shape
    assert min(prepared.array.shape[1:]) >= min(150, spec.image_size)
    assert np.array_equal(np.unique(label.array), [0, 2])
    back = mask_to_original_grid(label.array == 2, original_of(prepared))
    assert 2 * (back & (mask == 2)).sum() / (back.sum() + (mask == 2).sum()) > 0.95


def test_rows_of_abdominal_mr_run_from_back_to_front_as_in_the_published_volumes() -> None:
    spacing = (7.7, 1.25, 1.25)
    dicom = volume(noise(1, (12, 200, 180)).round(), spacing=spacing)
    rows = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
    turned = volume(dicom.array[:, ::-1].copy(), rows, spacing)
    rules = rules_of(marker(load_dataset_spec("chaost2")), "mr", prepared=False)
    assert np.array_equal(rules.image(dicom).array, rules.image(turned).array)
    assert rules.text == "as the abdominal MR of SSL-ALPNet, rows from back to front"
    mask = np.zeros(dicom.array.shape, dtype=np.uint8)
    mask[2:9, 20:80, 30:70] = 1  # the front half of a DICOM volume
    label = rules.label(volume(mask, spacing=spacing), (1,))
    assert np.argwhere(label.array)[:, 1].mean() > 128
    back = mask_to_original_grid(label.array == 1, original_of(rules.image(dicom)))
    assert 2 * (back & (mask == 1)).sum() / (back.sum() + mask.sum()) > 0.95


def test_smaller_slices_follow_the_rules_of_their_dataset() -> None:
    spec = replace(load_dataset_spec("chaost2"), name="chaost2-2.5mm", image_size=128, in_plane_mm=2.5)
    shape = (24, 300, 280)
    image = volume(noise(1, shape), AXES, (5.5, 1.1, 1.1))
    rules = rules_of(marker(spec), "mr", prepared=False)
    prepared = rules.image(image)
    assert prepared.array.shape[1:] == (128, 128) and prepared.spacing_mm == (7.7, 2.5, 2.5)
    mask = np.zeros(shape, dtype=np.uint8)
    mask[4:20, 100:180, 100:180] = 3
    label = rules.label(volume(mask, AXES, (5.5, 1.1, 1.1)), (3,))
    assert label.array.shape == prepared.array.shape and set(np.unique(label.array)) == {0, 3}


def test_a_store_that_is_not_that_of_the_training_is_noted() -> None:
    inputs = SegmentationInput((annotated(1, TWO),), volume(noise(3)), (5,))
    (note,) = segment(inputs, marker(store_differs=True)).notes
    assert note == "the store of mine is not that of the training; its rules are used"
