"""What other programs took of our cores while we measured."""

import os
import time

from benchmarks.accounting import busy_seconds, cpu_seconds
from benchmarks.processes import CORES_USED


class Bystanders:
    """Programs that are none of ours and use our cores while we measure."""

    def __init__(self) -> None:
        self._begin = time.monotonic()
        self._taken = busy_seconds(CORES_USED) - _our_seconds()

    def share(self) -> float:
        """Of the cores' time since the beginning, what they took (0 to 1)."""
        taken = busy_seconds(CORES_USED) - _our_seconds() - self._taken
        return max(0.0, taken / len(CORES_USED) / (time.monotonic() - self._begin))


def _our_seconds() -> float:
    """CPU of this process and all it has started."""
    ended = os.times()
    return cpu_seconds(os.getpid()) + ended.children_user + ended.children_system
