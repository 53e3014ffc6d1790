"""Paired comparisons: a case worked by hand, agreement with scipy.stats, and what cannot be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import changed, record, score
from scipy import stats

from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore
from fewshot.commands.main import main
from results.comparison.significance import Comparison, compare
from results.comparison.significance_formats import comparison_notes, verdict
from results.records.files import write_record
from results.records.record import Record

KIDNEY = {"a": (60, 70, 80, 50, 90), "b": (50, 72, 60, 45, 88)}  # differences 10 -2 20 5 2
LIVER = {"a": (80, 80, 80, 80, 80), "b": (80, 70, 70, 75, 79)}  # 0 10 10 5 1
SPLEEN = {"a": (10, 20, 30, 40, 50), "b": (20, 30, 40, 50, 60)}  # -10 five times


def answers(name: str, seed: int = 0, shift: int = 0) -> list[Record]:
    """Five scans in two folds: scans 1 2 3 in fold 0, 4 5 in fold 1."""
    made = []
    for fold, places in enumerate(((0, 1, 2), (3, 4))):
        for group, classes in {
            "lower": {"left-kidney": KIDNEY},
            "upper": {"liver": LIVER, "spleen": SPLEEN},
        }.items():
            scores = [
                score(organ, str(place + 1), dices[name][place] + shift)
                for organ, dices in classes.items()
                for place in places
            ]
            made.append(record(fold, group, scores, method={"name": name}, model={"seed": seed}))
    return made


def comparison(records: list[Record], a: str = "a", b: str = "b", **named: Any) -> Comparison:
    return compare(records, a, b, "tiny", 2, **named)


def two_seeds(name: str) -> list[Record]:
    return answers(name) + answers(name, seed=1)


def test_a_case_worked_by_hand() -> None:
    kidney, liver, spleen, whole = comparison(two_seeds("a") + two_seeds("b")).differences
    # fold means of kidney: (10 - 2 + 20) / 3 = 28 / 3 and 7 / 2, mean 77 / 12
    assert kidney.estimate == pytest.approx(0.77 / 12)
    assert kidney.a - kidney.b == pytest.approx(kidney.estimate)
    folds = [0.28 / 3, 0.035]
    assert kidney.fold_differences == pytest.approx(folds)
    test = stats.ttest_1samp(folds, 0)
    wanted = test.confidence_interval(0.95)
    assert kidney.p == pytest.approx(test.pvalue) and kidney.interval is not None
    assert (kidney.interval.low, kidney.interval.high) == pytest.approx((wanted.low, wanted.high))
    assert kidney.sign_flip is not None and (kidney.sign_flip.p, kidney.sign_flip.smallest) == (0.5, 0.5)
    # sizes 2 2 5 10 20 have ranks 1.5 1.5 3 4 5; W- = 1.5, W+ = 13.5
    assert kidney.scans.rank_biserial == pytest.approx(12 / 15) and kidney.scans.scans == 5
    assert (liver.scans.better, liver.scans.equal) == (pytest.approx(0.8), pytest.approx(0.2))
    # spleen differs by 10 in both folds, so t has no variance and Holm has two tests
    assert spleen.p is None and spleen.corrected is None and liver.p is not None
    first, second = sorted([kidney.p, liver.p])
    assert sorted([kidney.corrected, liver.corrected]) == pytest.approx([2 * first, max(2 * first, second)])
    assert whole.corrected is None and whole.name == "all classes"
    assert whole.estimate == pytest.approx((kidney.estimate + liver.estimate + spleen.estimate) / 3)
    assert spleen.interval is not None and spleen.interval.low == pytest.approx(-0.10)
    assert kidney.scans.median == pytest.approx(np.median([0.10, -0.02, 0.20, 0.05, 0.02]))


def test_the_other_way_round_turns_the_signs() -> None:
    one = comparison(two_seeds("a") + two_seeds("b")).differences
    other = comparison(two_seeds("a") + two_seeds("b"), "b", "a").differences
    assert [d.estimate for d in one] == pytest.approx([-d.estimate for d in other])
    assert [d.p for d in one if d.p] == pytest.approx([d.p for d in other if d.p])
    assert [d.interval.high for d in one if d.interval] == pytest.approx(
        [-d.interval.low for d in other if d.interval]
    )


def test_one_seed_claims_nothing_and_several_say_what_narrows() -> None:
    alone = comparison(two_seeds("a") + answers("b"))
    assert [d.is_significant for d in alone.differences] == [None] * 4 and alone.rows.overall.p is None
    assert verdict(alone).startswith("1 seed: no significance is claimed")
    several = comparison(two_seeds("a") + two_seeds("b"))
    assert several.rows.overall.is_significant is False and "holds 0" in verdict(several)
    text = "\n".join(comparison_notes(several))
    assert "the smallest p they can reach is 0.5000 (2 / 2^2)" in text
    assert (
        "seeds 0, 1" in text
        and "2 folds, 2 seeds, 2.5 scans a fold ±" in text
        and "twice the seeds ±" in text
    )


def test_seeds_are_averaged_per_scan_before_pairing() -> None:
    two = answers("a") + answers("a", seed=1, shift=4) + answers("b")
    kidney = comparison(two).differences[0]
    assert kidney.estimate == pytest.approx(0.77 / 12 + 0.02) and kidney.scans.scans == 5


def test_a_value_without_its_pair_is_left_out_and_counted() -> None:
    records = answers("a") + answers("b")
    upper = [score("liver", str(n), 70) for n in (1, 2)]
    upper += [ScanScore("liver", "3", ("9",), 0, 0, 0, 0, "absent")]
    upper += [score("spleen", str(n), 50) for n in (1, 2, 3)]
    records[1] = record(0, "upper", upper, method={"name": "a"})
    made = comparison(records)
    assert made.rows.unpaired == 1 and made.differences[1].scans.scans == 4


def test_rows_are_named_by_method_label_or_hash_and_wrong_names_are_answered() -> None:
    records = answers("a") + answers("b")
    made = comparison(records)
    assert comparison(records, made.a, "b").a == made.a
    with pytest.raises(UserError, match=r"'c' fits no row: #[0-9a-f]{8} a"):
        comparison(records, "c")
    with pytest.raises(UserError, match="are the same configuration"):
        comparison(records, "a", "a")
    steps = [changed(r, model={"steps": 9}) for r in answers("a")]
    with pytest.raises(UserError, match="'a' fits 2 rows, name one by its id"):
        comparison(records + steps)
    with pytest.raises(UserError, match="is incomplete: 1 cells are missing; run them"):
        comparison(records[:-1])


def test_the_command_prints_and_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, one in enumerate(answers("a") + answers("b")):
        write_record(tmp_path / f"{number}.json", one)
    ask = ["significance", "a", "b", "--records", str(tmp_path), "--dataset", "tiny", "--setting", "2"]
    assert main(ask) == 0
    out = capsys.readouterr().out
    assert "Holm p" in out and "+6.42" in out and "1 seed: no significance is claimed" in out
    assert "95 % interval of all classes" not in out and "sign-flip p: all" not in out
    assert main([*ask, "--format", "json", "--measure", "iou"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert len(made["classes"]) == 3 and made["primary"]["is_significant"] is None
    assert made["primary"]["interval"]["level"] is None and made["primary"]["p"] is None
    assert made["components"]["seed"] is None
    assert main([*ask, "--format", "mdx"]) == 2
    assert "did you mean 'md'" in capsys.readouterr().err
