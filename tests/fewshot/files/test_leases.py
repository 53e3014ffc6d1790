"""Leases between processes and hosts: one holder at a time, taken again after a death, with any clock."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from places import ROOT

from fewshot.base.errors import UserError
from fewshot.files import locks
from fewshot.files.leases import MARKER, Pace, leased, leased_if_free, leases_needed, mark_leases

QUICK = Pace(beat=0.1, stale=0.6, poll=0.05)
WORKER = """
import sys, time
from pathlib import Path
from fewshot.files.leases import Pace, leased
folder, name, rounds, rest = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
for _ in range(rounds):
    with leased(folder / "a.lock", Pace(beat=0.1, stale=3.0, poll=0.02)):
        with (folder / "log").open("a") as log:
            log.write(f"{name} in\\n")
        time.sleep(rest)
        with (folder / "log").open("a") as log:
            log.write(f"{name} out\\n")
"""


def start(folder: Path, name: str, rounds: int, rest: float, *before: str) -> subprocess.Popen[bytes]:
    command = [*before, sys.executable, "-c", WORKER, str(folder), name, str(rounds), str(rest)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)


def entries(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def assert_one_at_a_time(lines: list[list[str]]) -> None:
    for before, after in zip(lines[::2], lines[1::2], strict=True):
        assert (before[0], before[1], after[1]) == (after[0], "in", "out")


def test_a_held_lease_is_not_free_and_a_freed_one_is(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a.lock"
    for _ in range(3):
        with leased_if_free(path, QUICK) as ours:
            assert ours
            with leased_if_free(path, QUICK) as again:
                assert not again
    assert len(list(path.parent.iterdir())) == 1  # one generation is left


def test_processes_take_turns(tmp_path: Path) -> None:
    workers = [start(tmp_path, str(number), 5, 0.01) for number in range(3)]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    lines = entries(tmp_path)
    assert len(lines) == 30
    assert_one_at_a_time(lines)


def test_the_lease_of_a_dead_process_of_this_host_is_taken_at_once(tmp_path: Path) -> None:
    dead = start(tmp_path, "dead", 1, 600)
    while not (tmp_path / "log").exists():
        time.sleep(0.02)
    dead.kill()
    dead.wait()
    started = time.monotonic()
    with leased(tmp_path / "a.lock", Pace(beat=1, stale=600, poll=0.05)):
        assert time.monotonic() - started < 30


@pytest.mark.parametrize("hours", [-48, 48])
def test_clocks_that_differ_change_nothing(
    hours: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiting process with another clock and with file times far off leaves a living lease alone."""
    path = tmp_path / "a.lock"
    with leased_if_free(path, QUICK) as ours:
        assert ours
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
        end = time.monotonic() + 3 * QUICK.stale
        taken = []
        while time.monotonic() < end:
            for file in tmp_path.glob("*.lease.*"):
                os.utime(file, (now() + hours * 3600,) * 2)
            waiter = threading.Thread(target=lambda: taken.append(_try(path)))
            waiter.start()
            waiter.join()
        assert not any(taken) and len(taken) > 3


def _try(path: Path) -> bool:
    with leased_if_free(path, QUICK) as ours:
        time.sleep(0.1)
        return ours


def test_a_silent_holder_loses_its_lease_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder is another host's, so that only its silence counts; it then finds a newer generation."""
    path = tmp_path / "a.lock"
    silent = Pace(beat=600, stale=1.0, poll=0.05)
    monkeypatch.setattr("fewshot.files.leases.host", lambda: "b")
    with (
        pytest.raises(UserError, match="another process took the lease"),
        leased_if_free(path, silent) as ours,
    ):
        assert ours
        monkeypatch.setattr("fewshot.files.leases.host", lambda: "a")
        with leased(path, QUICK) as taken:
            assert taken
    with leased_if_free(path, QUICK) as free:
        assert free


def test_a_marked_folder_takes_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEWSHOT_LOCKS", raising=False)
    assert not leases_needed(tmp_path)
    mark_leases(tmp_path)
    assert leases_needed(tmp_path)
    with locks.locked(tmp_path / "a.lock"), locks.if_free(tmp_path / "a.lock") as ours:
        assert not ours
    assert {path.name for path in tmp_path.iterdir()} == {MARKER, "a.lock.lease.1"}
    monkeypatch.setenv("FEWSHOT_LOCKS", "both")
    with pytest.raises(UserError, match="expected flock or lease"):
        leases_needed(tmp_path)


def test_a_file_system_without_flock_takes_leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def missing(_file: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", missing)
    with locks.if_free(tmp_path / "a.lock") as ours, locks.if_free(tmp_path / "a.lock") as again:
        assert ours and not again
    assert (tmp_path / MARKER).exists()


def namespaces(name: str) -> list[str]:
    """Return the words that run a command as another host: own network, host name and process numbers."""
    inner = f'hostname {name}; exec "$@"'
    return [
        "unshare",
        "--net",
        "--uts",
        "--pid",
        "--fork",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        inner,
        "sh",
    ]


@pytest.mark.slow
def test_two_hosts_in_network_namespaces_share_a_folder(tmp_path: Path) -> None:
    """Neither sees the other's processes, so a dead holder's lease is taken for its silence alone."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("no root or no unshare here, for network namespaces")
    hosts = [start(tmp_path, name, 8, 0.05, *namespaces(name)) for name in ("host-a", "host-b")]
    assert [host.wait(120) for host in hosts] == [0, 0]
    lines = entries(tmp_path)
    assert len(lines) == 32 and {name for name, _ in lines} == {"host-a", "host-b"}
    assert_one_at_a_time(lines)

    (tmp_path / "log").unlink()
    lost = start(tmp_path, "host-a", 1, 600, *namespaces("host-a"))
    while not (tmp_path / "log").exists():
        time.sleep(0.05)
    waiting = start(tmp_path, "host-b", 1, 0.0, *namespaces("host-b"))
    time.sleep(5)  # longer than a lease without heartbeat lives
    assert entries(tmp_path) == [["host-a", "in"]] and waiting.poll() is None
    lost.send_signal(signal.SIGKILL)  # with its namespace: a lost node
    lost.wait()
    assert waiting.wait(60) == 0
    assert entries(tmp_path) == [["host-a", "in"], ["host-b", "in"], ["host-b", "out"]]
