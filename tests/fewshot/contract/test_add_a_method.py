"""The walk of docs/add-a-method.md as typed, and what `new-method` and `methods` write and refuse."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from places import ROOT

from fewshot.commands.main import main
from fewshot.learners.registry import METHODS, resolve_method
from results.records.files import read_record

DOCUMENT = ROOT / "docs" / "add-a-method.md"
QUICK = ["--steps", "2", "--folds", "0"]  # typed after the documented ones, so that they win


def documented() -> list[list[str]]:
    """Return the commands of the document's shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


def test_the_documented_walk_ends_in_a_row_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEWSHOT_WORK", raising=False)
    assert main(["prepare", "phantom-mri", "--size", "64", "--phantom-slices", "8"]) == 0
    commands = documented()
    assert [command[:2] for command in commands] == [
        ["fewshot", name] for name in ("new-method", "check-method", "run")
    ]
    printed = []
    for command in commands:
        capsys.readouterr()
        assert main([*command[1:], *(QUICK if command[1] == "run" else [])]) == 0
        printed.append(capsys.readouterr().out)
    assert sorted(path.name for path in tmp_path.glob("*.py")) == ["my_method.py", "test_my_method.py"]
    assert printed[0].endswith("next: fewshot check-method my_method.py:MyMethod\n")
    assert "no check failed" in printed[1] and "FAIL" not in printed[1]
    assert "my_method.py:MyMethod" in printed[2]
    records = [read_record(path) for path in (tmp_path / "work" / "records").glob("*.json")]
    assert records and all(record.model.steps == 2 for record in records)


def test_what_is_written_is_short_clean_and_right(tmp_path: Path) -> None:
    assert main(["new-method", "my_idea2", "--out", str(tmp_path)]) == 0
    method, test = tmp_path / "my_idea2.py", tmp_path / "test_my_idea2.py"
    assert len(method.read_text().splitlines()) < 30
    for task in (["check"], ["format", "--check"]):
        command = [
            sys.executable,
            "-m",
            "ruff",
            *task,
            "--no-cache",
            "--config",
            str(ROOT / "pyproject.toml"),
        ]
        ran = subprocess.run([*command, str(method), str(test)], capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    spec = importlib.util.spec_from_file_location("test_my_idea2", test)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.test_a_query_like_the_support_gets_its_mask()
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, 0] = True
    features = torch.stack([mask.float(), 1 - mask.float()], dim=1)
    scores = resolve_method(f"{method}:MyIdea2")(torch.nn.Identity()).logits(features, mask, features)
    # cosine 1 with its own class's prototype, 0 with the other's, times 20
    assert torch.allclose(scores[0, 1], 20.0 * mask[0].float(), atol=1e-3)
    assert torch.allclose(scores[0, 0], 20.0 * (~mask[0]).float(), atol=1e-3)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My-Method", "lower-case letters"),
        ("../escape", "lower-case letters"),
        ("class", "lower-case letters"),
        ("2fast", "lower-case letters"),
        ("test_this", "leave out test_"),
        ("random", "such as my_random"),
        ("torch", "such as my_torch"),
        ("episodes", "such as my_episodes"),
    ],
)
def test_an_unusable_name_is_refused(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new-method", name, "--out", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert said in message and repr(name) in message and message.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["mine_too.py", "test_mine_too.py"])
def test_a_file_that_is_there_is_never_overwritten(
    there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / there).write_text("mine\n")
    assert main(["new-method", "mine_too", "--out", str(tmp_path)]) == 2
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine\n"


def test_methods_are_listed_with_paper_options_and_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    blocks = dict(block.split("\n", 1) for block in capsys.readouterr().out.strip().split("\n\n"))
    assert [head.split()[0] for head in blocks][: len(METHODS)] == list(METHODS)
    text = blocks["ssl-alpnet  (baselines.ssl_alpnet:SSLALPNet)"]
    assert "SSL-ALPNet: adaptive local prototypes" in text
    assert "threshold: float = 0.95" in text and "evaluation_window: int = 2" in text
    assert "regime: self-supervised; labels used in training: none" in text
    assert "steps 100100" in text and "encoder resnet101" in text
    assert "nothing to train" in blocks["copy-support  (baselines.yardsticks:CopySupport)"]


def test_entry_points_are_listed_and_a_broken_one_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = "fewshot.methods"
    points = [
        importlib.metadata.EntryPoint("theirs", "baselines.yardsticks:CopySupport", group),
        importlib.metadata.EntryPoint("gone", "no_such_package.method:Method", group),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    assert main(["methods"]) == 1
    printed = capsys.readouterr().out
    assert "theirs  (baselines.yardsticks:CopySupport)\n  Two yardsticks" in printed
    assert "gone  (no_such_package.method:Method)\n  cannot be loaded: method 'gone': no module" in printed
