"""Names from files and command lines: none becomes a path outside of the work folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import record, score
from seal_again import edit_index
from small_volumes import DIRECTION, ORIGIN, SPACING, small_scan, small_spec
from tiny import tiny_spec

from episodes.store.dataset import read_dataset_spec, spec_from_table
from episodes.store.store import SourceScan, Store, new_store
from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.files.names import checked_name, is_name, path_in
from protocols.rules.spec import HOME, load_protocol
from results.records.files import cell_file
from results.records.record import Record

BAD = [
    "../../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", ".hidden", "-x", "~", "a b", "é",
    "a" * 65, "*", "[a]", "CON:", "\u202ex",
]  # fmt: skip
GOOD = ["1", "left-kidney", "phantom-mri", "a.b_c-D", "0123456789abcdef-0123456789abcdef", "a..b"]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert not is_name(name)
    with pytest.raises(UserError, match=r"scan .* is not a usable name") as caught:
        path_in(tmp_path, "scan", name, ".npy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", GOOD)
def test_a_usable_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    assert checked_name("scan", name) == name
    assert path_in(tmp_path, "scan", name, ".npy").resolve().parent == tmp_path.resolve()


def table(**changes: Any) -> dict[str, Any]:
    return {**tiny_spec().to_json(), **changes}


def in_dataset_file(name: str, tmp_path: Path) -> None:
    spec_from_table(table(name=name), "x.toml")


def in_class(name: str, tmp_path: Path) -> None:
    spec_from_table(table(classes={name: 1}, tested=[name]), "x.toml")


def in_group(name: str, tmp_path: Path) -> None:
    spec_from_table(table(groups={name: ["liver"]}), "x.toml")


def in_scans(name: str, tmp_path: Path) -> None:
    spec_from_table(table(scans=[name], fold_borders=[0, 1]), "x.toml")


def in_patient(name: str, tmp_path: Path) -> None:
    spec_from_table(table(patients={name: ["1"]}), "x.toml")


def in_scan_of_a_patient(name: str, tmp_path: Path) -> None:
    spec_from_table(table(patients={"a": [name]}), "x.toml")


def in_protocol_file(name: str, tmp_path: Path) -> None:
    text = (HOME / "alpnet-ep1.toml").read_text().replace('name = "alpnet-ep1"', f"name = '''{name}'''")
    (tmp_path / "p.toml").write_text(text)
    load_protocol(tmp_path / "p.toml")


def in_source(name: str, tmp_path: Path) -> None:
    image, labels = small_scan(1)
    superpixels = np.ones(image.shape, np.uint16)
    with new_store(tmp_path / "s", small_spec()) as writer:
        writer.add(
            SourceScan(name, image, labels, superpixels, SPACING, ORIGIN, DIRECTION, "a" * 64, "b" * 64)
        )


def in_cell(name: str, tmp_path: Path) -> None:
    cell_file(tmp_path, name)


@pytest.mark.parametrize("name", ["../../x", "a/b", ".."])
@pytest.mark.parametrize(
    "place",
    [
        in_dataset_file, in_class, in_group, in_scans, in_patient, in_scan_of_a_patient, in_protocol_file,
        in_source, in_cell,
    ],
)  # fmt: skip
def test_a_bad_name_is_refused_in_every_file(
    tmp_path: Path, place: Callable[[str, Path], None], name: str
) -> None:
    inside = tmp_path / "a" / "b" / "c"
    inside.mkdir(parents=True)
    with pytest.raises(UserError, match="is not a usable name"):
        place(name, inside)
    outside = [
        path for path in tmp_path.rglob("*") if path not in inside.parents and inside not in path.parents
    ]
    assert outside == [inside]


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b"])
def test_a_scan_id_in_an_index_does_not_lead_out_of_the_store(
    tmp_path: Path, store: Store, name: str
) -> None:
    """Sealed and hashed as if it had been prepared so."""
    shutil.copytree(store.path, tmp_path / "tiny")
    edit_index(tmp_path / "tiny" / "index.json", lambda index: index["scans"][0].update(id=name))
    with pytest.raises(UserError, match=r"scan .* is not a usable name"):
        Store.open(tmp_path / "tiny")


def test_two_scans_of_one_id_are_refused(tmp_path: Path, store: Store) -> None:
    shutil.copytree(store.path, tmp_path / "tiny")
    edit_index(tmp_path / "tiny" / "index.json", lambda index: index["scans"][0].update(id="1"))
    with pytest.raises(UserError, match="a scan id stands there twice"):
        Store.open(tmp_path / "tiny")


CELL = record(0, "upper", [score("liver", "3", 80), score("spleen", "3", 50)]).to_json()
PLACES: dict[str, Callable[[dict[str, Any], str], Any]] = {
    "dataset": lambda content, name: content["dataset"].update(name=name),
    "training dataset": lambda content, name: content.update(
        train_dataset={"name": name, "hash": "b" * 64, "prepared_by": "unknown"}
    ),
    "protocol": lambda content, name: content["protocol"].update(name=name),
    "group": lambda content, name: content.update(group=name),
    "another group": lambda content, name: content["grid"]["groups"].update({name: ["liver"]}),
    "class of a group": lambda content, name: content["grid"]["groups"].update(
        upper=["liver", "spleen", name]
    ),
    "method": lambda content, name: content["method"].update(name=name),
    "model": lambda content, name: content["model"].update(key=name),
    "checkpoint": lambda content, name: content["model"].update(name=name),
    "scan": lambda content, name: content["scores"][0].update(scan=name),
    "support": lambda content, name: content["scores"][0].update(supports=[name]),
    "class": lambda content, name: content["scores"][0].update({"class": name}),
    "training scan": lambda content, name: content["training"].update(scans=[name]),
    "cell": lambda content, name: content.update(key=name),
}


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..\\x", ".."])
@pytest.mark.parametrize("place", PLACES)
def test_a_bad_name_in_a_record_is_refused(place: str, name: str) -> None:
    import copy

    content = copy.deepcopy(CELL)
    PLACES[place](content, name)
    with pytest.raises(UserError, match="expected"):
        Record.from_json(content)


QUERY_SEEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "support": (lambda content: content["scores"][0].update(supports=["3"]), "hold the query scan '3'"),
    "training": (lambda content: content["training"].update(scans=["1", "3"]), "which training.scans hold"),
    "labels": (
        lambda content: content["model"].update(
            labels={"classes": ["liver"], "support_scans": ["3"], "slices": 1, "hash": "a" * 16}
        ),
        "which model.labels.support_scans hold",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", QUERY_SEEN)
def test_a_record_whose_query_was_seen_is_refused(kind: str) -> None:
    import copy

    change, fault = QUERY_SEEN[kind]
    content = copy.deepcopy(CELL)
    change(content)
    with pytest.raises(UserError, match=fault):
        Record.from_json(content)
    if kind != "support":  # of another dataset, equal ids are other scans
        content["train_dataset"] = {"name": "other", "hash": "d" * 64, "prepared_by": "unknown"}
        Record.from_json(content)


COMMANDS = [
    ["plan", "--dataset", "../stores/tiny"],
    ["run", "--dataset", "../stores/tiny", "--method", "all-foreground"],
    ["run", "--dataset", "tiny", "--train-dataset", "../stores/tiny", "--method", "ssl-alpnet"],
    ["probe", "--dataset", "../stores/tiny", "--encoder", "resnet18"],
    ["ablate", "dspnet", "--dataset", "../stores/tiny"],
    ["evaluate", "../models/x"],
    ["evaluate", "*"],
    ["explain", "../models/x", "--scan", "0", "--class", "liver"],
    ["overlay", "../records/x"],
    ["overlay", "*"],
    ["pretrain", "densecl", "--dataset", "../stores/tiny"],
    ["protocols", "diff", "alpnet-ep1", "open-ep", "--dataset", "../stores/tiny"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_takes_a_path_for_a_name(
    work: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--work", str(work)]) == 2
    message = capsys.readouterr().err
    assert "is not a usable name" in message and message.count("\n") == 1
    assert [path.name for path in work.iterdir()] == ["stores"]


def test_the_shipped_files_keep_the_rule() -> None:
    from episodes.store.dataset import HOME as DATASETS

    assert all(is_name(read_dataset_spec(path).name) for path in DATASETS.glob("*.toml"))
