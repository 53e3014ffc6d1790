"""A full disk, a limit on files and a folder without write permission: one line, nothing lost, reading works.

The disks are small tmpfs, which root may mount. Elsewhere these tests are skipped, and only the limit on the
size of files (RLIMIT_FSIZE) stands for a full disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_commands import COMMANDS, MODEL, contents, left_over, model_of, new_base, renew
from warm_commands import status_of

pytestmark = pytest.mark.slow

FREE = (0.02, 0.2, 0.5, 0.9)  # of what the command writes
LIMITS = (0, 300, 5_000, 40_000)  # bytes of the largest file
SLOW = {"report"}  # commands with half of the disks and limits
SEVERAL = (  # commands with kinds of writing of their own; "report" writes what "figures" writes, and a page
    "run", "run-densemp", "run-supervoxels", "probe", "pretrain-images", "prepare", "phantoms", "evaluate",
    "score", "segment", "distances", "report",
)  # fmt: skip


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A function that gives a small disk these options of mount, such as size=1m, and returns its folder."""
    place = tmp_path / "disk"
    place.mkdir()
    first = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(place)]
    if subprocess.run(first, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a tmpfs")

    def remount(options: str) -> Path:
        subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True, capture_output=True)
        return place

    yield remount
    subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)


def used(folder: Path) -> int:
    return shutil.disk_usage(folder).used


def errors(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith("fewshot: error:")]


@pytest.mark.parametrize("name", SEVERAL)
def test_a_full_disk_is_one_line_and_loses_nothing(
    name: str, bases: Callable[[bool], Path], disk: Callable[[str], Path], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    base, log = bases(COMMANDS[name].finished), tmp_path / "log"
    words, trial = COMMANDS[name].words(base), disk("size=256m") / "trial"
    renew(trial, base)
    before = used(trial)
    assert status_of(words, log, trial) == 0, log.read_text()
    expected, written = contents(trial), used(trial) - before
    full = 0
    shares = FREE[::2] if name in SLOW else FREE
    for share in shares:
        disk("size=256m")
        renew(trial, base)
        log.write_text("")
        disk(f"size={used(trial) + int(share * written) // 4096 * 4096 + 4096}")
        status = status_of(words, log, trial)
        assert "Traceback" not in log.read_text(), log.read_text()
        assert status in (0, 2)
        if status:
            full += 1
            (line,) = errors(log)
            assert "cannot write" in line or "No space left" in line, line
        disk("size=256m")
        assert status_of(words, log, trial) == 0, log.read_text()
        assert contents(trial) == expected
        assert left_over(trial) == []
    assert full >= 2
    with capsys.disabled():
        print(f"\n{name}: {full} of {len(shares)} disks were full: one line each, then equal bytes")


@pytest.mark.parametrize("name", SEVERAL)
def test_a_limit_on_files_is_one_line_and_loses_nothing(
    name: str, bases: Callable[[bool], Path], tmp_path: Path
) -> None:
    base, trial, log = bases(COMMANDS[name].finished), tmp_path / "trial", tmp_path / "log"
    words = COMMANDS[name].words(base)
    renew(trial, base)
    assert status_of(words, log, trial) == 0, log.read_text()
    expected, full = contents(trial), 0
    for limit in LIMITS[::2] if name in SLOW else LIMITS:
        renew(trial, base)
        errors_of = tmp_path / f"log-{limit}"  # the limit holds for a log in a file too
        os.mkfifo(errors_of)
        reader = subprocess.Popen(["cat", str(errors_of)], stdout=subprocess.PIPE, text=True)
        status = status_of(words, errors_of, trial, largest=limit)
        said, _ = reader.communicate()
        assert "Traceback" not in said, said
        assert status in (0, 2)
        if status:
            full += 1
            assert said.count("fewshot: error: ") == 1 and "File too large" in said
        assert status_of(words, log, trial) == 0, log.read_text()
        assert contents(trial) == expected
        assert left_over(trial) == []
    assert full >= 2


READING = (
    ["table"], ["leaderboard", "--dataset", "tiny"], ["list", "cells"], ["list", "models"],
    ["list", "stores"], ["plan", "--dataset", "tiny"],
    ["run", "--dataset", "tiny", "--method", "ssl-alpnet", *MODEL, "--steps", "2", "--save-predictions"],
)  # fmt: skip


def test_a_read_only_folder_with_all_records_is_read(
    bases: Callable[[bool], Path], disk: Callable[[str], Path], tmp_path: Path
) -> None:
    trial = disk("size=256m") / "trial"
    renew(trial, bases(True))
    commands = [*READING, ["evaluate", model_of(trial, "ssl-alpnet"), "--setting", "1"]]
    measuring = [word for word in READING if word[0] == "leaderboard"]  # keeps distances in the folder
    for words in measuring:
        assert status_of(words, tmp_path / "first", trial) == 0, (tmp_path / "first").read_text()
    before = contents(trial)
    texts = []
    for number, options in enumerate(("size=256m", "ro")):
        disk(options)
        for place, words in enumerate(commands):
            log = tmp_path / f"log-{number}-{place}"
            assert status_of(words, log, trial) == 0, log.read_text()
            texts.append(log.read_text())
    assert texts[: len(commands)] == texts[len(commands) :]
    out = tmp_path / "elsewhere"
    for name, words in {
        "figures": ["figures", "--dataset", "tiny", "--out", str(out)],
        "board": ["leaderboard", "--dataset", "tiny", "--out", str(out / "board.txt")],
    }.items():
        assert status_of(words, tmp_path / name, trial) == 0, (tmp_path / name).read_text()
    assert contents(trial) == before


@pytest.mark.parametrize(
    "name",
    [name for name in COMMANDS if name not in ("prepare-overwrite", "run-setting-2", "run-policy", "table")],
)
def test_writing_in_a_read_only_folder_is_one_line(
    name: str, bases: Callable[[bool], Path], disk: Callable[[str], Path], tmp_path: Path
) -> None:
    base, log = bases(COMMANDS[name].finished), tmp_path / "log"
    trial = disk("size=256m") / "trial"
    renew(trial, base)
    disk("ro")
    assert status_of(COMMANDS[name].words(base), log, trial) == 2, log.read_text()
    (line,) = errors(log)
    assert "Read-only file system" in line and "Traceback" not in log.read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_read(tmp_path: Path) -> None:
    new_base(tmp_path / "base")
    words = ["run", "--dataset", "tiny", "--method", "copy-support"]
    assert status_of(words, tmp_path / "log", tmp_path / "base") == 0
    subprocess.run(["chmod", "-R", "a-w", str(tmp_path / "base")], check=True)
    try:
        assert status_of(words, tmp_path / "log", tmp_path / "base") == 0
        assert status_of([*words, "--overwrite"], tmp_path / "log", tmp_path / "base") == 2
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(tmp_path / "base")], check=True)
