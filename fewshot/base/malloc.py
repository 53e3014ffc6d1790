"""How the C library keeps memory: large blocks are reused, not given back to the system and fetched again.

A fresh block costs a page fault for every 4 KB that is first written: a seventh of an encoder's time.
"""

from __future__ import annotations

import ctypes
import platform

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
KEPT = 1 << 30  # bytes free at the top of the heap before any are given back
GROWTH = 64 << 20  # bytes the heap grows by
LARGEST = 32 << 20  # bytes of the largest block from the heap; glibc takes no more


def keep_memory() -> bool:
    """Ask glibc to reuse freed blocks of up to 32 MB; return whether it took it. Elsewhere nothing is done.

    Results do not depend on it. For a whole process, before its first large array.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    wanted = {MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: KEPT, TOP_PAD: GROWTH}
    return all(library.mallopt(option, value) == 1 for option, value in wanted.items())
