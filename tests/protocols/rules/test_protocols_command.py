"""Differences of protocols counted by hand on a tiny label volume, and the command that prints them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from protocol_facts import INDEX, Facts

from episodes.store.index import ClassSliceIndex
from fewshot.commands.main import main
from protocols.rules.describe import MEANINGS, protocol_text
from protocols.rules.diff import diff_protocols
from protocols.rules.spec import known_protocols, load_protocol


def counted(a: str, b: str) -> dict[str, Any]:
    """Return the differences on six scans of which only liver and spleen are seen."""
    slices = {**INDEX.class_slices, "right-kidney": {}, "left-kidney": {}}
    index = ClassSliceIndex(INDEX.scans, INDEX.depths, slices, INDEX.superpixel_slices)
    facts = Facts(classes={"liver": 1, "right-kidney": 2, "left-kidney": 3, "spleen": 4})
    spec = SimpleNamespace(**vars(facts), modality="mr")
    store: Any = SimpleNamespace(spec=spec, index=index, hash="ab" * 8)
    return diff_protocols(load_protocol(a), load_protocol(b), store)


def test_alpnet_ep1_and_qnet_ep1_by_hand() -> None:
    found = counted("alpnet-ep1", "qnet-ep1")
    assert [rule["rule"] for rule in found["rules"]] == [
        "evaluation.support_scan", "evaluation.part_rule", "evaluation.scored", "training.pseudo_labels",
        "training.steps", "groups",
    ]  # fmt: skip
    # liver 5 + 3 + 2 + 6 + 4 + 1 class slices, spleen 2 + 1 + 1 + 3 + 1
    assert (found["dataset"]["slices"], found["dataset"]["class_slices"]) == (48, 29)
    counts = found["counts"]
    # liver: slice 2 of scan 1 (range: part 0, list: 1), slice 3 of scan 3 (0, 1), the only slice of scan 12
    # (0, 2); spleen: slice 4 of scan 1 (0, 1) and the only slices of scans 2, 3 and 11
    assert counts["part_assignments"] == {"of": 29, "differ": 7}
    assert counts["scored_slices"] == {"a": 30, "b": 29, "only_a": 1, "only_b": 0}  # the gap of scan 1
    dropped = counts["excluded_slices"]
    # scan by scan 5 + 3 + 3 + 7 + 4 + 1; both shown on 2 + 1 + 0 + 2 + 1 + 0
    assert (dropped["of"], dropped["a"], dropped["b"]) == (48, {"upper": 23, "lower": 0}, {"abdomen": 23})
    assert dropped["by_rule"]["intersection"] == {"upper": 6, "lower": 0, "abdomen": 0}
    asked = counts["queries"]
    assert asked["b"] == {"count": 6, "twice_or_more": ["1", "10"], "never": ["3", "11"]}
    assert asked["a"] == {"count": 6, "twice_or_more": [], "never": []}
    assert (asked["only_a"], asked["only_b"]) == (2, 2)
    assert counts["support_scans"] == {
        "a": [[["10"]], [["1"]]],
        "b": [[["3"]], [["11"]]],
        "folds_that_differ": 2,
    }
    assert counts["normalised_scans"] == {"of": 6, "differ": 0}


def test_two_parts_that_take_the_same_place_are_no_difference() -> None:
    # against one part in the middle: what alpnet-ep1 serves from its middle third stays as it is.
    # liver: 4 of scan 1, 3 of scan 2, 3 4 of scan 10, 3 of scan 11; spleen: 6 of scan 10
    found = counted("alpnet-ep1", "adnet-ep2")["counts"]
    assert found["part_assignments"] == {"of": 29, "differ": 29 - 6}
    # eleven (class, scan) pairs of eight slices
    assert found["scored_slices"]["b"] == 88


def test_adnet_and_qnet_differ_in_the_support_scan_and_what_is_published() -> None:
    found = counted("adnet-ep1", "qnet-ep1")
    assert [rule["rule"] for rule in found["rules"]] == [
        "evaluation.support_scan", "training.steps", "groups", "published",
    ]  # fmt: skip
    assert found["rules"][-1] == {
        "rule": "published", "a": {"upper": [1], "lower": [1]}, "b": {},
        "changes": ["what papers report; the rest is marked"],
    }  # fmt: skip
    counts = found["counts"]
    assert counts["part_assignments"]["differ"] == 0 and counts["scored_slices"]["only_a"] == 0
    assert counted("alpnet-ep1", "adnet-ep1")["counts"]["part_assignments"] == {"of": 29, "differ": 7}


def test_a_protocol_does_not_differ_from_itself() -> None:
    found = counted("qnet-ep1", "qnet-ep1")
    assert found["rules"] == [] and found["counts"]["part_assignments"]["differ"] == 0
    assert counted("qnet-ep1", "qnet-ep1-intersection")["rules"] == [
        {
            "rule": "training.exclusion", "a": "union", "b": "intersection", "changes": ["excluded_slices"],
        }
    ]  # fmt: skip


def test_every_rule_has_words() -> None:
    from episodes.plan.rules import EXCLUSIONS, PART_RULES, SCORED, SUPPORT_SCANS

    for key, rules in (
        ("support_scan", SUPPORT_SCANS), ("part_rule", PART_RULES), ("scored", SCORED),
        ("exclusion", EXCLUSIONS),
    ):  # fmt: skip
        assert {name for rule, name in MEANINGS if rule == key} == set(rules)
    for name in known_protocols():
        assert load_protocol(name).hash[:16] in protocol_text(load_protocol(name))


def test_the_command_lists_shows_and_counts(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocols"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == list(known_protocols())
    flagged = [line for line in printed if "[off the main board]" in line]
    assert len(flagged) == 1 and flagged[0].startswith("qnet-ep1-intersection")
    assert main(["protocols", "show", "open-ep"]) == 0
    assert "every slice counts: the method does not know where the organ is" in capsys.readouterr().out
    command = ["protocols", "diff", "alpnet-ep1", "qnet-ep1", "--work", str(work), "--dataset", "tiny"]
    assert main([*command, "--format", "json"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    # ten scans of 8 slices; upper on 1-4, lower on 3-6
    dropped = counts["excluded_slices"]
    assert (dropped["a"], dropped["b"]) == ({"upper": 40, "lower": 40}, {"abdomen": 60})
    assert dropped["of"] == 80 and dropped["by_rule"]["intersection"]["abdomen"] == 20
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "part assignments: 0 of 160 class slices" in text and "never 3, 5, 7, 9" not in text
    assert "qnet-ep1: queried twice" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show"], "protocols show: 0 names given, expected 1"),
        (["diff", "alpnet-ep1"], "protocols diff: 1 names given, expected 2"),
        (["list", "--format", "json"], "belong to diff"),
        (["diff", "alpnet-ep1", "qnet-ep1"], "needs --dataset"),
        (["show", "qnet-ep2"], "did you mean 'qnet-ep1'"),
        (["explain"], "unknown value of WHAT 'explain'"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["protocols", *arguments]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1


@pytest.mark.volumes
@pytest.mark.slow
def test_the_known_counts_of_chaos(tmp_path: Path, shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = ["--work", str(tmp_path / "work")]
    assert main(["prepare", *at, "chaost2", str(shared / "data" / "chaos_t2")]) == 0
    capsys.readouterr()
    command = ["protocols", "diff", "alpnet-ep1", "qnet-ep1", *at, "--dataset", "chaost2"]
    assert main([*command, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    dropped = found["counts"]["excluded_slices"]
    assert found["dataset"]["slices"] == dropped["of"] == 718
    assert (dropped["a"], dropped["b"]) == ({"upper": 463, "lower": 324}, {"abdomen": 558})
    assert dropped["by_rule"]["intersection"]["abdomen"] == 88
    assert found["counts"]["part_assignments"] == {"of": 1320, "differ": 33}
