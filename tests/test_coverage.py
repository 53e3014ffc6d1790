"""How often the printed interval holds its target and how often A/A differs: simulated, CHAOS, phantoms."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from results.inference.interval import t_interval
from results.inference.row_values import sample_of

BENCH = Path(__file__).resolve().parent.parent / "bench" / "interval_coverage.py"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_coverage", BENCH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = _load()


def test_a_small_simulation_covers_its_mean() -> None:
    """500 draws have a standard error of 1 point: 3 of them beside 95 %."""
    covered, width = bench.coverage(bench.World().draw, bench.printed, 0.0, 500)
    assert 0.92 <= covered <= 0.98 and width > 5
    assert bench.coverage(bench.World().draw, bench.of_scans, 0.0, 100)[0] < 0.85


def test_a_small_simulation_of_a_a_is_rarely_significant() -> None:
    assert 0.02 <= bench.false_alarms(bench.World().draw, 500) <= 0.08


def test_chaos_has_the_target_of_its_experiment() -> None:
    assert 100 * bench.chaos_target() == pytest.approx(45.4, abs=0.05)
    covered, width = bench.coverage(bench.draw_chaos, bench.printed, bench.chaos_target(), 400)
    assert 0.92 <= covered <= 0.98 and width == pytest.approx(18.7, abs=0.8)


@pytest.mark.slow
@pytest.mark.parametrize("name", bench.WORLDS)
def test_the_interval_covers_in_every_simulated_world(name: str) -> None:
    covered, _width = bench.coverage(bench.WORLDS[name].draw, bench.printed, 0.0, 4000, seed=1)
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("name", bench.WORLDS)
def test_a_a_is_significant_in_5_percent_of_a_simulated_world(name: str) -> None:
    assert 0.03 <= bench.false_alarms(bench.WORLDS[name].draw, 4000, seed=2) <= 0.07


@pytest.mark.slow
def test_the_interval_covers_under_open_ep() -> None:
    covered, _width = bench.coverage(bench.draw_open, bench.printed, 0.0, 2000)
    assert 0.93 <= covered <= 0.97


@pytest.mark.slow
def test_the_interval_covers_on_chaos_and_those_over_scans_do_not() -> None:
    target = bench.chaos_target()
    covered, width = bench.coverage(bench.draw_chaos, bench.printed, target, 4000)
    assert 0.93 <= covered <= 0.97 and width == pytest.approx(18.7, abs=0.6)
    over_scans, narrow = bench.coverage(bench.draw_chaos, bench.of_scans, target, 500)
    assert over_scans < 0.8 and narrow < 8
    assert 0.02 <= bench.false_alarms(bench.draw_chaos, 4000) <= 0.07


def test_the_table_of_the_document_is_that_of_the_file() -> None:
    """docs/statistics.md prints bench/interval_coverage.json."""
    import json

    root = BENCH.parent.parent
    rows = json.loads((root / "bench" / "interval_coverage.json").read_text(encoding="utf-8"))["rows"]
    order = [*bench.WORLDS, *(name for name in rows if name not in bench.WORLDS)]
    table = bench.table({name: rows[name] for name in order})
    text = (root / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert set(bench.WORLDS) <= set(rows) and all(line in text for line in table.splitlines())


def test_a_world_has_the_deviations_it_says() -> None:
    """The mean of many folds, seeds and scans is 0, and its fold means spread as the effects say."""
    world = bench.World(folds=200, seeds=3, scans=4, seed=0.0)
    sample = sample_of(world.draw(np.random.default_rng(0)))
    wanted = (4**2 + 2**2 / 3 + (8**2 + 2**2 / 3) / 4) ** 0.5 / 100
    assert sample.fold_means.std(ddof=1) == pytest.approx(wanted, rel=0.1)
    assert t_interval(sample) is not None
