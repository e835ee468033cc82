"""The one read buffer that all connections of a process share.

A read is dealt with before the next one starts, so nobody needs a buffer of his own: an idle
connection holds none. When a transport could not write all of what was read, it keeps a view of
the buffer; then `renew` leaves the old one to it and takes a fresh one.

A large buffer halves what a GiB costs, but a slow reader must not hold as much. So only a few large
ones may be left to transports at a time; while they are, reads go into small ones.
"""

import weakref
from typing import Final

SMALL_BYTES: Final = 64 * 1024
LARGE_BYTES: Final = 256 * 1024
LARGE_AT_MOST: Final = 64  # of a process, left to transports or in use
HEAD_READ_BYTES: Final = 8 * 1024  # what a client may send before it has permission
_NOTHING: Final = memoryview(b"")


class _Large(bytearray):
    """One whose end is noticed."""

    __slots__ = ("__weakref__",)


class Scratch:
    """A shared read buffer; never read more than `view` holds."""

    __slots__ = ("_large", "head_view", "view")

    def __init__(self) -> None:
        self._large = 0
        self.renew()

    def renew(self) -> None:
        """Leave the present buffer to whoever holds views of it."""
        self.view = self.head_view = _NOTHING  # if nobody holds the present one, it ends here
        buffer: bytearray
        if self._large < LARGE_AT_MOST:
            buffer = large = _Large(LARGE_BYTES)
            self._large += 1
            weakref.finalize(large, self._one_less).atexit = False
        else:
            buffer = bytearray(SMALL_BYTES)
        self.view = memoryview(buffer)
        self.head_view = self.view[:HEAD_READ_BYTES]

    def _one_less(self) -> None:
        self._large -= 1
