"""Real volumes in other layouts and formats give the same voxels, class-slice index and Dice as before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from real_layouts import LAYOUTS, mended_facts, write_real

from episodes.prepare.build import build_store
from episodes.prepare.own_data.folder import own_scans, read_own_facts
from episodes.prepare.paired_nifti import raw_scans
from episodes.store.dataset import DatasetSpec, load_dataset_spec
from episodes.store.store import Store
from fewshot.commands.main import main
from results.records.files import read_record

pytestmark = pytest.mark.slow
SETS = {"acdc": ("acdc_ed", ["1", "2", "10"]), "chaost2": ("chaos_t2", ["1", "2", "3"])}
# every layout was seen to hold for both sets; one of each is kept here
DICE = [("acdc", "organs"), ("chaost2", "nrrd")]


def few(name: str, scans: list[str]) -> DatasetSpec:
    spec = load_dataset_spec(name)
    return replace(spec, name=f"few-{name}", scans=tuple(scans), fold_borders=(0, 2, len(scans)))


def counts(work: Path, dataset: str) -> set[tuple[object, ...]]:
    """Return fold, group, class, place of the scan and the counts of every score of a dataset."""
    store = Store.open(work / "stores" / dataset)
    places = {scan: place for place, scan in enumerate(store.index.scans)}
    records = [read_record(path) for path in (work / "records").glob("*.json")]
    return {
        (record.fold, record.group, score.class_name, places[score.scan], score.tp, score.fp, score.fn)
        for record in records
        if record.dataset.name == dataset and record.group != "all"
        for score in record.scores
    }


@pytest.mark.parametrize("name", SETS)
def test_voxels_of_every_layout_are_those_of_the_published_files(
    tmp_path: Path, shared: Path, name: str
) -> None:
    source, scans = shared / "data" / SETS[name][0], SETS[name][1]
    spec = load_dataset_spec(name)
    for layout in LAYOUTS:
        write_real(tmp_path / layout, layout, source, scans, spec.classes)
        facts = tmp_path / f"{layout}.toml"
        facts.write_text(mended_facts(tmp_path / layout, layout, spec, (0, 1, 3)))
        own, raw = own_scans(tmp_path / layout, read_own_facts(facts, layout))
        assert set(own.classes) == set(spec.classes) and len(raw) == len(scans)
        for scan, found in zip(scans, raw.values(), strict=True):
            small = replace(spec, scans=(scan,), fold_borders=(0, 1))
            alone = tmp_path / "published" / name / scan
            alone.mkdir(parents=True, exist_ok=True)
            for kind in ("image", "label"):
                link = alone / f"{kind}_{scan}.nii.gz"
                if not link.exists():
                    link.symlink_to(source / link.name)
            before, after = raw_scans(alone, small)[scan].read(), found.read()
            assert np.array_equal(before.image.array, after.image.array)
            for each, value in spec.classes.items():
                assert np.array_equal(before.label.array == value, after.label.array == own.classes[each])
            assert np.allclose(before.image.spacing_mm, after.image.spacing_mm, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "layout"), DICE)
def test_index_and_dice_of_a_layout_are_those_of_the_published_files(
    tmp_path: Path, shared: Path, name: str, layout: str
) -> None:
    source = shared / "data" / SETS[name][0]
    spec, work = few(name, [*SETS[name][1], "5"]), tmp_path / "work"
    alone = tmp_path / "published"
    alone.mkdir()
    for scan in spec.scans:
        for kind in ("image", "label"):
            (alone / f"{kind}_{scan}.nii.gz").symlink_to(source / f"{kind}_{scan}.nii.gz")
    spec = replace(spec, spacing_known=False)
    before = build_store(raw_scans(alone, spec), spec, work / "stores" / spec.name)
    write_real(tmp_path / layout, layout, source, list(spec.scans), spec.classes)
    facts = tmp_path / f"{layout}.toml"
    facts.write_text(mended_facts(tmp_path / layout, layout, spec, spec.fold_borders))
    command = ["prepare", layout, str(tmp_path / layout), "--spec", str(facts), "--work", str(work)]
    assert main(command) == 0
    after = Store.open(work / "stores" / layout)
    for name in spec.classes:
        slices = [
            [index.slices_of(name, scan) for scan in index.scans] for index in (before.index, after.index)
        ]
        assert slices[0] == slices[1]
    assert list(before.index.superpixel_slices.values()) == list(after.index.superpixel_slices.values())
    found = []
    for dataset in (spec.name, layout):
        assert main(["run", "--dataset", dataset, "--method", "copy-support", "--work", str(work)]) == 0
        found.append(counts(work, dataset))
    assert found[0] and found[0] == found[1]
