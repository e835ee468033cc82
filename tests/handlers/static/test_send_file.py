"""sendfile(2) by the loop and by a thread: the same bytes, waiting where the reader is slow."""

import asyncio
import os
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import uvloop

from fastproxy.errors import OwnFault
from fastproxy.handlers.coroutine import Dialogue
from fastproxy.handlers.static import send_file as module
from fastproxy.handlers.static.beneath import RegularFile, open_beneath
from fastproxy.handlers.static.ranges import Span
from fastproxy.handlers.static.send_file import send_file

DATA = os.urandom(1 << 20) * 6


class Reader:
    """Who takes a body by an outlet; `sent`: what it was told."""

    def __init__(self) -> None:
        self.here, self.there = socket.socketpair()
        self.here.setblocking(False)
        self.there.setblocking(False)
        self.sent = 0
        self.waits = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self.exchange = SimpleNamespace(
            outlet=lambda: os.dup(self.here.fileno()),
            outlet_full=self.full,
            outlet_free=self._writable.set,
        )

    def full(self) -> None:
        self.waits += 1
        self._writable.clear()

    async def write(self, data: bytes) -> None:
        assert not data

    def passed(self, size: int) -> None:
        self.sent += size

    async def room(self) -> None:
        await self._writable.wait()

    def close(self) -> None:
        self.here.close()
        self.there.close()

    async def take(self, size: int) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            taken += await asyncio.get_running_loop().sock_recv(self.there, 1 << 16)
        return bytes(taken)


def opened(directory: Path) -> RegularFile:
    (directory / "a").write_bytes(DATA)
    return open_beneath(str(directory), [b"a"])


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_slow_reader_gets_every_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    monkeypatch.setattr(RegularFile, "is_in_memory", lambda *_: in_memory)
    visits = 0
    half = len(DATA) // 2
    pieces = [b"head" * 100_000, Span(half, half - 100), b"between", Span(100, half), b"end"]
    expected = b"head" * 100_000 + DATA[half:-100] + b"between" + DATA[100 : half + 100] + b"end"

    async def main() -> None:
        nonlocal visits
        by_thread = module.in_thread

        async def counted(*call: object) -> object:
            nonlocal visits
            visits += 1
            return await by_thread(*call)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "in_thread", counted)
        reader, file = Reader(), opened(tmp_path)
        sending = asyncio.create_task(send_file(cast("Dialogue", reader), file, pieces))
        assert await reader.take(len(expected)) == expected
        await sending
        file.close()
        reader.close()
        assert reader.sent == len(expected)
        assert reader.waits > 1

    uvloop.run(main())
    assert (visits == 0) == in_memory


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_that_became_shorter_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    monkeypatch.setattr(RegularFile, "is_in_memory", lambda *_: in_memory)

    async def main() -> None:
        reader, file = Reader(), opened(tmp_path)
        os.truncate(tmp_path / "a", 1000)
        with pytest.raises(OwnFault, match="shorter"):
            await send_file(cast("Dialogue", reader), file, [Span(0, len(DATA))])
        assert reader.sent == 1000
        reader.close()
        file.close()

    uvloop.run(main())


def test_without_an_outlet_the_same_is_read_and_written_a_little_at_a_time(tmp_path: Path) -> None:
    written: list[bytes] = []

    async def write(data: bytes) -> None:
        written.append(data)

    async def main() -> None:
        file = opened(tmp_path)
        dialogue = SimpleNamespace(write=write, exchange=SimpleNamespace(outlet=lambda: -1))
        pieces = [b"head", Span(7, 1 << 20), b"between", Span(0, 5), b"end"]
        await send_file(cast("Dialogue", dialogue), file, pieces)
        os.truncate(tmp_path / "a", 1000)
        with pytest.raises(OwnFault, match="shorter"):
            await send_file(cast("Dialogue", dialogue), file, [Span(0, 1001)])
        file.close()

    uvloop.run(main())
    assert max(map(len, written)) <= module.PIECE
    expected = b"head" + DATA[7 : 7 + (1 << 20)] + b"between" + DATA[:5] + b"end" + DATA[:1000]
    assert b"".join(written) == expected


def test_what_is_not_in_memory_is_known_without_waiting(tmp_path: Path) -> None:
    file = opened(tmp_path)
    assert not file.is_in_memory(len(DATA), 1)  # behind its end
    with (tmp_path / "a").open("rb") as same:
        os.fsync(same.fileno())
        os.posix_fadvise(same.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert not file.is_in_memory(0, len(DATA))  # the file system says no, or cannot tell
    file.close()
