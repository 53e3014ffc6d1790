"""Files that lie: a store, model, backbone or record that is not as it was written is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from seal_again import edit_json, write_supervoxels
from tiny import tiny_store

from episodes.pseudo_labels.supervoxels import stored_supervoxels
from episodes.store.scan import read_array
from episodes.store.store import Store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.encoders.backbone_file import Pretraining, write_backbone
from fewshot.files.seals import hash_file
from protocols.training.pretraining import check_backbone
from protocols.training.spec_file import backbone_key, read_backbone_spec, read_model_spec, write_spec
from results.records.files import read_record, read_records

TRAIN = ["--dataset", "tiny", "--method", "ssl-alpnet", "--encoder", "resnet18", "--weights", "random"]
SHORT = [*TRAIN, "--steps", "3", "--option", "snapshot_every=1", "--folds", "0,1", "--groups", "upper"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with a store, two models, records and predictions; tests restore what they edit."""
    work = tmp_path_factory.mktemp("done") / "work"
    tiny_store(work / "stores" / "tiny")
    assert main(["run", "--work", str(work), *SHORT, "--save-predictions"]) == 0
    return work


@contextmanager
def edited(*paths: Path) -> Iterator[None]:
    """Restore files after a test has edited them."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def flip(path: Path, place: int = -200) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line with which a command line is refused."""
    capsys.readouterr()
    assert main([*words]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fewshot: error: ")]
    assert len(lines) == 1
    return lines[0]


def models(work: Path) -> list[Path]:
    return sorted((work / "models").iterdir())


# models


def test_a_flipped_bit_in_a_checkpoint_is_found_wherever_it_is_loaded(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = models(done)[0]
    commands = [
        ["evaluate", folder.name, "--work", str(done), "--setting", "1", "--groups", "upper", "--overwrite"],
        ["run", "--work", str(done), *SHORT, "--overwrite"],
        [
            "evaluate", "--checkpoint", str(folder / "last.pt"), "--work", str(done), "--dataset", "tiny",
            "--setting", "1", "--folds", "0", "--encoder", "resnet18",
        ],
    ]  # fmt: skip
    with edited(folder / "last.pt"):
        size = (folder / "last.pt").stat().st_size
        flip(folder / "last.pt", size // 2)
        for command in commands:
            assert "last.pt was changed after it was written" in refused(capsys, *command)


def test_a_checkpoint_of_another_fold_with_its_hash_is_refused(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = models(done)
    pair = [one / "last.pt", one / "last.pt.sha256"]
    with edited(*pair):
        for path in pair:
            shutil.copy(two / path.name, path)
        line = refused(
            capsys, "evaluate", one.name, "--work", str(done), "--setting", "1", "--groups", "upper"
        )
        assert f"is of model {two.name}, expected {one.name}" in line
        line = refused(capsys, "run", "--work", str(done), *SHORT, "--overwrite")
        assert f"is of model {two.name}" in line


def test_a_checkpoint_holds_key_data_and_scans_of_its_training(done: Path) -> None:
    for folder in models(done):
        spec = read_model_spec(folder)
        for path in folder.glob("*.pt"):
            training = json.loads(torch.load(path, weights_only=True)["identity"])["training"]
            assert training["key"] == folder.name and training["store"] == spec["store"]
            assert (training["dataset"], training["training_scans"]) == ("tiny", spec["training_scans"])
    assert len(list(done.glob("models/*/*.pt"))) == 2 * 4


@pytest.mark.slow
def test_a_snapshot_of_another_step_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [folder / name for folder in models(done) for name in ("step_2.pt", "step_2.pt.sha256")]
    command = ["run", "--work", str(done), *SHORT, "--checkpoint-policy", "oracle"]
    with edited(*pairs):
        for path in pairs[::2]:
            flip(path, path.stat().st_size // 2)
        assert "step_2.pt was changed" in refused(capsys, *command)
        for path in pairs:
            shutil.copy(path.with_name(path.name.replace("2", "1", 1)), path)
        assert "step_2.pt is of step 1, expected 2" in refused(capsys, *command)


SPECS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda path: path.write_text(path.read_text()[:300]), "spec.json: not JSON"),
    "empty": (lambda path: path.write_text("{}"), "spec.json has no seal"),
    "edited": (
        lambda path: path.write_text(path.read_text().replace('"steps": 3', '"steps": 2')),
        "spec.json was changed after it was written",
    ),
    "edited and sealed": (lambda path: edit_json(path, lambda spec: spec.update(seed=7)), "is of key"),
    "incomplete": (lambda path: edit_json(path, lambda spec: spec.pop("method")), "spec.json is incomplete"),
    "a key twice": (
        lambda path: path.write_text('{"seed": 1, "seed": 2}'), "key 'seed' stands there twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_that_is_not_the_one_of_its_folder_is_refused(
    done: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    change, fault = SPECS[name]
    path = models(done)[0] / "spec.json"
    with edited(path):
        change(path)
        for command in (
            ["evaluate", path.parent.name, "--work", str(done), "--setting", "1"],
            ["explain", path.parent.name, "--work", str(done), "--scan", "0", "--class", "liver"],
            ["list", "models", "--work", str(done)],
            ["run", "--work", str(done), *SHORT, "--overwrite"],
        ):
            assert fault in refused(capsys, *command), command


def test_a_renamed_model_folder_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = models(done)[0]
    renamed = folder.rename(folder.with_name("0123456789abcdef"))
    try:
        line = refused(capsys, "evaluate", renamed.name, "--work", str(done), "--setting", "1")
        assert f"is of key {folder.name}, but its folder is named '{renamed.name}'" in line
    finally:
        renamed.rename(folder)


def test_edited_facts_beside_a_model_are_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = models(done)[0] / "record_extras.json"
    with edited(path):
        path.write_text(path.read_text().replace('"cpu"', '"gpu"'))
        line = refused(capsys, "evaluate", path.parent.name, "--work", str(done), "--setting", "1")
        assert "record_extras.json was changed" in line


def test_a_checkpoint_without_hash_names_the_way_out(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = hash_file(models(done)[0] / "last.pt")
    with edited(path):
        path.unlink()
        line = refused(capsys, "evaluate", path.parent.name, "--work", str(done), "--setting", "1")
        assert "has no last.pt.sha256 beside it" in line and "fewshot doctor --seal" in line


def test_a_changed_backbone_is_refused(tmp_path: Path) -> None:
    spec = {"images": {"source": "a", "hash": "b"}, "initial_weights": {"name": "random", "sha256": None}}
    folder = tmp_path / backbone_key(spec)
    write_spec(folder, spec)
    state = {"conv1.weight": torch.ones(8, 8)}

    def write(key: str) -> None:
        write_backbone(folder / "backbone.pt", state, Pretraining("densecl", key, "resnet18", "a", (), 1))

    write(folder.name)
    assert check_backbone(folder).key == folder.name
    with edited(folder / "backbone.pt"), pytest.raises(UserError, match="was changed after it was written"):
        flip(folder / "backbone.pt", 900)
        check_backbone(folder)
    write("0" * 16)
    with pytest.raises(UserError, match=r"has key 0{16}, expected that of its folder"):
        check_backbone(folder)
    write(folder.name)
    edit_json(folder / "spec.json", lambda content: content["images"].update(hash="c"))
    with pytest.raises(UserError, match=r"spec.json is of key"):
        read_backbone_spec(folder)


# stores

INDEX: dict[str, Callable[[dict[str, Any]], Any]] = {
    "mean": lambda index: index["scans"][3].update(mean=1.0),
    "deviation": lambda index: index["scans"][3].update(m2=1.0),
    "class slices": lambda index: index["scans"][3]["class_slices"].update(liver=[1]),
    "superpixel slices": lambda index: index["scans"][3].update(superpixel_slices=[1]),
    "classes swapped": lambda index: index["spec"]["classes"].update(liver=4, spleen=1),
    "fold borders": lambda index: index["spec"].update(fold_borders=[0, 3, 4, 6, 8, 10]),
    "spacing": lambda index: index["scans"][3].update(spacing_mm=[1.0, 1.0, 1.0]),
    "patients": lambda index: index["spec"].update(patients={"a": ["1", "2"]}),
    "warnings": lambda index: index.update(warnings=["x"]),
    "hash": lambda index: index.update(hash="0" * 16),
    "array hash": lambda index: index["scans"][3]["array_sha256"].update(images="0" * 64),
}


@pytest.mark.parametrize("name", INDEX)
def test_an_edited_index_is_refused_on_opening(tmp_path: Path, store: Store, name: str) -> None:
    shutil.copytree(store.path, tmp_path / "tiny")
    path = tmp_path / "tiny" / "index.json"
    content = json.loads(path.read_text())
    INDEX[name](content)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"index.json was changed after it was written.*--overwrite"):
        Store.open(tmp_path / "tiny")


@pytest.mark.parametrize("name", ["classes swapped", "fold borders", "spacing", "array hash", "hash"])
def test_the_hash_of_a_store_is_that_of_its_facts_even_where_the_seal_fits(
    tmp_path: Path, store: Store, name: str
) -> None:
    shutil.copytree(store.path, tmp_path / "tiny")
    edit_json(tmp_path / "tiny" / "index.json", INDEX[name])
    with pytest.raises(UserError, match=r"index.json was changed: its hash is"):
        Store.open(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("images", lambda scan: scan.image),
        ("labels", lambda scan: scan.labels),
        ("superpixels", lambda scan: scan.superpixels),
    ],
)
def test_a_changed_array_is_refused_when_it_is_first_used(
    tmp_path: Path, store: Store, kind: str, read: Callable[[Any], Any]
) -> None:
    shutil.copytree(store.path, tmp_path / "tiny")
    flip(tmp_path / "tiny" / kind / "3.npy")
    opened = Store.open(tmp_path / "tiny")
    read(opened.scan("2"))
    with pytest.raises(UserError, match=rf"{kind}/3.npy is not as prepared: .*--overwrite"):
        read(opened.scan("3"))


def test_a_file_is_hashed_once_in_a_process_and_again_when_it_changed(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from episodes.store import scan as module

    shutil.copytree(store.path, tmp_path / "tiny")
    image = np.array(store.scan("1").image)
    read, whole = [], module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path: read.append(path.name) or whole(path))
    for _ in range(3):
        assert np.array_equal(Store.open(tmp_path / "tiny").scan("1").image, image)
    assert read == ["1.npy"]
    flip(tmp_path / "tiny" / "images" / "1.npy")
    with pytest.raises(UserError, match="not as prepared"):
        Store.open(tmp_path / "tiny").scan("1").image  # noqa: B018
    assert read == ["1.npy", "1.npy"]


def test_changed_supervoxels_are_refused(tmp_path: Path, store: Store) -> None:
    shutil.copytree(store.path, tmp_path / "tiny")
    made = Store.open(tmp_path / "tiny")
    folder = write_supervoxels(made)
    with edited(folder / "1.npy"):
        flip(folder / "1.npy")
        found = stored_supervoxels(made)
        assert found is not None
        with pytest.raises(UserError, match=r"1.npy is not as prepared: .* delete"):
            found.scan("1")
    (folder / "index.json").write_text(
        (folder / "index.json").read_text().replace('"scale": 1.0', '"scale": 2.0')
    )
    with pytest.raises(UserError, match=r"supervoxels/index.json was changed"):
        stored_supervoxels(made)


def test_an_array_of_another_hash_is_no_array(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="not as prepared"):
        read_array(tmp_path / "x.npy", "0" * 64, "make it again")
    with pytest.raises(UserError, match="no such file; make it again"):
        read_array(tmp_path / "y.npy", "0" * 64, "make it again")


@pytest.mark.slow
def test_phantoms_that_were_changed_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", "phantom-mri", "--size", "48", "--phantom-slices", "8", "--work", str(tmp_path)]
    assert main(command) == 0
    flip(tmp_path / "stores" / "phantom-mri" / "labels" / "2.npy")
    line = refused(capsys, *command)
    assert "labels/2.npy is not as prepared" in line and "--overwrite" in line


# records


def test_the_name_of_a_record_holds_the_key_of_its_cell_and_its_seal(done: Path) -> None:
    for path in (done / "records").iterdir():
        assert path.stem == f"{read_record(path).key}-{json.loads(path.read_text())['seal']}"


def test_a_record_copied_over_that_of_another_cell_is_refused(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = sorted((done / "records").iterdir())[:2]
    with edited(one):
        shutil.copy(two, one)
        assert f"holds the record {two.stem}" in refused(capsys, "table", "--work", str(done))
        assert f"holds the record {two.stem}" in refused(capsys, "run", "--work", str(done), *SHORT)


EDITS: dict[str, Callable[[str], str]] = {
    "device": lambda text: text.replace('"device": "cpu"', '"device": "gpu"'),
    "method": lambda text: text.replace('"name": "ssl-alpnet"', '"name": "qnet"'),
    "seed": lambda text: text.replace('"seed": 0', '"seed": 1'),
    "audit": lambda text: text.replace('"audits": [', '"audits": ["fine", '),
    "plan": lambda text: text.replace('"plan_hash": "', '"plan_hash": "00000000'),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_record_is_refused(done: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    path = next(iter((done / "records").iterdir()))
    with edited(path):
        before = path.read_text()
        path.write_text(EDITS[name](before))
        assert path.read_text() != before
        assert "was changed after it was written" in refused(capsys, "table", "--work", str(done))
        edit_json(path, lambda _content: None)  # even with a seal that fits, the name tells
        assert "holds the record" in refused(capsys, "table", "--work", str(done))


def test_an_overwritten_record_leaves_one_file_of_its_cell(done: Path) -> None:
    before = {path.name: path.read_bytes() for path in (done / "records").iterdir()}
    old = next(iter((done / "records").iterdir()))
    old.rename(old.with_name(old.name.partition("-")[0] + "-" + "0" * 16 + ".json"))
    assert main(["run", "--work", str(done), *SHORT, "--overwrite"]) == 0
    assert {path.name: path.read_bytes() for path in (done / "records").iterdir()} == before
    assert len(read_records(done / "records")) == len(before)


def test_two_records_of_a_cell_are_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = next(iter((done / "records").iterdir()))
    other = shutil.copy(one, one.with_name(one.name.partition("-")[0] + "-" + "0" * 16 + ".json"))
    try:
        assert "holds 2 records of cell" in refused(capsys, "run", "--work", str(done), *SHORT)
    finally:
        Path(other).unlink()


@pytest.mark.slow
def test_edited_distances_are_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "--work", str(done), "--dataset", "tiny", "--method", "copy-support"]
    assert main([*command, "--save-predictions"]) == 0
    command = ["distances", "--work", str(done), "--dataset", "tiny"]
    assert main(command) == 0 == main(command)
    path = next(iter((done / "distances").iterdir()))
    with edited(path):
        edit = json.loads(path.read_text())
        edit["scores"][0]["hd95_mm"] = 0.125
        path.write_text(json.dumps(edit))
        assert "was changed after it was written" in refused(capsys, *command)
        assert "was changed after it was written" in refused(capsys, "leaderboard", *command[1:])
