"""Pictures and masks in a folder: the layouts of ISIC 2017, ISIC 2018 and PH2, and `images` beside `masks`.

A mask is a file whose name ends in `_segmentation`, `_lesion` or `_mask`, or which lies in a folder `masks`.
ISIC's folders name the published parts: training, validation and test.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from episodes.io.pictures import ENDINGS
from fewshot.base.errors import UserError
from fewshot.files.names import checked_name

MASK_ENDINGS = ("_segmentation", "_lesion", "_mask")
MASK_FOLDERS = ("masks", "mask")
PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class PicturePair:
    """The files of one picture; `part`: its published part, or ""; `sentence`: "" for a set without."""

    image: Path
    mask: Path
    part: str
    sentence: str = ""


@dataclass(frozen=True)
class PictureFolder:
    """The pairs of a folder by scan id, in order, and the fold borders.

    With published parts every part is a fold, in the order of `PARTS`: the last fold tests on the published
    test part and trains on the others.
    """

    pairs: dict[str, PicturePair]
    fold_borders: tuple[int, ...]
    name: str


def find_pictures(folder: Path, folds: int = 5) -> PictureFolder:
    """Return the pictures below a folder.

    Args:
        folder: holds pictures and masks, at any depth.
        folds: number of folds of equal size, if the folder has no published parts.

    Raises:
        UserError: no picture, a picture without a mask, a mask without a picture, or an id twice.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the one that holds pictures and masks")
    images: dict[str, tuple[Path, str]] = {}
    masks: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in ENDINGS or not path.is_file() or _is_other(path):
            continue
        is_mask, name = _identify(path, folder)
        if name in (masks if is_mask else images):
            raise UserError(f"{path}: a second {'mask' if is_mask else 'picture'} {name}, expected one")
        if is_mask:
            masks[name] = path
        else:
            images[name] = path, _part(path, folder)
    if not images:
        raise UserError(f"{folder} holds no picture ({', '.join(ENDINGS)}); give another folder")
    for name, (path, _found_part) in images.items():
        if name not in masks:
            raise UserError(
                f"{path} has no mask, expected {name}_segmentation.png below {folder}; add it or take the "
                "picture out"
            )
    for name, path in masks.items():
        if name not in images:
            raise UserError(f"mask {path} has no picture {name}; add it or take the mask out")
    return order_pictures(folder, images, masks, folds)


def order_pictures(
    folder: Path, images: dict[str, tuple[Path, str]], masks: dict[str, Path], folds: int
) -> PictureFolder:
    """Return the pairs in their order, with the fold borders.

    Args:
        folder: for messages.
        images: id -> picture file and its published part, or "".
        masks: id -> mask file.
        folds: number of folds, if there are no published parts.

    Raises:
        UserError: some pictures lie in published parts and others do not, or there are too few.
    """
    parts = {part for _path, part in images.values()}
    if len(parts - {""}) > 1:
        if "" in parts:
            lone = next(path for path, part in images.values() if not part)
            raise UserError(
                f"{lone} lies in no folder of a published part ({', '.join(PARTS)}), and others do; move it"
            )
        order = sorted(images, key=lambda name: (PARTS.index(images[name][1]), name))
        sizes = [sum(part == each for _path, part in images.values()) for each in PARTS]
        borders = [0]
        for size in sizes:
            borders += [borders[-1] + size] if size else []
        name = f"published parts {', '.join(part for part, size in zip(PARTS, sizes, strict=True) if size)}"
    else:
        order = sorted(images, key=lambda name: (int(name), "") if name.isdecimal() else (1 << 62, name))
        if len(order) < folds:
            raise UserError(f"{folder} holds {len(order)} pictures, too few for {folds} folds; add some")
        borders = [fold * len(order) // folds for fold in range(folds + 1)]
        name = f"{folds} folds of pictures in the order of their names"
    pairs = {scan: PicturePair(images[scan][0], masks[scan], images[scan][1]) for scan in order}
    return PictureFolder(pairs, tuple(borders), name)


def _is_other(path: Path) -> bool:
    """Whether a file of these downloads is neither picture nor mask: superpixels, and PH2's regions."""
    return path.stem.endswith("_superpixels") or path.parent.name.endswith("_roi")


def _identify(path: Path, folder: Path) -> tuple[bool, str]:
    """Return whether a file is a mask, and the id of its picture."""
    stem = path.stem
    for ending in MASK_ENDINGS:
        if stem.endswith(ending):
            return True, checked_name("picture", stem.removesuffix(ending))
    inner = path.relative_to(folder).parts[:-1]
    return any(part.lower() in MASK_FOLDERS for part in inner), checked_name("picture", stem)


def _part(path: Path, folder: Path) -> str:
    """Return the published part that a folder above a picture names; "" for none."""
    for inner in path.relative_to(folder).parts[:-1]:
        words = inner.lower().replace("-", "_").split("_")
        for part in PARTS:
            if part in words:
                return part
    return ""
