"""Vectors of sentences: made from their words by hashing, or read from a file.

A hash vector needs no download. It knows words and no meaning: sentences that share words are near.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewshot.base.errors import UserError, listed

NORM = 4.5  # published sentence vectors have norms from 3.6 to 5.4


def hash_vectors(sentences: Sequence[str], width: int) -> NDArray[np.float32]:
    """Return a vector of norm 4.5 for each sentence, (S,width) float32: the scaled sum of its words' vectors.

    Raises `UserError` for a sentence without a word.
    """
    found = []
    for sentence in sentences:
        words = re.findall(r"[\w']+", sentence.lower())
        if not words:
            raise UserError(f"sentence {sentence!r} has no word, expected at least one; write a sentence")
        total = np.sum([word_vector(word, width) for word in words], axis=0)
        found.append(NORM * total / np.linalg.norm(total))
    return np.stack(found).astype(np.float32)


def read_vectors(path: Path, names: Sequence[str], width: int) -> NDArray[np.float32]:
    """Return the vectors (S,width) float32 of `names` from an .npz file that has one array (width,) a name.

    Raises `UserError` for a file that is no .npz, a name that it lacks, and another width.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {name: np.asarray(arrays[name], dtype=np.float32) for name in arrays.files}
    except (OSError, ValueError, EOFError):
        raise UserError(f"{path} is no .npz file of vectors; write it with numpy.savez") from None
    for name in names:
        if name not in held:
            raise UserError(f"{path} has no vector {name}, found {listed(sorted(held))}; add it")
        if held[name].shape != (width,) or not np.isfinite(held[name]).all():
            raise UserError(
                f"{path}: vector {name} has shape {held[name].shape}, expected ({width},) of finite numbers; "
                "write it again"
            )
    return np.stack([held[name] for name in names])


def word_vector(word: str, width: int) -> NDArray[np.float64]:
    """Return the vector (width,) of a word, drawn from N(0,1) by its hash."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(width)
