"""The one read buffer that all connections of a process share.

A read is dealt with before the next one starts, so nobody needs a buffer of his own: an idle
connection holds none. When a transport could not write all of what was read, it keeps a view of
the buffer; then `renew` leaves the old one to it and takes another.

A large buffer halves what a GiB costs, but a slow reader must not hold as much. So there are only a
few large ones, used again and again; while transports hold all of them, reads go into small ones.
"""

from collections import deque
from contextlib import suppress
from typing import Final

SMALL_BYTES: Final = 64 * 1024
LARGE_BYTES: Final = 256 * 1024
LARGE_AT_MOST: Final = 64
HEAD_READ_BYTES: Final = 8 * 1024  # what a client may send before it has permission
_LOOKED_AT: Final = 4  # at a time: those that slow readers hold go to the end
_NOTHING: Final = memoryview(b"")


class Scratch:
    """A shared read buffer; never read more than `view` holds."""

    __slots__ = ("_large", "head_view", "view")

    def __init__(self) -> None:
        self._large: deque[bytearray] = deque()  # the latest taken last
        self.view = self.head_view = _NOTHING
        self.renew()

    def renew(self) -> None:
        """Leave the present buffer to whoever holds views of it."""
        self.view = self.head_view = _NOTHING
        self.view = memoryview(self._free() or self._fresh())
        self.head_view = self.view[:HEAD_READ_BYTES]

    def _free(self) -> bytearray | None:
        for _ in range(min(_LOOKED_AT, len(self._large))):
            buffer = self._large[0]
            self._large.rotate(-1)
            with suppress(BufferError):
                buffer.append(0)  # refused while anybody has a view of it
                del buffer[-1]
                return buffer
        return None

    def _fresh(self) -> bytearray:
        if len(self._large) >= LARGE_AT_MOST:
            return bytearray(SMALL_BYTES)
        buffer = bytearray(LARGE_BYTES)
        self._large.append(buffer)
        return buffer
