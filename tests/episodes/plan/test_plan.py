"""Plans of tiny label volumes whose right answers are worked out by hand here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field, replace

import pytest

from episodes.plan.describe import plans_text
from episodes.plan.plan import CellPlan, EvaluationPlan, make_plan
from episodes.plan.roles import integer_sorted
from episodes.plan.rules import EvaluationRules, class_range, entry_of, intersection, range_thirds, union
from episodes.plan.training_split import with_superpixel
from episodes.store.dataset import load_dataset_spec
from episodes.store.index import ClassSliceIndex
from fewshot.base.errors import UserError
from fewshot.base.types import SliceRef


@dataclass(frozen=True)
class Facts:
    name: str = "tiny"
    classes: dict[str, int] = field(default_factory=lambda: {"liver": 1, "spleen": 4})
    fold_borders: tuple[int, ...] = (0, 1, 2, 3)


RULES = EvaluationRules()
# ids deliberately out of integer order: sorted they are 2, 9, 10
INDEX = ClassSliceIndex(
    ("10", "2", "9"),
    {"2": 6, "9": 8, "10": 7},
    {
        "liver": {"2": (1, 2, 3, 4), "9": (0, 1, 2, 4, 6), "10": (3,)},
        "spleen": {"2": (2, 3), "9": (5, 6)},
    },
    {"2": (0, 1, 2, 3, 4, 5), "9": (1, 2, 3), "10": ()},
)


def plan(fold: int, classes: tuple[str, ...] = ("liver",)) -> EvaluationPlan:
    return cell(fold, classes=classes).evaluation


def cell(fold: int, setting: int = 1, classes: tuple[str, ...] = ("liver",), **facts: object) -> CellPlan:
    return make_plan(INDEX, replace(Facts(), **facts), "ab" * 8, RULES, setting, fold, "g", classes)


def test_scans_are_sorted_as_integers_and_the_last_fold_wraps() -> None:
    assert integer_sorted(("10", "2", "9")) == ("2", "9", "10")
    assert integer_sorted(("b", "a")) == ("b", "a")
    found = [
        (p.evaluation.query_scans, p.evaluation.support_scans, p.training.scans) for p in map(cell, (0, 1, 2))
    ]
    assert found == [
        (("2",), ("9",), ("10",)),
        (("9",), ("10",), ("2",)),
        (("10",), ("2",), ("9",)),
    ]


def test_support_slices_are_at_fractions_of_the_support_list() -> None:
    # five class slices 0 1 2 4 6: int(5/6)=0, int(5/2)=2, int(25/6)=4 -> slices 0, 2, 6
    assert [task.support for task in plan(0).tasks] == [
        (SliceRef("9", 0),),
        (SliceRef("9", 2),),
        (SliceRef("9", 6),),
    ]
    # a single class slice serves all parts
    assert {task.support for task in plan(1).tasks} == {(SliceRef("10", 3),)}


def test_thirds_of_the_query_range_with_gaps_and_clipped_ends() -> None:
    # scan 9: range 0..6, a third is 2: slices 0 1 | 2 3 | 4 5 6 and, clipped, 7; the gaps 3 and 5 count
    by_part = {task.part: (task.queries, task.scored) for task in plan(1).tasks}
    assert by_part[0] == ((SliceRef("9", 0), SliceRef("9", 1)), (True, True))
    assert by_part[1] == ((SliceRef("9", 2), SliceRef("9", 3)), (True, True))
    assert by_part[2] == (tuple(SliceRef("9", z) for z in (4, 5, 6, 7)), (True, True, True, False))
    # scan 2: range 1..4, a third is 1: slices (0) 1 | 2 | 3 4 (5)
    served = [[ref.z for ref in task.queries] for task in plan(0).tasks]
    assert served == [[0, 1], [2], [3, 4, 5]]
    assert [task.scored for task in plan(0).tasks] == [(False, True), (True,), (True, True, False)]


def test_organ_in_a_single_slice_is_part_zero_everywhere() -> None:
    tasks = plan(2).tasks
    assert [len(task.queries) for task in tasks] == [7, 0, 0]
    assert tasks[0].scored == (False, False, False, True, False, False, False)


@pytest.mark.parametrize(("z", "part"), [(0, 0), (3, 0), (4, 0), (5, 1), (6, 2), (8, 2), (20, 2)])
def test_range_thirds_truncates(z: int, part: int) -> None:
    assert range_thirds(z, (3, 7), 3) == part  # a third is 4/3: (4-3)//1.33=0, (5-3)//1.33=1, (6-3)//1.33=2


def test_class_range_and_exclusion_rules() -> None:
    assert [class_range(z, (2, 5)) for z in (1, 2, 3, 5, 6)] == [False, True, True, True, False]
    assert union([(1, 2), (2, 3)]) == {1, 2, 3}
    assert intersection([(1, 2), (2, 3)]) == {2}


def test_setting_2_drops_the_union_of_tested_classes_from_training_only() -> None:
    first, second = cell(1, 1).training, cell(1, 2).training
    assert first.slices == tuple(SliceRef("2", z) for z in range(6)) and first.excluded == ()
    assert second.excluded == tuple(SliceRef("2", z) for z in (1, 2, 3, 4))
    assert second.slices == (SliceRef("2", 0), SliceRef("2", 5))
    assert cell(1, 1).evaluation == cell(1, 2).evaluation
    # fold 2 trains on scan 9: liver 0 1 2 4 6 and spleen 5 6; superpixels on 1 2 3 alone
    both = cell(2, 2, ("liver", "spleen")).training
    assert both.slices == (SliceRef("9", 3), SliceRef("9", 7))
    assert with_superpixel(INDEX, both.slices) == (SliceRef("9", 3),)


def test_class_absent_from_the_support_is_refused_naming_both() -> None:
    with pytest.raises(UserError, match=r"'spleen' is absent from scan '10', the support of fold 1"):
        plan(1, classes=("liver", "spleen"))


def test_class_absent_from_a_query_is_undefined_and_has_no_task() -> None:
    found = plan(2, classes=("liver", "spleen"))
    assert found.undefined == (("spleen", "10", "class absent from the query scan"),)
    assert {task.class_name for task in found.tasks} == {"liver"}


def test_two_shots_take_the_next_two_scans() -> None:
    index = replace(INDEX, scans=("2", "9", "10", "11"), depths={**INDEX.depths, "11": 2})
    facts = replace(Facts(), fold_borders=(0, 1, 2, 3, 4))
    found = make_plan(index, facts, "ab" * 8, replace(RULES, shots=2), 1, 0, "g", ("liver",))
    assert found.evaluation.support_scans == ("9", "10") and found.training.scans == ("11",)
    assert found.evaluation.tasks[0].support == (SliceRef("9", 0), SliceRef("10", 3))


@pytest.mark.parametrize("borders", [(0, 1, 2), (0, 2, 4), (0, 2, 1, 3), (1, 2, 3), ()])
def test_fold_borders_that_do_not_fit_the_scans_are_refused(borders: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"3 scans found, but its fold borders .* are for"):
        cell(0, fold_borders=borders)


def test_folds_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(UserError, match="holds 2 of 3 scans"):
        cell(0, fold_borders=(0, 2, 3))


def test_a_protocol_may_own_the_folds() -> None:
    rules = replace(RULES, fold_borders=(("tiny", (0, 1, 3)),))
    assert make_plan(INDEX, Facts(), "ab" * 8, rules, 1, 0, "g", ("liver",)).evaluation.query_scans == ("2",)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan(3), "fold 3 does not exist"),
        (lambda: cell(0, 3), "setting 3 does not exist"),
        (lambda: plan(0, classes=("livr",)), "did you mean 'liver'"),
    ],
)
def test_wrong_fold_setting_and_class_are_refused(call: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()  # type: ignore[operator]


def test_json_is_plain_and_the_hash_is_that_of_the_questions() -> None:
    found = cell(1, 2)
    text = json.dumps(found.to_json(), sort_keys=True, allow_nan=False)
    assert json.loads(text)["plan_hash"] == found.evaluation.hash == plan(1).hash
    assert len(found.evaluation.hash) == 16
    assert found.evaluation.hash != plan(2).hash
    other = make_plan(INDEX, Facts(), "cd" * 8, RULES, 2, 1, "g", ("liver",))
    assert other.evaluation.hash != found.evaluation.hash  # another store is another question


def test_text_names_support_queries_parts_and_hash() -> None:
    found = cell(1, 2)
    text = plans_text([found], "alpnet-ep1 version 1")
    assert found.evaluation.hash in text and "support slices 10:3 | 10:3 | 10:3" in text
    assert "0-1 | 2-3 | 4-6" in text and "7 of 8 slices" in text
    assert "training slices excluded: 4 of 6" in text
    assert "spleen  absent from every query scan" in plans_text([cell(2, classes=("spleen", "liver"))], "p")


def test_a_plan_needs_no_model() -> None:
    code = (
        "import sys, episodes.plan.plan, episodes.plan.describe, protocols.rules.spec\n"
        "heavy = {'fewshot.learners.learner', 'fewshot.encoders.encoder', 'baselines', 'skimage', 'sacred'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_smaller_slices_have_the_protocol_s_entries_of_their_dataset() -> None:
    spec = load_dataset_spec("chaost2")
    smaller = replace(spec, name="chaost2-2.5mm", in_plane_mm=2.5)
    entries = (("chaost2", (0, 3, 20)), ("sabs", (0, 2, 30)))
    assert entry_of(entries, smaller) == entry_of(entries, spec) == (0, 3, 20)
    assert entry_of(entries, replace(spec, name="chaost2-2.5mm")) is None  # a name alone makes no relation
