"""How often the printed interval holds its target and how often A/A differs: simulated, CHAOS, phantoms."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from places import ROOT

from results.inference.interval import t_interval
from results.inference.paired import compare_values
from results.inference.row_values import RowValues, row_values, sample_of, sample_of_difference
from results.records.files import read_record
from results.summary.configuration_result import configuration_results
from results.summary.seed_average import seed_rows

BENCH = ROOT / "bench" / "inference" / "interval_coverage.py"


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
def test_two_seeds_cover_less_than_they_say() -> None:
    """The document says so: two seeds that move a pair of rows in all folds alike show too little."""
    (world,) = bench.WEAK.values()
    covered, _width = bench.coverage(world.draw, bench.printed, 0.0, 2000)
    assert 0.85 <= covered < 0.93


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


def _phantom_row(work: Path, seeds: int) -> RowValues:
    """Return `panet` with random weights on small phantoms, all folds, one evaluation per seed."""
    import torch

    from fewshot.commands.phantoms import ensure_phantoms
    from protocols.request import Request
    from protocols.rules.spec import load_protocol
    from protocols.runs.runner import run
    from protocols.training.method_config import build_method_config

    store, _made = ensure_phantoms(work, "phantom-mri", size=48, slices=8)
    protocol = load_protocol("alpnet-ep1")
    groups = tuple(protocol.groups_for(store.spec))
    request = Request(store, protocol, 1, tuple(range(5)), groups, work, torch.device("cpu"), 16)
    paths = []
    for seed in range(seeds):
        random = build_method_config("panet", {}, encoder="resnet18", weights="random", steps=0, seed=seed)
        paths += run(request, random)
    (row,) = seed_rows(configuration_results([read_record(path) for path in paths]))[0]
    return row_values(row)


def _only_seeds(row: RowValues, places: NDArray[np.intp]) -> RowValues:
    return replace(row, seeds=tuple(range(len(places))), by_seed=row.by_seed[places])


@pytest.mark.slow
def test_a_a_of_seeds_of_one_method_on_phantoms(tmp_path: Path) -> None:
    """Four seeds against four others of one method; with one seed each nothing is called significant."""
    row = _phantom_row(tmp_path, 12)
    generator = np.random.default_rng(0)
    alarms, alone = 0, 0
    for _split in range(1000):
        order = generator.permutation(12)
        pair = sample_of_difference(_only_seeds(row, order[:4]), _only_seeds(row, order[4:8]))
        interval = t_interval(pair)
        assert interval is not None and interval.covers_seeds
        alarms += interval.low > 0 or interval.high < 0
        interval = t_interval(sample_of_difference(*(_only_seeds(row, order[n : n + 1]) for n in (0, 1))))
        assert interval is not None and not interval.covers_seeds
        alone += interval.low > 0 or interval.high < 0
    assert 0.03 <= alarms / 1000 <= 0.07
    assert alone / 1000 > 0.15, "one seed would be significant too often, which is why it claims nothing"
    assert (
        compare_values(*(_only_seeds(row, order[n : n + 1]) for n in (0, 1))).overall.is_significant is None
    )


def test_the_table_of_the_document_is_that_of_the_file() -> None:
    """docs/statistics.md prints bench/inference/interval_coverage.json."""
    rows = json.loads((ROOT / "bench" / "inference" / "interval_coverage.json").read_text(encoding="utf-8"))[
        "rows"
    ]
    simulated = bench.WORLDS | bench.WEAK
    order = [*simulated, *(name for name in rows if name not in simulated)]
    table = bench.table({name: rows[name] for name in order})
    text = (ROOT / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert set(simulated) <= set(rows) and all(line in text for line in table.splitlines())


def test_a_world_has_the_deviations_it_says() -> None:
    """The mean of many folds, seeds and scans is 0, and its fold means spread as the effects say."""
    world = bench.World(folds=200, seeds=3, scans=4, seed=0.0)
    sample = sample_of(world.draw(np.random.default_rng(0)))
    wanted = (4**2 + 2**2 / 3 + (8**2 + 2**2 / 3) / 4) ** 0.5 / 100
    assert sample.fold_means.std(ddof=1) == pytest.approx(wanted, rel=0.1)
    assert t_interval(sample) is not None
