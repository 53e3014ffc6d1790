"""Sentences of sequences and classes, their vectors, and the prior kinds of the ablation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from baselines.immseg.network import TEXT
from fewshot.base.errors import UserError
from fewshot.text.sentence_encoder import encode_sentences
from fewshot.text.vectors import hash_vectors, read_vectors

Prior = Literal["true", "shuffled", "constant"]
# which tissue a sequence shows bright, and the myocardium beside the blood; the words are this project's
SEQUENCES = {
    "bSSFP": "bSSFP shows the edges of the heart; normal myocardium is darker than the blood pool",
    "LGE": "LGE enhances scar, which is bright; normal myocardium is darker than the blood pool",
    "T2w": "T2 enhances edema, which is bright; normal myocardium is brighter than the blood pool",
}


def modality_sentences(names: tuple[str, ...], written: str) -> tuple[str, ...]:
    """Return a sentence for each sequence: the user's, separated by "|", or the known and plain ones."""
    if written:
        return _written("modality_sentences", written, len(names))
    return tuple(SEQUENCES.get(name, f"this is a {name} image") for name in names)


def class_sentences(classes: tuple[str, ...], written: str) -> tuple[str, ...]:
    """Return a sentence for background and each class: the user's, separated by "|", or published."""
    names = ("background", *classes)
    if written:
        return _written("class_sentences", written, len(names))
    return tuple(f"this is a {name} class" for name in names)


def text_vectors(names: tuple[str, ...], sentences: tuple[str, ...], source: str) -> Tensor:
    """Return the vectors (S,512) of sentences.

    `source`: "hash" makes them from the words; the folder of a CLIP text model encodes them; else an .npz
    file has a vector for each of `names`. A folder must have a separator in its text, since only then the key
    of a result covers its content.
    """
    if source == "hash":
        return torch.from_numpy(hash_vectors(sentences, TEXT))
    if Path(source).is_dir():
        if "/" not in source and "\\" not in source:
            raise UserError(f"option text={source} is a folder; write it as ./{source}")
        return torch.from_numpy(encode_sentences(Path(source), sentences, TEXT))
    return torch.from_numpy(read_vectors(Path(source), names, TEXT))


def with_prior(vectors: Tensor, prior: Prior) -> Tensor:
    """Return the vectors of sequences (M,512) as they are, each that of the next one, or all their mean."""
    if prior == "shuffled":
        return vectors.roll(-1, 0)
    return vectors if prior == "true" else vectors.mean(dim=0, keepdim=True).expand_as(vectors).clone()


def _written(option: str, text: str, count: int) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split("|"))
    if len(parts) != count or not all(parts):
        raise UserError(f"option {option} has {len(parts)} sentences, expected {count} separated by |")
    return parts
