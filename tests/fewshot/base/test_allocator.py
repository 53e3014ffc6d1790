"""Memory that the C library keeps: large blocks are reused where glibc is, and nothing is done elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fewshot.base import malloc as allocator

# What an encoder (blocks of 16 MB) and GMRD's descriptors (of 157 MB) do: take, write and free blocks, often.
PROGRAM = """
import ctypes, resource, sys
from fewshot.base.malloc import blocks_of_every_size, keep_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "keep":
    assert keep_memory()
size, count = int(sys.argv[2]) << 20, int(sys.argv[3])
def round():
    blocks = [ctypes.c_void_p(library.malloc(ctypes.c_size_t(size))) for _ in range(count)]
    for block in blocks:
        library.memset(block, 1, ctypes.c_size_t(size))
    for block in blocks:
        library.free(block)
if sys.argv[1] == "keep":
    context = blocks_of_every_size()
    context.__enter__()
round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, megabytes: int, count: int) -> int:
    command = [sys.executable, "-c", PROGRAM, how, str(megabytes), str(count)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc alone")
@pytest.mark.parametrize(("megabytes", "count"), [(16, 5), (157, 8)])
def test_freed_blocks_are_used_again(megabytes: int, count: int) -> None:
    assert faults("keep", megabytes, count) < 100 < faults("leave", megabytes, count) / 4


# What an evaluation of ever deeper scans does: small results stay, larger and larger working blocks go.
GROWING = """
import ctypes, sys
from pathlib import Path
from fewshot.base.malloc import blocks_of_every_size, keep_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024
def block(megabytes):
    size = ctypes.c_size_t(megabytes << 20)
    made = ctypes.c_void_p(library.malloc(size))
    library.memset(made, 1, size)
    return made
assert keep_memory()
before = held()
if sys.argv[1] == "training first":
    with blocks_of_every_size():
        for _step in range(3):
            library.free(block(900))
for depth in range(40, 72):
    work = block(2 * depth)
    small = block(1)
    library.free(work)
print(held() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc alone")
@pytest.mark.parametrize("how", ["evaluation alone", "training first"])
def test_blocks_of_many_sizes_leave_no_holes(how: str) -> None:
    run = subprocess.run([sys.executable, "-c", GROWING, how], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100  # MB; 32 blocks of 1 MB are in use


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _name: pytest.fail("the C library was asked"))
    monkeypatch.setattr(allocator, "_libraries", [])
    assert allocator.keep_memory() is False
    with allocator.blocks_of_every_size():
        pass
