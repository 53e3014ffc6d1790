"""Every shipped protocol on one tiny label volume whose right questions are worked out by hand here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from protocol_facts import INDEX, Facts

from episodes.plan.describe import plans_text
from episodes.plan.plan import CellPlan, make_plan
from episodes.plan.roles import scan_roles
from episodes.plan.rules import EvaluationRules, list_thirds, middles, parts_fault
from episodes.store.dataset import load_dataset_spec
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef
from protocols.rules.spec import HOME, known_protocols, load_protocol

HASH_OF_ALPNET_EP1 = "bbd8a649f25beaef0d8d215b61ed0bb4f0e1f3d90fb18e52c504e3d5f6cdda5e"


# Six scans 1 2 3 | 10 11 12 (not in this order), two folds. The fold and the next scan, sorted, are
# 1 2 3 10 in fold 0 and, circular, 1 10 11 12 in fold 1.
# liver: scan 1 has a gap at 3; scan 10 shows six slices; scan 12 shows one


def asked(name: str, fold: int, *classes: str, setting: int = 1) -> CellPlan:
    rules = load_protocol(name).evaluation
    return make_plan(INDEX, Facts(), "ab" * 8, rules, setting, fold, "g", classes or ("liver",))


def roles(plan: CellPlan) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return plan.evaluation.query_scans, plan.evaluation.support_scans, plan.training.scans


def counted(plan: CellPlan, scan: str) -> list[tuple[int, int]]:
    """Return (slice, part) of the scored slices of a scan."""
    found = [
        (ref.z, task.part)
        for task in plan.evaluation.tasks
        for ref, scored in zip(task.queries, task.scored, strict=True)
        if scored and ref.scan == scan
    ]
    return sorted(found)


def supports(plan: CellPlan, scan: str) -> list[int]:
    return [
        task.support[0].z for task in plan.evaluation.tasks if task.queries and task.queries[0].scan == scan
    ]


def test_alpnet_ep1_by_hand() -> None:
    assert roles(asked("alpnet-ep1", 0)) == (("1", "2", "3"), ("10",), ("11", "12"))
    assert roles(asked("alpnet-ep1", 1)) == (("10", "11", "12"), ("1",), ("2", "3"))
    # six class slices 1..6: int(6/6) = 1, int(3) = 3, int(5) = 5 -> slices 2, 4, 6
    assert supports(asked("alpnet-ep1", 0), "1") == [2, 4, 6]
    # scan 1: range 1..6, a third is 5/3: 1 2 | 3 4 | 5 6, the gap at 3 counts
    assert counted(asked("alpnet-ep1", 0), "1") == [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2)]


def test_adnet_ep1_by_hand() -> None:
    protocol = load_protocol("adnet-ep1")
    assert protocol.version == 2 and protocol.changes[-1].startswith("2: ")
    assert roles(asked("adnet-ep1", 0)) == roles(asked("alpnet-ep1", 0))
    # last fold: of 1 10 11 12 the last is the support, so the first scan is a query
    plan = asked("adnet-ep1", 1)
    assert roles(plan) == (("1", "10", "11"), ("12",), ("2", "3"))
    assert supports(plan, "1") == [4, 4, 4]
    # five class slices 1 2 4 5 6, borders 0 1 3 5, as Q-Net has it; the gap at 3 does not count
    assert counted(plan, "1") == [(1, 0), (2, 1), (4, 1), (5, 2), (6, 2)]
    assert protocol.marks(2, "upper") and not protocol.marks(1, "upper")


def test_chaos_in_adnets_last_fold() -> None:
    spec = load_dataset_spec("chaost2")
    found = scan_roles(spec.scans, spec, load_protocol("adnet-ep1").evaluation, 4)
    assert found.queries == tuple(spec.scans[place] for place in (0, 16, 17, 18))
    assert found.supports == ((spec.scans[19],),)


def test_adnet_ep2_by_hand() -> None:
    plan = asked("adnet-ep2", 0)
    assert roles(plan) == (("1", "2", "3"), ("10",), ("11", "12"))
    assert supports(plan, "1") == [4]  # the middle of 1..6: index 3
    assert counted(plan, "1") == [(z, 0) for z in range(8)]
    assert roles(asked("adnet-ep2", 1))[1] == ("12",)


def test_qnet_ep1_by_hand() -> None:
    # of 1 2 3 10 the third is 3; of 1 10 11 12 it is 11: scan 3 is never asked, scans 1 and 10 are twice
    assert roles(asked("qnet-ep1", 0)) == (("1", "2", "10"), ("3",), ("11", "12"))
    plan = asked("qnet-ep1", 1)
    assert roles(plan) == (("1", "10", "12"), ("11",), ("2", "3"))
    # four class slices 2 3 4 5: int(4/6) = 0, int(2) = 2, int(20/6) = 3 -> slices 2, 4, 5
    assert supports(plan, "1") == [2, 4, 5]
    # scan 1: five class slices 1 2 4 5 6, borders 0 1 3 5: 1 | 2 4 | 5 6; the gap at 3 does not count
    assert counted(plan, "1") == [(1, 0), (2, 1), (4, 1), (5, 2), (6, 2)]
    assert counted(plan, "12") == [(4, 2)]  # a single slice: borders 0 0 0 1
    assert sorted(ref.z for task in plan.evaluation.tasks for ref in task.queries if ref.scan == "1") == list(
        range(8)
    )


def test_catnet_ep1_by_hand() -> None:
    assert roles(asked("catnet-ep1", 0)) == (("1", "2", "3"), ("10",), ("11", "12"))
    assert roles(asked("catnet-ep1", 1)) == (("1", "10", "11"), ("12",), ("2", "3"))
    assert counted(asked("catnet-ep1", 1), "1") == counted(asked("qnet-ep1", 1), "1")


def test_qnet_ep1_intersection_drops_only_slices_that_show_all() -> None:
    both = ("liver", "spleen")
    assert (
        asked("qnet-ep1-intersection", 0, *both).evaluation.hash
        == asked("qnet-ep1", 0, *both).evaluation.hash
    )
    # training scans of fold 1: 2 (liver 2 3 4, spleen 4) and 3 (liver 3 4, spleen 0)
    dropped = [(ref.scan, ref.z) for ref in asked("qnet-ep1", 1, *both, setting=2).training.excluded]
    assert dropped == [("2", 2), ("2", 3), ("2", 4), ("3", 0), ("3", 3), ("3", 4)]
    few = asked("qnet-ep1-intersection", 1, *both, setting=2).training.excluded
    assert few == (SliceRef("2", 4),)


def test_open_ep_by_hand() -> None:
    plan = asked("open-ep", 0, "liver", "spleen")
    # every scan outside the fold in turn; spleen is absent from 12, which is then no support of it
    assert roles(plan) == (("1", "2", "3"), ("10", "11", "12"), ("11", "12"))
    of_first = [task for task in plan.evaluation.tasks if task.queries[0].scan == "1"]
    assert [(task.class_name, task.support) for task in of_first] == [
        ("liver", (SliceRef("10", 4),)),
        ("liver", (SliceRef("11", 4),)),
        ("liver", (SliceRef("12", 4),)),
        ("spleen", (SliceRef("10", 6),)),
        ("spleen", (SliceRef("11", 5),)),
    ]
    for task in plan.evaluation.tasks:
        assert [ref.z for ref in task.queries] == list(range(8)) and all(task.scored)
    text = plans_text([plan], "open-ep")
    assert "3 supports in turn, slices 10:4; 11:4; 12:4" in text and "8 of 8 slices" in text
    assert "support scans 10, 11, 12" in text


def test_a_class_that_no_support_shows_is_refused_and_an_absent_query_is_undefined() -> None:
    index = replace(INDEX, class_slices={"liver": {"1": (1,)}, "spleen": INDEX.class_slices["spleen"]})
    rules = load_protocol("open-ep").evaluation
    with pytest.raises(UserError, match="'liver' is absent from every support of fold 0"):
        make_plan(index, Facts(), "ab" * 8, rules, 1, 0, "g", ("liver",))
    plan = make_plan(INDEX, Facts(), "ab" * 8, rules, 1, 1, "g", ("spleen",))
    assert plan.evaluation.undefined == (("spleen", "12", "class absent from the query scan"),)


def test_two_shots_take_the_next_scans_under_every_rule() -> None:
    def two(name: str, fold: int) -> CellPlan:
        rules = replace(load_protocol(name).evaluation, shots=2)
        return make_plan(INDEX, Facts(), "ab" * 8, rules, 1, fold, "g", ("liver",))

    assert roles(two("alpnet-ep1", 0)) == (("1", "2", "3"), ("10", "11"), ("12",))
    assert roles(two("adnet-ep1", 1)) == (("1", "2", "10"), ("11", "12"), ("3",))
    assert roles(two("qnet-ep1", 1)) == (("1", "2", "12"), ("10", "11"), ("3",))
    pairs = {tuple(ref.scan for ref in task.support) for task in two("open-ep", 0).evaluation.tasks}
    assert pairs == {("10", "11"), ("11", "12"), ("12", "10")}


def test_a_fold_too_small_for_the_rule_is_refused() -> None:
    facts = Facts(fold_borders=(0, 1, 2, 3, 4, 5, 6))
    rules = load_protocol("qnet-ep1").evaluation
    with pytest.raises(UserError, match="the fold of scans 1 and the next 1 are 2 scans; expected number 3"):
        make_plan(INDEX, facts, "ab" * 8, rules, 1, 0, "g", ("liver",))


def test_equal_parts_of_a_list_are_those_of_numpy() -> None:
    for count in range(1, 60):
        slices = tuple(range(0, 2 * count, 2))
        for parts in (1, 3, 5):
            borders = np.linspace(0, count, parts + 1).astype(int)
            for place, z in enumerate(slices):
                part = list_thirds(z, slices, parts)
                assert borders[part] <= place < borders[part + 1]
    # off the list: with the next class slice, after the last with it
    assert [list_thirds(z, (2, 4, 6), 3) for z in (0, 3, 5, 9)] == [0, 1, 2, 2]


def test_middles_of_three_parts_are_the_published_ones() -> None:
    assert middles(3) == EvaluationRules().support_fractions and middles(1) == (1 / 2,)
    assert parts_fault("range-thirds", 5) is None and parts_fault("whole-scan", 1) is None


def test_the_shipped_protocols_and_their_flags() -> None:
    names = {"alpnet-ep1", "adnet-ep1", "adnet-ep2", "qnet-ep1", "catnet-ep1", "open-ep"}
    assert set(known_protocols()) == names | {"qnet-ep1-intersection"}
    off = {name for name in known_protocols() if not load_protocol(name).main_board}
    assert off == {"qnet-ep1-intersection"}
    assert load_protocol("alpnet-ep1").hash == HASH_OF_ALPNET_EP1
    assert len({load_protocol(name).hash for name in known_protocols()}) == 7
    for name in known_protocols():
        protocol = load_protocol(name)
        groups = protocol.groups_for(Facts())
        family = name in ("qnet-ep1", "catnet-ep1", "qnet-ep1-intersection")
        assert tuple(groups) == (("abdomen",) if family else ("upper", "lower"))
        heart = Facts(tested=("lv-myo", "lv-bp", "rv"))
        assert protocol.groups_for(heart) == {"heart": ("lv-myo", "lv-bp", "rv")}
        per_scan = name.startswith(("adnet", "qnet", "catnet"))
        assert protocol.training.normalisation["ct"] == ("per-scan" if per_scan else "training-scans")


def test_marks_name_what_is_off_the_board_and_unpublished() -> None:
    alpnet, crossed = load_protocol("alpnet-ep1"), load_protocol("qnet-ep1-intersection")
    assert alpnet.marks(1, "heart") == alpnet.marks(2, "upper") == ()
    assert alpnet.marks(2, "heart") == ("unpublished: no paper reports group heart in setting 2",)
    assert crossed.marks(1, "abdomen") == ("off the main board: qnet-ep1-intersection",)
    assert len(crossed.marks(2, "heart")) == 2


SHIPPED = (HOME / "alpnet-ep1.toml").read_text()
LISTED = SHIPPED.replace('"next-scan"', '"listed"')


def saved(folder: Path, text: str) -> Path:
    path = folder / "alpnet-ep1.toml"
    path.write_text(text)
    return path


def test_a_protocol_may_list_its_support_scans(tmp_path: Path) -> None:
    protocol = load_protocol(saved(tmp_path, LISTED + "\n[supports]\ntiny = [[5, 4], [0]]\n"))
    assert protocol.hash != HASH_OF_ALPNET_EP1
    plan = make_plan(INDEX, Facts(), "ab" * 8, protocol.evaluation, 1, 0, "g", ("liver",))
    assert roles(plan) == (("1", "2", "3"), ("12",), ("10", "11"))
    two = replace(protocol.evaluation, shots=2)
    assert make_plan(INDEX, Facts(), "ab" * 8, two, 1, 0, "g", ("liver",)).evaluation.support_scans == (
        "12",
        "11",
    )
    with pytest.raises(UserError, match="lists 1 support scans for the fold of 10, 11, 12, expected 2"):
        make_plan(INDEX, Facts(), "ab" * 8, two, 1, 1, "g", ("liver",))
    short = replace(protocol.evaluation, listed_supports=(("tiny", ((5,),)),))
    with pytest.raises(UserError, match="lists support scans for 1 folds of dataset tiny, expected fold 1"):
        make_plan(INDEX, Facts(), "ab" * 8, short, 1, 1, "g", ("liver",))


BAD = [
    (SHIPPED.replace('"1/6", ', ""), "key evaluation.support_fractions gives 2 parts, but rule range-thirds"),
    (
        SHIPPED.replace('"range-thirds"', '"whole-scan"'),
        "gives 3 parts, but rule whole-scan has exactly one",
    ),
    (
        LISTED + "\n[supports]\nchaost2 = [[4], [7], [12], [16], [0]]\n",
        r"key supports.chaost2 holds position 7 for fold 1, which is among its queries; expected 0..19",
    ),
    (LISTED + "\n[supports]\nchaost2 = [[20]]\n", "holds position 20 for fold 0, which is no scan"),
    (LISTED + "\n[supports]\nchaost2 = [4, 8]\n", "expected for every fold a list of positions"),
    (LISTED, r"support_scan is 'listed', but \[supports\] is missing"),
    (SHIPPED + "\n[supports]\nchaost2 = [[4]]\n", r"is 'next-scan', but \[supports\] is there"),
    (
        SHIPPED.replace("heart = [1] ", "heart = [3] "),
        r"key published.heart is \[3\], expected a list of settings",
    ),
    (
        SHIPPED.replace("heart = [1] ", "hart = [1] "),
        "key published: unknown group 'hart': did you mean 'heart'",
    ),
    (
        SHIPPED.replace("version = 1", "version = 1\nmain_board = 1"),
        "key main_board is 1, expected true or false",
    ),
]


@pytest.mark.parametrize(("text", "reason"), BAD, ids=[reason[:40] for _text, reason in BAD])
def test_a_bad_file_is_refused_with_file_key_and_reason(tmp_path: Path, text: str, reason: str) -> None:
    path = saved(tmp_path, text)
    with pytest.raises(UserError, match=reason) as caught:
        load_protocol(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_support_inside_the_queries_of_ones_own_data_is_refused_too(tmp_path: Path) -> None:
    path = saved(tmp_path, LISTED + "\n[supports]\ntiny = [[3], [4]]\n")
    with pytest.raises(UserError, match=r"key supports.tiny holds position 4 for fold 1") as caught:
        load_protocol(path).fold_borders_for(Facts())
    assert str(path) in str(caught.value)


def test_a_class_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, SHIPPED.replace('["liver", "spleen"]', '["livr", "spleen"]'))
    with pytest.raises(UserError, match=r"key groups.upper: unknown class 'livr': did you mean") as caught:
        load_protocol(path).groups_for(Facts())
    assert str(path) in str(caught.value)
    own = Facts(tested=("livr", "spleen"))
    assert load_protocol(path).groups_for(own)["upper"] == ("livr", "spleen")
