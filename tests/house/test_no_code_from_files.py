"""Code of a user runs only if the command line names it, and no module comes from the current folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT
from seal_again import edit_json, save_checkpoint

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.files.seals import SEAL, write_sealed
from fewshot.learners.registry import resolve_method
from protocols.training.spec_file import model_key

# what pip writes as the program `fewshot`
SCRIPT = """import sys
from fewshot.commands.main import main
if __name__ == "__main__":
    sys.exit(main())
"""
EVIL = """from pathlib import Path
Path({mark!r}).write_text(__name__)
class X:
    pass
"""
MODULES = (
    "yaml", "dill", "numpy", "torch", "json", "sacred", "cloudpickle", "tomllib", "argcomplete",
    "sitecustomize", "baselines", "results", "evil",
)  # fmt: skip


def write_evil(folder: Path, names: tuple[str, ...] = MODULES) -> Path:
    """Write modules that leave a mark when they run, and return the mark's path."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / "it-ran"
    for name in names:
        (folder / f"{name}.py").write_text(EVIL.format(mark=str(mark)))
    metadata = folder / "evil-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[fewshot.methods]\nevil-method = evil:X\n")
    return mark


def script(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program as pip installs it, in a folder."""
    program = folder.parent / "bin" / "fewshot"
    program.parent.mkdir(exist_ok=True)
    program.write_text(SCRIPT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, str(program), *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**environment, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def made_model(work: Path, method: str, source: str | None) -> Path:
    """Write a model folder, sound in itself, whose spec names a method."""
    spec = {
        "schema": 1, "versions": {}, "training_slices_hash": "0" * 16, "normalisation": "per-scan",
        "pseudo_labels": {}, "image_size": 64,
        "dataset": "tiny", "store": "0" * 16, "training_scans": ["1"], "encoder": "resnet18", "seed": 0,
        "initial_weights": {"name": "random", "sha256": None}, "recipe": {"steps": 1}, "precision": "float32",
        "method": {
            "name": method, "version": None if source else 1, "source": source, "options": {}, "files": {},
        },
    }  # fmt: skip
    folder = work / "models" / model_key(spec)
    write_sealed(folder / "spec.json", spec)
    save_checkpoint(folder / "last.pt", {"step": 1, "model": {}})
    return folder


@pytest.mark.parametrize("name", ["/x.py:X", "evil:X", "evil-method", "x.py:X"])
def test_a_spec_that_names_code_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = tmp_path / "here"
    mark = write_evil(folder, ("x", "evil"))
    monkeypatch.chdir(folder)
    named = f"{folder}{name}" if name.startswith("/") else name
    model = made_model(tmp_path / "work", named, "e" * 16)
    scans = ["--support", "a.nii", "b.nii", "--query", "c.nii", "--out", "d.nii"]
    commands = [
        ["evaluate", model.name, "--setting", "1"],
        ["explain", model.name, "--scan", "0", "--class", "liver"],
        ["segment", *scans, "--checkpoint", str(model)],
        ["segment", *scans, "--checkpoint", model.name],
        ["list", "models"],
        ["doctor", "--verify"],
    ]
    for command in commands:
        main([*command, "--work", str(tmp_path / "work")])
        assert not mark.exists(), command
    capsys.readouterr()
    assert main(["evaluate", model.name, "--setting", "1", "--work", str(tmp_path / "work")]) == 2
    assert "runs only by name" in capsys.readouterr().err


def test_a_model_found_for_a_scan_runs_no_code_of_its_folder(tmp_path: Path) -> None:
    import torch

    from protocols.own_scan.model_lookup import find_model
    from protocols.training.method_config import build_method_config

    mark = write_evil(tmp_path / "here", ("x",))
    model = made_model(tmp_path / "work", f"{tmp_path / 'here'}/x.py:X", "e" * 16)
    method = build_method_config("ssl-alpnet", {})
    for name in (str(model), model.name, str(model / "last.pt")):
        with pytest.raises(UserError, match=r"runs only by name: add --method FILE.py:X"):
            find_model(name, tmp_path / "work", method, torch.device("cpu"), 256)
    assert not mark.exists()


def test_a_file_of_another_name_than_the_spec_is_not_taken_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line names one file, the spec another: only the typed one runs, and it does not fit."""
    mark = write_evil(tmp_path / "here", ("x",))
    model = made_model(tmp_path / "work", f"{tmp_path / 'here'}/x.py:X", "e" * 16)
    command = ["evaluate", model.name, "--setting", "1", "--work", str(tmp_path / "work")]
    assert main([*command, "--method", "panet"]) == 2
    assert not mark.exists() and "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["record", "plan"])
def test_names_in_other_files_run_no_code(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from making import record, score

    from results.records.files import write_record

    folder = tmp_path / "here"
    mark = write_evil(folder, ("evil", "x"))
    monkeypatch.chdir(folder)
    work = ["--work", str(tmp_path / "work")]
    if kind == "record":
        cells = [
            record(fold, group, [score(name, str(fold), 50) for name in names], method={"name": "evil:X"})
            for fold in (0, 1)
            for group, names in (("lower", ["left-kidney"]), ("upper", ["liver", "spleen"]))
        ]
        for number, cell in enumerate(cells):
            write_record(tmp_path / "work" / "records" / f"{number}.json", cell)
        for command in (["table"], ["leaderboard", "--dataset", "tiny", "--setting", "2"], ["list", "cells"]):
            assert main([*command, *work]) == 0, command
        main(["report", "--dataset", "tiny", "--setting", "2", "--out", str(tmp_path / "r.html"), *work])
    else:
        write_sealed(folder / "plan.json", {"protocol": {"name": "evil:X", "hash": "0"}, "plans": []})
        assert main(["score", "m", "--plan", "plan.json", "--name", "n", "--labels-used", "none", *work]) == 2
    assert not mark.exists()


def test_the_installed_program_starts_without_modules_of_the_current_folder(tmp_path: Path) -> None:
    mark = write_evil(tmp_path / "here")
    ran = script(tmp_path / "here", "run", "--dataset", "phantom-mri", "--method", "evil-method")
    assert ran.returncode == 2 and "unknown method 'evil-method'" in ran.stderr
    assert not mark.exists()


@pytest.mark.slow
def test_no_module_comes_from_the_current_folder(tmp_path: Path) -> None:
    """Phantoms, a run with Sacred, tables, and a run on two devices, with evil modules where it is typed."""
    folder = tmp_path / "here"
    mark = write_evil(folder)
    dataset = ["--dataset", "phantom-mri", "--method", "copy-support"]
    for words, status in (
        (["--help"], 0),
        (["list", "methods"], 0),
        (["prepare", "phantom-mri", "--size", "48", "--phantom-slices", "8"], 0),
        (["run", *dataset, "--folds", "0"], 0),
        (["run", *dataset, "--folds", "1,2", "--device", "cpu,cpu"], 0),
        (["table"], 0),
        (["doctor", "--verify"], 0),
        (["run", "--dataset", "phantom-mri", "--method", "evil-method"], 2),
    ):
        ran = script(folder, *words)
        assert ran.returncode == status, (words, ran.stderr[-2000:])
        assert not mark.exists(), (words, mark.read_text())
    assert "unknown method 'evil-method'" in ran.stderr


def test_a_named_file_finds_the_modules_it_imports_beside_it_and_no_other(tmp_path: Path) -> None:
    folder = tmp_path / "here"
    mark = write_evil(folder, ("yaml", "dill"))
    (folder / "mine.py").write_text(
        "import helper_of_mine\n\nclass Mine:\n    limit = helper_of_mine.LIMIT\n"
    )
    (folder / "helper_of_mine.py").write_text("import json\nLIMIT = 3\n")
    found = resolve_method(f"{folder / 'mine.py'}:Mine")
    assert found.limit == 3
    for name in ("yaml", "dill"):
        sys.modules.pop(name, None)
        assert _is_not_from(name, folder)
    assert not mark.exists()


def _is_not_from(name: str, folder: Path) -> bool:
    import importlib.util

    spec = importlib.util.find_spec(name)
    return spec is None or not str(spec.origin).startswith(str(folder))


def test_a_typed_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "__init__.py").write_text("")
    (tmp_path / "package_of_mine" / "method.py").write_text(
        "from package_of_mine.parts import LIMIT\nimport module_of_mine\n\nclass Mine:\n    limit = LIMIT\n"
    )
    (tmp_path / "package_of_mine" / "parts.py").write_text("LIMIT = 5\n")
    (tmp_path / "module_of_mine.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert resolve_method("package_of_mine.method:Mine").limit == 5
    with pytest.raises(UserError, match="no module named 'nothing_of_mine'"):
        resolve_method("nothing_of_mine:X")


def test_torch_loads_weights_only() -> None:
    """Every call of `torch.load` says so; tests of checkpoints see a pickled object refused."""
    import ast

    calls = [
        (path.name, node)
        for package in ("baselines", "bench", "episodes", "fewshot", "protocols", "results")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads")
    ]
    assert len(calls) >= 2
    for name, node in calls:
        chosen = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert chosen.get("weights_only") == "True", name


def test_the_helper_of_this_file_makes_a_sound_model(tmp_path: Path) -> None:
    """Else the refusals above could have another cause."""
    from protocols.training.spec_file import read_model_spec

    model = made_model(tmp_path, "ssl-alpnet", None)
    assert read_model_spec(model)["method"]["name"] == "ssl-alpnet"
    edit_json(model / "spec.json", lambda spec: spec.update(seed=0))
    assert SEAL in json.loads((model / "spec.json").read_text())
