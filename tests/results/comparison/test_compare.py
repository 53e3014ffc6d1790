"""Differences of numbers split by hand into protocol and method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import record, score
from scipy import stats

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from results.comparison.decomposition import compare, comparison_text, find_row
from results.records.files import write_record
from results.records.record import Record
from results.summary.configuration_result import configuration_results
from results.summary.seed_average import SeedAverage, seed_rows

GROUPS = {"abdomen": ["left-kidney", "liver", "spleen"]}


def cells(method: str, protocol: str, percent: int, **changes: object) -> list[Record]:
    """Return one fold whose every Dice is `percent`; under "qnet-ep1" the classes are one group."""
    about = {"name": protocol, "version": 1, "hash": {"alpnet-ep1": "a", "qnet-ep1": "f"}[protocol] * 64}
    more: dict[str, object] = {"protocol": about, "method": {"name": method}, **changes}
    kidney, liver, spleen = (score(name, "3", percent) for name in ("left-kidney", "liver", "spleen"))
    if protocol == "qnet-ep1":
        return [record(0, "abdomen", [kidney, liver, spleen], 1, grid={"folds": 1, "groups": GROUPS}, **more)]
    return [record(0, "upper", [liver, spleen], 1, **more), record(0, "lower", [kidney], 1, **more)]


A = cells("alpnet", "alpnet-ep1", 50)
B = cells("qnet", "qnet-ep1", 80)
FIRST = cells("alpnet", "qnet-ep1", 60)  # protocol +10, then method +20
SECOND = cells("qnet", "alpnet-ep1", 76)  # method +26, then protocol +4


def split(
    *records: list[Record], a: str = "alpnet@alpnet-ep1", b: str = "qnet@qnet-ep1"
) -> dict[str, object]:
    found = named(*records)
    return compare(find_row(found, a), find_row(found, b), found)


def test_one_way_protocol_first() -> None:
    found = split(A, B, FIRST)
    assert (found["difference"], found["protocol"], found["method"]) == pytest.approx((30, 10, 20))
    assert found["interaction"] is None and found["missing"] == ["qnet under alpnet-ep1"]
    text = comparison_text(found)
    assert "B - A = +30.00" in text and "protocol +10.00" in text and "method   +20.00" in text
    assert "one split only; the other needs records of qnet under alpnet-ep1" in text


def test_one_way_method_first() -> None:
    found = split(A, B, SECOND)
    assert (found["protocol"], found["method"]) == pytest.approx((4, 26))


def test_both_ways_are_averaged_and_their_disagreement_told() -> None:
    found = split(A, B, FIRST, SECOND)
    assert (found["protocol"], found["method"]) == pytest.approx((7, 23))
    # under B's protocol the method is worth 20, under A's 26
    assert found["interaction"] == pytest.approx(-6)
    assert "method effect is -6.00 larger under B's protocol" in comparison_text(found)


def test_without_a_corner_nothing_is_split() -> None:
    found = split(A, B)
    assert found["protocol"] is found["method"] is None
    assert (
        "no split: it needs records of alpnet under qnet-ep1 or of qnet under alpnet-ep1"
        in comparison_text(found)
    )
    hybrid = cells("alpnet", "qnet-ep1", 60, audits=["hybrid: off the main board"])
    assert split(A, B, hybrid)["protocol"] is None


def test_a_corner_may_carry_the_marks_that_a_and_b_show() -> None:
    """A method's recipe mark stands in each of its blocks, so it must not keep them from being corners."""
    recipe = ["not the published recipe: 300 steps (published 100100)"]
    a, corner = (
        cells("alpnet", "alpnet-ep1", 50, audits=recipe),
        cells("alpnet", "qnet-ep1", 60, audits=recipe),
    )
    found = split(a, B, corner)
    assert (found["protocol"], found["method"]) == pytest.approx((10, 20))
    worse = cells("alpnet", "qnet-ep1", 60, audits=[*recipe, "hybrid: off the main board"])
    assert split(a, B, worse)["protocol"] is None


def test_equal_methods_or_protocols_need_no_corner() -> None:
    same = split(A, FIRST, b="alpnet@qnet-ep1")
    assert (same["protocol"], same["method"]) == pytest.approx((10, 0))
    same = split(A, SECOND, b="qnet@alpnet-ep1")
    assert (same["protocol"], same["method"]) == pytest.approx((0, 26))


def named(*records: list[Record]) -> list[SeedAverage]:
    return seed_rows(configuration_results([one for some in records for one in some]))[0]


def test_what_cannot_be_compared_is_refused() -> None:
    other = cells("qnet", "qnet-ep1", 80, setting=1, training={"slices_excluded": 0})
    with pytest.raises(UserError, match=r"A and B differ in setting \(2 and 1\)"):
        split(A, other)
    elsewhere = cells("qnet", "qnet-ep1", 80, dataset={"name": "sabs"})
    with pytest.raises(UserError, match="differ in dataset"):
        split(A, elsewhere)
    with pytest.raises(UserError, match="A, alpnet@alpnet-ep1, has 1 of 2 cells"):
        split(A[:1], B)
    few = {"folds": 1, "groups": {"abdomen": ["liver"]}}
    about = {"name": "qnet-ep1", "version": 1, "hash": "f" * 64}
    one = record(
        0, "abdomen", [score("liver", "3", 10)], 1, grid=few, protocol=about, method={"name": "qnet"}
    )
    with pytest.raises(UserError, match="A scores left-kidney, liver, spleen, B liver"):
        split(A, [one])


def test_a_row_is_found_by_name_or_id_and_no_other() -> None:
    found = named(A, B, cells("alpnet", "alpnet-ep1", 40, model={"steps": 1}))
    (b,) = [row for row in found if row.method == "qnet"]
    for text in (b.configuration_id, b.configuration_id[:6], f"#{b.configuration_id}", "qnet@qnet-ep1"):
        assert find_row(found, text) is b
    with pytest.raises(UserError, match="'alpnet@alpnet-ep1' fits 2 configurations"):
        find_row(found, "alpnet@alpnet-ep1")
    with pytest.raises(UserError, match="'panet@qnet-ep1' fits 0 configurations"):
        find_row(found, "panet@qnet-ep1")
    with pytest.raises(UserError, match=f"'{b.configuration_id[:3]}' fits 0 configurations"):
        find_row(found, b.configuration_id[:3])


def test_seeds_are_averaged_and_a_corner_has_the_same_seeds() -> None:
    other_seed = cells("alpnet", "alpnet-ep1", 40, model={"seed": 1})
    found = split(A, other_seed, B, FIRST)
    assert found["difference"] == pytest.approx(80 - 45)
    assert found["protocol"] is None  # under qnet-ep1 alpnet has one seed of the two
    both = split(A, other_seed, B, FIRST, cells("alpnet", "qnet-ep1", 50, model={"seed": 1}))
    assert (both["protocol"], both["method"]) == pytest.approx((10, 25))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, one in enumerate([*A, *B, *FIRST]):
        write_record(tmp_path / f"{number}.json", one)
    command = ["compare", "alpnet@alpnet-ep1", "qnet@qnet-ep1", "--records", str(tmp_path)]
    assert main(command) == 0
    assert "protocol +10.00" in capsys.readouterr().out
    assert main([*command, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"] == pytest.approx(20)
    assert main([*command, "--setting", "1"]) == 2
    assert "known: none" in capsys.readouterr().err


def test_the_interval_is_t_over_paired_folds_and_one_seed_has_no_level() -> None:
    def two_folds(protocol: str, *dices: int, seed: int = 0) -> list[Record]:
        about = {"name": protocol, "version": 1, "hash": {"alpnet-ep1": "a", "qnet-ep1": "f"}[protocol] * 64}
        return [
            record(
                fold,
                group,
                [score(name, str(fold), dice) for name in names],
                protocol=about,
                model={"seed": seed},
            )
            for fold, dice in enumerate(dices)
            for group, names in {"lower": ["left-kidney"], "upper": ["liver", "spleen"]}.items()
        ]

    a, b = two_folds("alpnet-ep1", 50, 60), two_folds("qnet-ep1", 54, 70)
    found = named(a, b)
    result = compare(find_row(found, "ssl-alpnet@alpnet-ep1"), find_row(found, "ssl-alpnet@qnet-ep1"), found)
    low, high = stats.ttest_1samp([4.0, 10.0], 0).confidence_interval(0.95)
    assert result["interval"] == {"low": pytest.approx(low), "high": pytest.approx(high), "level": None}
    assert "1 seed: no level is claimed" in comparison_text(result)
    more = [
        *two_folds("alpnet-ep1", 50, 60, seed=1), *two_folds("qnet-ep1", 54, 70, seed=1),
    ]  # fmt: skip
    found = named(a, b, more)
    result = compare(find_row(found, "ssl-alpnet@alpnet-ep1"), find_row(found, "ssl-alpnet@qnet-ep1"), found)
    assert result["interval"]["level"] == 0.95 and "95 % interval, t over folds and seeds" in comparison_text(
        result
    )
