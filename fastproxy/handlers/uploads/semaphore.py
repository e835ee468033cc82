"""So many at once and no more; who waits needs no task for that."""

from collections import deque
from collections.abc import Callable


class CallbackSemaphore:
    """A semaphore whose waiters are callbacks, called in the order in which they asked.

    When thousands of bodies end within a second, and each waits for the store in a task, those took
    10 KiB each, much of which did not come back.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: deque[Callable[[], bool]] = deque()

    def acquire(self, begin: Callable[[], bool]) -> None:
        """Call `begin` now or when there is room; it says whether it still wants it."""
        if not self._free:
            self._waiting.append(begin)
        elif begin():
            self._free -= 1

    def release(self) -> None:
        """One that had begun is over."""
        while self._waiting:
            if self._waiting.popleft()():
                return
        self._free += 1
