"""The corpus of bad inputs: every one is refused in one line, in little time and memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from bad_inputs.case import Base
from bad_inputs.corpus import all_cases, make_base
from bad_inputs.runner import BYTES, FAULTS, SECONDS, Outcome, run_cases

LEAST = 600


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """The sound inputs."""
    return make_base(tmp_path_factory.mktemp("base"))


def counts(outcomes: list[Outcome]) -> str:
    """Return the counts of a run as lines: inputs by reader, and each kind of fault."""
    readers = Counter(outcome.case.name.partition("/")[0] for outcome in outcomes)
    faults = Counter((outcome.fault or "refused").partition(":")[0] for outcome in outcomes)
    lines = [
        f"{len(outcomes)} bad inputs: " + ", ".join(f"{n} {name}" for name, n in sorted(readers.items()))
    ]
    lines.append(", ".join(f"{faults[name]} {name}" for name in ("refused", *FAULTS)))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    largest = max(outcomes, key=lambda outcome: outcome.bytes)
    lines.append(f"slowest {slowest.seconds:.1f} s ({slowest.case.name}), limit {SECONDS} s")
    lines.append(f"largest {largest.bytes >> 20} MiB ({largest.case.name}), limit {BYTES >> 20} MiB")
    return "\n".join(lines)


def test_the_corpus_is_large_and_named() -> None:
    assert len(all_cases()) >= LEAST


@pytest.mark.slow
def test_every_bad_input_is_refused(base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = list(run_cases(all_cases(), base, tmp_path))
    with capsys.disabled():
        print(f"\n{counts(outcomes)}")
    assert len(outcomes) == len(all_cases())
    assert [f"{outcome.case.name}: {outcome.fault}" for outcome in outcomes if outcome.fault] == []
