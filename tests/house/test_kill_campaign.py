"""Every writing command, killed at random moments and typed again, ends in the bytes of an undisturbed run.

A trial begins from a copy of one folder, kills the command once or twice (SIGKILL) and runs it to its end.
The number of kills that hit a running process is printed. The tests of one command are one part:
`pytest -m slow tests/test_kill_campaign.py -k run-densemp`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_commands import COMMANDS, WITHOUT_FIGURES, contents, left_over, renew
from warm_commands import start_command, status_of

pytestmark = pytest.mark.slow

KILLS = {
    "run-supervoxels": 6, "ablate": 6, "report": 1, "explain": 5, "overlay": 5,
    "phantoms": 5, "pretrain-dataset": 5, "plan": 13, "new-method": 13,
}  # fmt: skip
MOST = 9  # kills of a command that KILLS does not name
TWICE = 0.3  # share of the trials whose second call is killed too


@pytest.mark.parametrize("name", WITHOUT_FIGURES)
def test_a_killed_command_ends_in_the_same_bytes(
    name: str, bases: Callable[[bool], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, trial, log = bases(COMMANDS[name].finished), tmp_path / "t", tmp_path / "log"
    words = COMMANDS[name].words(base)
    renew(trial, base)
    assert status_of(words, log, trial) == 0, log.read_text()  # compiles what is compiled on first use
    expected = contents(trial)
    assert expected != contents(base) or name == "evaluate-overwrite"  # which writes the same bytes again
    renew(trial, base)
    begun = time.monotonic()
    assert status_of(words, log, trial) == 0, log.read_text()
    seconds = time.monotonic() - begun
    assert contents(trial) == expected, "the command does not repeat"
    draw, target, kills, trials = random.Random(name), KILLS.get(name, MOST), 0, 0
    while kills < target:
        trials += 1
        assert trials < 8 * target, f"{kills} kills in {trials} trials of {seconds:.1f} s"
        renew(trial, base)
        for _ in range(2 if draw.random() < TWICE else 1):
            process = start_command(words, log, trial)
            time.sleep(draw.uniform(0, seconds))
            process.kill()
            process.join()
            kills += process.exitcode == -9
        status = status_of(words, log, trial)
        already = name == "new-method" and status == 2  # it refuses to replace a file that it has written
        assert status == 0 or already, log.read_text()
        assert contents(trial) == expected
        assert left_over(trial) == []
    assert "Traceback" not in log.read_text()
    with capsys.disabled():
        print(f"\n{name}: {kills} kills in {trials} trials of {seconds:.1f} s, all ended in equal bytes")


def test_the_campaign_has_two_hundred_kills() -> None:
    assert sum(KILLS.get(name, MOST) for name in WITHOUT_FIGURES) >= 200
