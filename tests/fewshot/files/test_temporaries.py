"""Temporary files: those of dead processes are removed by the next writer, those of living ones never."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from places import ROOT

from fewshot.files import temporaries
from fewshot.files.atomic_io import atomic_folder, atomic_write
from fewshot.files.temporaries import FORGOTTEN, NAME, clear_dead

WRITER = """
import sys, time
from pathlib import Path
from fewshot.files.atomic_io import atomic_folder, atomic_write
folder = Path(sys.argv[1])
with atomic_write(folder / "last.pt") as stream, atomic_folder(folder / "store") as inside:
    stream.write("half"); stream.flush()
    (inside / "array.npy").write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """Start a process that is in the middle of writing a file and a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "writing\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if NAME.fullmatch(path.name))


def write(folder: Path) -> None:
    """Write another file of the folder, as the next run does."""
    clear_dead(folder, again=True)  # a process lists a folder once; this one has done it before
    with atomic_write(folder / "spec.json") as stream:
        stream.write("{}")


def test_a_killed_writer_leaves_nothing_after_the_next_write(tmp_path: Path) -> None:
    living = start(tmp_path)
    killed = start(tmp_path)
    assert len(names(tmp_path)) == 4
    kill(killed)
    write(tmp_path)
    assert len(names(tmp_path)) == 2 and all(f"-{living.pid}-" in name for name in names(tmp_path))
    living.communicate("go on\n")
    assert living.returncode == 0 and names(tmp_path) == []
    assert (tmp_path / "last.pt").read_text() == "half" and (tmp_path / "store" / "array.npy").is_file()


def test_the_first_write_of_a_process_clears_the_folder(tmp_path: Path) -> None:
    kill(start(tmp_path))
    code = "import sys; from pathlib import Path; from fewshot.files.atomic_io import write_json\n"
    code += "write_json(Path(sys.argv[1]) / 'x.json', 1)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json"]


def as_of_another_host(folder: Path) -> None:
    for name in names(folder):
        found = NAME.fullmatch(name)
        assert found is not None
        host, boot = found[1], found[2]
        (folder / name).rename(folder / name.replace(f"{host}-{boot}", "0" * 6 + "-" + "1" * 6))


def age(folder: Path, seconds: float) -> None:
    past = time.time() - seconds
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (past, past))


@pytest.mark.parametrize("locks", [True, False])
def test_another_hosts_temporary_stays_for_a_week(
    locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a network a lock may not be seen, so a free one proves nothing about another host."""
    kill(start(tmp_path))
    as_of_another_host(tmp_path)
    if not locks:
        monkeypatch.setattr(temporaries, "try_lock", lambda _descriptor: None)
    age(tmp_path, FORGOTTEN - 3600)
    write(tmp_path)
    assert len(names(tmp_path)) == 2
    age(tmp_path, FORGOTTEN + 3600)
    for name in names(tmp_path):
        if (tmp_path / name).is_dir():
            (tmp_path / name / "array.npy").touch()  # what changed last within counts
    write(tmp_path)
    assert len(names(tmp_path)) == 1
    age(tmp_path, FORGOTTEN + 3600)
    write(tmp_path)
    assert names(tmp_path) == []


def test_a_locked_temporary_of_another_host_stays_whatever_its_age(tmp_path: Path) -> None:
    living = start(tmp_path)
    as_of_another_host(tmp_path)
    age(tmp_path, 10 * FORGOTTEN)
    write(tmp_path)
    assert len(names(tmp_path)) == 2
    kill(living)


def test_without_locks_the_number_of_the_process_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporaries, "try_lock", lambda _descriptor: None)
    living, killed = start(tmp_path), start(tmp_path)
    kill(killed)
    write(tmp_path)
    assert len(names(tmp_path)) == 2 and all(f"-{living.pid}-" in name for name in names(tmp_path))
    kill(living)
    write(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("made", [temporaries.new_file, temporaries.new_folder])
def test_one_that_was_cleared_before_it_was_locked_is_made_again(
    made: Callable[[Path], tuple[Path, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = temporaries.try_lock, []

    def cleared_first(descriptor: int) -> bool | None:
        if not tries:
            (path,) = (tmp_path / name for name in names(tmp_path))
            path.rmdir() if path.is_dir() else path.unlink()
        tries.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr(temporaries, "try_lock", cleared_first)
    path, descriptor = made(tmp_path / "target")
    os.close(descriptor)
    assert len(tries) == 2 and path.exists() and names(tmp_path) == [path.name]


def test_nothing_is_left_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "old").touch()
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "file") as stream:
        stream.write("half")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), atomic_folder(tmp_path / "store") as inside:
        (inside / "new").touch()
        raise KeyboardInterrupt
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["store", "store/old"]


def test_a_long_name_has_room_for_its_temporary(tmp_path: Path) -> None:
    with atomic_write(tmp_path / ("ä" * 127)) as stream:
        stream.write("x")
    assert (tmp_path / ("ä" * 127)).read_text() == "x"
