"""The one read buffer that all connections of a process share.

A read is dealt with before the next one starts, so nobody needs a buffer of his own: an idle
connection holds none. When a transport could not write all of what was read, it keeps a view of
the buffer; then `renew` leaves the old one to it and takes a fresh one.
"""

from typing import Final

SCRATCH_BYTES: Final = 64 * 1024
HEAD_READ_BYTES: Final = 8 * 1024  # what a client may send before it has permission


class Scratch:
    """A shared read buffer of SCRATCH_BYTES."""

    __slots__ = ("head_view", "view")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Leave the present buffer to whoever holds views of it."""
        self.view = memoryview(bytearray(SCRATCH_BYTES))
        self.head_view = self.view[:HEAD_READ_BYTES]
