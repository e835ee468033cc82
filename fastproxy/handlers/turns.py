"""So many at once and no more; who waits needs no task for that."""

from collections import deque
from collections.abc import Callable


class Turns:
    """Turns are given in the order in which they were asked for.

    When thousands of bodies end within a second, and each waits for the store in a task, those took
    10 KiB each, much of which did not come back.
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: deque[Callable[[], bool]] = deque()

    def take(self, begin: Callable[[], bool]) -> None:
        """Call `begin` now or when it is its turn; it says whether it still wants it."""
        if not self._free:
            self._waiting.append(begin)
        elif begin():
            self._free -= 1

    def give(self) -> None:
        """A turn is over."""
        while self._waiting:
            if self._waiting.popleft()():
                return
        self._free += 1
