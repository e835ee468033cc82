"""Memory into which the forms of a route are read, one after another: none of them keeps it."""

from typing import Final

_WINDOW: Final = 256 << 10  # bytes; as much as the scratch buffer of clients


class FormWindow:
    """Bytes that came before and were not used up, then those that come: in one piece.

    `front`: bytes that may be left of what came before.
    """

    def __init__(self, front: int) -> None:
        self.memory = bytearray(front + _WINDOW)
        self._view = memoryview(self.memory)
        self._front = front

    def opened(self, size: int) -> memoryview:
        """Where to read at most `size` bytes into."""
        return self._view[self._front : self._front + min(size, _WINDOW)]

    def filled(self, before: bytes, size: int) -> tuple[int, int]:
        """Where in `memory` the bytes of `before` and the `size` that were read are now."""
        start = self._front - len(before)
        self._view[start : self._front] = before
        return start, self._front + size

    def view(self, start: int, end: int) -> memoryview:
        """A part of `memory`."""
        return self._view[start:end]
