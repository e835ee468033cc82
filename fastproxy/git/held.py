"""What git answers before it was asked all: held back, in memory and then in a file of no name.

Its client writes the whole of its question before it reads, so an answer that came early would fill
the pipes between the two and both would wait for ever.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

from fastproxy.errors import GitFailed

MEMORY_BYTES: Final = 128 * 1024
_PIECE: Final = 64 * 1024


class Held:
    """At most `limit` bytes, MEMORY_BYTES of them in memory. `directory` "": the system's."""

    def __init__(self, limit: int, directory: str = "") -> None:
        self._limit = limit
        self._directory = directory
        self._pieces: list[bytes] = []
        self._file: IO[bytes] | None = None
        self.size = 0

    async def put(self, data: bytes) -> None:
        """Keep it. Raises GitFailed over the limit, and when the disk is full."""
        self.size += len(data)
        if self.size > self._limit:
            raise GitFailed(f"over {self._limit} bytes of answer before the end of the question")
        if self._file is None and self.size <= MEMORY_BYTES:
            self._pieces.append(data)
            return
        try:
            await asyncio.to_thread(self._write, data)
        except OSError as error:
            raise GitFailed(f"cannot hold an answer back: {error}") from error

    def _write(self, data: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._directory or None)  # noqa: SIM115 - close
        self._file.write(data)

    async def drain(self) -> AsyncIterator[bytes]:
        """All of it, in order; afterwards it is empty."""
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            yield piece
        if self._file is not None:
            self._file.seek(0)
            while piece := await asyncio.to_thread(self._file.read, _PIECE):
                yield piece
        self.close()

    def close(self) -> None:
        """Forget it."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._pieces.clear()
        self.size = 0
