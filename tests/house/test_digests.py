"""A version rises when numbers change: the code behind every version is the recorded one."""

from __future__ import annotations

import json

import digests
import pytest

from fewshot.identity.versions import PARTS


def test_the_code_of_every_version_is_the_recorded_one() -> None:
    assert digests.faults(json.loads(digests.RECORDED.read_text()), digests.digests()) == []


def test_every_versioned_part_has_modules() -> None:
    assert digests.MODULES.keys() == PARTS.keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": "0" * 16}, "raise the version"),
        ({"version": 2}, "Numbers change"),
    ],
)
def test_a_changed_part_is_named_with_its_remedy(change: dict[str, object], words: str) -> None:
    now = {"encoder": {"version": 1, "digest": "a" * 16}}
    (line,) = digests.faults(now, {"encoder": now["encoder"] | change})
    assert "encoder" in line
    assert words in line
