"""The prepared CHAOS volumes: known counts of slices, and a whole yardstick table, from the command line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from episodes.plan.rules import EXCLUSIONS
from episodes.store.store import Store
from fewshot.commands.main import main
from results.records.files import read_record

pytestmark = [pytest.mark.volumes, pytest.mark.slow]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("real") / "work"


def test_chaos_is_prepared_in_two_minutes_with_the_known_counts(work: Path, shared: Path) -> None:
    started = time.monotonic()
    assert main(["prepare", "--work", str(work), "chaost2", str(shared / "data" / "chaos_t2")]) == 0
    assert time.monotonic() - started < 120
    index = Store.open(work / "stores" / "chaost2").index
    assert sum(index.depths.values()) == 718
    organs = {name: [index.slices_of(name, scan) for scan in index.scans] for name in index.class_slices}
    assert sum(len(slices) for per_scan in organs.values() for slices in per_scan) == 1320

    def dropped(rule: str, *names: str) -> int:
        return sum(
            len(EXCLUSIONS[rule](list(scan))) for scan in zip(*(organs[name] for name in names), strict=True)
        )

    assert dropped("union", "liver", "spleen") == 463
    assert dropped("union", "right-kidney", "left-kidney") == 324
    assert dropped("union", "liver", "spleen", "right-kidney", "left-kidney") == 558


def test_a_yardstick_completes_its_table_on_chaos(
    work: Path, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (work / "stores").is_dir():
        pytest.fail("the store of the test before is missing")
    for setting in ("1", "2"):
        command = ["run", "--work", str(work), "--dataset", "chaost2", "--method", "copy-support"]
        assert main([*command, "--setting", setting]) == 0
        assert "incomplete" not in capsys.readouterr().out.lower()
    records = [read_record(path) for path in (work / "records").glob("*.json")]
    assert len(records) == 20
    assert all(score.dice is not None for record in records for score in record.scores)
