"""Memory that the C library keeps: large blocks are reused where glibc is, and nothing is done elsewhere."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from fewshot.base import malloc as allocator

# What an encoder does: five blocks of 16 MB are taken, written and freed, twenty times over.
PROGRAM = """
import ctypes, resource, sys
from fewshot.base.malloc import keep_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "keep":
    assert keep_memory()
def round():
    blocks = [ctypes.c_void_p(library.malloc(ctypes.c_size_t(16 << 20))) for _ in range(5)]
    for block in blocks:
        library.memset(block, 1, ctypes.c_size_t(16 << 20))
    for block in blocks:
        library.free(block)
round()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    round()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc alone")
def test_freed_blocks_are_used_again() -> None:
    assert faults("keep") < 100 < faults("leave") / 4


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _name: pytest.fail("the C library was asked"))
    assert allocator.keep_memory() is False
