"""Protocol files: what the shipped one says, and every bad one refused with file, key and reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fewshot.base.errors import UserError
from protocols.rules.spec import HOME, choose_folds, known_protocols, load_protocol

SHIPPED = (HOME / "alpnet-ep1.toml").read_text()


@dataclass(frozen=True)
class Dataset:
    name: str = "chaost2"
    tested: tuple[str, ...] = ("liver", "right-kidney", "left-kidney", "spleen")
    fold_borders: tuple[int, ...] = (0, 4, 8)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def saved(folder: Path, old: str, new: str) -> Path:
    assert old in SHIPPED, f"the shipped file has no {old!r}"
    path = folder / "alpnet-ep1.toml"
    path.write_text(SHIPPED.replace(old, new, 1))
    return path


def test_the_shipped_protocol_states_the_rules_of_the_family() -> None:
    protocol = load_protocol("alpnet-ep1")
    assert "alpnet-ep1" in known_protocols() and protocol.version == 1
    assert protocol.evaluation.support_fractions == (1 / 6, 1 / 2, 5 / 6)
    assert protocol.evaluation.exclusion == protocol.training.exclusion == "union"
    rules = {"ct": "training-scans", "mr": "per-scan", "picture": "per-scan"}
    assert protocol.training.normalisation == rules
    assert protocol.training.steps == 100_100
    groups = protocol.groups_for(Dataset())
    assert groups == {"upper": ("liver", "spleen"), "lower": ("right-kidney", "left-kidney")}
    assert protocol.groups_for(Dataset(tested=("spleen",))) == {}


def test_a_dataset_brings_its_own_groups() -> None:
    protocol = load_protocol("alpnet-ep1")
    brought = Dataset(
        tested=("liver", "spleen", "tumour"), groups={"all": ("tumour", "liver"), "one": ("liver",)}
    )
    assert protocol.groups_for(brought) == {
        "upper": ("liver", "spleen"), "all": ("tumour", "liver"), "one": ("liver",),
    }  # fmt: skip
    same = Dataset(groups={"upper": ("spleen", "liver")})
    assert protocol.groups_for(same) == protocol.groups_for(Dataset())
    with pytest.raises(UserError, match="'upper' is liver in dataset chaost2 but liver, spleen in protocol"):
        protocol.groups_for(Dataset(groups={"upper": ("liver",)}))


def test_the_hash_is_of_the_rules_and_not_of_the_prose(tmp_path: Path) -> None:
    shipped = load_protocol("alpnet-ep1").hash
    assert load_protocol(saved(tmp_path, "SSL-ALPNet family: the default", "family")).hash == shipped
    assert load_protocol(saved(tmp_path, "arXiv 2406.18074", "elsewhere")).hash == shipped
    assert load_protocol(saved(tmp_path, "version = 1", "version = 2")).hash != shipped
    assert load_protocol(saved(tmp_path, '"union"', '"intersection"')).hash != shipped


BAD = [
    ("version = 1", "version = 1\nspeed = 3", r"unknown key 'speed'"),
    ("shots = 1", "shot = 1", r"unknown key 'evaluation.shot': did you mean .*evaluation.shots"),
    ("shots = 1", "", r"key evaluation.shots is missing"),
    ("version = 1", 'version = "1"', r"key version is '1', expected an integer of at least 1"),
    ("version = 1", "version = true", r"key version is True, expected an integer"),
    ("shots = 1", "shots = 0", r"key evaluation.shots is 0, expected an integer of at least 1"),
    (
        '"next-scan"',
        '"nxt-scan"',
        r"evaluation.support_scan: unknown rule 'nxt-scan': did you mean 'next-scan'",
    ),
    ('scored = "class-range"', "scored = 3", r"key evaluation.scored is 3, expected a text"),
    ('"range-thirds"', '"thirds"', r"evaluation.part_rule: unknown rule 'thirds'"),
    ('"union"', '"none"', r"training.exclusion: unknown rule 'none'"),
    ('"1/6", ', '"1/x", ', r"support_fractions holds '1/x', expected fractions"),
    ('"1/6", ', '"7/6", ', r"holds '7/6', expected fractions from 0 to below 1"),
    ('"1/6", ', '"3/4", ', r"expected ascending fractions"),
    ('"1/6", ', "0.2, ", r"expected a list of texts"),
    ('ct = "training-scans"', 'us = "per-scan"', r"unknown key 'training.normalisation.us'"),
    ('["liver", "spleen"]', '["liver", "liver"]', r"key groups.upper .* expected every entry once"),
    (
        '["liver", "spleen"]',
        '["Liver and more"]',
        r"class of group upper 'Liver and more' is not a usable name",
    ),
    ('["liver", "spleen"]', "[]", r"key groups.upper is \[\], expected a list of texts"),
    ('name = "alpnet-ep1"', 'name = "other"', r"key name is 'other', expected the file's name 'alpnet-ep1'"),
    ("version = 1", "version = ", r"cannot be read as TOML"),
]


@pytest.mark.parametrize(
    ("old", "new", "reason"), BAD, ids=[new[:24] or "missing" for _old, new, _why in BAD]
)
def test_a_bad_file_is_refused_with_file_key_and_reason(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    path = saved(tmp_path, old, new)
    with pytest.raises(UserError, match=reason) as caught:
        load_protocol(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("folds", "reason"),
    [
        ("[[0, 4], [3, 8]]", r"key folds.chaost2 holds fold 1 \[3, 8\], which overlaps fold 0 \[0, 4\]"),
        ("[[0, 4], [5, 8]]", r"fold 1 \[5, 8\], which leaves a gap after fold 0"),
        ("[[0, 4], [4, 4]]", r"holds fold 1 \[4, 4\], expected 0 <= start < stop"),
        ("[[1, 4]]", r"begins with fold \[1, 4\], expected position 0 first"),
        ("[0, 4, 8]", r"expected \[start, stop\] positions"),
        ("[]", r"expected \[start, stop\] positions"),
    ],
)
def test_folds_that_overlap_or_do_not_join_are_refused(tmp_path: Path, folds: str, reason: str) -> None:
    path = tmp_path / "alpnet-ep1.toml"
    path.write_text(f"{SHIPPED}\n[folds]\nchaost2 = {folds}\n")
    with pytest.raises(UserError, match=reason) as caught:
        load_protocol(path)
    assert str(path) in str(caught.value)


def test_folds_of_a_protocol_replace_the_datasets(tmp_path: Path) -> None:
    path = tmp_path / "alpnet-ep1.toml"
    path.write_text(f"{SHIPPED}\n[folds]\nchaost2 = [[0, 3], [3, 8]]\n")
    protocol = load_protocol(path)
    assert protocol.fold_borders_for(Dataset()) == (0, 3, 8)
    assert protocol.fold_borders_for(Dataset(name="sabs")) == (0, 4, 8)


def test_an_unknown_name_is_answered_with_near_names(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown protocol 'alpnet-ep2': did you mean 'alpnet-ep1'"):
        load_protocol("alpnet-ep2")
    with pytest.raises(UserError, match="no such file"):
        load_protocol(tmp_path / "absent.toml")


def test_folds_are_chosen_by_all_or_numbers() -> None:
    assert choose_folds("all", (0, 4, 8)) == (0, 1)
    assert choose_folds("1,0,1", (0, 4, 8)) == (1, 0)
    with pytest.raises(UserError, match="no fold 2"):
        choose_folds("2", (0, 4, 8))
    with pytest.raises(UserError, match="expected `all` or numbers"):
        choose_folds("one", (0, 4, 8))
