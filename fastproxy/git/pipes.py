"""The ends of a program's pipes, driven by the event loop: no thread, no buffer but the kernel's.

Nothing is read before somebody asks for it, so who reads slowly slows the program down.
"""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import IO, Final

READ_BYTES: Final = 64 * 1024  # what a pipe holds
STDERR_BYTES: Final = 4096
_SMALL: Final = READ_BYTES // 2
_GATHER_S: Final = 0.001


class _End:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Future[None] | None = None
        os.set_blocking(file.fileno(), False)

    async def _until(self, add: Callable[..., None], remove: Callable[[int], object]) -> None:
        fd = self._file.fileno()
        self._turn = self._loop.create_future()
        add(fd, _settle, self._turn)
        try:
            await self._turn
        finally:
            if not self._file.closed:
                remove(fd)

    def _close(self, remove: Callable[[int], object]) -> None:
        if not self._file.closed:
            remove(self._file.fileno())
            self._file.close()
            if self._turn is not None:
                _settle(self._turn)


def _settle(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class Inlet(_End):
    """Where a program reads from. One writes at a time."""

    async def write(self, data: bytes) -> bool:
        """Write all of it, waiting for room; False when the program takes no more."""
        view = memoryview(data)
        while view:
            if self._file.closed:
                return False
            try:
                view = view[os.write(self._file.fileno(), view) :]
            except BlockingIOError:
                await self._until(self._loop.add_writer, self._loop.remove_writer)
            except BrokenPipeError:
                return False
        return True

    def close(self) -> None:
        """Nothing follows."""
        self._close(self._loop.remove_writer)


class Outlet(_End):
    """What a program writes. One reads at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._is_dripping = False

    async def read(self) -> bytes:
        """What is there, waiting for it if need be; b"" at its end.

        git writes a pack 5 KiB at a time. After little came the next may gather for a millisecond:
        30 MiB were read in 538 pieces, not in 6048, as fast, and a fetch took 1.5 to 2.1 s of CPU
        for a GiB, where it had taken 2.7 to 2.8.
        """
        if self._is_dripping:
            await asyncio.sleep(_GATHER_S)
        while not self._file.closed:
            try:
                data = os.read(self._file.fileno(), READ_BYTES)
                self._is_dripping = len(data) < _SMALL
                return data
            except BlockingIOError:
                await self._until(self._loop.add_reader, self._loop.remove_reader)
        return b""

    def discard(self) -> None:
        """Nobody wants the rest, which must not keep the program waiting."""
        if not self._file.closed:
            self._loop.add_reader(self._file.fileno(), self._drop)

    def _drop(self) -> None:
        with contextlib.suppress(BlockingIOError):
            if not os.read(self._file.fileno(), READ_BYTES):
                self.close()

    def close(self) -> None:
        """Nobody reads on."""
        self._close(self._loop.remove_reader)


class Complaints(_End):
    """What a program says on its standard error: read always, of which the last is kept."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self._kept = b""
        self._loop.add_reader(file.fileno(), self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._file.fileno(), READ_BYTES)
            self._kept = (self._kept + said)[-STDERR_BYTES:]
            if not said:
                self.close()

    @property
    def text(self) -> str:
        """The last STDERR_BYTES of it, in one line."""
        if not self._file.closed:
            self._read()
        return " / ".join(self._kept.decode("utf-8", "replace").split("\n")).strip(" /")

    def close(self) -> None:
        """Nobody listens on."""
        self._close(self._loop.remove_reader)
