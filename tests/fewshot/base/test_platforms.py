"""Systems and folders without file locks: one sentence, and what needs no lock works."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from fewshot.base.errors import UserError
from fewshot.commands.main import main
from fewshot.files.leases import MARKER
from fewshot.files.locks import NoLocksError, if_free, locked

SENTENCE = "Windows is not supported: fewshot needs the file locks of Linux or macOS"
RUN = ["run", "--dataset", "tiny", "--method", "copy-support"]


@pytest.mark.parametrize("words", [["list", "stores"], ["plan", "--dataset", "tiny"], ["--help"], []])
def test_a_system_without_fcntl_gets_one_sentence(words: list[str], tmp_path: Path) -> None:
    """Windows has no module fcntl."""
    code = "import sys; sys.modules['fcntl'] = None\nfrom fewshot.commands.main import main\nsys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"fewshot: error: {SENTENCE}") and done.stderr.count("\n") == 1


def test_the_package_can_be_imported_without_fcntl(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "import fewshot, fewshot.learner, protocols.runs.runner, results.records.files\n"
        "from fewshot.files.atomic_io import write_json\nfrom pathlib import Path\n"
        "try:\n    write_json(Path('x.json'), 1)\n"
        "except fewshot.UserError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.startswith(SENTENCE) and list(tmp_path.iterdir()) == []


def without_locks(number: int) -> object:
    def flock(_stream: object, _operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture
def done(work: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A work folder with the finished cells of a yardstick."""
    assert main([*RUN, "--work", str(work)]) == 0
    capsys.readouterr()
    return work


READING = (
    ["table"],
    ["leaderboard", "--dataset", "tiny"],
    ["list", "cells"],
    ["list", "stores"],
    ["plan", "--dataset", "tiny"],
)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_in_one_line(
    number: int, done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = []
    for words in READING:
        assert main([*words, "--work", str(done)]) == 0
        expected.append(capsys.readouterr().out)
    monkeypatch.setattr(fcntl, "flock", without_locks(number))
    monkeypatch.setenv("FEWSHOT_LOCKS", "flock")  # by default a lease takes the place of the lock
    assert main([*RUN, "--work", str(done), "--overwrite"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fewshot: error: cannot lock {done}/locks/") and error.count("\n") == 1
    assert os.strerror(number) in error and "mount it with locks" in error
    found = []
    for words in READING:
        assert main([*words, "--work", str(done)]) == 0
        found.append(capsys.readouterr().out)
    assert found == expected


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_takes_leases(
    number: int, done: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FEWSHOT_LOCKS", raising=False)
    before = {path.name: path.read_bytes() for path in (done / "records").iterdir()}
    monkeypatch.setattr(fcntl, "flock", without_locks(number))
    assert main([*RUN, "--work", str(done), "--overwrite"]) == 0
    assert {path.name: path.read_bytes() for path in (done / "records").iterdir()} == before
    assert (done / "locks" / MARKER).exists() and list((done / "locks").glob("*.lease.*"))


def test_without_flock_and_without_leases_one_line_names_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_words: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.delenv("FEWSHOT_LOCKS", raising=False)
    monkeypatch.setattr(fcntl, "flock", without_locks(errno.ENOLCK))
    monkeypatch.setattr("fewshot.files.locks.leased_if_free", refused)
    with pytest.raises(NoLocksError, match="mount it with locks"), locked(tmp_path / "locks" / "a.lock"):
        pass


def test_without_locks_files_are_written_all_the_same(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file has a private temporary, so an output needs no lock; a training needs one."""
    monkeypatch.setattr(fcntl, "flock", without_locks(errno.ENOLCK))
    out = work.parent / "plan.json"
    assert main(["plan", "--work", str(work), "--dataset", "tiny", "--out", str(out)]) == 0
    assert out.is_file() and [path.name for path in work.parent.glob(".*")] == []
    assert main(["list", "stores", "--work", str(work)]) == 0


def test_a_lock_excludes_and_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a.lock"
    with locked(lock) as ours, if_free(lock) as second:
        assert ours and not second
    with if_free(lock) as free:
        assert free


def test_a_lock_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("a file where the folder belongs")
    with (
        pytest.raises(UserError, match=r"cannot write .*a\.lock: .*choose another one"),
        locked(tmp_path / "locks" / "a.lock"),
    ):
        pass


def test_a_refused_lock_in_a_folder_that_can_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where nothing at all can be written does a process go without its lock."""

    def refused(*_words: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("fewshot.files.locks.os.open", refused)
    (tmp_path / "models").mkdir()
    lock = tmp_path / "locks" / "a.lock"
    with pytest.raises(UserError, match="Permission denied"), locked(lock):
        pass
    monkeypatch.setattr("fewshot.files.locks.os.access", lambda _path, _mode: False)
    with locked(lock) as ours:
        assert ours
