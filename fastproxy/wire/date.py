"""The Date field of messages that begin here (RFC 9110 section 6.6.1)."""

import time
from email.utils import formatdate
from typing import Final


class _Clock:
    """Makes the text once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._date = b""

    def date(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
        return self._date


_clock: Final = _Clock()


def date_field() -> tuple[bytes, bytes]:
    """Date with the time now."""
    return b"Date", _clock.date()
