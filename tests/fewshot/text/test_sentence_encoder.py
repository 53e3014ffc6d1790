"""Sentences become vectors of a CLIP text model on disk; a folder that holds none is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from baselines.immseg.sentences import text_vectors
from fewshot.base.errors import UserError
from fewshot.text.sentence_encoder import encode_sentences

WIDTH = 512
SENTENCES = ("scar is bright", "edema is bright", "scar")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small CLIP text model with the letters as its words."""
    folder = tmp_path_factory.mktemp("clip")
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokens = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokens.save_pretrained(folder)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, projection_dim=WIDTH,
        num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=24, bos_token_id=0,
        eos_token_id=1,
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(folder)
    return folder


def test_each_sentence_has_the_model_s_own_vector(clip: Path) -> None:
    vectors = encode_sentences(clip, SENTENCES, WIDTH)
    assert vectors.shape == (3, WIDTH) and vectors.dtype == np.float32
    tokens = CLIPTokenizer.from_pretrained(clip)
    model = CLIPTextModelWithProjection.from_pretrained(clip).eval()
    with torch.inference_mode():
        expected = model(**tokens(SENTENCES[0], return_tensors="pt")).text_embeds[0].numpy()
    assert np.allclose(vectors[0], expected, atol=1e-6)
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3)
    assert np.array_equal(encode_sentences(clip, SENTENCES[2:], WIDTH)[0], vectors[2])


def test_a_method_takes_the_folder(clip: Path) -> None:
    found = text_vectors(("a", "b", "c"), SENTENCES, str(clip))
    assert np.array_equal(found.numpy(), encode_sentences(clip, SENTENCES, WIDTH))


def test_a_folder_needs_a_separator(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    with pytest.raises(UserError, match=f"text={clip.name} is a folder; write it as ./{clip.name}"):
        text_vectors(("a",), SENTENCES[:1], clip.name)


def test_a_folder_of_something_else_is_one_line(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no config\.json"):
        encode_sentences(tmp_path, SENTENCES, WIDTH)
    with pytest.raises(UserError, match="has 512 features, expected 256"):
        encode_sentences(clip, SENTENCES, 256)
    broken = tmp_path / "broken"
    shutil.copytree(clip, broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(UserError, match="holds no CLIP text model") as caught:
        encode_sentences(broken, SENTENCES, WIDTH)
    assert "\n" not in str(caught.value)
