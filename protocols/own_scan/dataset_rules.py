"""The rules by which a model's dataset was prepared, applied to a user's scans.

Every step stands in the volume's original grid, so that a mask can be put back on the voxels of its file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from episodes.io.nifti import NiftiImage
from episodes.prepare.abdomen import prepare_ct, prepare_ct_label, prepare_mr, prepare_mr_label
from episodes.prepare.crop_pad import centred
from episodes.prepare.downloads.acdc import rescaled
from episodes.prepare.downloads.amos import clipped, windowed
from episodes.prepare.downloads.chaos import flip_rows, rows_run_to_back
from episodes.prepare.grid_rules import image_on_grid, label_on_grid
from episodes.store.dataset import DatasetSpec, known_datasets
from fewshot.base.errors import UserError
from protocols.own_scan.model_lookup import RELEASED_SIZE, FoundModel

ImageRule = Callable[[NiftiImage], NiftiImage]
LabelRule = Callable[[NiftiImage, Sequence[int]], NiftiImage]
ABDOMINAL = ("chaost2", "chaost1-in", "chaost1-out", "sabs")


def _as_in_file(image: NiftiImage) -> NiftiImage:
    return image


def _rows_to_front(volume: NiftiImage) -> NiftiImage:
    return flip_rows(volume) if rows_run_to_back(volume) else volume


# rows of the published MR volumes run from back to front, those of DICOM from front to back
ABDOMINAL_RULES: dict[str, tuple[ImageRule, LabelRule]] = {
    "mr": (
        lambda image: prepare_mr(_rows_to_front(image)),
        lambda label, values: prepare_mr_label(_rows_to_front(label), values),
    ),
    "ct": (prepare_ct, prepare_ct_label),
}


# sets that crop or pad: what is done to the intensities first; the facts say the rest
INTENSITIES: dict[str, ImageRule] = {
    "acdc": rescaled,
    "cmr": _as_in_file,
    "myops-lge": _as_in_file,
    "myops-bssfp": _as_in_file,
    "myops": _as_in_file,
    "myops380": _as_in_file,
    "myops380-processed": _as_in_file,
    "amos-ct": windowed,
    "amos-mr": clipped,
    "male-pelvis": clipped,
}


@dataclass(frozen=True)
class DatasetRules:
    """How files become prepared volumes.

    `image`: prepares an image; `label`: prepares a label map (its values), on the grid of `image`; `text`:
    the rules in words, for the user.
    """

    image: ImageRule
    label: LabelRule
    text: str


def rules_of(model: FoundModel, modality: str, *, prepared: bool) -> DatasetRules:
    """Return the rules by which the training scans of a model were prepared.

    Args:
        model: the model.
        modality: "mr" or "ct", which chooses the rules of the abdominal sets.
        prepared: the scans are prepared already, so the rules change nothing.

    Raises:
        UserError: the rules are not known here, or give slices of another size than the model's input.
    """
    if prepared:
        return DatasetRules(lambda image: image, lambda label, _values: label, "as in the files")
    spec = model.spec
    base = model.dataset if spec is None else spec.base_name
    if base is None or base in ABDOMINAL:
        if spec is not None and spec.in_plane_mm:
            return _smaller(DatasetRules(*ABDOMINAL_RULES[modality], _abdominal(modality)), spec)
        if model.image_size != RELEASED_SIZE:
            raise UserError(
                f"model {model.name} takes {model.image_size} x {model.image_size} pixels, preparation gives "
                f"{RELEASED_SIZE} x {RELEASED_SIZE}; prepare the scans as its dataset was and add --prepared"
            )
        return DatasetRules(*ABDOMINAL_RULES[modality], _abdominal(modality))
    if spec is None:
        raise UserError(
            f"model {model.name} was trained on {base}, whose rules of preparation are not known here "
            f"({model.reason or 'its store is missing'}); prepare {base} again with fewshot prepare, or "
            "prepare the scans as it was and add --prepared"
        )
    if base in INTENSITIES:
        rules = _by_facts(replace(spec, crop_or_pad=True), INTENSITIES[base], f"as {base}")
    elif base in known_datasets() and not base.startswith("phantom-"):
        raise UserError(
            f"model {model.name} was trained on {base}, whose preparation of single scans is not known here; "
            "prepare the scans as it was and add --prepared"
        )
    else:
        rules = _by_facts(spec, _as_in_file, _steps(spec))
    return _smaller(rules, spec) if spec.in_plane_mm else rules


def _abdominal(modality: str) -> str:
    rows = ", rows from back to front" if modality == "mr" else ""
    return f"as the abdominal {modality.upper()} of SSL-ALPNet{rows}"


def _by_facts(spec: DatasetSpec, intensities: ImageRule, text: str) -> DatasetRules:
    """Return the rules of a dataset whose facts say how scans are turned, resampled, cropped or padded."""
    size = spec.image_size

    def image(volume: NiftiImage) -> NiftiImage:
        placed = image_on_grid(intensities(volume), spec)
        return centred(placed, size, placed.array.min()) if spec.crop_or_pad else placed

    def label(volume: NiftiImage, values: Sequence[int]) -> NiftiImage:
        placed = label_on_grid(volume, replace(spec, classes={str(value): value for value in values}))
        return centred(placed, size, 0) if spec.crop_or_pad else placed

    return DatasetRules(image, label, text)


def _steps(spec: DatasetSpec) -> str:
    """Return the facts of a user's dataset on the grid, in words."""
    steps = [
        f"turned to {spec.orientation} axes" if spec.orientation != "as-is" else "",
        f"sliced along {spec.slice_axis}" if spec.slice_axis != "z" else "",
        f"resampled to {' x '.join(f'{mm:g}' for mm in spec.resample_mm)} mm (z, y, x)"
        if any(spec.resample_mm)
        else "",
        f"cropped or padded to {spec.image_size} x {spec.image_size}" if spec.crop_or_pad else "",
    ]
    return ", ".join(filter(None, steps)) or "as in the files"


def _smaller(rules: DatasetRules, spec: DatasetSpec) -> DatasetRules:
    """Return the rules followed by the resampling of slices to `in_plane_mm`."""
    size = spec.image_size
    pixels = (0.0, spec.in_plane_mm, spec.in_plane_mm)
    after = replace(spec, orientation="as-is", slice_axis="z", resample_mm=pixels)

    def image(volume: NiftiImage) -> NiftiImage:
        small = image_on_grid(rules.image(volume), after)
        return centred(small, size, small.array.min())

    def label(volume: NiftiImage, values: Sequence[int]) -> NiftiImage:
        facts = replace(after, classes={str(value): value for value in values})
        return centred(label_on_grid(rules.label(volume, values), facts), size, 0)

    return DatasetRules(image, label, f"{rules.text}, then {spec.in_plane_mm:g} mm in plane")
