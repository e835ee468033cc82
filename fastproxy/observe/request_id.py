"""Request ids: new ones that sort by time, and a judge for those that come with a request."""

import os
import re
import time

_BATCH = 1024
_RANDOM_DIGITS = 20  # 80 random bits an id
_ACCEPTED = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class RequestIds:
    """A source of ids. Make it after the fork: two processes must not share one batch."""

    def __init__(self) -> None:
        self._digits = b""
        self._at = self._end = 0
        self._millisecond = 0
        self._prefix = b""

    def new(self) -> str:
        """32 hex digits: 12 of milliseconds since the epoch as in UUIDv7, then 20 random ones."""
        at = self.turn(int(time.time() * 1000))
        return (self._prefix + self._digits[at : at + _RANDOM_DIGITS]).decode("ascii")

    def turn(self, millisecond: int) -> int:
        """Make the parts of the next id: `_prefix`, and digits from the returned place on."""
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._prefix = b"%012x" % millisecond
        at = self._at
        if at == self._end:
            self._digits = os.urandom(_BATCH * _RANDOM_DIGITS // 2).hex().encode("ascii")
            self._end = len(self._digits)
            at = 0
        self._at = at + _RANDOM_DIGITS
        return at


def accept_request_id(value: bytes | None) -> str | None:
    """The X-Request-Id of a trusted peer when it is harmless, or None."""
    if value is None or not _ACCEPTED.fullmatch(value):
        return None
    return value.decode("ascii")
