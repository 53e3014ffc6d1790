"""Dataset facts: rule P-14 of docs/protocols.md, and strict reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from episodes.store.dataset import (
    HOME,
    OPTIONAL,
    TYPES,
    known_datasets,
    load_dataset_spec,
    read_dataset_spec,
    spec_from_table,
)
from fewshot.base.errors import UserError


def test_classes_are_named_not_numbered() -> None:
    sabs, chaos = load_dataset_spec("sabs"), load_dataset_spec("chaost2")
    assert {name: sabs.classes[name] for name in sabs.tested} == {
        "spleen": 1, "right-kidney": 2, "left-kidney": 3, "liver": 6,
    }  # fmt: skip
    assert sabs.classes["gallbladder"] == 4 and "gallbladder" not in sabs.tested
    assert sorted(sabs.classes.values()) == list(range(1, 14))
    assert chaos.classes == {"liver": 1, "right-kidney": 2, "left-kidney": 3, "spleen": 4}


def test_scans_folds_and_thresholds() -> None:
    sabs, chaos = load_dataset_spec("sabs"), load_dataset_spec("chaost2")
    numbers = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)
    assert chaos.scans == tuple(str(number) for number in numbers)
    assert sabs.scans == tuple(str(number) for number in range(30))
    assert chaos.fold_borders == (0, 4, 8, 12, 16, 20) and sabs.fold_borders == (0, 6, 12, 18, 24, 30)
    assert (chaos.modality, chaos.patient_threshold) == ("mr", 50 + 1e-4)
    assert (sabs.modality, sabs.patient_threshold) == ("ct", 1e-4)


def test_facts_survive_json() -> None:
    for name in known_datasets():
        spec = load_dataset_spec(name)
        assert spec_from_table(spec.to_json(), "here") == spec


def test_cardiac_sets_store_the_same_classes_in_another_order() -> None:
    cmr, acdc = load_dataset_spec("cmr"), load_dataset_spec("acdc")
    assert cmr.classes == {"lv-myo": 1, "lv-bp": 2, "rv": 3}
    assert acdc.classes == {"rv": 1, "lv-myo": 2, "lv-bp": 3}
    for spec in (cmr, acdc):
        assert spec.tested == ("lv-myo", "lv-bp", "rv") and spec.modality == "mr"
        assert spec.scans == tuple(str(number) for number in range(1, 36))
        assert spec.fold_borders == (0, 7, 14, 21, 28, 35) and spec.crop_or_pad and spec.image_size == 256
        assert spec.region == "heart"


def test_optional_facts_are_silent_where_they_are_usual() -> None:
    spec = load_dataset_spec("chaost2")
    assert (spec.groups, spec.spacing_known, spec.crop_or_pad) == ({}, True, False)
    assert spec.region == "abdomen"
    assert set(spec.to_json()) == set(TYPES)
    told = replace(spec, groups={"all": ("liver", "spleen")}, spacing_known=False, crop_or_pad=True)
    told = replace(told, region="heart", patients={"p": ("1", "2")})
    told = replace(told, orientation="axial", slice_axis="y", resample_mm=(0.0, 2.0, 2.0), in_plane_mm=3.0)
    told = replace(told, modality="picture", channels=("red", "green", "blue"))
    assert set(told.to_json()) == {*TYPES, *OPTIONAL}
    assert spec_from_table(told.to_json(), "here") == told


def test_unknown_dataset_names_near_ones() -> None:
    with pytest.raises(
        UserError, match=r"unknown dataset 'chaos2': did you mean 'chaost2' .*known: .*chaost2, .*sabs"
    ):
        load_dataset_spec("chaos2")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('modality = "mr"', 'modality = "us"', "modality is 'us', expected one of mr, ct"),
        ("image_size = 256", 'image_size = "256"', "image_size is '256', expected a int"),
        ("image_size = 256", "image_size = 250", "image_size is 250, expected a multiple of 8"),
        ("image_size = 256", "imagesize = 256", "unknown key 'imagesize': did you mean 'image_size'"),
        ("superpixel_min_size = 400", "", "superpixel_min_size is missing"),
        ("[0, 4, 8, 12, 16, 20]", "[0, 8, 4, 12, 16, 20]", "expected 0 first, then ascending"),
        ("[0, 4, 8, 12, 16, 20]", "[0, 4, 8]", "ends at 8, but 20 scans are listed"),
        ('tested = ["liver"', 'tested = ["lever"', "unknown class 'lever': did you mean 'liver'"),
        ("spleen = 4", "spleen = 1", "expected distinct ones from 1 to 255"),
        ("spleen = 4", "spleen = 4\n[groups]\nall = ['livr']", "tested class 'livr': did you mean 'liver'"),
        ("spleen = 4", "spleen = 4\n[groups]\nall = 'liver'", "group all is 'liver', expected a list"),
        ("spleen = 4", "spleen = 4\n[patients]\np = []", "patient p is [], expected a list of at least"),
        ("spleen = 4", "spleen = 4\n[patients]\np = ['1', '7']", "patient p: unknown scan '7'"),
        (
            "spleen = 4", "spleen = 4\n[patients]\np = ['1']\nq = ['1']",
            "scan 1 is of patient p and q, expected one",
        ),
        ("spleen = 4", "spleen = 4\n[groups]\nall = []", "group all is [], expected a list of at least one"),
        ("image_size = 256", "image_size = 256\ncrop_or_pad = 1", "crop_or_pad is 1, expected a bool"),
        ("image_size = 256", 'image_size = 256\nregion = "knee"', "expected one of abdomen, heart"),
    ],
)  # fmt: skip
def test_bad_file_is_refused_by_name(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    text = (HOME / "chaost2.toml").read_text()
    assert old in text
    bad = tmp_path / "bad.toml"
    bad.write_text(text.replace(old, new))
    with pytest.raises(UserError) as error:
        read_dataset_spec(bad)
    assert complaint in str(error.value) and str(bad) in str(error.value)
