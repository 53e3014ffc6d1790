"""Layouts of folders: the published layout and those of the datasets' downloads.

An entry of `LAYOUTS` recognises a layout and finds its scans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from episodes.prepare import paired_nifti as published
from episodes.prepare.downloads import (
    acdc,
    amos,
    cardiac_sequences,
    chaos,
    cmr,
    male_pelvis,
    myops,
    sequence_arrays,
    synapse,
)  # fmt: skip
from episodes.prepare.scan import RawScan
from episodes.store.dataset import DatasetSpec
from fewshot.base.errors import UserError


@dataclass(frozen=True)
class DownloadLayout:
    """One layout of a folder.

    `files`: its file names, for errors; `datasets`: datasets that have it, () for any; `detect`: returns
    whether a folder has it; `scans`: returns all scans of a folder by id; `strict`: a label whose mirror
    image fits better is an error, not a warning; `prepared_by`: origin of the volumes, one of
    `episodes.store.store.PREPARED_BY`.
    """

    files: str
    datasets: tuple[str, ...]
    detect: Callable[[Path], bool]
    scans: Callable[[Path, DatasetSpec], dict[str, RawScan]]
    strict: bool = True
    prepared_by: str = "fewshot"


LAYOUTS: dict[str, DownloadLayout] = {
    "published": DownloadLayout(
        "image_ID.nii.gz",
        (),
        published.detect,
        published.raw_scans,
        strict=False,
        prepared_by="published-layout",
    ),
    "CHAOS download": DownloadLayout("MR/ID/T2SPIR", ("chaost2",), chaos.detect, chaos.raw_scans),
    "CHAOS download, T1-DUAL": DownloadLayout(
        "MR/ID/T1DUAL", ("chaost1-in", "chaost1-out"), chaos.detect_t1, chaos.raw_scans
    ),
    "AMOS22 download": DownloadLayout(
        "imagesTr/amos_NNNN.nii.gz", ("amos-ct", "amos-mr"), amos.detect, amos.raw_scans
    ),
    "MyoPS download": DownloadLayout(
        "CASE_gd.nii.gz", ("myops-lge", "myops-bssfp"), myops.detect, myops.raw_scans, strict=False
    ),
    "MyoPS download, all sequences": DownloadLayout(
        "CASE_gd.nii.gz",
        ("myops",),
        cardiac_sequences.detect_myops,
        cardiac_sequences.myops_scans,
        strict=False,
    ),
    "folders of sequences": DownloadLayout(
        "Raw_data/LGE/caseNNNN.nii.gz",
        ("myops380",),
        cardiac_sequences.detect_release,
        cardiac_sequences.release_scans,
        strict=False,
    ),
    "arrays of sequences": DownloadLayout(
        "LGE/train_npz/CASE_sliceNNN.npz",
        ("myops380-processed",),
        sequence_arrays.detect,
        sequence_arrays.raw_scans,
        strict=False,
    ),
    "male pelvis download": DownloadLayout(
        "data/NNNNNN_img.nii", ("male-pelvis",), male_pelvis.detect, male_pelvis.raw_scans, strict=False
    ),
    "Synapse download": DownloadLayout("img/imgNNNN.nii.gz", ("sabs",), synapse.detect, synapse.raw_scans),
    "MS-CMRSeg download": DownloadLayout(
        "patientN_C0.nii.gz", ("cmr",), cmr.detect, cmr.raw_scans, strict=False
    ),
    "ACDC download": DownloadLayout(
        "patientNNN/Info.cfg", ("acdc",), acdc.detect, acdc.raw_scans, strict=False
    ),
}


def detect(folder: Path, spec: DatasetSpec) -> tuple[str, DownloadLayout]:
    """Return the name of the layout of `folder` for a dataset, and the layout.

    Raises `UserError` if the folder is missing, or has no known layout or several.
    """
    possible = {
        name: layout
        for name, layout in LAYOUTS.items()
        if not layout.datasets or spec.name in layout.datasets
    }
    wanted = " and no ".join(f"{layout.files} ({name})" for name, layout in possible.items())
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder; give the one that holds {wanted.replace(' and no ', ' or ')}"
        )
    found = [name for name, layout in possible.items() if layout.detect(folder)]
    if not found:
        raise UserError(f"{folder} holds no {wanted}; give the folder of the volumes of {spec.name}")
    if len(found) > 1:
        raise UserError(
            f"{folder} has more than one layout ({', '.join(found)}); give a folder that holds one of them"
        )
    return found[0], possible[found[0]]
