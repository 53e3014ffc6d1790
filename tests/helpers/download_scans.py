"""Small abdominal scans in the layouts of the CHAOS and Synapse downloads, DICOM slices included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from episodes.io.nifti import write_nifti

DEPTH, SIZE, SPACING, STEP = 7, 90, 2.5, 7.7
LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
# value in the store -> centre (z, row, column), half axes; rows from front to back, slices upward
ORGANS = {
    1: ((4.2, 36, 27), (2.2, 14, 12)),
    2: ((2.4, 62, 33), (1.6, 7, 6)),
    3: ((2.6, 60, 60), (1.6, 7, 6)),
    4: ((4.0, 52, 70), (1.6, 8, 7)),
}
PNG = np.array([0, 63, 126, 189, 252], dtype=np.uint8)


def anatomy(number: int, depth: int = DEPTH, size: int = SIZE) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return image (int16, 0 outside, body 200, organs 320 and above, a little noise) and labels (Z,Y,X)."""
    scale = size / SIZE
    z, y, x = np.mgrid[:depth, :size, :size].astype(np.float64)
    z, y, x = z * (DEPTH / depth), y / scale, x / scale
    body = ((y - 45) / 34) ** 2 + ((x - 45) / 40) ** 2 < 1
    labels = np.zeros(body.shape, dtype=np.uint8)
    for value, (centre, axes) in ORGANS.items():
        shift = 0.4 * (number % 3)
        inside = sum(((g - c) / a) ** 2 for g, c, a in zip((z, y - shift, x), centre, axes, strict=True))
        labels[inside < 1] = value
    noise = np.random.Generator(np.random.PCG64(number)).integers(0, 20, body.shape)
    image = np.where(body, 200 + (labels > 0) * 100 + labels * 20 + noise, 0)
    return image.astype(np.int16), labels


def write_dicom(path: Path, pixels: NDArray[Any], height_mm: float, series: str, **tags: str) -> None:
    """Write one axial slice (Y,X) whose first pixel lies at (-100, -90, `height_mm`)."""
    image = sitk.GetImageFromArray(pixels[None], isVector=pixels.ndim == 3)
    image.SetSpacing((SPACING, SPACING, STEP))
    image.SetOrigin((-100.0, -90.0, height_mm))
    found = {"0008|0060": "MR", "0020|000e": series, "0018|0081": "70"}
    for tag, text in (found | tags).items():
        image.SetMetaData(tag, text)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.Execute(image)


def write_chaos_scan(home: Path, number: int) -> None:
    """Write one scan of the CHAOS download; names count downward where positions go up, in one of them."""
    image, labels = anatomy(number)
    folder = home / str(number) / "T2SPIR"
    (folder / "Ground").mkdir(parents=True)
    for z in range(DEPTH):
        name = f"IMG-0004-{(DEPTH - z if number == 2 else z + 1):05d}"
        # anonymised: each slice has a series of its own
        write_dicom(folder / "DICOM_anon" / f"{name}.dcm", image[z], 40 + STEP * z, f"1.2.{number}.{z + 1}")
        sitk.WriteImage(sitk.GetImageFromArray(PNG[labels[z]]), str(folder / "Ground" / f"{name}.png"))


def write_chaos(root: Path, scans: int = 3) -> Path:
    """Write scans 1 .. `scans` of the CHAOS download and return its folder."""
    for number in range(1, scans + 1):
        write_chaos_scan(root / "Train_Sets" / "MR", number)
    return root


def write_synapse(root: Path, numbers: tuple[int, ...] = (3, 21, 8)) -> Path:
    """Write scans of the Synapse download, 384 x 384 pixels, and return its folder."""
    for number in numbers:
        image, labels = anatomy(number, depth=4, size=384)
        hounsfield = np.where(image > 0, image - 250, -1000).astype(np.int16)
        values = np.array([0, 6, 2, 3, 1], dtype=np.uint8)[labels]
        for folder, name, array in (("img", "img", hounsfield), ("label", "label", values)):
            path = root / folder / f"{name}{number:04d}.nii.gz"
            write_nifti(path, array[:, ::-1], (5.0, 1.0, 1.0), (1.0, 2.0, 3.0), LPS)
    return root
