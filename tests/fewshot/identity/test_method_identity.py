"""A result's key changes when its numbers would, and only then: versions, users' files, files by content."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest
import torch
from tiny import tiny_store

from baselines.mptpn.model import MPTPNOptions
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.identity import versions
from fewshot.identity.key_parts import method_key_part, weights_key_part
from fewshot.learners import registry
from fewshot.learners.learner import PrototypeLearner
from fewshot.learners.method_identity import method_source, method_version, option_files
from fewshot.learners.options import PATH
from fewshot.learners.registry import METHODS, resolve_method
from fewshot.pretraining.simsiam import SimSiamRecipe
from protocols.training.method_config import build_method_config
from protocols.training.spec_file import model_key

METHOD = '''"""A threshold, for tests."""
from dataclasses import dataclass

import helper


class Bright:
    """Calls foreground what is brighter than a limit."""

    trainable = False

    @dataclass(frozen=True)
    class Options:
        """A file that holds a shift of the limit, in standard deviations."""

        shift: str = "none"

    def __init__(self, options):
        self.options = options

    def segment(self, support, query):
        """Return probabilities (Q,H,W)."""
        more = 0.0 if self.options.shift == "none" else float(open(self.options.shift).read())
        return (query[:, 0] > helper.LIMIT + more).float()
'''
HELPER = '"""The limit."""\nLIMIT = 0.5\n'

Run = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_store(tmp_path_factory.mktemp("made") / "tiny").path


@pytest.fixture
def run(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a user's method on fold 0 as a new process would; returns record name -> content."""
    shutil.copytree(store, tmp_path / "work" / "stores" / "tiny")
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)

    def ran(method: str = "mine.py:Bright", *more: str) -> dict[str, str]:
        for name in ("helper", "parts", "parts.limit"):
            sys.modules.pop(name, None)
        asked = ["run", "--dataset", "tiny", "--folds", "0", "--groups", "upper", "--method", method, *more]
        assert main(asked) == 0
        return {path.name: path.read_text() for path in Path("work/records").glob("*.json")}

    return ran


def dices(records: dict[str, str]) -> dict[str, list[float | None]]:
    return {name: [one["dice"] for one in json.loads(text)["scores"]] for name, text in records.items()}


def test_an_edited_helper_of_a_users_method_is_another_result(run: Run) -> None:
    before = run()
    Path("helper.py").write_text(HELPER.replace("0.5", "2.5"))
    after = run()
    assert len(after) == 2 * len(before)
    assert len({str(values) for values in dices(after).values()}) == 2


@pytest.mark.parametrize("on_path", [True, False], ids=["on Python's path", "beside the file"])
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("mine.py", ">", "<"), ("helper.py", "0.5", "2.5"), ("parts/limit.py", "0.5", "2.5")],
)
def test_an_edit_of_equal_size_in_the_same_second_is_another_result(
    run: Run, file: str, old: str, new: str, on_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python holds its bytecode for current."""
    if not on_path:
        monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(Path.cwd())])
    if file.startswith("parts"):
        Path("parts").mkdir()
        Path("parts/__init__.py").write_text("")
        Path("parts/limit.py").write_text(HELPER)
        Path("helper.py").write_text("from parts.limit import LIMIT\n")
    before, place = run(), Path(file)
    time = place.stat().st_mtime_ns
    place.write_text(place.read_text().replace(old, new))
    os.utime(place, ns=(time, time))
    after = run()
    assert len(after) == 2 * len(before)
    assert len({str(values) for values in dices(after).values()}) == 2


def test_docstrings_layout_and_place_of_a_users_files_leave_every_key(run: Run) -> None:
    before = run()
    Path("mine.py").write_text(METHOD.replace("Calls foreground", "Marks as foreground") + "\n# a remark\n")
    Path("helper.py").write_text(HELPER.replace("The limit.", "The limit, in standard deviations."))
    assert run().keys() == before.keys()
    Path("methods").mkdir()
    Path("mine.py").rename("methods/ours.py")
    assert run("methods/ours.py:Bright").keys() == before.keys()


def test_an_option_that_names_a_file_enters_by_its_content(run: Run) -> None:
    Path("a.txt").write_text("0.0")
    first = run("mine.py:Bright", "--option", "shift=a.txt")
    Path("a.txt").write_text("2.0")
    second = run("mine.py:Bright", "--option", "shift=a.txt")
    assert len(second) == 2 * len(first)
    assert len({str(values) for values in dices(second).values()}) == 2
    Path("a.txt").rename("b.txt")
    assert run("mine.py:Bright", "--option", "shift=b.txt").keys() == second.keys()


@pytest.mark.parametrize("part", ["preparation", "evaluation"])
def test_a_raised_version_of_a_shared_part_is_another_cell(
    run: Run, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run()
    monkeypatch.setitem(versions.PARTS, "training", 2)  # no part of a learner without training
    assert run().keys() == before.keys()
    monkeypatch.setitem(versions.PARTS, part, 2)
    assert len(run()) == 2 * len(before)


def test_every_method_of_the_project_states_its_version() -> None:
    assert all(method_version(resolve_method(name)) for name in METHODS)


def test_a_project_method_goes_by_name_and_version_wherever_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build_method_config("ssl-alpnet", {}).description
    assert (before["version"], before["source"]) == (resolve_method("ssl-alpnet").version, None)
    typed = build_method_config("baselines.ssl_alpnet:SSLALPNet", {}).description
    assert method_key_part(typed) == method_key_part(before)
    learner = resolve_method("ssl-alpnet")
    moved = type("AdaptiveLocalPrototypes", learner.__bases__, dict(learner.__dict__))
    moved.__module__ = "moved_elsewhere"
    module = type(sys)("moved_elsewhere")
    module.AdaptiveLocalPrototypes = moved  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "moved_elsewhere", module)
    monkeypatch.setitem(registry.METHODS, "ssl-alpnet", "moved_elsewhere:AdaptiveLocalPrototypes")
    assert method_key_part(build_method_config("ssl-alpnet", {}).description) == method_key_part(before)


def test_a_raised_version_of_a_method_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = method_key_part(build_method_config("ssl-alpnet", {}).description)
    monkeypatch.setattr(resolve_method("ssl-alpnet"), "version", 99)
    assert method_key_part(build_method_config("ssl-alpnet", {}).description) != before


def test_a_users_method_depends_on_the_project_methods_it_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "derived.py"
    path.write_text("from baselines.dspnet import DSPNet\n\n\nclass Mine(DSPNet):\n    pass\n")
    before = build_method_config(f"{path}:Mine", {}).description["source"]
    monkeypatch.setattr(resolve_method("ssl-alpnet"), "version", 99)
    assert build_method_config(f"{path}:Mine", {}).description["source"] == before
    monkeypatch.setattr(resolve_method("dspnet"), "version", 99)
    assert build_method_config(f"{path}:Mine", {}).description["source"] != before


def test_a_class_without_a_file_is_refused() -> None:
    namespace: dict[str, type] = {}
    exec("class Typed:\n    Options = None\n", {"__name__": "__typed__"}, namespace)
    with pytest.raises(UserError, match="lies in no file"):
        method_source(namespace["Typed"])


@dataclass(frozen=True)
class Options:
    """Options of every kind that may name a file."""

    weights: str = "none"
    several: tuple[str, ...] = ()
    mode: Literal["fast", "slow"] = "fast"
    number: int = 3
    snapshot: str = field(default="", metadata=PATH)


def test_files_and_folders_are_told_from_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("fast", "a.pt", "b.pt"):
        Path(name).write_text(name)
    Path("folder").mkdir()
    Path("folder/c.pt").write_text("c")
    assert option_files(Options()) == {}
    assert option_files(Options(weights="folder")) == {}  # a word, which no separator makes a path
    one = option_files(Options(weights="a.pt", several=("a.pt", "b.pt")))
    assert set(one) == {"weights", "several"}
    folder = option_files(Options(weights="./folder"))
    Path("folder/c.pt").rename("folder/d.pt")
    assert option_files(Options(weights="./folder")) != folder
    assert option_files(Options(several=("b.pt", "a.pt")))["several"] != one["several"]


def test_an_option_that_is_a_path_names_a_folder_without_a_separator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bert").mkdir()
    Path("bert/model.bin").write_text("one model")
    before = option_files(Options(snapshot="bert"))
    assert before == {"snapshot": option_files(Options(weights="./bert"))["weights"]}
    Path("bert/model.bin").write_text("another model")
    assert option_files(Options(snapshot="bert")) != before


@pytest.mark.parametrize("options", [MPTPNOptions, SimSiamRecipe])
def test_the_text_file_of_a_method_is_a_path(options: type[object]) -> None:
    kinds = {one.name: dict(one.metadata) for one in fields(options)}  # type: ignore[arg-type]
    assert kinds["text_file"] == dict(PATH)


def test_weights_go_by_content_where_they_have_one() -> None:
    assert weights_key_part({"name": "a.pth", "sha256": "f" * 64}) == weights_key_part(
        {"name": "b.pth", "sha256": "f" * 64}
    )
    assert weights_key_part({"name": "random", "sha256": None}) == {"name": "random"}
    assert weights_key_part(None) is None


def test_a_models_key_follows_versions_and_not_names() -> None:
    method = {"name": "ssl-alpnet", "version": 1, "source": None, "options": {}, "files": {}}
    spec = {
        "versions": versions.versions_of(versions.TRAINING),
        "method": method,
        "initial_weights": {"name": "a.pth", "sha256": "f" * 64},
    }
    key = model_key(spec)
    assert model_key({**spec, "initial_weights": {"name": "b.pth", "sha256": "f" * 64}}) == key
    assert model_key({**spec, "told": {"steps": 3}}) == key
    assert model_key({**spec, "versions": {**spec["versions"], "training": 2}}) != key  # type: ignore[dict-item]
    assert model_key({**spec, "method": {**method, "version": 2}}) != key


def test_a_users_model_runs_code_only_where_the_file_is_named(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(store, tmp_path / "work" / "stores" / "tiny")
    Path("mine.py").write_text(
        "from baselines.ssl_alpnet import SSLALPNet\n\n\nclass Mine(SSLALPNet):\n    extra = 1\n"
    )
    trained = ["--encoder", "resnet18", "--weights", "random", "--steps", "1", "--folds", "0"]
    assert main(["run", "--dataset", "tiny", "--method", "mine.py:Mine", *trained]) == 0
    (key,) = (path.name for path in Path("work/models").iterdir())
    assert main(["evaluate", key, "--overwrite"]) == 2
    assert "--method FILE.py:Mine" in capsys.readouterr().err
    assert main(["evaluate", key, "--overwrite", "--method", "mine.py:Mine"]) == 0
    Path("mine.py").write_text(Path("mine.py").read_text() + "    trick = 1\n")
    assert main(["evaluate", key, "--overwrite", "--method", "mine.py:Mine"]) == 2
    assert "another code of mine.py:Mine" in capsys.readouterr().err


def test_records_say_what_their_last_bits_depend_on(run: Run) -> None:
    (text,) = run().values()
    about = json.loads(text)["environment"]
    assert about["threads"] == torch.get_num_threads()
    assert about["processor"]
    assert json.loads(text)["model"]["trained_on"] == []


def test_a_prototype_learner_of_no_registry_has_no_version() -> None:
    assert method_version(PrototypeLearner) is None
