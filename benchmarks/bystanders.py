"""What other programs took of our cores while we measured."""

import os
import time
from pathlib import Path

from benchmarks.accounting import cpu_seconds
from benchmarks.processes import CORES_USED


class Bystanders:
    """Programs that are none of ours and use our cores while we measure."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._taken = _cores_seconds() - _our_seconds()

    def share(self) -> float:
        """Of the cores' time since the beginning, what they took (0 to 1)."""
        taken = _cores_seconds() - _our_seconds() - self._taken
        return max(0.0, taken / len(CORES_USED) / (time.monotonic() - self._begin))


def _cores_seconds() -> float:
    """CPU in user space and in the kernel that was used on our cores, by anybody."""
    names = {f"cpu{core}" for core in CORES_USED}
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    ticks = sum(sum(map(int, words[1:4])) for words in lines if words[0] in names)
    return ticks / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    """CPU of this process and all it has started."""
    ended = os.times()
    return cpu_seconds(os.getpid()) + ended.children_user + ended.children_system
