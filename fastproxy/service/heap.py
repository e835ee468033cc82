"""One heap for all threads of a process, where the C library is glibc.

It gives threads heaps of their own, so that they need not wait for each other. Ours do not: Python
lets one of them run at a time. And what a thread frees, like the one that reads all that botocore
knows, the others cannot use: 3.5 MiB of a worker with 8,750 uploads.
"""

import ctypes
from typing import Final

_M_ARENA_MAX: Final = -8  # malloc.h


def use_one_heap() -> None:
    """From now on; so before there are threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
