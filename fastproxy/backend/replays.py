"""Which tokens were spent already: a token is good for one request.

All processes of a backend must know it together. MemoryReplays is right for one process,
FolderReplays for all processes of one machine; for more, `fastproxy.backend.django.CacheReplays`,
RedisReplays, or any object with this one method.
"""

import hashlib
import heapq
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Protocol

_FORGET_EVERY_S: Final = 1.0


class Replays(Protocol):
    """What all processes of a backend know of spent tokens."""

    def spend(self, jti: str, until: float) -> bool:
        """Whether this is the first time; remembered until `until` (seconds since the epoch).

        May raise anything when it cannot tell: the request is refused then.
        """
        ...


def key_of(jti: str) -> str:
    """A name for it that any store takes."""
    return hashlib.sha256(jti.encode()).hexdigest()


def seconds_until(until: float) -> int:
    """How long a store is to remember: a second too long, never too short."""
    return max(1, int(until - time.time()) + 1)


class Full(Exception):
    """As many tokens as may be remembered are remembered, and all of them are still good."""


class MemoryReplays:
    """Of one process, for any number of threads.

    `capacity`: tokens remembered at once, each some 250 bytes. The default is good for 700
    uploads a second with tokens of 60 s. None is forgotten early: that would let it be replayed.
    """

    def __init__(self, capacity: int = 100_000, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._clock = clock
        self._spent: set[str] = set()
        self._by_time: list[tuple[float, str]] = []
        self._lock = threading.Lock()

    def spend(self, jti: str, until: float) -> bool:
        """See Replays. Raises Full."""
        with self._lock:
            now = self._clock()
            while self._by_time and self._by_time[0][0] < now:
                self._spent.discard(heapq.heappop(self._by_time)[1])
            if jti in self._spent:
                return False
            if len(self._spent) >= self._capacity:
                raise Full(f"{self._capacity} tokens are remembered")
            self._spent.add(jti)
            heapq.heappush(self._by_time, (until, jti))
            return True


class FolderReplays:
    """Of all processes of one machine: one empty file for each token, in a folder of their own."""

    def __init__(self, folder: str | Path, clock: Callable[[], float] = time.time) -> None:
        """Makes the folder. Raises OSError."""
        self._folder = Path(folder)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._clock = clock
        self._forget_at = 0.0

    def spend(self, jti: str, until: float) -> bool:
        """See Replays. Raises OSError."""
        self._forget()
        place = self._folder / key_of(jti)
        try:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            return False
        os.utime(place, (until, until))
        return True

    def _forget(self) -> None:
        """Expired tokens are refused for that, so there is no need to remember them."""
        now = self._clock()
        if now < self._forget_at:
            return
        self._forget_at = now + _FORGET_EVERY_S
        with os.scandir(self._folder) as entries:
            for entry in entries:
                try:
                    # a minute late: the file gets its time just after it is made
                    if max(entry.stat().st_mtime, entry.stat().st_ctime) + 60 < now:
                        os.unlink(entry)
                except FileNotFoundError:  # another process was quicker
                    continue


class RedisReplays:
    """Of all that share a Redis. `client`: a `redis.Redis`, with timeouts of a second or so."""

    def __init__(self, client: Any, prefix: str = "fastproxy:spent:") -> None:
        self._client = client
        self._prefix = prefix

    def spend(self, jti: str, until: float) -> bool:
        """See Replays. Raises what the client raises."""
        key, lifetime = self._prefix + key_of(jti), seconds_until(until)
        return bool(self._client.set(key, b"", nx=True, ex=lifetime))
