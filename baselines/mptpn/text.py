"""Vectors of words: from a hash, from a file, or from a BERT on disk (rules MPTPN-10 and MPTPN-11).

L is 10, the number of words that reach the network; D the features of a word. A sentence with fewer words
has zeros in place of the others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from baselines.mptpn.network import WORDS
from fewshot.base.errors import UserError
from fewshot.text.vectors import word_vector

TOKEN = re.compile(r"\w+|[^\w\s]")
FILLER = " EOF XXX"
FULL = 9  # words of a sentence that gets no filler
PIECES = 25  # most word pieces of a sentence, with the two marks at its ends

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """Turns a sentence into vectors of its words, (10,D) float32."""

    def __call__(self, sentence: str, /) -> Vectors: ...


def with_filler(sentence: str) -> str:
    """Return a sentence with " EOF XXX" behind it, once for each word that it has fewer than nine."""
    return sentence + FILLER * max(0, FULL - len(sentence.split()))


def words_of(sentence: str) -> list[str]:
    """Return the words of a sentence in lower case, punctuation marks apart."""
    return TOKEN.findall(sentence.lower())


class HashText:
    """A word's vector is drawn from N(0,1) by a hash of the word, so it needs no file."""

    def __init__(self, features: int) -> None:
        self._features = features

    def __call__(self, sentence: str) -> Vectors:
        """Return the vectors (10,D) of the first ten words with their filler."""
        vectors = np.zeros((WORDS, self._features), dtype=np.float32)
        for place, word in enumerate(words_of(with_filler(sentence))[:WORDS]):
            vectors[place] = word_vector(word, self._features)
        return vectors


class CachedText:
    """Vectors in an npz file: `sentences` (S,) of texts, and `vectors` (S,L,D), L of any length."""

    def __init__(self, path: Path, features: int) -> None:
        try:
            with np.load(path, allow_pickle=False) as content:
                sentences, vectors = content["sentences"], content["vectors"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{path} is no file of vectors ({error}), expected an npz file with sentences (S,) and "
                "vectors (S,L,D); make it again"
            ) from None
        if vectors.ndim != 3 or len(sentences) != len(vectors) or vectors.shape[2] != features:
            raise UserError(
                f"{path} has {len(sentences)} sentences and vectors of shape {vectors.shape}, expected "
                f"(S,L,{features}); make it again, or name the encoder ppe-d{vectors.shape[-1]}"
            )
        self._path = path
        self._vectors = {str(one): vectors[place] for place, one in enumerate(sentences)}

    def __call__(self, sentence: str) -> Vectors:
        """Return the vectors (10,D) of a sentence; `UserError` if the file lacks it."""
        if sentence not in self._vectors:
            raise UserError(f"{self._path} has no vectors of {sentence!r}; add that sentence to the file")
        return _first_words(self._vectors[sentence])


class BertText:
    """Word vectors of the last layer of a BERT in a local folder, by `transformers`; nothing is downloaded.

    Pieces of a word are averaged, the marks at the ends are left out, and 25 pieces with them are the most.
    """

    def __init__(self, folder: Path, features: int) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise UserError(
                "option text=bert needs the package transformers; install fewshot-medseg[foundation]"
            ) from None
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} holds no config.json; give the folder of a BERT in option text_file")
        try:
            self._tokens: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model: Any = AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            line = str(error).splitlines()[0]
            raise UserError(
                f"{folder} holds no BERT ({line}); give another folder in option text_file"
            ) from None
        found = int(self._model.config.hidden_size)
        if found != features:
            raise UserError(
                f"the BERT in {folder} has {found} features, the encoder takes {features}; name the encoder "
                f"ppe-d{found}"
            )

    def __call__(self, sentence: str) -> Vectors:
        """Return the vectors (10,D) of the first ten words with their filler."""
        import torch

        coded = self._tokens(with_filler(sentence), truncation=True, max_length=PIECES, return_tensors="pt")
        with torch.inference_mode():
            hidden = self._model(**coded).last_hidden_state[0].float().numpy()
        pieces = self._tokens.convert_ids_to_tokens(coded["input_ids"][0].tolist())
        words: list[list[Vectors]] = []
        for piece, vector in zip(pieces[1:-1], hidden[1:-1], strict=True):
            if piece.startswith("##") and words:
                words[-1].append(vector)
            else:
                words.append([vector])
        means = [np.mean(parts, axis=0) for parts in words]
        return _first_words(np.array(means, dtype=np.float32).reshape(-1, hidden.shape[1]))


def _first_words(vectors: NDArray[Any]) -> Vectors:
    """Return the first ten of vectors (L,D), zeros behind them if there are fewer."""
    filled = np.zeros((WORDS, vectors.shape[1]), dtype=np.float32)
    kept = vectors[:WORDS]
    filled[: len(kept)] = kept
    return filled


def text_encoder(kind: str, file: str, features: int) -> TextEncoder:
    """Return the text encoder of a kind ("hash", "cached", "bert"); errors as the classes."""
    if kind == "hash":
        return HashText(features)
    if not file:
        raise UserError(f"option text={kind} needs a file; give --option text_file=PATH")
    return CachedText(Path(file), features) if kind == "cached" else BertText(Path(file), features)
