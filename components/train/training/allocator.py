"""The C library's memory: kept for the next step instead of given back after every tensor.

glibc maps every large tensor anew and the kernel clears its pages again; on two cores that was more than half of the
processor time of a training step. Kept memory is cut up over time, so the process's largest size grows by about half.
"""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h
_NEVER = -1

VARIABLES = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""The same as variables of a process that is yet to be started, which glibc reads before its first line runs."""


def keep_memory() -> bool:
    """Have freed memory kept by this process, from now on. Returns whether that took effect.

    Only glibc knows how; elsewhere, and where the user has set ``MALLOC_…`` or glibc's tunables, nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, _NEVER))
