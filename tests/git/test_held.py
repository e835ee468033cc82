"""What is too early is held back in bounded memory, and comes out as it went in."""

import asyncio
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from fastproxy.errors import GitBusy, GitFailed
from fastproxy.git.held import MEMORY_BYTES, Disk, Held
from tests.support.descriptors import descriptors


async def filled(held: Held, sizes: list[int]) -> bytes:
    whole = b""
    for number, size in enumerate(sizes):
        whole += bytes([number]) * size
        await held.put(bytes([number]) * size)
    return whole


@pytest.mark.parametrize(
    "sizes", [[], [1], [MEMORY_BYTES], [MEMORY_BYTES, 1], [60_000] * 9, [MEMORY_BYTES + 1, 5]]
)
def test_all_comes_out_in_order_and_once(sizes: list[int], tmp_path: Path) -> None:
    async def play() -> None:
        held = Held(1 << 30, Disk(), str(tmp_path))
        whole = await filled(held, sizes)
        assert b"".join([piece async for piece in held.drain()]) == whole
        assert [piece async for piece in held.drain()] == []
        assert held.size == 0

    asyncio.run(play())


def test_beyond_its_memory_it_is_in_a_file_without_a_name(tmp_path: Path) -> None:
    async def play() -> None:
        held = Held(1 << 30, Disk(), str(tmp_path))
        before = descriptors()
        await filled(held, [MEMORY_BYTES, 1])
        assert len(descriptors() - before) == 1
        assert os.listdir(tmp_path) == []
        held.close()
        assert descriptors() <= before

    asyncio.run(play())


def test_over_its_limit_and_without_a_disk_it_fails(tmp_path: Path) -> None:
    async def play() -> None:
        with pytest.raises(GitFailed, match="over 9 bytes"):
            await Held(9, Disk()).put(bytes(10))
        with pytest.raises(GitFailed, match="cannot hold back"):
            await Held(1 << 30, Disk(), str(tmp_path / "absent")).put(bytes(MEMORY_BYTES + 1))

    asyncio.run(play())


@pytest.mark.parametrize("size", [MEMORY_BYTES + 1, MEMORY_BYTES + (1 << 20)])
def test_on_a_full_disk_it_fails_and_keeps_no_room_from_others(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*, buffering: int = -1, dir: str | None = None) -> IO[bytes]:  # noqa: A002
        return open("/dev/full", "r+b", buffering=buffering)

    async def play() -> None:
        disk = Disk(size)
        held = Held(1 << 30, disk)
        await held.put(bytes(MEMORY_BYTES))
        with pytest.raises(GitFailed, match="No space left"):
            await held.put(bytes(size - MEMORY_BYTES))
        held.close()
        disk.take(size)

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    asyncio.run(play())


def test_who_gives_up_while_it_is_written_leaves_nothing_open(tmp_path: Path) -> None:
    async def play() -> None:
        before = descriptors()
        held = Held(1 << 30, Disk(), str(tmp_path))
        task = asyncio.ensure_future(held.put(bytes(8 << 20)))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        held.close()
        assert descriptors() <= before

    async def warm() -> None:
        await asyncio.to_thread(int)
        await play()

    asyncio.run(warm())


def test_files_of_all_together_have_a_limit_and_memory_has_none_of_it(tmp_path: Path) -> None:
    async def play() -> None:
        disk = Disk(100)
        first, second = (Held(1 << 30, disk, str(tmp_path)) for _ in range(2))
        for held in (first, second):
            await held.put(bytes(MEMORY_BYTES))
        await first.put(bytes(60))
        with pytest.raises(GitBusy):
            await second.put(bytes(41))
        first.close()
        first.close()
        await second.put(bytes(41))
        second.close()
        disk.take(100)

    asyncio.run(play())
