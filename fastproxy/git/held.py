"""What is held back until all of it is there: in memory, and then in a file of no name.

A fetch's question, before a program of git's is started for it: who says half of one and then
nothing keeps nobody from a turn. What git answers before it was asked all: its client writes the
whole of its question before it reads, so an answer that came early would fill the pipes between the
two and both would wait for ever.
"""

import tempfile
from collections.abc import AsyncIterator
from io import FileIO
from typing import Final

from fastproxy.errors import GitBusy, GitFailed
from fastproxy.loop.threads import in_thread

MEMORY_BYTES: Final = 64 * 1024
DISK_BYTES: Final = 1 << 30
_PIECE: Final = 64 * 1024


class Disk:
    """What may lie in files of all that is held at once: `size` in bytes."""

    def __init__(self, size: int = DISK_BYTES) -> None:
        self._free = size

    def take(self, size: int) -> None:
        """Raises GitBusy when there is no room."""
        if size > self._free:
            raise GitBusy("too much is held back until questions are complete")
        self._free -= size

    def give(self, size: int) -> None:
        """It is free again."""
        self._free += size


class Held:
    """At most `limit` bytes, MEMORY_BYTES of them in memory. `directory` "": the system's."""

    def __init__(self, limit: int, disk: Disk, directory: str = "") -> None:
        self._limit = limit
        self._disk = disk
        self._directory = directory
        self._pieces: list[bytes] = []
        self._file: FileIO | None = None
        self._on_disk = 0
        self.size = 0

    async def put(self, data: bytes) -> None:
        """Keep it. Raises GitFailed over the limit, and when it cannot be written; GitBusy."""
        self.size += len(data)
        if self.size > self._limit:
            raise GitFailed(f"over {self._limit} bytes are to be held back")
        if self._file is None and self.size <= MEMORY_BYTES:
            self._pieces.append(data)
            return
        self._disk.take(len(data))
        self._on_disk += len(data)
        try:
            await in_thread(self._write, data)
        except OSError as error:
            raise GitFailed(f"cannot hold back: {error}") from error

    def _write(self, data: bytes) -> None:
        if self._file is None:
            # Without a buffer, which would be written when the file is closed, and fail once more.
            self._file = tempfile.TemporaryFile(buffering=0, dir=self._directory or None)  # noqa: SIM115
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    async def drain(self) -> AsyncIterator[bytes]:
        """All of it, in order; afterwards it is empty."""
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield piece
        if self._file is not None:
            self._file.seek(0)
            while piece := await in_thread(self._file.read, _PIECE):
                yield piece
        self.close()

    def close(self) -> None:
        """Forget it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._disk.give(self._on_disk)
        self._pieces.clear()
        self.size = self._on_disk = 0
