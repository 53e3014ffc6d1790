"""Picture files, good and damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

NOISE = np.random.Generator(np.random.PCG64(5))


COLOUR = NOISE.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def save(path: Path, array: np.ndarray = COLOUR, mode: str | None = None, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def damaged_folder(folder: Path) -> Path:
    """Return a folder of two good files and one of each kind that is left out."""
    save(folder / "good.png")
    save(folder / "radiology" / "images" / "ROCO_00002.jpg")
    save(folder / "ink.jpg", mode="CMYK")
    save(folder / "dot.png", COLOUR[:1, :1])
    save(folder / "line.png", COLOUR[:1])
    whole = save(folder / "cut.jpg", NOISE.integers(0, 256, (64, 64, 3), dtype=np.uint8)).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "cut.png").write_bytes(save(folder / "cut.png").read_bytes()[:-40])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.jpeg").write_bytes(b"")
    return folder
