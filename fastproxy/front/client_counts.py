"""How many clients each worker has, in memory that all workers of a generation see.

They accept from the same sockets, and whoever wakes first takes what is there: left alone, one of
two workers gets 60 of 64 clients that come at once. So a worker that is ahead of the others leaves
new clients to them (front/doors.py).
"""

import math
import mmap
from typing import Final

_ABSENT: Final = -1
_CELL: Final = 8
# Nobody minds a difference that small.
_TOLERATED: Final = 4
_TOLERATED_PART: Final = 8
_WINDOW_S: Final = 1.0


class ClientCounts:
    """One count for each worker; made before the fork. `limit`: clients that each can have."""

    def __init__(self, workers: int, limit: float = math.inf) -> None:
        self._counts = memoryview(mmap.mmap(-1, workers * _CELL)).cast("B").cast("q")
        self._limit = limit
        for index in range(workers):
            self.clear(index)

    def seat(self, index: int) -> "Seat":
        """That of one worker, counted from 0."""
        return Seat(self._counts, index, self._limit)

    def clear(self, index: int) -> None:
        """A worker is no more."""
        self._counts[index] = _ABSENT


class Seat:
    """One worker's count among the others'. It counts from `take` to `leave`; times are loop time.

    Where clients come and go all the time, counts differ by chance and even out by themselves: to
    hold back there would only cost. So as many as have gone within a second are tolerated, too.
    Nothing is tolerated of a worker that is full: it would refuse whom another has room for.
    """

    __slots__ = ("_counts", "_gone", "_index", "_limit", "_window_end")

    def __init__(self, counts: "memoryview[int]", index: int, limit: float) -> None:
        self._counts = counts
        self._index = index
        self._limit = limit
        self._gone = 0
        self._window_end = 0.0

    def take(self) -> None:
        """This worker is about to accept."""
        self._counts[self._index] = 0

    def leave(self) -> None:
        """This worker accepts no more."""
        self._counts[self._index] = _ABSENT

    def came(self) -> None:
        """It has one client more."""
        if self._counts[self._index] != _ABSENT:
            self._counts[self._index] += 1

    def went(self, now: float) -> None:
        """It has one client less."""
        if self._counts[self._index] == _ABSENT:
            return
        self._counts[self._index] -= 1
        if now >= self._window_end:
            self._window_end = now + _WINDOW_S
            self._gone = 0
        self._gone += 1

    def is_ahead(self, now: float, coming: int = 0) -> bool:
        """Whether another worker that accepts has clearly fewer clients.

        `coming`: let in and not counted yet.
        """
        mine = self._counts[self._index] + coming
        least = mine - self._tolerated(mine, now)
        return any(0 <= count < least for count in self._counts)

    def _tolerated(self, mine: int, now: float) -> int:
        if mine >= self._limit:
            return 0
        gone = self._gone if now < self._window_end else 0
        return max(_TOLERATED, mine // _TOLERATED_PART, gone)


def alone() -> Seat:
    """The seat of a worker that has no others beside it."""
    return ClientCounts(1).seat(0)
