"""`fewshot verify` on the reference vectors that travel with the repository: all families, all ok."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewshot.commands.main import main
from protocols.conformance.data import published_dice


@pytest.mark.slow
def test_dice_of_the_released_program_is_met_scan_by_scan(golden: Path) -> None:
    quantities = list(published_dice.check(golden / "chaos_like"))
    assert len(quantities) == 6
    assert {quantity.name.rsplit("/", 1)[1] for quantity in quantities} == {"dice", "precision", "recall"}
    assert all(quantity.ok and quantity.tolerance == 1e-4 for quantity in quantities), quantities


@pytest.mark.slow
def test_every_vector_of_every_family_is_met(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(golden), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    families = {quantity["name"].split("/")[0] for quantity in report["quantities"]}
    wanted = {"ssl_alpnet", "chaos_like", "sabs_like", "gaps_like", "preprocess_mr", "preprocess_ct"}
    assert families >= wanted
    assert report["ok"] and not report["no_vector_found"] and not report["not_covered"]
    assert all(quantity["ok"] for quantity in report["quantities"]) and len(report["quantities"]) > 100


def test_a_folder_without_vectors_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out
