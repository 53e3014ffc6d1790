"""Real volumes re-written in other layouts and formats, and the facts that the program drafts of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from episodes.io.nifti import NiftiImage, read_label, read_nifti, write_nifti
from episodes.prepare.recognition.detection import recognise_folder
from episodes.prepare.recognition.toml_draft import draft_text
from episodes.store.dataset import DatasetSpec

LAYOUTS = ("nnunet", "bids", "organs", "nrrd")


def write_real(folder: Path, layout: str, source: Path, scans: list[str], classes: Mapping[str, int]) -> None:
    """Write scans of the published layout in `source` in another layout; voxels and grids stay."""
    for scan in scans:
        image = read_nifti(source / f"image_{scan}.nii.gz")
        label = read_label(source / f"label_{scan}.nii.gz")
        if layout == "nnunet":
            _write(folder / "imagesTr" / f"case_{scan}_0000.nii.gz", image)
            _write(folder / "labelsTr" / f"case_{scan}.nii.gz", label)
        elif layout == "bids":
            _write(folder / f"sub-{scan}" / "anat" / f"sub-{scan}_T2w.nii.gz", image)
            _write(folder / "derivatives" / f"sub-{scan}" / "anat" / f"sub-{scan}_dseg.nii.gz", label)
        elif layout == "organs":
            _write(folder / f"s{scan}" / "mri.nii.gz", image)
            for name, value in classes.items():
                mask = NiftiImage(
                    label.path, (label.array == value).astype(np.uint8), label.spacing_mm, label.origin,
                    label.direction,
                )  # fmt: skip
                _write(folder / f"s{scan}" / "segmentations" / f"{name}.nii.gz", mask)
        else:
            _write(folder / "images" / f"p{scan}.nrrd", image)
            _write(folder / "labels" / f"p{scan}.nrrd", label)
    if layout == "nnunet":
        labels = {"background": 0, **classes}
        content = {"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii.gz"}
        (folder / "dataset.json").write_text(json.dumps(content))


def _write(path: Path, volume: NiftiImage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".nrrd":
        image = sitk.GetImageFromArray(volume.array)
        image.SetSpacing(volume.spacing_mm[::-1])
        image.SetOrigin(volume.origin)
        image.SetDirection(volume.direction)
        sitk.WriteImage(image, str(path))
    else:
        write_nifti(path, volume.array, volume.spacing_mm, volume.origin, volume.direction)


def mended_facts(folder: Path, name: str, spec: DatasetSpec, borders: tuple[int, ...]) -> str:
    """Return the drafted facts of a folder, mended to those of a shipped dataset as its user would."""
    text = draft_text(recognise_folder(folder), name, folder)
    for class_name, value in spec.classes.items():
        text = re.sub(rf"^class-{value} ", f"{class_name} ", text, flags=re.MULTILINE)
    mended = {
        "image_size": spec.image_size,
        "folds": "",
        "patient_threshold": spec.patient_threshold,
        "resample_mm": "",
    }
    for key, value in mended.items():
        text = re.sub(rf"^{key} = .*\n", f"{key} = {value}\n" if value else "", text, flags=re.MULTILINE)
    top = (
        f"fold_borders = {list(borders)}\nsuperpixel_min_size = {spec.superpixel_min_size}\n"
        f"spacing_known = {'true' if spec.spacing_known else 'false'}\n"
    )
    return top + text
