"""Three processes with one command at once, and different commands together: none loses, none fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_commands import COMMANDS, WITHOUT_FIGURES, contents, left_over, model_of, renew
from warm_commands import start_command, status_of

pytestmark = pytest.mark.slow

ROUNDS = {"evaluate": 3, "evaluate-overwrite": 3, "phantoms": 2, "pretrain-images": 2}
TOGETHER = ("run", "run-policy", "run-densemp", "plan", "view", "phantoms")


def run_together(commands: list[list[str]], folder: Path, trial: Path) -> list[tuple[int | None, str]]:
    """Run the commands at the same time; return each one's status and what it printed."""
    logs = [folder / f"log-{number}" for number in range(len(commands))]
    for log in logs:
        log.write_text("")
    processes = [start_command(words, log, trial) for words, log in zip(commands, logs, strict=True)]
    for process in processes:
        process.join(600)
    ended = [(process.exitcode, log.read_text()) for process, log in zip(processes, logs, strict=True)]
    for process in processes:
        process.kill()
    return ended


@pytest.mark.parametrize("name", WITHOUT_FIGURES)
def test_three_at_a_time_write_what_one_writes(
    name: str, bases: Callable[[bool], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, trial = bases(COMMANDS[name].finished), tmp_path / "trial"
    words = COMMANDS[name].words(base)
    renew(trial, base)
    assert status_of(words, tmp_path / "log", trial) == 0, (tmp_path / "log").read_text()
    expected = contents(trial)
    rounds = ROUNDS.get(name, 1)
    for _ in range(rounds):
        renew(trial, base)
        ended = run_together([words] * 3, tmp_path, trial)
        late = name == "new-method"  # it refuses to replace files that are there
        for status, said in ended:
            assert status == 0 or (late and status == 2), said
            assert "Traceback" not in said
        assert any(status == 0 for status, _said in ended)
        assert contents(trial) == expected
        assert left_over(trial) == []
    with capsys.disabled():
        print(f"\n{name}: {rounds} times three at once, equal bytes")


def test_different_commands_at_once_write_what_they_write_alone(
    bases: Callable[[bool], Path], tmp_path: Path
) -> None:
    commands = [COMMANDS[name].words(tmp_path) for name in TOGETHER]
    trial = tmp_path / "trial"
    renew(trial, bases(False))
    for words in commands:
        assert status_of(words, tmp_path / "log", trial) == 0, (tmp_path / "log").read_text()
    expected = contents(trial)
    renew(trial, bases(False))
    for status, said in run_together(commands, tmp_path, trial):
        assert status == 0, said
    assert contents(trial) == expected and left_over(trial) == []


def test_overlapping_evaluations_save_all_masks(bases: Callable[[bool], Path], tmp_path: Path) -> None:
    """Three calls that share some of their cells."""
    trial = tmp_path / "trial"
    renew(trial, bases(True))
    model = ["evaluate", model_of(trial, "ssl-alpnet"), "--setting", "1", "--save-predictions", "--overwrite"]
    commands = [
        [*model, "--protocol", names]
        for names in ("alpnet-ep1,open-ep", "open-ep,qnet-ep1", "qnet-ep1,alpnet-ep1")
    ]
    for words in commands:
        assert status_of(words, tmp_path / "log", trial) == 0, (tmp_path / "log").read_text()
    expected = contents(trial)
    renew(trial, bases(True))
    for status, said in run_together(commands, tmp_path, trial):
        assert status == 0, said
    assert contents(trial) == expected and left_over(trial) == []
