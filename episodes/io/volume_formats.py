"""Volumes of any format that is read: NIfTI, NRRD, MetaImage, and folders of DICOM slices."""

from __future__ import annotations

from pathlib import Path

from episodes.io.dicom import read_series
from episodes.io.nifti import NiftiImage, count_frames, read_nifti, with_whole_labels
from episodes.io.simpleitk_io import ITK_READERS, count_channels, read_itk
from fewshot.base.errors import UserError
from fewshot.files.input_files import file_kind

SUFFIXES = (".nii.gz", ".nii", *ITK_READERS)
SLICE_SUFFIXES = (".dcm", ".ima")


def read_volume(path: Path, channel: int | None = None) -> NiftiImage:
    """Return the volume in a file or in a folder of DICOM slices.

    Args:
        path: a NIfTI, NRRD or MetaImage file, or the folder of one DICOM series.
        channel: of several channels or frames, the one to read, from 0; None: there is one.

    Raises:
        UserError: as `read_nifti`, `read_itk` and `read_series`; a DICOM series has no channels.
    """
    if path.is_dir():
        if channel:
            raise UserError(f"{path} is a DICOM series, which has no channel {channel}; leave --channel out")
        return read_series(series_files(path), axial=False)[0]
    if path.suffix.lower() in ITK_READERS:
        return read_itk(path, channel)
    return read_nifti(path, channel)


def read_label_volume(path: Path) -> NiftiImage:
    """Return a label map; values within 0.001 of an integer are that integer. Errors as `read_volume`."""
    return with_whole_labels(read_volume(path))


def count_volume_channels(path: Path) -> int:
    """Return the number of channels or frames of a volume, by its header; 1 for a DICOM series."""
    if path.is_dir():
        return 1
    return count_channels(path) if path.suffix.lower() in ITK_READERS else count_frames(path)


def series_files(folder: Path) -> list[Path]:
    """Return the DICOM slices of a folder, sorted by name; `UserError` without any.

    Slices end in .dcm or .ima, in either case, or have no ending and the mark of DICOM.
    """
    slices = [path for path in sorted(folder.iterdir()) if is_slice(path)]
    if not slices:
        raise UserError(f"{folder} holds no DICOM slices (.dcm, .ima); give the folder of one series")
    return slices


def is_slice(path: Path) -> bool:
    """Return whether a path is a DICOM slice by its ending, or without one by its first bytes."""
    if path.name.startswith(".") or not path.is_file():
        return False
    suffix = path.suffix.lower()
    return suffix in SLICE_SUFFIXES or (
        (not suffix or suffix[1:].isdecimal()) and file_kind(path) == "a DICOM file"
    )


def suffix_of_volume(path: Path) -> str | None:
    """Return the ending of a volume's file name, None for another file."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)
