"""The small scans of `small_volumes` in the layouts and formats in which people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray
from small_volumes import DIRECTION, ORIGIN, SPACING, small_scan

from episodes.io.nifti import write_nifti

SCANS = 3
ORGANS = {"liver": 1, "spleen": 4}


def write_volume(path: Path, array: NDArray[Any]) -> None:
    """Write a volume (Z,Y,X), or (C,Z,Y,X) of several channels, in the format of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii", ".nii.gz")) and array.ndim == 3:
        write_nifti(path, array, SPACING, ORIGIN, DIRECTION)
        return
    if array.ndim == 4 and path.suffix != ".nrrd":  # frames, as NIfTI has them
        image = sitk.JoinSeries([_image(each) for each in array])
    else:
        image = _image(np.moveaxis(array, 0, -1) if array.ndim == 4 else array, is_vector=array.ndim == 4)
    sitk.WriteImage(image, str(path))


def _image(array: NDArray[Any], is_vector: bool = False) -> Any:
    image = sitk.GetImageFromArray(array, isVector=is_vector)
    image.SetSpacing([float(np.float32(mm)) for mm in SPACING[::-1]])
    image.SetOrigin(ORIGIN)
    image.SetDirection(DIRECTION)
    return image


def scans() -> list[tuple[int, NDArray[Any], NDArray[Any]]]:
    """Return number, image and labels of every scan."""
    return [(number, *small_scan(number)) for number in range(1, SCANS + 1)]


def write_nnunet(folder: Path, ending: str = ".nii.gz", channels: int = 1, **more: Any) -> None:
    """Write nnU-Net raw data; channel c of a scan is its image plus 100 c."""
    for number, image, labels in scans():
        for channel in range(channels):
            name = f"case_{number:03d}_{channel:04d}{ending}"
            write_volume(folder / "imagesTr" / name, image + np.int16(100 * channel))
        write_volume(folder / "labelsTr" / f"case_{number:03d}{ending}", labels)
    names = {str(channel): f"T{channel + 1}" for channel in range(channels)}
    content = {"channel_names": names, "labels": {"background": 0, **ORGANS}, "file_ending": ending}
    (folder / "dataset.json").write_text(json.dumps({"numTraining": SCANS, **content, **more}))


def write_decathlon(folder: Path, channels: int = 1) -> None:
    """Write a task of the decathlon; several channels are frames of one file."""
    for number, image, labels in scans():
        frames = np.stack([image + np.int16(100 * channel) for channel in range(channels)])
        write_volume(folder / "imagesTr" / f"liver_{number}.nii.gz", frames if channels > 1 else image)
        write_volume(folder / "labelsTr" / f"liver_{number}.nii.gz", labels)
    names = {str(channel): f"T{channel + 1}" for channel in range(channels)}
    labels_table = {"0": "background", **{str(value): name for name, value in ORGANS.items()}}
    content = {"name": "Small", "licence": "CC-BY-SA 4.0", "modality": names, "labels": labels_table}
    (folder / "dataset.json").write_text(json.dumps(content))


def write_bids(folder: Path, sessions: tuple[str, ...] = (), weightings: tuple[str, ...] = ("T2w",)) -> None:
    """Write images in anat and labels in derivatives; scan 1 has every session, others the first."""
    (folder / "dataset_description.json").parent.mkdir(parents=True, exist_ok=True)
    (folder / "dataset_description.json").write_text('{"Name": "small", "BIDSVersion": "1.8.0"}')
    for number, image, labels in scans():
        for session in sessions[: None if number == 1 else 1] or ("",):
            place = f"sub-{number:02d}" + (f"/ses-{session}" if session else "") + "/anat"
            stem = f"sub-{number:02d}" + (f"_ses-{session}" if session else "")
            for weighting in weightings:
                write_volume(folder / place / f"{stem}_{weighting}.nii.gz", image)
            write_volume(folder / "derivatives" / "labels" / place / f"{stem}_dseg.nii.gz", labels)


def write_subjects(folder: Path, ending: str = ".nii.gz") -> None:
    """Write one folder a subject with its image and its label map."""
    for number, image, labels in scans():
        write_volume(folder / f"patient{number}" / f"patient{number}_t2{ending}", image)
        write_volume(folder / f"patient{number}" / f"patient{number}_seg{ending}", labels)


def write_organ_masks(folder: Path) -> None:
    """Write one folder a subject with one mask file an organ, as TotalSegmentator does."""
    for number, image, labels in scans():
        write_volume(folder / f"s{number:04d}" / "mri.nii.gz", image)
        for organ, value in ORGANS.items():
            mask = (labels == value).astype(np.uint8)
            write_volume(folder / f"s{number:04d}" / "segmentations" / f"{organ}.nii.gz", mask)


def write_beside(folder: Path, ending: str = ".nii.gz") -> None:
    """Write images and labels in two folders under the same names."""
    for number, image, labels in scans():
        write_volume(folder / "images" / f"a{number}{ending}", image)
        write_volume(folder / "labels" / f"a{number}{ending}", labels)
