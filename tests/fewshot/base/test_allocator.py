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
from fewshot.base.malloc import keep_memory
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


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _name: pytest.fail("the C library was asked"))
    assert allocator.keep_memory() is False
