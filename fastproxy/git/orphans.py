"""Programs that outlive the worker that started them. The master adopts them, and ends them.

A worker ends its programs itself; this is for one that was killed. Without it a program that waits
for nothing of ours, such as a hook, would go on for nobody. Linux only (prctl(2)).
"""

import contextlib
import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# A variable of theirs, and of all that they start: the worker's process number.
MARK: Final = "STARTED_BY_FASTPROXY"
GRACE_S: Final = 2.0  # between SIGTERM, at which git removes its temporary files, and SIGKILL
_PR_SET_CHILD_SUBREAPER: Final = 36


def adopt() -> None:
    """From now on what our descendants leave behind is ours. Raises OSError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


class Orphans:
    """Those that are being ended. Times are time.monotonic()."""

    def __init__(self) -> None:
        self._workers: set[int] = set()
        self.kill_at = math.inf

    def end(self, worker: int, now: float) -> int:
        """Ask what a dead worker has left to end; how many programs those are."""
        count = _signal(worker, signal.SIGTERM)
        if count:
            self._workers.add(worker)
            self.kill_at = now + GRACE_S
        return count

    def keep(self, now: float) -> None:
        """End for certain what should have ended by now."""
        if self.kill_at <= now:
            self.kill()

    def kill(self) -> None:
        """End all at once."""
        for worker in self._workers:
            _signal(worker, signal.SIGKILL)
        self._workers.clear()
        self.kill_at = math.inf


def _signal(worker: int, number: signal.Signals) -> int:
    """To all it started that are our children by now, and so are not reaped, and their groups."""
    groups = [group for group in _groups_of(worker) if group != os.getpgrp()]
    for group in set(groups):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)
    return len(groups)


def _groups_of(worker: int) -> Iterator[int]:
    mark = f"{MARK}={worker}".encode()
    own = os.getpid()
    with contextlib.suppress(OSError):  # a kernel without CONFIG_PROC_CHILDREN
        for pid in map(int, Path(f"/proc/{own}/task/{own}/children").read_text().split()):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    yield os.getpgid(pid)
