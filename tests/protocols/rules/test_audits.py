"""Audits: each is made to fail once, by hand, and what passed is written into the record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from making import changed, record, score
from seal_again import edit_index, rename_in_index

from episodes.plan.plan import CellPlan, make_plan
from episodes.store.slices import Normalisation, normalisation
from episodes.store.store import Store
from fewshot.base.types import SliceRef
from fewshot.commands.main import main
from protocols.cells.spot_check import CHECK
from protocols.rules import audits
from protocols.rules.audits import AuditError, audit_evaluation, audit_training
from protocols.rules.spec import load_protocol
from results.records.files import read_record
from results.summary.configuration_result import configuration_results

ALPNET = load_protocol("alpnet-ep1")


def plan_of(store: Store, setting: int = 1, name: str = "alpnet-ep1", *classes: str) -> CellPlan:
    rules = load_protocol(name).evaluation
    chosen = classes or ("liver", "spleen")
    return make_plan(store.index, store.spec, store.hash, rules, setting, 0, "upper", chosen)


def test_a_sound_question_passes_all(store: Store) -> None:
    found = audit_evaluation(plan_of(store).evaluation, store, ALPNET)
    assert found == (audits.FOLDS, audits.SUPPORT, audits.PATIENTS, audits.IMAGES)
    plan = plan_of(store, 2)
    ct = normalisation(store, "training-scans", plan.training.scans)
    found = audit_training(plan, store, plan.training.scans, ct)
    assert found == (audits.SCANS, audits.SLICES, audits.INTENSITIES)
    mr = normalisation(store, "per-scan", plan.training.scans)
    assert audit_training(plan_of(store), store, plan.training.scans, mr) == (audits.SCANS,)


def test_overlapping_folds(store: Store) -> None:
    rules = replace(ALPNET.evaluation, fold_borders=(("tiny", (0, 2, 1, 10)),))
    with pytest.raises(AuditError, match="folds disjoint: scan 1 is in folds 0 and 2"):
        audit_evaluation(plan_of(store).evaluation, store, replace(ALPNET, evaluation=rules))


def test_support_among_the_queries(store: Store) -> None:
    plan = replace(plan_of(store).evaluation, support_scans=("1",))
    with pytest.raises(AuditError, match="support not among queries: 1 support and are queries"):
        audit_evaluation(plan, store, ALPNET)


def test_frames_of_one_patient_in_two_folds(store: Store) -> None:
    other = Store.open(store.path)
    other.spec = replace(other.spec, patients={"p7": ("0", "1"), "p8": ("3", "4")})
    with pytest.raises(AuditError, match="patient p8 is in folds 1, 2"):
        audit_evaluation(plan_of(store).evaluation, other, ALPNET)
    other.spec = replace(other.spec, patients={"p7": ("0", "1"), "p8": ("2", "3")})
    assert audits.PATIENTS in audit_evaluation(plan_of(store).evaluation, other, ALPNET)
    assert other.hash == store.hash


def test_one_image_under_two_ids(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Store, "image_hashes", lambda _self: {"0": "a", "1": "b", "7": "a"})
    with pytest.raises(AuditError, match="scans 0 and 7 hold the same image"):
        audit_evaluation(plan_of(store).evaluation, store, ALPNET)


def test_a_training_scan_that_is_asked(store: Store) -> None:
    plan = plan_of(store)
    mr = normalisation(store, "per-scan", plan.training.scans)
    with pytest.raises(AuditError, match="no training scan in the fold: 1 are training scans and queries"):
        audit_training(plan, store, ("1", *plan.training.scans), mr)


def test_a_training_slice_that_shows_a_tested_class(store: Store) -> None:
    plan = plan_of(store, 2)
    mr = normalisation(store, "per-scan", plan.training.scans)
    wrong = replace(plan, training=replace(plan.training, slices=(*plan.training.slices, SliceRef("5", 2))))
    with pytest.raises(AuditError, match="slice 2 of training scan 5 shows liver"):
        audit_training(wrong, store, plan.training.scans, mr)
    # the released rule of the Q-Net family lets them be seen: flagged as a protocol, not audited
    crossed = plan_of(store, 2, "qnet-ep1-intersection", "liver", "right-kidney")
    assert audits.SLICES not in audit_training(crossed, store, crossed.training.scans, mr)


def test_intensities_of_other_scans(store: Store) -> None:
    plan = plan_of(store)
    of_all = normalisation(store, "training-scans", store.index.scans)
    with pytest.raises(AuditError, match="CT intensities from training scans only: scan 0 is normalised by"):
        audit_training(plan, store, plan.training.scans, of_all)
    right = normalisation(store, "training-scans", plan.training.scans)
    mean, std = right.mean_std["0"]
    nudged = Normalisation("training-scans", MappingProxyType({**right.mean_std, "3": (mean, std * 1.0001)}))
    with pytest.raises(AuditError, match="scan 3 is normalised by"):
        audit_training(plan, store, plan.training.scans, nudged)


def test_a_failed_audit_stops_the_run_before_training(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = work / "stores" / "tiny" / "index.json"

    def copy_hash(content: dict[str, Any]) -> None:
        content["scans"][6]["array_sha256"]["images"] = content["scans"][1]["array_sha256"]["images"]

    edit_index(index, copy_hash)
    command = ["run", "--work", str(work), "--dataset", "tiny", "--method", "ssl-alpnet", "--steps", "1"]
    assert main([*command, "--encoder", "resnet18", "--weights", "random"]) == 2
    message = capsys.readouterr().err
    assert "audit failed, no image under two ids: scans 1 and 6" in message and message.count("\n") == 1
    assert sorted(path.name for path in work.iterdir()) == ["stores"]


def test_the_record_names_the_audits_it_passed(work: Path) -> None:
    command = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", "--setting", "2"]
    assert main([*command, "--method", "all-foreground"]) == 0
    paths = list((work / "records").glob("*.json"))
    assert len(paths) == 2
    for found in map(read_record, paths):
        assert found.checks == (audits.FOLDS, audits.SUPPORT, audits.PATIENTS, audits.IMAGES, CHECK)
        assert found.audits == ()


def test_setting_2_of_the_heart_runs_and_is_marked_unpublished(work: Path) -> None:
    index = work / "stores" / "tiny" / "index.json"
    rename_in_index(index, {"right-kidney": "lv-bp", "left-kidney": "rv", "liver": "lv-myo"})
    for setting in ("1", "2"):
        run = ["run", "--work", str(work), "--dataset", "tiny", "--folds", "0", "--setting", setting]
        assert main([*run, "--method", "all-foreground"]) == 0
    found = {r.setting: r for r in map(read_record, (work / "records").glob("*.json"))}
    assert found[1].group == found[2].group == "heart" and found[1].audits == ()
    assert found[2].audits == ("unpublished: no paper reports group heart in setting 2",)
    assert found[2].training.slices_excluded == 7 * 6  # slices 1-6 of seven training scans


def test_checks_part_no_block_and_an_older_record_is_the_same_result() -> None:
    older = record(0, "upper", [score("liver", "3", 50), score("spleen", "3", 50)])
    newer = changed(older, checks=["folds disjoint"])
    (block,) = configuration_results([older, newer])
    assert len(block.cells) == 1
