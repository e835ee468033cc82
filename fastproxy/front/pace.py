"""Is a request body within its size, and does it come fast enough?"""

from fastproxy.config.schema import Limits
from fastproxy.errors import BodyTooLarge, TooSlow


class Pace:
    """One body. Only time in which we wanted to read counts. Times are loop seconds."""

    __slots__ = ("_limits", "_since", "size")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._since = 0.0  # start of the body, later by all the time we paused it
        self.size = 0  # bytes of payload so far

    def begin(self) -> None:
        """A new body, not read from yet."""
        self._since = 0.0
        self.size = 0

    def resume(self, now: float) -> None:
        """It is read (on) from `now`."""
        self._since = now - self._since

    def pause(self, now: float) -> None:
        """It is not read any more; between pause and resume, `_since` is how long it was read."""
        self._since = now - self._since

    def count(self, size: int, max_body: int, now: float) -> None:
        """`size` more bytes came. Raises BodyTooLarge, TooSlow."""
        self.size += size
        if self.size > max_body:
            raise BodyTooLarge(f"more than {max_body} bytes")
        limits = self._limits
        elapsed = now - self._since
        if elapsed > limits.rate_grace and self.size < limits.min_body_rate * elapsed:
            raise TooSlow(f"{self.size} bytes in {elapsed:.0f} s")
