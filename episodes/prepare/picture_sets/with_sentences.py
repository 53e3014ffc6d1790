"""Pictures with masks and sentences: {Train,Val,Test}_Folder/{img,labelcol} and a workbook for each.

So MoNuSeg, QaTa-COV19 and MosMedData+ are passed on with sentences. `Train_text.xlsx` lies in the part's
folder or beside it. Its column Image names the mask; a mask has its picture's name, or `mask_` before it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from episodes.io.pictures import ENDINGS
from episodes.io.workbook import read_sentences
from episodes.prepare.picture_sets.layouts import PictureFolder, order_pictures
from fewshot.base.errors import UserError
from fewshot.files.names import checked_name

# folder -> workbook, published part
PARTS = {
    "Train_Folder": ("Train_text.xlsx", "training"),
    "Val_Folder": ("Val_text.xlsx", "validation"),
    "Test_Folder": ("Test_text.xlsx", "test"),
}
IMAGES, MASKS = "img", "labelcol"
BEFORE = "mask_"  # before a picture's name in that of its mask


def has_parts(folder: Path) -> bool:
    """Whether a folder has the layout of pictures with sentences."""
    return any((folder / part / MASKS).is_dir() for part in PARTS)


def find_with_sentences(folder: Path, folds: int = 5) -> PictureFolder:
    """Return the pictures of a folder with their sentences; a part is a fold if there are several.

    Raises:
        UserError: a picture without a mask or a sentence, a mask or a sentence without a picture, a name
            twice, or a workbook that cannot be read.
    """
    images: dict[str, tuple[Path, str]] = {}
    masks: dict[str, Path] = {}
    sentences: dict[str, str] = {}
    for part, (book, published) in PARTS.items():
        if not (folder / part).is_dir():
            continue
        found = _files(folder / part / IMAGES)
        for name, path in found.items():
            if name in images:
                raise UserError(f"{path}: a second picture {name}, expected one; rename it")
            images[name] = path, published
        own = {_picture_name(name, found): path for name, path in _files(folder / part / MASKS).items()}
        masks |= own
        texts = _texts(_workbook(folder, part, book), found)
        for name in found:
            if name not in own:
                raise UserError(f"{found[name]} has no mask in {folder / part / MASKS}; add it")
            if name not in texts:
                raise UserError(
                    f"{found[name]} has no sentence in {_workbook(folder, part, book)}; add a row for it"
                )
        for name, path in own.items():
            if name not in found:
                raise UserError(f"mask {path} has no picture {name}; add it or take the mask out")
        sentences |= texts
    ordered = order_pictures(folder, images, masks, folds)
    pairs = {scan: replace(pair, sentence=sentences[scan]) for scan, pair in ordered.pairs.items()}
    return replace(ordered, pairs=pairs)


def _workbook(folder: Path, part: str, book: str) -> Path:
    """Return the workbook of a part; `UserError` if it is missing."""
    for path in (folder / part / book, folder / book):
        if path.is_file():
            return path
    raise UserError(f"{folder / part} has no {book}, expected one with the sentences; add it")


def _texts(book: Path, pictures: dict[str, Path]) -> dict[str, str]:
    """Return picture -> its sentence; `UserError` for a sentence without a picture."""
    texts = {}
    for written, sentence in read_sentences(book).items():
        name = _picture_name(Path(written).stem, pictures)
        if name not in pictures:
            raise UserError(
                f"{book}: {written} has a sentence and no picture; add the picture or take the row out"
            )
        if name in texts:
            raise UserError(f"{book}: picture {name} has two sentences, expected one; take one out")
        texts[name] = sentence
    return texts


def _files(folder: Path) -> dict[str, Path]:
    """Return name without ending -> picture file of a folder, sorted; `UserError` without a folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected {IMAGES} and {MASKS} in each part")
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS]
    return {checked_name("picture", path.stem): path for path in paths}


def _picture_name(name: str, pictures: dict[str, Path]) -> str:
    """Return the picture's name for that of a mask or of a row."""
    return name if name in pictures else name.removeprefix(BEFORE)
