"""Does a client take what waits for it: something within `send_timeout`, and on the average enough?

Only time in which something waited for it counts, so a backend that is slow is not its fault. What
it took is what its kernel has acknowledged. The average is that of a window of `rate_grace`; then
the next begins, so that nobody lives on what he took long ago.
"""

from typing import Final

from fastproxy.config.schema import Limits
from fastproxy.errors import ClientGone, FastproxyError, TooSlow

_LEAST_WINDOW_S: Final = 1.0  # acknowledgements come in lumps


class Uptake:
    """Of one connection. Times are loop seconds; bytes are counted from its beginning."""

    __slots__ = ("_began", "_is_waiting", "_limits", "_moved", "_moved_at", "_since", "_window_s")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._window_s = max(limits.rate_grace, _LEAST_WINDOW_S)
        self._is_waiting = False
        self._since = 0.0  # start of the window, later by all the time in which nothing waited
        self._began = -1  # bytes taken when the window began; -1: it has not
        self._moved = (-1, -1)
        self._moved_at = 0.0

    def patience_s(self, now: float) -> float:
        """In how many seconds to judge again."""
        limits = self._limits
        if not limits.min_send_rate or not self._is_waiting:
            return limits.send_timeout
        return min(limits.send_timeout, max(self._since + self._window_s - now, 0.0))

    def watch(self, taken: int, read: int, now: float, *, waits: bool) -> None:
        """From now on bytes must move; `waits`: some are waiting. `read`: bytes from the client."""
        if self._began < 0:
            self._began = taken
        if waits and not self._is_waiting:
            self._is_waiting = True
            self._since = now - self._since
        self._moved, self._moved_at = (taken, read), now

    def rest(self, now: float) -> None:
        """Nothing waits any more; meanwhile `_since` is how long something did."""
        if self._is_waiting:
            self._is_waiting = False
            self._since = now - self._since

    def judge(self, taken: int, read: int, now: float) -> FastproxyError | None:
        """What is wrong with the client, if anything."""
        if self._moved != (taken, read):
            self._moved, self._moved_at = (taken, read), now
        elif now - self._moved_at >= self._limits.send_timeout:
            return ClientGone("takes no bytes")
        if self._is_waiting and now - self._since >= self._window_s:
            return self._judge_rate(taken, now)
        return None

    def _judge_rate(self, taken: int, now: float) -> FastproxyError | None:
        """At the end of a window, of which there is another."""
        elapsed, size = now - self._since, taken - self._began
        self._since, self._began = now, taken
        if size < self._limits.min_send_rate * elapsed:
            return TooSlow(f"takes {size} bytes in {elapsed:.0f} s")
        return None
