"""`fewshot verify` on the reference vectors that travel with the repository: all families, all ok."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fewshot.commands.main import main

# folder of vectors -> the smallest number of quantities that a whole replay compares
QUANTITIES = {
    "ssl_alpnet": 76, "dspnet": 80, "adnet": 100, "qnet": 100, "rpt": 150, "rpt_2023": 150, "gmrd": 150,
    "universeg": 5, "densecl": 20, "supervoxels": 5, "chaos_like": 6, "sabs_like": 1, "gaps_like": 1,
    "preprocess_mr": 1, "preprocess_ct": 1,
}  # fmt: skip


SYSTEMS = {"hourglass", "immseg"}  # replayed by the tests of their methods


def test_every_folder_of_vectors_is_replayed(golden: Path) -> None:
    folders = {path.name for path in golden.iterdir() if path.is_dir()}
    assert QUANTITIES.keys() == folders - SYSTEMS and folders >= SYSTEMS


@pytest.mark.slow
@pytest.mark.parametrize("family", QUANTITIES)
def test_every_vector_of_a_family_is_met(
    golden: Path, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(golden / family), "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and not report["no_vector_found"] and not report["not_covered"]
    assert [quantity["name"] for quantity in report["quantities"] if not quantity["ok"]] == []
    assert len(report["quantities"]) >= QUANTITIES[family]
    if family == "chaos_like":  # scan by scan, the Dice of the released program
        names = ("/dice", "/precision", "/recall")
        published = [one for one in report["quantities"] if one["name"].endswith(names)]
        assert len(published) == 6 and all(one["tolerance"] == 1e-4 for one in published)
        assert {f"/{one['name'].rsplit('/', 1)[1]}" for one in published} == set(names)


def test_a_folder_without_vectors_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out
