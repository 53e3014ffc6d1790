"""Plans of the published-layout volumes equal the released programs', and a changed answer is noticed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from episodes.store.dataset import load_dataset_spec
from protocols.conformance.data.published_plan import DATASETS, count_differences, published_index
from protocols.rules.spec import load_protocol

FAMILIES = ("chaos_like", "gaps_like", "sabs_like")
KINDS = {
    "query_slices",
    "support_scan",
    "support_slices",
    "train_scans",
    "train_slices_setting1",
    "train_slices_setting2",
    "val_scans",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_fold_and_set_equals_the_released_plan(golden: Path, family: str) -> None:
    published = json.loads((golden / family / "protocol.json").read_text())
    spec = load_dataset_spec(DATASETS[published["dataset"]])
    index = published_index(golden / family, spec)
    protocol = load_protocol("alpnet-ep1")
    seen = 0
    for fold in published["folds"]:
        for recorded in fold["label_sets"].values():
            assert dict(count_differences(fold, recorded, index, spec, protocol)) == dict.fromkeys(KINDS, 0)
            seen += 1
    assert seen == 10


def test_every_kind_of_wrong_answer_is_counted(golden: Path) -> None:
    published = json.loads((golden / "gaps_like" / "protocol.json").read_text())
    spec = load_dataset_spec("chaost2")
    index = published_index(golden / "gaps_like", spec)
    protocol = load_protocol("alpnet-ep1")
    fold = published["folds"][0]
    recorded = fold["label_sets"]["0"]
    fold["val_scans"][0] = "39"
    fold["support_scan"] = []
    fold["train_scans"].pop()
    recorded["n_train_slices_setting1"] += 2
    recorded["train_slices_setting2"].append(["1", 0])
    recorded["classes"]["2"]["support_slices"][1] += 1
    scan, z, part, scored = recorded["classes"]["3"]["queries"][0]
    recorded["classes"]["3"]["queries"][0] = [scan, z, part, not scored]
    found = count_differences(fold, recorded, index, spec, protocol)
    # a changed query is one entry too many and one too few
    assert found == {**dict.fromkeys(KINDS, 1), "train_slices_setting1": 2, "query_slices": 2}


def test_another_rule_gives_another_plan(golden: Path) -> None:
    published = json.loads((golden / "chaos_like" / "protocol.json").read_text())
    spec = load_dataset_spec("chaost2")
    index = published_index(golden / "chaos_like", spec)
    protocol = load_protocol("alpnet-ep1")
    other = replace(protocol, evaluation=replace(protocol.evaluation, exclusion="intersection"))
    fold = published["folds"][0]
    found = count_differences(fold, fold["label_sets"]["1"], index, spec, other)
    assert found["train_slices_setting2"] > 0 and found["query_slices"] == 0
