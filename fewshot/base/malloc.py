"""Configure glibc malloc to reuse large freed blocks instead of unmapping them.

A newly mapped block costs a page fault for every 4 KB written: a seventh of an encoder's time.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, MMAP_MAX = -1, -2, -3, -4  # constants of glibc's malloc.h
KEPT = 1 << 30  # free bytes at the top of the heap before glibc returns any to the system
GROWTH = 64 << 20  # bytes the heap grows by
LARGEST = 32 << 20  # bytes of the largest block from the heap; glibc accepts no larger value
ORDINARY = {MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: KEPT, TOP_PAD: GROWTH, MMAP_MAX: 65536}
EVERY_SIZE = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}

_libraries: list[ctypes.CDLL] = []  # the C library once `keep_memory` has set it


def keep_memory() -> bool:
    """Make glibc reuse freed blocks of up to 32 MB; return whether it accepted the settings.

    With another C library this does nothing and returns False. The settings hold for the whole process; call
    it before the first large array. Results do not depend on it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    if not _set(library, ORDINARY):
        return False
    _libraries[:] = [library]
    return True


@contextmanager
def blocks_of_every_size() -> Iterator[None]:
    """Reuse freed blocks of every size within this context, and return them to the system at its end.

    Only for work that takes blocks of the same sizes again and again, as training steps do: those of GMRD, of
    157 MB, cost a fifth of a step where each is mapped anew. Blocks of many sizes, as an evaluation takes
    them for scans of many depths, would leave holes that no later block fits. Without `keep_memory` before
    it, it does nothing: the process is not the program's own.
    """
    if not _libraries:
        yield
        return
    _set(_libraries[0], EVERY_SIZE)
    try:
        yield
    finally:
        _set(_libraries[0], ORDINARY)
        _libraries[0].malloc_trim(0)


def _set(library: ctypes.CDLL, settings: Mapping[int, int]) -> bool:
    return all(library.mallopt(option, value) == 1 for option, value in settings.items())
