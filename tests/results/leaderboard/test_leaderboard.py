"""Boards against means and ranks worked out by hand; what may not be merged is left out and named."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from making import record, score
from scipy import stats

from fewshot.base.errors import UserError
from fewshot.base.types import ScanScore
from results.leaderboard.board import Board, leaderboard
from results.leaderboard.board_formats import BOARD_FORMATS, render_board
from results.records.record import Record
from results.summary.comparability import RECIPE_MARK
from results.summary.configuration_result import configuration_results
from results.tables.published import PublishedRow


def complete(shift: int = 0, **changes: Any) -> list[Record]:
    """Two folds, headline (50 + 60) / 2 + shift percent; see test_tables.py for the sums."""
    liver = [score("liver", "3", 90 + shift), score("liver", "4", 70 + shift)]
    spleen = [score("spleen", scan, 40 + shift) for scan in ("3", "4")]
    kidney = [score("left-kidney", scan, 30 + shift) for scan in ("3", "4")]
    return [
        record(0, "upper", [*liver, *spleen], **changes),
        record(1, "upper", [score("liver", "5", 60 + shift), score("spleen", "5", 50 + shift)], **changes),
        record(0, "lower", kidney, **changes),
        record(1, "lower", [score("left-kidney", "5", 70 + shift)], **changes),
    ]


def other(name: str, shift: int, **changes: Any) -> list[Record]:
    return complete(shift, method={"name": name}, **changes)


PUBLISHED = {"encoder": "resnet101", "initial_weights": {"name": "coco", "sha256": None}, "steps": 100_100}


def comparable(shift: int = 0, prepared: str = "fewshot", **changes: Any) -> list[Record]:
    """Records of the published recipe on a dataset that this program prepared from the download."""
    about = {"name": "tiny", "hash": "b" * 64, "prepared_by": prepared}
    return complete(shift, dataset=about, **{"model": PUBLISHED, **changes})


def published(protocol: str | None = "alpnet-ep1", learner: str | None = "ssl-alpnet") -> PublishedRow:
    dice = {"left-kidney": 60.0, "liver": 60.0, "spleen": 60.0}
    return PublishedRow(
        "PAPER", "tiny", 2, dice, 60.0, "own", "a paper", "https://x.org", "", protocol, learner
    )  # fmt: skip


def board(records: list[Record], **named: Any) -> Board:
    return leaderboard(records, "tiny", 2, **named)


def test_numbers_of_one_seed_are_those_of_the_fold_table() -> None:
    (line,) = board(complete()).lines
    (block,) = configuration_results(complete())
    spread = block.spread()
    assert spread is not None and line.mean.mean == pytest.approx(spread.mean) == pytest.approx(0.55)
    assert line.mean.std == pytest.approx(math.sqrt(0.005)) and line.rank == 1 and line.ranks is None
    names = [name for _kind, name in board(complete()).columns]
    assert names == ["left-kidney", "liver", "spleen", "lower", "upper", "mean"]
    assert [n.mean for n in line.numbers] == pytest.approx([0.5, 0.7, 0.45, 0.5, 0.575, 0.55])


def test_the_interval_is_t_over_the_means_of_folds() -> None:
    # fold means 50 and 60: deviation sqrt(50), standard error 5 points, one degree of freedom
    (line,) = board(complete()).lines
    half = 0.05 * stats.t.ppf(0.975, 1)
    interval = line.mean.interval
    assert interval is not None and not interval.covers_seeds and interval.degrees == 1
    assert (interval.low, interval.high) == pytest.approx((0.55 - half, 0.55 + half))
    text = render_board(board(complete()), "text")
    assert f"{100 * (0.55 - half):.2f} to {100 * (0.55 + half):.2f}, 1 seed" in text
    assert '"1 seed" behind an interval: over folds alone; no level is claimed' in text
    # scans 3, 4 and 5: means over classes 160 / 3, 140 / 3 and 60
    assert line.mean.scan_std == pytest.approx(np.std([160 / 300, 140 / 300, 0.6], ddof=1))


def test_an_interval_of_several_seeds_is_not_marked() -> None:
    seeds = [one for seed in range(3) for one in complete(2 * seed, model={"seed": seed})]
    made = board(seeds)
    (line,) = made.lines
    interval = line.mean.interval
    assert interval is not None and interval.covers_seeds and "1" not in line.marks
    # seeds differ by 2 points in both folds: MS seeds = 2 * 4 points^2, no residual, over 6 cells
    plain, of_seeds = 0.005 / 2, 2 * 0.0004 / 6
    degrees = (plain + of_seeds) ** 2 / (plain**2 / 1 + of_seeds**2 / 2)
    half = stats.t.ppf(0.975, degrees) * (plain + of_seeds) ** 0.5
    assert interval.high - interval.low == pytest.approx(2 * half)
    assert "1 seed" not in render_board(made, "text") and "seeds: 0, 1, 2" in render_board(made, "text")


def test_seeds_are_averaged_per_scan_and_make_one_row() -> None:
    made = board(complete() + complete(10, model={"seed": 1}))
    (line,) = made.lines
    assert line.row.seeds == (0, 1) and line.mean.mean == pytest.approx(0.60)
    assert "2 seeds" in line.label and line.mean.std == pytest.approx(math.sqrt(0.005))


def test_an_incomplete_seed_is_left_out_and_named() -> None:
    made = board(complete() + complete(10, model={"seed": 1})[:3])
    (line,) = made.lines
    assert line.mean.mean == pytest.approx(0.55) and line.row.seeds == (0,)
    assert any("seed 1" in reason and "1 cells are missing" in reason for reason in made.left_out)


def test_an_incomplete_row_has_no_mean_no_rank_and_a_mark() -> None:
    made = board(other("best", 5) + complete()[:3])
    first, last = made.lines
    assert (first.rank, last.rank, last.ranks) == (1, None, None) and "I" in last.marks
    assert [number.state for number in last.numbers] == ["incomplete", "", "", "incomplete", "", "incomplete"]
    text = render_board(made, "text")
    assert "I: incomplete" in text and "incomplete" in text.splitlines()[5]


def test_ranks_and_their_intervals() -> None:
    no_seed = {"encoder": None, "initial_weights": None, "steps": None, "key": None, "checkpoint": "none"}
    made = board(
        other("middle", 0, model=no_seed)
        + other("worse", -5, model=no_seed)
        + other("better", 5, model=no_seed)
    )
    assert [(line.row.method, line.rank, line.ranks) for line in made.lines] == [
        ("better", 1, (1, 1)), ("middle", 2, (2, 2)), ("worse", 3, (3, 3)),
    ]  # fmt: skip
    made = board(complete() + other("worse", -5, model=no_seed) + other("better", 5, model=no_seed))
    assert [(line.row.method, line.rank, line.ranks) for line in made.lines] == [
        ("better", 1, (1, 2)), ("ssl-alpnet", 2, None), ("worse", 3, (2, 3)),
    ]  # fmt: skip


def test_marks_say_labels_checkpoint_weights_and_yardsticks() -> None:
    chosen = {"checkpoint": "oracle", "initial_weights": {"name": "coco", "sha256": None}}
    made = board(
        complete()
        + other("taught", 1, model=chosen)
        + complete(2, method={"name": "labelled", "labels_used": "training-group"})
        + complete(3, method={"name": "ruler", "regime": "yardstick"}, model={"initial_weights": None})
        + complete(4, audits=["leakage possible: one checkpoint for several folds"])
        + complete(5, method={"name": "foreign", "labels_used": "external"}, model=PUBLISHED)
        + other("validated", 6, model=PUBLISHED | {"checkpoint": "validation"})
        + other("short", 7, audits=[RECIPE_MARK + "300 steps (published 100100)"], model=PUBLISHED)
    )
    marks = {line.row.method: line.marks for line in made.lines if line.marks != "R1!"}
    assert marks == {
        "ssl-alpnet": "R1", "taught": "O1", "labelled": "LR1", "ruler": "Y1", "foreign": "E1",
        "validated": "V1", "short": "N1",
    }  # fmt: skip
    assert any("leakage possible" in audit for audit in made.audits)
    text = render_board(made, "md")
    for told in (
        "O: checkpoint chosen on the test fold", "L: trained with labels", "MARKED: ssl-alpnet",
        "E: weights trained elsewhere, with masks or in an unknown way", "V: checkpoint chosen with labels",
        "N: not the published recipe", "300 steps (published 100100)", "dataset prepared by: not known",
    ):  # fmt: skip
        assert told in text


def test_other_versions_hashes_and_hybrids_are_never_merged() -> None:
    newer = complete(10, protocol={"name": "alpnet-ep1", "version": 2, "hash": "e" * 64})
    elsewhere = other("x", 10, dataset={"name": "tiny", "hash": "f" * 64})
    hybrid = complete(9, audits=["hybrid: normalisation differs"])
    made = board(complete() + newer + other("y", 1) + elsewhere)
    assert [line.mean.mean for line in made.lines] == [pytest.approx(0.65)]
    assert any("protocol version 1: the board is of 2" in reason for reason in made.left_out)
    made = board(complete() + elsewhere[:2] + hybrid + complete(shots=2)[:1])
    assert len(made.lines) == 1 and made.lines[0].mean.mean == pytest.approx(0.55)
    told = "\n".join(made.left_out)
    assert "2 records of dataset hash ffff" in told and "hybrid: normalisation" in told
    assert "1 records of 2 shots: the board has 1" in told
    assert "left out: 2 records of dataset hash" in render_board(made, "md")


def test_a_difference_is_made_only_where_protocol_and_setting_agree() -> None:
    rows = [published(), published(None), published("qnet-ep1"), published(learner="densemp")]
    elsewhere = PublishedRow(
        "Z", "tiny", 1, {"liver": 1.0}, 1.0, "own", "y", "", "", "alpnet-ep1", "ssl-alpnet"
    )
    quoted = board(comparable(), published=[*rows, elsewhere]).published
    assert len(quoted) == 4
    assert [value for _name, value in quoted[0].differences] == pytest.approx([-5.0])
    assert [one.reason for one in quoted[1:]] == [
        "its protocol is not known", "its protocol is qnet-ep1", "not measured here",
    ]  # fmt: skip
    assert board(comparable()[:3], published=rows).published[0].reason == "measured here, but incomplete"
    assert board(complete(), published=rows, measure="iou").published == ()


RECIPE = [RECIPE_MARK + "300 steps (published 100100)"]
RANDOM = PUBLISHED | {"initial_weights": {"name": "random", "sha256": None}}
REFUSED: dict[str, tuple[list[Record], str]] = {
    "another recipe": (comparable(audits=RECIPE), "not the published recipe"),
    "a random start": (comparable(model=RANDOM), "random initial weights"),
    "an unknown training": (
        comparable(model=PUBLISHED | {"checkpoint": "external"}),
        "its training is not known",
    ),
    "a released preparation": (
        comparable(prepared="published-layout"),
        "dataset prepared by: somebody else's released preprocessing (published layout)",
    ),
    "an unknown preparation": (complete(model=PUBLISHED), "dataset prepared by: not known"),
    "one cell of another preparation": (
        comparable()[:3] + complete(model=PUBLISHED)[3:],
        "dataset prepared by: not known",
    ),
    "training on another dataset": (
        comparable(train_dataset={"name": "sabs", "hash": "c" * 64, "prepared_by": "fewshot"}),
        "trained on sabs",
    ),
    "two reasons": (
        comparable(model=RANDOM, audits=RECIPE),
        "random initial weights, not the published recipe",
    ),
}


@pytest.mark.parametrize("records_and_reason", REFUSED.values(), ids=REFUSED.keys())
def test_a_row_that_is_not_comparable_gets_no_difference_but_the_reason(
    records_and_reason: tuple[list[Record], str],
) -> None:
    records, reason = records_and_reason
    made = board(records, published=[published()])
    (quoted,) = made.published
    name = made.lines[0].row.configuration_id
    assert quoted.differences == () and quoted.refused == ((name, reason),)
    for format in ("text", "md", "html"):
        shown = render_board(made, format).replace("&#x27;", "'")
        assert f"none for #{name}: {reason}" in shown and "-5.00" not in shown
    (row,) = json.loads(render_board(made, "json"))["published"]
    assert row["measured_minus_published"] == {} and row["not_comparable"] == {name: reason}


def test_a_comparable_row_keeps_its_difference_beside_one_that_is_not() -> None:
    made = board(comparable() + comparable(9, model=RANDOM), published=[published()])
    by_weights = {line.row.first.record.model.initial_weights.name: line.row for line in made.lines}
    good, bad = by_weights["coco"].configuration_id, by_weights["random"].configuration_id
    assert f"-5.00 (#{good}); none for #{bad}: random initial weights" in render_board(made, "text")


def test_who_prepared_equal_data_separates_no_cells() -> None:
    """One hash is one dataset: a store that was prepared again may complete a run that an older one began."""
    mixed = complete()[:2] + [replace(one, dataset=comparable()[0].dataset) for one in complete()[2:]]
    made = board(mixed + [replace(one, dataset=comparable()[0].dataset) for one in complete()[:1]])
    (line,) = made.lines
    assert line.mean.mean == pytest.approx(0.55) and made.left_out == ()
    assert "dataset prepared by: not known, this program" in render_board(made, "text")


def test_measures_beside_dice_are_those_of_the_counts() -> None:
    # a Dice of d is an IoU of d / (2 - d); recall is 1 here, as no score has false negatives
    assert board(complete(), measure="recall").lines[0].mean.mean == pytest.approx(1.0)
    iou = board(complete(), measure="iou").lines[0].numbers[0]
    assert iou.mean == pytest.approx((0.3 / 1.7 + 0.7 / 1.3) / 2)
    nothing = ScanScore("liver", "3", ("9",), 3, tp=0, fp=0, fn=50)
    records = [record(0, "upper", [nothing, score("spleen", "3", 40)]), *complete()[1:]]
    (line,) = board(records, measure="precision").lines
    assert (line.undefined, line.scores) == (1, 7) and line.numbers[1].mean == pytest.approx(60 / 140)
    with pytest.raises(UserError, match="unknown measure 'dic': did you mean 'dice'"):
        board(complete(), measure="dic")


def test_every_format_holds_the_same_numbers_and_escapes_names() -> None:
    made = board(other("a_b&<i>x<i>|", 0), published=[published(learner="none")])
    html = render_board(made, "html")
    assert "<i>x" not in html and "a_b&amp;&lt;i&gt;x&lt;i&gt;|" in html
    assert r"a\_b\&\textless{}i\textgreater{}" in render_board(made, "tex")
    assert r"x<i>\|" in render_board(made, "md")
    (row,) = json.loads(render_board(made, "json"))["rows"]
    assert row["numbers"][-1]["mean"] == pytest.approx(0.55) and row["rank"] == 1
    lines = list(csv.DictReader(io.StringIO(render_board(made, "csv"))))
    assert [float(one["percent"]) for one in lines if one["column"] == "mean"] == [55.0, 60.0]
    for name in BOARD_FORMATS:
        text = render_board(made, name)
        assert "55.00" in text or name == "json"
    with pytest.raises(UserError, match="unknown board format 'htm': did you mean 'html'"):
        render_board(made, "htm")


def test_what_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="unknown dataset of the records 'tin': did you mean 'tiny'"):
        leaderboard(complete(), "tin", 2)
    with pytest.raises(UserError, match="no records of tiny in setting 1"):
        leaderboard(complete(), "tiny", 1)
    with pytest.raises(UserError, match=r"unknown protocol .*'qnet-ep1'.*known: alpnet-ep1"):
        leaderboard(complete(), "tiny", 2, "qnet-ep1")
    with pytest.raises(UserError, match=r"all records are left out of the board: .*hybrid"):
        board(complete(audits=["hybrid: x"]))
