"""Many may go at once and are let go a few at a time: whom they ask next has to live with it."""

from collections import deque
from typing import Protocol

from fastproxy.loop.deadlines import TICK_S, Deadlines, Timed


class Waking(Protocol):
    """Who may go."""

    def go(self) -> bool:
        """Go now. False: it has left meanwhile, and counts for nothing."""
        ...


class Pacer(Timed):
    """So many a second, in the order in which they were added; the first few go at once."""

    def __init__(self, rate: int, deadlines: Deadlines) -> None:
        """`rate` 0: no limit."""
        super().__init__()
        self._deadlines = deadlines
        self._share = max(1, int(rate * TICK_S)) if rate else 0
        self._left = self._share  # of the present tick
        self._waiting: deque[Waking] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waking: Waking) -> None:
        """Let it go now or later."""
        if not self._share:
            waking.go()
        elif self._left:
            self._left -= waking.go()
            self._tick_again()
        else:
            self._waiting.append(waking)

    def _tick_again(self) -> None:
        self.deadline = self._deadlines.now  # past by then, so it is told with the next tick
        self._deadlines.watch(self)

    @property
    def is_over(self) -> bool:
        """See Timed: nothing is to be done before somebody comes."""
        return self._left == self._share and not self._waiting

    def on_deadline(self, now: float) -> None:
        """See Timed."""
        self._left = self._share
        while self._left and self._waiting:
            self._left -= self._waiting.popleft().go()
        if not self.is_over:
            self._tick_again()
