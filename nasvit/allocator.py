"""What the allocator of a process keeps of the memory that was freed; glibc's alone can be told."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's options
_USUAL = 2**17  # bytes: both, before a program changes them


def _glibc(mmap_threshold: int, trim_threshold: int) -> Any:
    """Set what large blocks are, and what is kept at the end of a heap, in bytes; return the library, or None."""
    if platform.libc_ver()[0] != "glibc":
        return None
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_THRESHOLD, mmap_threshold)
    library.mallopt(_TRIM_THRESHOLD, trim_threshold)
    return library


@cache
def hold() -> None:
    """Keep what is free, for large blocks that are taken later."""
    _glibc(2**30, 2**31 - 1)


def give_back() -> None:
    """Return what is free to the system, and take every large block anew: what is held would be used unseen."""
    library = _glibc(_USUAL, _USUAL)  # whatever `hold` said before
    if library is not None:
        library.malloc_trim(0)
        library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        library.free(library.malloc(_USUAL - 2**12))  # the end of a thread's heap is given back by this alone
