"""A command that finds its work finished removes what a killed process left where the command writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_commands import COMMANDS, left_over, renew
from warm_commands import status_of

pytestmark = pytest.mark.slow
ALL_AGAIN = {"figures", "report"}  # never finished: they write every file again, and take longest


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - ALL_AGAIN))
def test_a_finished_command_removes_the_temporaries_of_a_killed_one(
    name: str, bases: Callable[[bool], Path], tmp_path: Path
) -> None:
    base, trial, log, names = (
        bases(COMMANDS[name].finished), tmp_path / "t", tmp_path / "log", tmp_path / "names",
    )  # fmt: skip
    words = COMMANDS[name].words(base)
    renew(trial, base)
    assert status_of(words, log, trial, names=names) == 0, log.read_text()
    temporary = [Path(line) for line in names.read_text().splitlines()]
    assert temporary and left_over(trial) == []
    for path in temporary:
        if path.parent.is_dir():  # else it lay in a temporary folder, and so did all that a kill would leave
            path.write_text("half of it")
    again = status_of(words, log, trial)
    already = name == "new-method" and again == 2  # it refuses to replace a file that it has written
    assert again == 0 or already, log.read_text()
    assert left_over(trial) == []
