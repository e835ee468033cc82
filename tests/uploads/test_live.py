"""Parts that are sent while they arrive: each exactly as long as it promised, memory or not."""

import asyncio

import pytest
import uvloop

from fastproxy.config.schema import Memory, Size
from fastproxy.memory.arena import Arena
from fastproxy.memory.parties import Callbacks
from fastproxy.memory.upload_buffer import UploadBuffer
from fastproxy.uploads.digests import Digests
from fastproxy.uploads.live import PIECE_BYTES, PIECES, LivePart, piece_sizes

SLAB = 4096
KIB = 1024
BODY = bytes(index * 7 % 251 for index in range(3 * PIECE_BYTES))


async def sent(part: LivePart) -> bytes:
    async def read() -> bytes:
        return b"".join([b"".join(run) async for run in part.chunks()])

    return await asyncio.wait_for(read(), 10)


def open_live(arena: Arena, part_size: int) -> UploadBuffer:
    buffer: UploadBuffer

    def piece(number: int) -> int:
        return piece_sizes(part_size, buffer.total)

    buffer = arena.open(PIECES, piece, Callbacks(lambda: None, lambda: None))
    return buffer


@pytest.mark.parametrize("part_size", [PIECE_BYTES, 300 * KIB, 300 * KIB + 1, 262_147])
@pytest.mark.parametrize("cut_at", [0, 1, 100 * KIB])
def test_a_part_ends_where_it_should_wherever_a_piece_was_cut(part_size: int, cut_at: int) -> None:
    async def test() -> None:
        arena = Arena(Memory(budget=Size(4 << 20), slab=Size(SLAB)), reserve_bytes=1)
        buffer = open_live(arena, part_size)
        buffer.feed(BODY[:cut_at])
        buffer.cut()  # as the arena does when memory is short
        assert buffer.feed(BODY[cut_at:]) == len(BODY) - cut_at
        buffer.finish()
        got = b""
        for number in (1, 2):
            part = LivePart(buffer, Digests(()), number, len(got), part_size)
            data = await sent(part)
            assert len(data) == part_size
            got += data
        assert got == BODY[: 2 * part_size]
        buffer.close()
        await arena.close()

    uvloop.run(test())


@pytest.mark.parametrize("part_size", [1, 64 * KIB, PIECE_BYTES, 8 << 20, 10_000_019])
def test_pieces_are_large_until_the_end_of_the_part(part_size: int) -> None:
    offset, pieces = part_size * 3, 0
    while offset < part_size * 4:
        offset += piece_sizes(part_size, offset)
        pieces += 1
    assert offset == part_size * 4
    assert pieces == -(-part_size // PIECE_BYTES)


def test_a_part_that_waits_for_bytes_holds_no_memory() -> None:
    async def test() -> None:
        arena = Arena(Memory(budget=Size(4 << 20), slab=Size(SLAB)), reserve_bytes=1)
        buffer = open_live(arena, PIECE_BYTES)
        buffer.feed(BODY[:1000])
        buffer.cut()
        asked = asyncio.Event()
        taken = bytearray()

        async def take() -> None:
            async for run in LivePart(buffer, Digests(["md5"]), 1, 0, PIECE_BYTES).chunks():
                taken.extend(b"".join(bytes(view) for view in run))
                asked.set()

        taking = asyncio.create_task(take())
        await asked.wait()
        for _ in range(3):
            await asyncio.sleep(0)
        assert arena.stats.slabs_used == 0
        buffer.feed(BODY[1000:PIECE_BYTES])
        await asyncio.wait_for(taking, 10)
        assert taken == BODY[:PIECE_BYTES]
        buffer.close()
        await arena.close()

    uvloop.run(test())
