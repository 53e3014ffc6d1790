"""Vectors of sentences from a CLIP text model in a local folder, by `transformers`; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.base.errors import UserError


def encode_sentences(folder: Path, sentences: Sequence[str], width: int) -> NDArray[np.float32]:
    """Return the projected vector of each sentence, (S,width) float32, not normalised.

    Args:
        folder: a CLIP text model with its projection and its tokenizer, as `save_pretrained` writes them.
        sentences: S texts; a longer one is cut to the model's length.
        width: features of a vector.

    Raises:
        UserError: `transformers` is missing, the folder holds no such model, or its projection has another
            width.
    """
    try:
        from transformers import AutoTokenizer, CLIPTextModelWithProjection
    except ImportError:
        raise UserError(
            f"the text encoder in {folder} needs the package transformers; install fewshot-medseg[foundation]"
        ) from None
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json; give the folder of a CLIP text model")
    try:
        tokens: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = CLIPTextModelWithProjection.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder} holds no CLIP text model ({line}); give another folder") from None
    if report["missing_keys"]:
        raise UserError(
            f"{folder} lacks {len(report['missing_keys'])} weights of a CLIP text model with projection, "
            f"such as {sorted(report['missing_keys'])[0]}; give the folder of a complete model"
        )
    return _projected(model.eval(), tokens, folder, sentences, width)


def _projected(
    model: Any, tokens: Any, folder: Path, sentences: Sequence[str], width: int
) -> NDArray[np.float32]:
    import torch

    found = int(model.config.projection_dim)
    if found != width:
        raise UserError(
            f"the text model in {folder} has {found} features, expected {width}; give another one"
        )
    most = int(model.config.max_position_embeddings)
    rows = []
    for sentence in sentences:  # one by one: a vector does not depend on the padding of other sentences
        coded = tokens(sentence, truncation=True, max_length=most, return_tensors="pt")
        with torch.inference_mode():
            rows.append(model(input_ids=coded["input_ids"]).text_embeds[0].float().numpy())
    return np.stack(rows)
