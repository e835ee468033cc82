"""Deadlines of many connections with one timer.

A loop timer for every connection would cost a heap entry each, and one that is not cancelled keeps
its connection alive. Here a connection only writes its `deadline`; it lies in the bucket of some
second at or before it, and is moved on, or told, when that second has come. So setting a deadline
again and again is an attribute store. Deadlines are kept to the tick (250 ms).
"""

import asyncio
from typing import Final

TICK_S: Final = 0.25
NEVER: Final = float("inf")
_NOWHERE: Final = -1


class Timed:
    """Something that waits for at most so long: until `deadline`, in loop time, or NEVER.

    `bucket` is for Deadlines alone, which so needs no table of all that are watched.
    """

    __slots__ = ("bucket", "deadline")

    def __init__(self) -> None:
        self.deadline = NEVER
        self.bucket = _NOWHERE

    @property
    def is_over(self) -> bool:
        """Whether it has ended and need not be watched any longer."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> None:
        """The deadline has passed. Set a new one or end."""
        raise NotImplementedError


class Deadlines:
    """All deadlines of one process."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tick_s = TICK_S
        self._buckets: dict[int, set[Timed]] = {}
        self._count = 0
        self._checked = int(loop.time() / TICK_S)
        self._timer: asyncio.TimerHandle | None = None
        self.now = loop.time()  # of the latest tick or renewal: good to a quarter second

    def start(self) -> None:
        """Begin to tick."""
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def stop(self) -> None:
        """Tick no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __len__(self) -> int:
        return self._count

    def watch(self, timed: Timed) -> None:
        """Look after `timed` until `forget`. Call again when its deadline has become earlier."""
        old = timed.bucket
        if old >= 0:  # not _NOWHERE: a comparison in C
            # The short way for what is called five times a request.
            if old * self._tick_s <= timed.deadline or old <= self._bucket(timed.deadline):
                return
            self.forget(timed)
        self._put(timed, self._bucket(timed.deadline))

    def forget(self, timed: Timed) -> None:
        """Drop every reference to `timed`."""
        bucket = timed.bucket
        if bucket != _NOWHERE:
            timed.bucket = _NOWHERE
            self._count -= 1
            if bucket in self._buckets:
                self._buckets[bucket].discard(timed)

    def _bucket(self, deadline: float) -> int:
        # What has no deadline is looked at once a minute, so that it may get one unasked.
        soonest = min(deadline, self.now + 60)
        return max(int(soonest / TICK_S) + 1, self._checked + 1)

    def _put(self, timed: Timed, bucket: int) -> None:
        timed.bucket = bucket
        self._count += 1
        self._buckets.setdefault(bucket, set()).add(timed)

    def _tick(self) -> None:
        self._timer = self._loop.call_later(TICK_S, self._tick)
        self.check(self._loop.time())

    def check(self, now: float) -> None:
        """Tell all whose deadline is at or before `now` (loop time)."""
        self.now = now
        last = int(now / TICK_S)
        while self._checked < last:
            self._checked += 1
            for timed in self._buckets.pop(self._checked, ()):
                self._check_one(timed, now)

    def _check_one(self, timed: Timed, now: float) -> None:
        if timed.bucket != self._checked:
            return  # forgotten, or put elsewhere, by one that was told before it
        timed.bucket = _NOWHERE
        self._count -= 1
        if timed.deadline <= now:
            timed.deadline = NEVER
            timed.on_deadline(now)
        if timed.bucket == _NOWHERE and not timed.is_over:
            self._put(timed, self._bucket(timed.deadline))
