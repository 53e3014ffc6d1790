"""A text-supervised method through `fewshot run` and `prompt-gain`: sentences, records, refusals, prompts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_store

from episodes.phantoms.cells import CELLS, CELLS_ALONE, cell_picture
from episodes.phantoms.generate import phantom_spec
from episodes.store.sentences import class_sentence, position_sentence
from fewshot.base.types import SliceRef
from fewshot.commands.main import main
from protocols.studies.prompt_gain import PromptDice, replace_sentences
from results.records.files import read_records

SMALL = ["--encoder", "ppe-s32-c8-d16", "--steps", "3", "--option", "batch=2", "--folds", "0"]
TINY = ["--dataset", "tiny", "--groups", "upper", *SMALL]


def test_templates_of_sentences() -> None:
    labels = np.zeros((9, 9), np.uint8)
    labels[0, 8], labels[4, 4] = 1, 2
    values = {"liver": 1, "left-kidney": 2, "spleen": 3}
    assert position_sentence(labels, values) == "liver upper right, left kidney middle centre."
    assert position_sentence(labels * 0, values) == "nothing."
    assert class_sentence(tuple(values)) == "liver, left kidney, spleen."


def test_only_the_sentence_decides_on_phantom_cells() -> None:
    for name, decides in ((CELLS, True), (CELLS_ALONE, False)):
        named = set()
        for scan in phantom_spec(name).scans[:12]:
            image, mask, sentence = cell_picture(name, 64, 1, scan)
            kind = sentence.split()[1]
            named.add(kind)
            inside = image[mask > 0].mean()
            assert (inside > 180) if kind == "bright" else (inside < 80)
            outside = image[mask == 0]
            both = bool((outside > 180).mean() > 0.01 or (outside < 80).mean() > 0.01)
            assert both == decides
        assert named == {"bright", "dark"}


def test_prompts_replace_sentences() -> None:
    true = {SliceRef(str(n), 0): "bright" if n % 2 else "dark" for n in range(8)}
    assert set(replace_sentences(true, "empty", 0).values()) == {""}
    assert replace_sentences(true, "true", 0) == true
    other = replace_sentences(true, "other", 0)
    assert all(other[ref] != text for ref, text in true.items())
    shuffled = replace_sentences(true, "shuffled", 0)
    assert sorted(shuffled.values()) == sorted(true.values()) and shuffled != true
    found = PromptDice("m", "d", "", {"true": {0: 0.9, 1: 0.7}, "empty": {0: 0.5, 1: 0.5}})
    mean, low, high = found.gain("empty")
    assert mean == pytest.approx(0.3) and low < 0 < high  # t of one degree is 12.7


def test_sentences_of_a_store_without_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_store(tmp_path / "stores" / "tiny")
    command = ["run", "--method", "mptpn", "--work", str(tmp_path), *TINY]
    assert main(command) == 2
    assert "tiny has none" in capsys.readouterr().err
    assert main([*command, "--option", "sentences=positions", "--option", "augmentation=flip"]) == 2
    assert "would make left and right false" in capsys.readouterr().err
    assert main([*command, "--option", "encoder_regime=frozen_pretrained"]) == 2
    assert main([*command, "--option", "sentences=positions"]) == 0
    text = capsys.readouterr().out
    assert "sentences derived from labels; encoder train" in text
    (record,) = read_records(tmp_path / "records")
    assert record.method.regime == "text-supervised" and record.method.needs is not None
    assert "a sentence for each slice" in record.method.needs
    assert record.model.labels is not None and record.model.labels.sentences == "derived from labels"


def test_prompt_gain_of_a_method(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_store(tmp_path / "stores" / "tiny")
    out = tmp_path / "gain.json"
    command = ["prompt-gain", "mptpn", "--work", str(tmp_path), *TINY, "--option", "sentences=positions"]
    assert main([*command, "--out", str(out)]) == 0
    assert "another picture's" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    assert set(found["dice"]) == {"true", "shuffled", "other", "empty"} and set(found["dice"]["true"]) == {
        "0"
    }
    (record,) = read_records(tmp_path / "records")
    dices = [score.dice for score in record.scores if score.dice is not None]
    assert found["dice"]["true"]["0"] == pytest.approx(float(np.mean(dices)))
