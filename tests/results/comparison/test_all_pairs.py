"""All pairs of methods on fold means: agreement with scipy by hand, cliques, one seed, one group, ties."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from making import changed, record, score
from scipy import stats

from results.comparison.all_pairs import ALPHA, compare_all, fold_means, p_of_rows, trained_once
from results.inference.paired import compare_values
from results.inference.row_values import row_values
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.summary.seed_average import average_seeds

# three methods, four folds; A beats B by 10 points with little spread, B and C differ by noise
TABLE = pd.DataFrame(
    {0: [0.62, 0.50, 0.51], 1: [0.70, 0.61, 0.58], 2: [0.55, 0.46, 0.47], 3: [0.66, 0.55, 0.57]},
    index=["A", "B", "C"],
)


def test_each_pair_is_scipys_paired_t_test_with_holms_correction() -> None:
    made = compare_all(TABLE)
    assert made.folds == 4 and len(made.pairs) == 3
    raw = {}
    for pair in made.pairs:
        a, b = TABLE.loc[pair.a], TABLE.loc[pair.b]
        raw[pair.a + pair.b] = stats.ttest_rel(a, b).pvalue
        assert pair.p == pytest.approx(raw[pair.a + pair.b], rel=1e-12)
        assert pair.difference == pytest.approx((a - b).mean(), abs=1e-12)
    smallest, middle, largest = sorted(raw.values())
    holms = {pair.p: pair.corrected for pair in made.pairs}
    assert holms[smallest] == pytest.approx(3 * smallest)
    assert holms[middle] == pytest.approx(max(3 * smallest, 2 * middle))
    assert holms[largest] == pytest.approx(largest)


def test_mean_ranks_by_hand_and_the_bar_joins_what_the_test_cannot_separate() -> None:
    made = compare_all(TABLE)
    # A is first in every fold; B is third, second, third, third; C second, third, second, second
    assert made.names == ("A", "C", "B") and made.ranks == pytest.approx((1.0, 2.25, 2.75))
    assert made.is_significant("A", "B") and made.is_significant("C", "A")
    assert not made.is_significant("B", "C") and made.cliques == (("C", "B"),)


def test_overlapping_bars_are_the_longest_runs() -> None:
    """Neighbours cannot be separated, the ends can: two bars that share the middle."""
    noise = np.array([0.02, -0.02, 0.018, -0.018, 0.0])
    base = np.array([0.5, 0.6, 0.4, 0.55, 0.45])
    rows = {"first": base + 0.025, "middle": base + 0.01 + noise, "last": base}
    rows["first"] = rows["first"] + np.array([0.001, -0.001, 0, 0.001, -0.001])
    made = compare_all(pd.DataFrame.from_dict(rows, orient="index"))
    assert made.is_significant("first", "last")
    assert not made.is_significant("first", "middle") and not made.is_significant("middle", "last")
    assert sorted(made.cliques) == [("first", "middle"), ("middle", "last")]


def test_one_seed_one_fold_and_equal_differences_are_no_test() -> None:
    lone = compare_all(TABLE, ["A"])
    assert lone.pair("A", "B").reason == "1 seed" and lone.pair("A", "B").corrected is None
    assert lone.pair("A", "B").difference == pytest.approx(0.1025)
    assert lone.tested == ("C", "B") and lone.cliques == (("C", "B"),)
    assert lone.pair("B", "C").corrected == lone.pair("B", "C").p  # the only test is corrected by nothing
    assert {pair.reason for pair in compare_all(TABLE[[0]]).pairs} == {"1 fold"}
    shifted = pd.DataFrame({0: [0.3, 0.2], 1: [0.6, 0.5]}, index=["A", "B"])
    assert compare_all(shifted).pair("A", "B").reason == "equal in all folds"
    assert compare_all(shifted).cliques == (("A", "B"),)


def test_one_row_has_no_pair() -> None:
    alone = compare_all(TABLE.iloc[:1])
    assert alone.names == ("A",) and alone.ranks == (1.0,) and alone.pairs == alone.cliques == ()


def test_an_incomplete_frame_is_refused() -> None:
    for bad in (TABLE.where(TABLE > 0.5), TABLE.iloc[:0], pd.concat([TABLE, TABLE])):
        with pytest.raises(ValueError, match="expected one complete row per name"):
            compare_all(bad)


def test_false_alarms_stay_below_the_level_over_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six equal methods whose folds share an effect: an alarm anywhere in at most 5 % of draws, Holm."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # statsmodels collects garbage in every correction
    draw = np.random.Generator(np.random.PCG64(16))
    alarms = 0
    for _ in range(400):
        values = 0.5 + draw.normal(0, 0.1, (1, 5)) + draw.normal(0, 0.03, (6, 5))
        made = compare_all(pd.DataFrame(values, index=list("abcdef")))
        alarms += any((pair.corrected or 1) < ALPHA for pair in made.pairs)
    assert alarms / 400 <= 0.07  # 5 % and two deviations of 400 draws


def rows_of(records: list[Record]) -> list:
    return average_seeds(configuration_results(records))[0]


def method(name: str, percents: dict[tuple[int, str], int], seed: int = 0, encoder: str | None = "resnet18"):
    classes = {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}
    return [
        record(
            fold, group, [score(organ, str(fold), percent + 2 * n) for n, organ in enumerate(classes[group])],
            method={"name": name}, model={"seed": seed, "encoder": encoder},
        )
        for (fold, group), percent in percents.items()
    ]  # fmt: skip


def test_fold_means_of_complete_rows_and_of_the_only_group() -> None:
    every = {(0, "lower"): 30, (0, "upper"): 60, (1, "lower"): 20, (1, "upper"): 40}
    part = {cell: percent for cell, percent in every.items() if cell[1] == "upper"}
    rows = rows_of([*method("whole", every), *method("part", part)])
    names = [row.method for row in rows]
    frame, group = fold_means(rows, names, "dice")
    assert group == "" and list(frame.index) == ["whole"]
    assert frame.loc["whole"].tolist() == pytest.approx([(0.3 + 0.6 + 0.62) / 3, (0.2 + 0.4 + 0.42) / 3])
    rows = rows_of([*method("one", part), *method("two", part)])
    frame, group = fold_means(rows, [row.method for row in rows], "dice")
    assert group == "upper" and sorted(frame.index) == ["one", "two"]
    assert frame.loc["one"].tolist() == pytest.approx([0.61, 0.41])


def test_p_values_of_rows_are_those_of_the_inference_package() -> None:
    """Seeds that differ alike in every fold add variance, which the t-test on fold means does not see."""
    cells = [(fold, group) for fold in (0, 1) for group in ("lower", "upper")]
    records = [
        one
        for name, start, gains in (("a", 60, (0, 3)), ("b", 40, (0, 14)))
        for seed, gain in enumerate(gains)
        for one in method(
            name, {cell: start + gain + 9 * cell[0] * (name == "a") for cell in cells}, seed
        )
    ]  # fmt: skip
    rows = rows_of(records)
    names = [row.method for row in rows]
    frame, group = fold_means(rows, names, "dice")
    (pair,) = compare_all(frame, (), p_of_rows(rows, names, "dice", group)).pairs
    values = [row_values(row) for row in rows]
    sample = compare_values(*(values if names[0] == pair.a else values[::-1])).overall
    assert pair.p == pytest.approx(sample.p) and pair.difference == pytest.approx(sample.estimate)
    (plain,) = compare_all(frame).pairs
    assert plain.p != pytest.approx(pair.p, rel=1e-3)


def test_two_seeds_are_no_single_seed_and_a_yardstick_needs_none() -> None:
    every = {(0, "lower"): 30, (0, "upper"): 60, (1, "lower"): 20, (1, "upper"): 40}
    (one,) = rows_of(method("a", every))
    (two,) = rows_of([*method("a", every), *method("a", every, seed=1)])
    yardstick = {"encoder": None, "initial_weights": None, "steps": None, "key": None, "checkpoint": "none"}
    (plain,) = rows_of([changed(cell, model=yardstick) for cell in method("a", every)])
    assert trained_once(one) and not trained_once(two) and not trained_once(plain)
