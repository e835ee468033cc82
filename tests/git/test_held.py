"""An early answer is held back in bounded memory, and comes out as it went in."""

import asyncio
import os
from pathlib import Path

import pytest

from fastproxy.errors import GitFailed
from fastproxy.git.held import MEMORY_BYTES, Held


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
        held = Held(1 << 30, str(tmp_path))
        whole = await filled(held, sizes)
        assert b"".join([piece async for piece in held.drain()]) == whole
        assert [piece async for piece in held.drain()] == []
        assert held.size == 0

    asyncio.run(play())


def test_beyond_its_memory_it_is_in_a_file_without_a_name(tmp_path: Path) -> None:
    async def play() -> None:
        held = Held(1 << 30, str(tmp_path))
        before = len(os.listdir("/proc/self/fd"))
        await filled(held, [MEMORY_BYTES, 1])
        assert len(os.listdir("/proc/self/fd")) == before + 1
        assert os.listdir(tmp_path) == []
        held.close()
        assert len(os.listdir("/proc/self/fd")) == before

    asyncio.run(play())


def test_over_its_limit_and_without_a_disk_it_fails(tmp_path: Path) -> None:
    async def play() -> None:
        with pytest.raises(GitFailed, match="over 9 bytes"):
            await Held(9).put(bytes(10))
        with pytest.raises(GitFailed, match="cannot hold"):
            await Held(1 << 30, str(tmp_path / "absent")).put(bytes(MEMORY_BYTES + 1))

    asyncio.run(play())
