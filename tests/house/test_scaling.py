"""The reckoning and the simulation behind docs/scaling.md."""

from __future__ import annotations

import importlib.util
import json
import sys
from types import ModuleType

import pytest
from places import ROOT


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    """The module bench/campaign/scaling.py."""
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "bench" / "campaign" / "scaling.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module
    spec.loader.exec_module(module)
    return module


def test_nodes_share_independent_work_and_wait_for_stages(scaling: ModuleType) -> None:
    works = [scaling.Work(10, 0, None, 0), *(scaling.Work(5, 0, 0, 1) for _ in range(4))]
    assert scaling.critical_path(works) == 15
    assert [scaling.simulate(works, nodes, None) for nodes in (1, 2, 4, 9)] == pytest.approx([30, 20, 15, 15])
    free = [scaling.Work(10, 0, None, 0), scaling.Work(10, 0, None, 1), scaling.Work(5, 0, 0, 1)]
    assert scaling.simulate(free, 2, None) == pytest.approx(15)
    assert scaling.simulate(free, 2, None, by_level=True) == pytest.approx(20)


def test_the_file_system_bounds_the_wall_time(scaling: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "READ", 0.0)
    works = [scaling.Work(1, 100.0, None, 1) for _ in range(8)]
    alone = scaling.simulate(works, 8, None)
    bounded = scaling.simulate(works, 8, 10.0)
    assert alone == pytest.approx(1) and bounded >= 8 * 100 / 10


def test_both_settings_of_densemp_share_a_backbone(scaling: ModuleType) -> None:
    works = scaling.campaign(1.0, ["densemp"])
    stages = [work for work in works if not work.cells]
    folds = 3 * sum(facts[0] for facts in scaling.DATASETS.values())
    with_groups = 3 * sum(facts[0] for facts in scaling.DATASETS.values() if facts[1] > 1)
    assert len([work for work in stages if work.after is None]) == folds
    assert len([work for work in stages if work.after is not None]) == with_groups
    cells = sum(facts[0] * facts[1] * 2 for facts in scaling.DATASETS.values()) * 3
    assert sum(work.cells for work in works) == cells


def test_the_page_is_that_of_its_numbers(scaling: ModuleType) -> None:
    found = json.loads((ROOT / "bench" / "campaign" / "scaling.json").read_text())
    assert scaling.page(found) == (ROOT / "docs" / "scaling.md").read_text()
    assert found["gflop"]["resnet101"] * 1e9 / scaling.RATE == pytest.approx(
        scaling.SECONDS_OF_U["cuda"], rel=0.02
    )
